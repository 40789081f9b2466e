"""The same calls sent to two sidecars, and what differs in their answers and in what they deliver."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import aiohttp

from tests.engine.engine import free_ports
from tests.sidecars.calls import BULK, CURRENT, DEAD, RAW, SINGLE, STALE, Call
from tests.sidecars.recording import Delivery, Json, RecordingApp, every_entry
from tests.sidecars.world import BUS, App, Client, Engine, Place, Reply, World

_BATCHES: Final = {"enabled": True, "maxMessagesCount": 10, "maxAwaitDurationMs": 5}
_AS_BYTES: Final = {"rawPayload": "true"}
SUBSCRIPTIONS: Final[list[dict[str, Any]]] = [
    {"pubsubname": BUS, "topic": SINGLE, "route": "/single", "deadLetterTopic": DEAD},
    {"pubsubname": BUS, "topic": BULK, "route": "/bulk", "deadLetterTopic": DEAD, "bulkSubscribe": _BATCHES},
    {"pubsubname": BUS, "topic": RAW, "route": "/raw", "deadLetterTopic": DEAD, "metadata": _AS_BYTES},
    {"pubsubname": BUS, "topic": DEAD, "route": "/dead", "metadata": _AS_BYTES},
]
PATHS: Final = ("/single", "/bulk", "/raw", "/dead")
WORLD: Final = World(
    apps=[App("twin", SUBSCRIPTIONS)], jobs=True, secrets={"api-key": "quiet", "n": "ü"}, environment={"THING": "one"}
)
SETTLE_SECONDS: Final = 20.0
_NO_ANSWER: Final = Reply(0, {}, b"")
# What Dapr puts behind these words comes from Go's parsers or from the Scheduler and changes with their versions, or is
# the first of several things that are wrong.
_WORDS: Final = re.compile(
    r"(failed deserializing HTTP body|error when unmarshaling the request for topic \S+ pubsub \S+"
    r"|failed to (?:schedule|get|delete) job due to|incorrect value for metadata 'ttlInSeconds'"
    r"|error while executing state transaction|unable to decode base64).*",
    re.DOTALL,
)
_FREE: Final = frozenset(("ERR_MALFORMED_REQUEST",))  # codes whose message is a parser's alone
_TRACE: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


@dataclass
class Twin:
    """One sidecar, its app and what was read of its state so far."""

    app: RecordingApp
    client: Client
    etags: dict[str, list[str]] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)
    _found: list[Json] = field(default_factory=list)

    async def send(self, call: Call) -> Reply:
        try:
            call = self._with_etags(call)
            reply = await self.client.call(call.method, call.path, call.body, headers=call.headers, query=call.query)
        except aiohttp.ServerDisconnectedError:
            return _NO_ANSWER
        if call.method == "GET" and "etag" in reply.headers:
            self.etags.setdefault(unquote(call.path.rpartition("/")[2]), []).append(reply.headers["etag"])
        return reply

    def _with_etags(self, call: Call) -> Call:
        key = unquote(call.path.rpartition("/")[2])
        headers = {name: self._etag(key, text) for name, text in call.headers.items()}
        body = call.body
        if body and (CURRENT.encode() in body or STALE.encode() in body):
            body = json.dumps(self._filled(json.loads(body))).encode()
        return replace(call, headers=headers, body=body)

    def _filled(self, content: Json) -> Json:
        if isinstance(content, list):
            return [self._filled(one) for one in content]
        if not isinstance(content, dict):
            return content
        key = str(content.get("key", ""))
        return {name: self._etag(key, one) if name == "etag" else self._filled(one) for name, one in content.items()}

    def _etag(self, key: str, asked: Json) -> Json:
        known = self.etags.get(key) or ["none"]
        return {CURRENT: known[-1], STALE: known[0] if len(known) > 1 else "older"}.get(str(asked), asked)

    def events(self) -> list[Json]:
        """What was delivered since the last call of `take`."""
        for path in PATHS:
            deliveries = self.app.seen(path)
            self._found += [event for one in deliveries[self._read.get(path, 0) :] for event in _events(path, one)]
            self._read[path] = len(deliveries)
        return self._found

    def take(self) -> list[Json]:
        found, self._found = self.events(), []
        return sorted(found, key=lambda event: json.dumps(event, sort_keys=True))


@asynccontextmanager
async def twin(make: Callable[[World, Sequence[Place], Path], Engine], folder: Path) -> AsyncIterator[Twin]:
    """`WORLD` on one engine, with its files in `folder`."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(RecordingApp(SUBSCRIPTIONS))
        app.answers("/bulk", every_entry("SUCCESS"))
        http, metrics = free_ports(2)
        client = await stack.enter_async_context(Client(http, None))
        engine = make(WORLD, [Place(WORLD.apps[0], app.port, http, metrics)], folder)
        stack.push_async_callback(engine.close)
        await engine.start()
        yield Twin(app, client)


