"""A real HTTP application in the test's own process: it subscribes, records what it is sent and answers as scripted."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, TypeVar

from aiohttp import web

DEADLINE = 20.0
_LARGEST = 16 * 1024 * 1024  # base64 of an event that is as large as one may be

T = TypeVar("T")
Json: TypeAlias = Any  # whatever JSON can say


@dataclass(frozen=True)
class Delivery:
    """One request that the sidecar made; `headers` has lower-case names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the app says: a status, and a body sent as JSON unless it is bytes. With `after`, not before that is set."""

    status: int = 200
    body: Json | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: asyncio.Event | None = None

    def response(self) -> web.Response:
        if isinstance(self.body, bytes):
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


Script = Callable[[Delivery], Answer]


async def eventually(condition: Callable[[], Awaitable[T]], timeout: float = DEADLINE) -> T:  # noqa: ASYNC109
    """Wait until the condition, looked at every few milliseconds, gives something true; return that."""
    try:
        async with asyncio.timeout(timeout):
            while not (value := await condition()):  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s") from None
    return value


def in_order(*answers: Answer) -> Script:
    """Give these answers one after the other, and the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def every_entry(status: str) -> Script:
    """Answer a bulk delivery with this status for each of its entries."""

    def answer(delivery: Delivery) -> Answer:
        entries = delivery.json()["entries"]
        return Answer(body={"statuses": [{"entryId": entry["entryId"], "status": status} for entry in entries]})

    return answer


class RecordingApp:
    """An application on a free port of 127.0.0.1. What is not scripted is answered 200 with an empty body."""

    def __init__(self, subscriptions: Sequence[dict[str, Any]] = ()) -> None:
        self.subscriptions = list(subscriptions)
        self.port = 0
        self.healthy = True
        self._failed_probes = 0
        self._deliveries: defaultdict[str, list[Delivery]] = defaultdict(list)
        self._scripts: dict[str, Script] = {}
        self._recorded = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen: on a free port the first time, on the same one afterwards."""
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_get("/dapr/subscribe", self._subscribe)
        app.router.add_get("/healthz", self._health)
        app.router.add_route("*", "/{path:.*}", self._record)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def answers(self, path: str, script: Script | Answer) -> None:
        """From now on answer requests of this path so."""
        self._scripts[path] = in_order(script) if isinstance(script, Answer) else script

    def seen(self, path: str) -> list[Delivery]:
        """Return what came to this path so far, oldest first."""
        return list(self._deliveries[path])

    async def received(self, path: str, count: int = 1, timeout: float = DEADLINE) -> list[Delivery]:  # noqa: ASYNC109
        """Wait until at least `count` requests came to this path, and return all of them."""
        return await self.until(lambda: self.seen(path) if len(self._deliveries[path]) >= count else [], timeout)

    async def until(self, condition: Callable[[], T], timeout: float = DEADLINE) -> T:  # noqa: ASYNC109
        """Wait until the condition, looked at after each request, gives something true; return that."""
        try:
            async with asyncio.timeout(timeout), self._recorded:
                while not (value := condition()):
                    await self._recorded.wait()
        except TimeoutError:
            counts = {path: len(deliveries) for path, deliveries in self._deliveries.items() if deliveries}
            raise AssertionError(f"not within {timeout} s; what came so far: {counts}") from None
        return value

    async def _subscribe(self, _: web.Request) -> web.Response:
        return web.json_response(self.subscriptions)

    async def probed(self, failing: int) -> None:
        """Wait until that many more probes of /healthz were told that the app is unwell."""
        enough = self._failed_probes + failing
        await self.until(lambda: self._failed_probes >= enough)

    async def _health(self, _: web.Request) -> web.Response:
        if not self.healthy:
            async with self._recorded:
                self._failed_probes += 1
                self._recorded.notify_all()
        return web.Response(status=200 if self.healthy else 503)

    async def _record(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(request.method, request.path, dict(request.query), headers, await request.read())
        async with self._recorded:
            self._deliveries[request.path].append(delivery)
            self._recorded.notify_all()
        answer = self._scripts[request.path](delivery) if request.path in self._scripts else Answer()
        if answer.after is not None:
            await answer.after.wait()
        return answer.response()
