"""A service as its own process, as it runs everywhere, and a client that calls it as its sidecar does."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from tests.integration.notification.sidecar import Sidecar

APP_TOKEN = "app-token"  # noqa: S105 - of a test


class Service:
    def __init__(self, process: asyncio.subprocess.Process, http: aiohttp.ClientSession) -> None:
        self.process = process
        self._http = http

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._http.get(path) as answer:
            return answer.status, await answer.json()

    async def text(self, path: str) -> str:
        async with self._http.get(path) as answer:
            return await answer.text()

    async def post(self, path: str, body: object = None, *, token: str | None = APP_TOKEN) -> tuple[int, Any]:
        headers = {"dapr-api-token": token} if token else {}
        async with self._http.post(path, data=msgspec.json.encode(body), headers=headers) as answer:
            text = await answer.read()
            return answer.status, msgspec.json.decode(text) if text else None

    async def deliver(self, topic: str, *originals: bytes) -> tuple[int, Any]:
        entries = [{"entryId": str(index), "event": msgspec.Raw(one)} for index, one in enumerate(originals)]
        return await self.post(f"/events/{topic}", {"entries": entries})

    async def end(self) -> None:
        """SIGTERM: it drains and is gone, by its own exit or by the signal it raises again."""
        self.process.terminate()
        assert await asyncio.wait_for(self.process.wait(), 15) in {0, -signal.SIGTERM}

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running_service(
    module: str, sidecar: Sidecar, *, port: int | None = None, **environment: str
) -> AsyncIterator[Service]:
    """`python -m module` beside this sidecar, serving when this returns."""
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env=os.environ
        | {
            "APP_PORT": str(port),
            "DAPR_HTTP_PORT": str(urlsplit(sidecar.url).port),
            "DAPR_API_TOKEN": "dapr-token",
            "APP_API_TOKEN": APP_TOKEN,
        }
        | environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        service = Service(process, http)
        try:
            await _until_serving(service)
            yield service
        finally:
            if process.returncode is None:
                await service.kill()


async def _until_serving(service: Service) -> None:
    async with asyncio.timeout(20):
        while True:
            assert service.process.returncode is None, "the service ended"
            try:
                await service.get("/healthz")
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
            else:
                return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
