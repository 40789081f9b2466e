"""One attempt to deliver messages to an app, and what its answer means (Dapr's rules, single and bulk)."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from daprlet import go_json
from daprlet.app_channel import AppChannel, Reply
from daprlet.envelope import CLOUD_EVENTS, expiration, wrap_raw
from daprlet.errors import MALFORMED, AppUnreachable
from daprlet.log import Message
from daprlet.routing import UndecidableError
from daprlet.subscriptions import Subscription

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode

_NOT_FOUND: Final = 404


class Outcome(Enum):
    SUCCESS = "success"
    DROP = "drop"
    RETRY = "retry"
    UNCOUNTED = "uncounted"  # to be handed over again; no attempt of the policy is used up


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message in one attempt. `status` is the app's HTTP status where there was one."""

    outcome: Outcome
    reason: str = ""
    status: int | None = None


SUCCESS: Final = Verdict(Outcome.SUCCESS)
Verdicts = dict[int, Verdict]  # by message id


class Attempt(Protocol):
    """Hands messages to an app once and says what became of each; chaos is a second implementation."""

    async def __call__(
        self,
        channel: AppChannel,
        subscription: Subscription,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - the HTTP client enforces it
    ) -> Verdicts:
        """A verdict for every message; never raises for what the app or the network does."""
        ...


async def attempt(
    channel: AppChannel,
    subscription: Subscription,
    messages: Sequence[Message],
    timeout: float,  # noqa: ASYNC109 - the HTTP client enforces it
) -> Verdicts:
    """Deliver `messages` in calls no larger than the subscription says, each to the path its rules choose."""
    verdicts: Verdicts = {}
    by_path: dict[str, list[Message]] = {}
    for message in messages:
        path, refused = _route(subscription, message)
        if refused is not None:
            verdicts[message.id] = refused
        elif path is not None:
            by_path.setdefault(path, []).append(message)
    most = subscription.batch or 1  # `messages` may be more: they were taken before the app subscribed otherwise
    for path, group in by_path.items():
        for at in range(0, len(group), most):
            verdicts |= await _send(channel, subscription, path, group[at : at + most], timeout)
    return verdicts


def _route(subscription: Subscription, message: Message) -> tuple[str | None, Verdict | None]:
    """The path a message goes to, or the verdict that it goes nowhere."""
    if subscription.raw or (not message.raw and not subscription.rules):
        event: Any = None
    else:
        try:
            event = _decode(message.body)
        except MALFORMED as error:
            return None, _undeliverable(subscription, f"not a CloudEvent: {error}")
        if not isinstance(event, dict):
            return None, _undeliverable(subscription, "not a CloudEvent: no JSON object")
    try:
        path = subscription.path(event) if event is not None else subscription.default
    except UndecidableError as error:
        return None, _undeliverable(subscription, f"a rule cannot be judged: {error}")
    return (path, None) if path else (None, Verdict(Outcome.DROP, "no route matches"))


def _undeliverable(subscription: Subscription, reason: str) -> Verdict:
    """A dead letter where there is a topic for them; without one it is tried again, for it must not be lost."""
    return Verdict(Outcome.DROP if subscription.dead_letter_topic else Outcome.RETRY, reason)


def expired(subscription: Subscription, message: Message, now: float) -> bool:
    """Whether the message's time to live is over; a `rawPayload` subscription gets every message, as in Dapr."""
    if subscription.raw:
        return False
    if not message.raw:
        return message.expires is not None and message.expires < now
    try:
        moment = expiration(_decode(message.body))
    except MALFORMED:
        return False
    return moment is not None and moment < now


async def _send(
    channel: AppChannel,
    subscription: Subscription,
    path: str,
    messages: Sequence[Message],
    timeout: float,  # noqa: ASYNC109 - the HTTP client enforces it
) -> Verdicts:
    body, headers = (_bulk if subscription.batch else _single)(subscription, messages)
    try:
        reply = await channel.post(path if path.startswith("/") else f"/{path}", body, headers, timeout)
    except AppUnreachable as error:
        return _all(messages, Verdict(Outcome.UNCOUNTED, str(error)))
    except TimeoutError:
        return _all(messages, Verdict(Outcome.RETRY, f"no answer within {timeout:g} s"))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _all(messages, Verdict(Outcome.RETRY, f"{type(error).__name__}: {error}"))
    return _judge_bulk(messages, reply) if subscription.batch else _all(messages, _judge_single(reply))


