"""A sidecar's publish API over real HTTP that does to its callers what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from todo.contracts.envelope import Envelope


@dataclass(frozen=True)
class Published:
    """One event that the broker took."""

    topic: str
    key: str
    envelope: bytes
    singly: bool

    @property
    def id(self) -> str:
        return msgspec.json.decode(self.envelope, type=Envelope).id


@dataclass(frozen=True)
class Refusal:
    """An answer that is not a success; `entries` are the ids of those refused, where only some are."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(reasons: dict[str, str]) -> "Refusal":
        entries = [{"entryId": entry, "error": reason} for entry, reason in reasons.items()]
        return Refusal(500, {"failedEntries": entries, "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"})

    @property
    def entries(self) -> set[str]:
        return {entry["entryId"] for entry in self.body.get("failedEntries", [])}


@dataclass(frozen=True)
class Call:
    """One publish call: `entries` by id, as complete envelopes."""

    topic: str
    entries: dict[str, bytes]
    singly: bool


Decide = Callable[[Call], Refusal | None]


class Broker:
    """Takes everything until `decide` says otherwise; answers only while `gate` is open (what it took stays taken)."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.calls: list[Call] = []
        self.decide: Decide = lambda _: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, topic: str) -> Sequence[str]:
        """The ids of the events on a topic, in the order they came."""
        return [one.id for one in self.published if one.topic == topic]

    async def start(self) -> None:
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.add_routes(
            [
                web.post("/v1.0/publish/bulk/{pubsub}/{topic}", self._bulk),
                web.post("/v1.0/publish/{pubsub}/{topic}", self._single),
                web.post("/v1.0/jobs/{name}", self._accept),
                web.get("/v1.0/healthz/outbound", self._accept),
                web.post("/v1.0/invoke/{app}/method/{method:.+}", self._nobody),
            ]
        )
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections until started again, on the same port."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _bulk(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=list[dict[str, msgspec.Raw]])
        entries = {msgspec.json.decode(one["entryId"], type=str): bytes(one["event"]) for one in body}
        keys = [msgspec.json.decode(one["metadata"], type=dict[str, str])["partitionKey"] for one in body]
        return await self._take(Call(request.match_info["topic"], entries, singly=False), keys)

    async def _single(self, request: web.Request) -> web.Response:
        call = Call(request.match_info["topic"], {"": await request.read()}, singly=True)
        return await self._take(call, [request.query["metadata.partitionKey"]])

    async def _take(self, call: Call, keys: Sequence[str]) -> web.Response:
        self.calls.append(call)
        refusal = self.decide(call)
        if refusal is None or refusal.entries:
            refused = refusal.entries if refusal else set()
            self.published += [
                Published(call.topic, key, event, call.singly)
                for (entry, event), key in zip(call.entries.items(), keys, strict=True)
                if entry not in refused
            ]
        self.arrived.set()
        await self.gate.wait()
        return web.Response(status=204) if refusal is None else web.json_response(refusal.body, status=refusal.status)

    async def _accept(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _nobody(self, _: web.Request) -> web.Response:
        return web.json_response({"errorCode": "ERR_DIRECT_INVOKE", "message": "no such app"}, status=500)


@asynccontextmanager
async def running_broker() -> AsyncIterator[Broker]:
    broker = Broker()
    await broker.start()
    try:
        yield broker
    finally:
        broker.gate.set()
        await broker.stop()