def _events(path: str, delivery: Delivery) -> Iterable[Json]:
    """The events of a delivery, each with where it came, without what differs from event to event."""
    if path != "/bulk":
        yield {"path": path, "type": delivery.headers["content-type"], "event": _same(delivery.json())}
        return
    batch = delivery.json()
    head = {name: one for name, one in batch.items() if name not in ("id", "entries", "metadata")}
    for entry in batch["entries"]:
        yield {"path": path, **head, "contentType": entry["contentType"], "event": _same(entry["event"])}


def _same(event: Json) -> Json:
    """An envelope without the id that the sidecar gave it, its times and its trace."""
    if not isinstance(event, dict):
        return event
    found = dict(event)
    for name in ("traceid", "traceparent"):
        if _TRACE.fullmatch(str(found.get(name))):
            found[name] = "a trace"
    for name in ("time", "expiration"):
        if str(found.get(name, "")).startswith("20") and "2020-01-01" not in str(found[name]):
            found[name] = "a time"
    if len(str(found.get("id", ""))) == len("xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx"):
        found["id"] = "an id"
    if "data_base64" in found and "specversion" in found:
        found["data_base64"] = _inner(base64.b64decode(found["data_base64"]))
    return found


def _inner(body: bytes) -> Json:
    try:
        inner = json.loads(body)
    except ValueError:
        return base64.b64encode(body).decode()
    return {"JSON": _same(inner)}


def answer(reply: Reply) -> Json:
    """What of an answer is compared: status, type, and the body as JSON where it is that."""
    try:
        body = _told(json.loads(reply.body))
    except ValueError:
        body = reply.body.decode(errors="replace")
    headers = {name: reply.headers[name] for name in ("content-type",) if name in reply.headers}
    given = {name: name in reply.headers for name in ("etag", "metadata.ttlexpiretime")}
    return {"status": reply.status, **headers, **given, "body": body}


def _told(body: Json) -> Json:
    if isinstance(body, list):
        return sorted((_told(one) for one in body), key=str)  # bulk reads come in any order
    if not isinstance(body, dict):
        return body
    if "errorCode" in body and "message" in body:
        reasons = [detail.get("reason", detail.get("@type")) for detail in body.get("details", [])]
        message = "*" if body["errorCode"] in _FREE else _WORDS.sub(r"\1", body["message"])
        return {"errorCode": body["errorCode"], "message": message, "details": reasons}
    return {name: "*" if name in ("etag", "ttlExpireTime") else _told(one) for name, one in body.items()}


@dataclass(frozen=True)
class Difference:
    """What two sidecars did not do alike."""

    call: Call
    ours: Json
    theirs: Json

    def __str__(self) -> str:
        return f"{self.call}\n    daprlet {self.ours}\n    daprd   {self.theirs}"


async def compare(ours: Twin, theirs: Twin, call: Call) -> list[Difference]:
    """Send a call to both; compare the answers and, if it was accepted, the events that it made."""
    first, second = answer(await ours.send(call)), answer(await theirs.send(call))
    found = [] if first == second else [Difference(call, first, second)]
    for one, told in ((ours, first), (theirs, second)):
        if told["status"] == 204:
            await _delivered(one, _events_of(call))
    delivered = ours.take(), theirs.take()
    if not found and delivered[0] != delivered[1]:
        found.append(Difference(call, *delivered))
    return found


async def _delivered(one: Twin, expected: int) -> None:
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while len(one.events()) < expected:  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        return


def _events_of(call: Call) -> int:
    """How many events an accepted call makes."""
    if "/publish/bulk/" in call.path:
        return len(json.JSONDecoder().raw_decode((call.body or b"[]").decode().lstrip())[0] or [])
    return int("/publish/" in call.path)