def _all(messages: Sequence[Message], verdict: Verdict) -> Verdicts:
    return {message.id: verdict for message in messages}


def _single(subscription: Subscription, messages: Sequence[Message]) -> tuple[bytes, dict[str, str]]:
    (message,) = messages
    body = wrap_raw(message.body, subscription.pubsub, subscription.topic) if subscription.raw else message.body
    return body, {**_headers(message), "pubsubName": subscription.pubsub, "Content-Type": CLOUD_EVENTS}


def _headers(message: Message) -> Mapping[str, str]:
    return _decode_headers(message.headers) if message.headers else {}


def _bulk(subscription: Subscription, messages: Sequence[Message]) -> tuple[bytes, dict[str, str]]:
    """The bulk envelope, spliced from stored bytes: they are JSON already."""
    kind = "application/octet-stream" if subscription.raw else CLOUD_EVENTS
    entries = b",".join(
        b'{"entryId":"%d","event":%b,"metadata":%b,"contentType":"%b"}'
        % (
            message.id,
            _encode(message.body) if subscription.raw else _as_doubles(message.body),
            message.headers or b"{}",
            kind.encode(),
        )
        for message in messages
    )
    head = _encode(
        {
            "id": str(uuid.uuid4()),
            "metadata": {"pubsubName": subscription.pubsub},
            "pubsubname": subscription.pubsub,
            "topic": subscription.topic,
            "type": "com.dapr.event.sent.bulk",
        }
    )
    return b'%b,"entries":[%b]}' % (head[:-1], entries), {"Content-Type": "application/json"}


def _as_doubles(event: bytes) -> bytes:
    """Dapr reads and writes the events of a batch once more, and keeps numbers as doubles when it does."""
    try:
        return go_json.as_doubles(event)
    except ValueError:
        return event


class _Status(msgspec.Struct):
    status: Any = ""


_decode_status = msgspec.json.Decoder(_Status).decode


def _judge_single(reply: Reply) -> Verdict:
    if reply.status == _NOT_FOUND:
        return Verdict(Outcome.DROP, "the app answered 404", reply.status)
    if not reply.ok:
        return Verdict(Outcome.RETRY, f"the app answered {reply.status}", reply.status)
    if not reply.body:
        return SUCCESS
    try:
        status = _decode_status(reply.body).status
    except MALFORMED:
        return SUCCESS
    return _named(status, empty=SUCCESS)


def _named(status: object, empty: Verdict) -> Verdict:
    if status in ("", None):
        return empty
    if status == "SUCCESS":
        return SUCCESS
    if status == "DROP":
        return Verdict(Outcome.DROP, "the app answered DROP")
    if status == "RETRY":
        return Verdict(Outcome.RETRY, "the app answered RETRY")
    return Verdict(Outcome.RETRY, f"the app answered the unknown status {status!r}")


class _EntryStatus(msgspec.Struct, rename="camel"):
    entry_id: str | None = ""
    status: Any = ""


class _BulkAnswer(msgspec.Struct):
    statuses: list[_EntryStatus] = []


_decode_bulk = msgspec.json.Decoder(_BulkAnswer).decode


def _judge_bulk(messages: Sequence[Message], reply: Reply) -> Verdicts:
    if reply.status == _NOT_FOUND:  # Dapr takes a missing bulk route as done, without dead letters
        return _all(messages, SUCCESS)
    if not reply.ok:
        return _all(messages, Verdict(Outcome.RETRY, f"the app answered {reply.status}", reply.status))
    try:
        statuses = {one.entry_id: one.status for one in _decode_bulk(reply.body).statuses}
    except MALFORMED as error:
        return _all(messages, Verdict(Outcome.RETRY, f"the app's bulk answer cannot be read: {error}"))
    missing = Verdict(Outcome.RETRY, "the app's bulk answer has no status for the entry")
    return {one.id: _named(statuses.get(str(one.id), ""), empty=missing) for one in messages}
