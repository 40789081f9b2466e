"""The defects in docs/upstream, on the pinned daprd: a red test here says that one of them is mended."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.engine.engine import Server, free_ports, valkey
from tests.sidecars.recording import DEADLINE
from todo.operations.engine import binaries

DEFECTS = Path(__file__).parents[2] / "docs" / "upstream"
PANIC = DEFECTS / "bulk-subscribe-panic"


@pytest_asyncio.fixture
async def daprd(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """daprd beside the app of the reproduction, with its resources as they are; yields it and its address."""
    app_port, http, *others = free_ports(5)
    app = await Server.start([sys.executable, PANIC / "app.py", str(app_port)], tmp_path / "app.log")
    flags = {
        "app-id": "panic",
        "app-port": app_port,
        "dapr-http-port": http,
        **dict(zip(("dapr-grpc-port", "dapr-internal-grpc-port", "metrics-port"), others, strict=True)),
        "dapr-listen-addresses": "127.0.0.1",
        "metrics-listen-address": "127.0.0.1",
        "resources-path": PANIC / "resources",
    }
    command: list[str | Path] = [binaries.dapr("daprd"), *(f"--{name}={value}" for name, value in flags.items())]
    async with valkey(tmp_path / "valkey") as port:
        server = await Server.start(command, tmp_path / "daprd.log", env={"REDIS_HOST": f"127.0.0.1:{port}"})
        try:
            await server.ready(f"http://127.0.0.1:{http}/v1.0/healthz", 204)
            yield server, f"http://127.0.0.1:{http}/v1.0"
        finally:
            await server.kill()
            await app.kill()


async def test_a_bulk_entry_that_is_retried_and_dropped_ends_daprd(daprd: tuple[Server, str]) -> None:
    """docs/upstream/bulk-subscribe-panic."""
    server, address = daprd
    entries = [{"entryId": str(n), "event": n, "contentType": "application/json"} for n in range(3)]
    async with aiohttp.ClientSession() as session:
        (await session.post(f"{address}/publish/bulk/bus/things", json=entries)).raise_for_status()
    try:
        async with asyncio.timeout(DEADLINE):
            await server.process.wait()
    except TimeoutError:
        raise AssertionError(f"daprd lives:\n{server.last_words()}") from None
    assert server.process.returncode == 2
    log = server.log.read_text(errors="replace")
    assert "panic: runtime error: index out of range [2] with length 1" in log
    assert "pkg/runtime/subscription/postman/http/http.go:326" in log


async def test_publishing_null_as_a_cloudevent_gets_no_answer(daprd: tuple[Server, str]) -> None:
    """docs/upstream/publish-null.md."""
    server, address = daprd
    headers = {"Content-Type": "application/cloudevents+json"}
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(f"{address}/publish/bus/things", data=b"null", headers=headers)
        assert (await session.get(f"{address}/healthz")).status == 204
    assert "panic serving" in server.log.read_text(errors="replace")
