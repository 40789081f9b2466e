"""The app's side of Dapr's callbacks: the subscription list, event batches in, one answer out, jobs, the app token."""

import base64
import hmac
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from todo.contracts import names, spans
from todo.dapr import metrics

log = structlog.get_logger()

Deliver = Callable[[Sequence[bytes]], Awaitable[None]]
Job = Callable[[], Awaitable[None]]


class UnavailableError(Exception):
    """Something that processing needs is away: the sidecar shall keep the whole batch and retry it."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic of this app. `deliver` takes the batch as bytes, oldest first, and returns once all of it is done.

    `raw` subscriptions get the broker's bytes as they are; all others get CloudEvents.
    """

    topic: str
    deliver: Deliver
    dead_letter_topic: str
    raw: bool = False
    batch_size: int = 100
    wait_ms: int = 10  # how long the sidecar waits for a batch to fill

    @property
    def path(self) -> str:
        return f"/events/{self.topic}"

    def describe(self) -> dict[str, Any]:
        """The subscription as Dapr asks for it."""
        return {
            "pubsubname": names.PUBSUB,
            "topic": self.topic,
            "route": self.path,
            "deadLetterTopic": self.dead_letter_topic,
            "metadata": {"rawPayload": "true"} if self.raw else {},
            "bulkSubscribe": {
                "enabled": True,
                "maxMessagesCount": self.batch_size,
                "maxAwaitDurationMs": self.wait_ms,
            },
        }


class _Entry(msgspec.Struct, rename="camel"):
    entry_id: str
    event: msgspec.Raw


class _Delivery(msgspec.Struct):
    """A bulk delivery has entries; a single one is the event itself."""

    entries: list[_Entry] | None = None
    data_base64: str | None = None


_delivery: Final = msgspec.json.Decoder(_Delivery)
_AWAY: Final = 503
_DEEPEST: Final = 10_000  # nesting that a sidecar reads: Go's JSON decoder stops there


def routes(subscriptions: Sequence[Subscription], jobs: Mapping[str, Job], app_token: str) -> list[Route]:
    """Everything a sidecar calls. The two subscription lists are read-only and open; the rest wants the app token."""
    listing = [subscription.describe() for subscription in subscriptions]
    for one in subscriptions:
        for answer in ("done", "put_off", "failed"):
            metrics.deliveries.labels(one.topic, answer)  # there from the first scrape on, so that a rate has a start

    async def subscribe(_: Request) -> Response:
        return JSONResponse(listing)

    return [
        Route("/dapr/subscribe", subscribe),
        Route("/events/dapr/subscribe", subscribe),
        *(
            Route(one.path, guarded(app_token, _event_endpoint(one)), methods=["POST"])
            for one in subscriptions
        ),
        *(
            Route(f"/job/{name}", guarded(app_token, _job_endpoint(name, job)), methods=["POST"])
            for name, job in jobs.items()
        ),
    ]  # fmt: skip


Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(app_token: str, endpoint: Endpoint) -> Endpoint:
    """Let only the sidecar in: it sends the app token with every call."""

    async def check(request: Request) -> Response:
        given = request.headers.get("dapr-api-token")
        if given is None:
            metrics.refused.labels("app-token-missing").inc()
            return _problem(401, "app-token-missing", "this route is for the Dapr sidecar: dapr-api-token is missing")
        if not hmac.compare_digest(given.encode(), app_token.encode()):
            metrics.refused.labels("app-token-wrong").inc()
            return _problem(403, "app-token-wrong", "this route is for the Dapr sidecar: dapr-api-token is wrong")
        return await endpoint(request)

    return check


def _event_endpoint(subscription: Subscription) -> Endpoint:
    async def receive(request: Request) -> Response:
        body = await request.body()
        entry_ids, events = _unpack(body, raw=subscription.raw)
        metrics.batch.labels(subscription.topic).observe(len(events))
        try:
            with _measured(subscription.topic), spans.continued(request.headers.get("traceparent", "")):
                await subscription.deliver(events)
        except UnavailableError as error:
            log.warning("delivery put off", topic=subscription.topic, events=len(events), reason=str(error))
            return JSONResponse({"status": "RETRY"}, status_code=_AWAY, headers={"retry-after": "1"})
        return JSONResponse(_success(entry_ids))

    return receive


@contextmanager
def _measured(topic: str) -> Iterator[None]:
    answer, began = "failed", time.perf_counter()
    try:
        yield
        answer = "done"
    except UnavailableError:
        answer = "put_off"
        raise
    finally:
        metrics.deliveries.labels(topic, answer).inc()
        metrics.duration.labels(topic).observe(time.perf_counter() - began)


def _unpack(body: bytes, *, raw: bool) -> tuple[list[str] | None, list[bytes]]:
    """The entry ids (None for a single delivery) and the events as bytes. A body that is no delivery is one event."""
    try:
        delivery = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, [body]
    if delivery.entries is None:
        return None, [_from_base64(delivery.data_base64, body) if raw else body]
    events = [_raw_bytes(entry.event) if raw else bytes(entry.event) for entry in delivery.entries]
    return [entry.entry_id for entry in delivery.entries], events


def _decode(body: bytes) -> _Delivery:
    """Read a delivery. One event of deep nesting must not hide the batch it came in."""
    try:
        return _delivery.decode(body)
    except RecursionError:
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(usual + _DEEPEST)
        try:
            return _delivery.decode(body)
        finally:
            sys.setrecursionlimit(usual)


def _raw_bytes(event: msgspec.Raw) -> bytes:
    try:
        return _from_base64(msgspec.json.decode(event, type=str), bytes(event))
    except msgspec.DecodeError:
        return bytes(event)


def _from_base64(text: str | None, otherwise: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if text is not None else otherwise
    except ValueError:
        return otherwise


def _success(entry_ids: list[str] | None) -> dict[str, Any]:
    """One answer for the whole batch: mixed answers make daprd panic or dead-letter the wrong entry."""
    if entry_ids is None:
        return {"status": "SUCCESS"}
    return {"statuses": [{"entryId": entry_id, "status": "SUCCESS"} for entry_id in entry_ids]}


def _job_endpoint(name: str, job: Job) -> Endpoint:
    async def tick(_: Request) -> Response:
        try:
            await job()
        except UnavailableError as error:
            log.warning("job put off", job=name, reason=str(error))
            return Response(status_code=_AWAY)
        return Response(status_code=204)

    return tick


def _problem(status: int, kind: str, detail: str) -> Response:
    body = {"type": f"urn:todo:problem:{kind}", "title": kind.replace("-", " "), "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
