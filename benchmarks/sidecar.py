"""daprlet alone, with a tiny subscriber: its start, its memory, and events/s end to end by batch size."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import aiohttp
import msgspec

from benchmarks.measure import Row, Target, closed_loop, cpu_seconds, rss_mb, until
from todo.operations import client, ports

SIZES: Final = {1: 5_000, 10: 20_000, 100: 40_000}  # events by batch size
CALLS_AT_ONCE: Final = 8
COMPONENT: Final = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.sqlite, version: v1}
"""
TARGET: Final = (Target("rate", 5_000, "events/s", at_least=True),)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running daprlet and its subscriber."""

    http: aiohttp.ClientSession
    url: str
    app_url: str
    pids: list[int]

    async def publish(self, size: int, events: Sequence[bytes]) -> None:
        """One call for all `events`; alone without the bulk envelope."""
        path = f"/v1.0/publish/{'bulk/' if size > 1 else ''}pubsub/batch-{size}"
        body = b"[%b]" % b",".join(map(_entry, events)) if size > 1 else events[0]
        kind = "application/json" if size > 1 else "application/cloudevents+json"
        async with self.http.post(self.url + path, data=body, headers={"content-type": kind}) as answer:
            assert answer.status == 204, await answer.read()

    async def counted(self, size: int) -> tuple[int, float]:
        async with self.http.get(f"{self.app_url}/count") as answer:
            found: tuple[int, float] = msgspec.json.decode(await answer.read())[f"batch-{size}"]
            return found


async def run(scale: float) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="todo-") as folder:
        async with _running(Path(folder)) as (sidecar, start):
            alone = rss_mb(sidecar.pids[:1])
            rates = [await _throughput(sidecar, size, int(count * scale)) for size, count in SIZES.items()]
    return [*rates, Row("daprlet alone", "", {}, (), {"start": f"{start:.2f} s", "RSS": f"{alone:.0f} MiB"})]


async def _throughput(sidecar: Sidecar, size: int, count: int) -> Row:
    """From the first publish to the last event at the app; calls and deliveries carry `size` events."""
    count -= count % size
    await _pass(sidecar, size, [_event() for _ in range(max(size, count // 10 // size * size))])
    events = [_event() for _ in range(count)]
    cpu = cpu_seconds(sidecar.pids[:1])
    seconds = await _pass(sidecar, size, events)
    cpu = cpu_seconds(sidecar.pids[:1]) - cpu
    also = {"daprlet's CPU": f"{cpu / count * 1e6:.0f} us an event"}
    what = f"events through daprlet, {size} a call and a delivery" if size > 1 else "events through daprlet, one by one"
    return Row(what, "events/s", {"rate": count / seconds}, TARGET if size > 1 else (), also)


async def _pass(sidecar: Sidecar, size: int, events: Sequence[bytes]) -> float:
    before, _ = await sidecar.counted(size)
    calls = [events[at : at + size] for at in range(0, len(events), size)]
    began = time.time()
    await closed_loop(CALLS_AT_ONCE, len(calls), lambda number: sidecar.publish(size, calls[number]))

    async def all_there() -> bool:
        return (await sidecar.counted(size))[0] >= before + len(events)

    await until(all_there, "every event at the app")
    return (await sidecar.counted(size))[1] - began


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[Sidecar, float]]:
    """The sidecar with the seconds from its start until it took calls."""
    resources = folder / "resources"
    resources.mkdir()
    (resources / "pubsub.yaml").write_text(COMPONENT)
    app_port, port = ports.free(2)
    options = f"--app-id counter --app-port {app_port} --dapr-http-port {port} --log-level error".split()
    kept = ["--resources-path", str(resources), "--data-path", str(folder / "kept")]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client.session())
        topics = [f"batch-{size}={size}" for size in SIZES]
        app = await stack.enter_async_context(process("benchmarks.subscriber", str(app_port), "pubsub", *topics))
        await until(lambda: answers(http, f"http://127.0.0.1:{app_port}/count"), "the subscriber")
        began = time.perf_counter()
        daprlet = await stack.enter_async_context(process("daprlet", "run", *options, *kept))
        url = f"http://127.0.0.1:{port}"
        await until(lambda: answers(http, f"{url}/v1.0/healthz/outbound"), "daprlet", every=0.01)
        start = time.perf_counter() - began
        await until(lambda: answers(http, f"{url}/v1.0/healthz"), "daprlet has its app", every=0.01)
        yield Sidecar(http, url, f"http://127.0.0.1:{app_port}", [daprlet, app]), start


@asynccontextmanager
async def process(*module: str) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *module)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as answer:
            return answer.ok
    except aiohttp.ClientError:
        return False


def _event() -> bytes:
    """A CloudEvent of about 400 bytes."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": "benchmark",
            "type": "benchmark.event.v1",
            "datacontenttype": "application/json",
            "data": {"title": "Water the plants", "padding": "x" * 200},
        }
    )


def _entry(event: bytes) -> bytes:
    return b'{"entryId":"%b","event":%b,"contentType":"application/cloudevents+json"}' % (
        str(uuid4()).encode(),
        event,
    )
