"""A sidecar over HTTP that a test can look into and tell to fail: publish, state with ETags, jobs, invocation."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from todo.contracts import envelope
from todo.contracts.envelope import Event
from todo.dapr.client import Dapr, connect

Invoked = Callable[[bytes], bytes]


class Sidecar:
    def __init__(self) -> None:
        self.url = ""
        self.published: list[tuple[str, bytes]] = []
        self.state: dict[str, tuple[Any, str, dict[str, str]]] = {}  # key -> value, ETag, metadata
        self.jobs: dict[str, dict[str, Any]] = {}
        self.methods: dict[str, Invoked] = {}
        self.broken: set[str] = set()  # parts that answer 500: publish, state, invoke
        self.calls: list[str] = []
        self.written: list[Any] = []  # every value that the state store took
        self.reading: asyncio.Barrier | None = None  # reads are answered together
        self.answering: asyncio.Event | None = None  # writes are done at once and answered when it is set
        self._etags = itertools.count(1)

    def events(self, topic: str) -> list[Event]:
        decoded = [envelope.decode(original, topic) for name, original in self.published if name == topic]
        return [event for event in decoded if isinstance(event, Event)]

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._fail_at_will])
        application.add_routes(
            [
                web.post("/v1.0/publish/bulk/{pubsub}/{topic}", self._publish),
                web.post("/v1.0/state/{store}/bulk", self._read),
                web.post("/v1.0/state/{store}", self._write),
                web.delete("/v1.0/state/{store}/{key}", self._delete),
                web.post("/v1.0/jobs/{name}", self._schedule),
                web.post("/v1.0/invoke/{app}/method/{method:.+}", self._invoke),
                web.get("/v1.0/healthz/outbound", self._healthy),
            ]
        )
        return application

    @web.middleware
    async def _fail_at_will(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if request.path.split("/")[2] in self.broken:
            return web.json_response({"errorCode": "ERR_BROKEN", "message": "told to fail"}, status=500)
        return await handler(request)

    async def _publish(self, request: web.Request) -> web.Response:
        for entry in msgspec.json.decode(await request.read()):
            self.published.append((request.match_info["topic"], msgspec.json.encode(entry["event"])))
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> web.Response:
        if self.reading:
            await self.reading.wait()
        found = [(key, self.state.get(key)) for key in (await request.json())["keys"]]
        return web.json_response(
            [{"key": key, "data": entry[0], "etag": entry[1]} if entry else {"key": key} for key, entry in found]
        )

    async def _write(self, request: web.Request) -> web.Response:
        for item in await request.json():
            known = self.state.get(item["key"])
            first_write = item.get("options", {}).get("concurrency") == "first-write"
            if first_write and (known[1] if known else None) != item.get("etag"):
                return web.json_response({"errorCode": "ERR_STATE_SAVE", "message": "lost"}, status=409)
            self.state[item["key"]] = (item["value"], str(next(self._etags)), item.get("metadata", {}))
            self.written.append(item["value"])
        if self.answering:
            await self.answering.wait()
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if key not in self.state or self.state[key][1] != request.headers["if-match"]:
            return web.json_response({"errorCode": "ERR_STATE_DELETE", "message": "lost"}, status=409)
        del self.state[key]
        return web.Response(status=204)

    async def _schedule(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["name"]] = await request.json()
        return web.Response(status=204)

    async def _invoke(self, request: web.Request) -> web.Response:
        method = self.methods.get(request.match_info["method"])
        if method is None:
            return web.json_response({"errorCode": "ERR_DIRECT_INVOKE", "message": "no such app"}, status=500)
        return web.Response(body=method(await request.read()), content_type="application/json")

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(status=204)


@asynccontextmanager
async def running_sidecar() -> AsyncIterator[Sidecar]:
    sidecar = Sidecar()
    runner = web.AppRunner(sidecar.application())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sidecar.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield sidecar
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(sidecar: Sidecar) -> AsyncIterator[Dapr]:
    async with connect(sidecar.url, "dapr-token") as dapr:
        yield dapr
