"""CloudEvents the way Dapr writes them: around what is published, and around raw bytes when they are delivered."""

import base64
import contextlib
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from daprlet import go_json
from daprlet.durations import go_duration
from daprlet.errors import MALFORMED
from daprlet.log import Draft

EVENT_TYPE: Final = "com.dapr.event.sent"
_NO_SOURCE: Final = "Dapr"  # what Dapr writes where it is told that there is none
CLOUD_EVENTS: Final = "application/cloudevents+json"
_LONGEST: Final = 10.0**9  # seconds; keeps an expiry within what a date can hold

# Ids are for tracing, not for secrets: the operating system's generator would cost a system call for each.
_random: Final = random.Random()  # noqa: S311 - see above

_HEADER_BYTES: Final = 4096  # of names and values: servers refuse heads of 8 KB, and nobody could take the event

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_RESERVED: Final = re.compile(
    r"(?i:dapr-.*|content-.*|proxy-.*|transfer-encoding|connection|keep-alive|host|te|trailer|upgrade|expect)"
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class InvalidCloudEventError(ValueError):
    """A body that calls itself a CloudEvent is not a JSON object."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who publishes where, in which trace."""

    app_id: str
    pubsub: str
    topic: str
    trace_parent: str
    trace_state: str = ""


def _new_id() -> str:
    return str(uuid.UUID(int=_random.getrandbits(128), version=4))


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_text(content_type: str) -> bool:
    kind = media_type(content_type)
    return kind.startswith("text/") or kind == "application/xml"


def trace_parent(incoming: str | None) -> str:
    """Continue the caller's W3C trace with a span of ours, or begin a new one."""
    span = f"{_random.getrandbits(64):016x}"
    if incoming:
        parts = incoming.split("-")
        if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:  # noqa: PLR2004 - W3C's fixed widths
            return f"{parts[0]}-{parts[1]}-{span}-{parts[3]}"
    return f"00-{_random.getrandbits(128):032x}-{span}-01"


def wrap(body: bytes, content_type: str, metadata: Mapping[str, str], origin: Origin) -> Draft:
    """The envelope Dapr makes of a published body; `metadata` is what the publish call gave, its keys in any case.

    Raises `InvalidCloudEventError` when the body claims to be a CloudEvent and is not.
    """
    lower = {name.lower(): value for name, value in metadata.items()} | dict(metadata)  # the right case first
    if media_type(content_type) == CLOUD_EVENTS:
        event = _complete(body, origin)
    else:
        event = _new(body, content_type, lower, origin)
    expires = _expiry(event, lower)
    trace = {name: event.get(name) for name in ("traceparent", "tracestate")}
    return Draft(_encode(event), raw=False, expires=expires, headers=header_fields({**trace, **metadata, **trace}))


def header_fields(given: Mapping[str, object]) -> bytes | None:
    """What of a message's metadata travels as HTTP headers of its delivery, as JSON.

    As brokers with headers have it; but a publisher must be able neither to forge the delivery's own headers nor to
    break it with characters that no header may hold or with more than 4 KiB: what comes after these is left out.
    """
    fit: dict[str, str] = {}
    room = _HEADER_BYTES
    for name, value in given.items():
        if isinstance(value, str) and _is_field(name, value) and len(name) + len(value) <= room:
            fit[name] = value
            room -= len(name) + len(value)
    return _encode(fit) if fit else None


def _is_field(name: str, value: str) -> bool:
    usable = _HEADER_NAME.fullmatch(name) and not _RESERVED.fullmatch(name)
    return bool(usable) and value.isprintable() and value.isascii()


def _new(body: bytes, content_type: str, metadata: Mapping[str, str], origin: Origin) -> dict[str, Any]:
    override = metadata.get
    trace = override("cloudevent.traceparent") or override("cloudevent.traceid", origin.trace_parent)
    content_type = content_type or "text/plain"
    event: dict[str, Any] = {
        "id": override("cloudevent.id") or _new_id(),
        "specversion": "1.0",
        "type": override("cloudevent.type") or EVENT_TYPE,
        "source": override("cloudevent.source", origin.app_id) or _NO_SOURCE,
        "datacontenttype": content_type,
        "topic": origin.topic,
        "pubsubname": origin.pubsub,
        "traceid": trace,
        "traceparent": trace,
        "tracestate": override("cloudevent.tracestate", origin.trace_state),
        "time": now_local(),
    }
    if subject := override("cloudevent.subject"):
        event["subject"] = subject
    name, data = _data(body, content_type)
    event[name] = data
    return event


def _data(body: bytes, content_type: str) -> tuple[str, Any]:
    kind = media_type(content_type)
    if kind == "application/json":
        return "data", _json_or_text(body)
    if kind in ("application/octet-stream", "application/cloudevents+protobuf"):
        return "data_base64", base64.b64encode(body).decode()
    return "data", go_json.text(body)


def _json_or_text(body: bytes) -> Any:  # noqa: ANN401 - JSON, or what was meant to be
    with contextlib.suppress(*MALFORMED):
        go_json.check_utf8(body)
        _decode(body)
        return msgspec.Raw(body.strip())
    with contextlib.suppress(*MALFORMED):
        return msgspec.Raw(go_json.normal(body))
    return go_json.text(body)


def _complete(body: bytes, origin: Origin) -> dict[str, Any]:
    try:
        event = _json(body)
    except MALFORMED as error:
        raise InvalidCloudEventError(str(error)) from error
    if not isinstance(event, dict):
        raise InvalidCloudEventError("the body is not a JSON object")
    event.setdefault("time", now_local())
    if "traceid" not in event:
        event["traceid"] = event["traceparent"] = origin.trace_parent
    event.setdefault("tracestate", origin.trace_state)
    event.update(topic=origin.topic, pubsubname=origin.pubsub)
    for name, default in (("source", _NO_SOURCE), ("type", EVENT_TYPE), ("specversion", "1.0")):
        if event.get(name) is None:
            event[name] = default
    return event


def _json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    with contextlib.suppress(*MALFORMED):
        go_json.check_utf8(body)
        return _decode(body)
    return go_json.first_value(body)


def _expiry(event: dict[str, Any], metadata: Mapping[str, str]) -> float | None:
    """Set `expiration` from the time to live, and say when the event expires as a Unix time."""
    seconds = _time_to_live(metadata.get("ttl") or metadata.get("ttlinseconds") or "")
    if seconds is not None:
        moment = datetime.now(UTC) + timedelta(seconds=min(seconds, _LONGEST))
        event["expiration"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return expiration(event)


def _time_to_live(text: str) -> float | None:
    """Seconds, from a Go duration or a number of them; as in Dapr, what cannot be read is no time to live.

    Nor is a number below 1, but `0` is a duration: an event that is over at once.
    """
    with contextlib.suppress(ValueError):
        return 0.0 if go_duration(text.removeprefix("-")) == 0 or text.startswith("-") else go_duration(text)
    return float(text) if text.isdecimal() and int(text) > 0 else None


def expiration(event: object) -> float | None:
    """The Unix time after which an envelope must not be delivered; None when it never expires or says so badly."""
    value = event.get("expiration") if isinstance(event, dict) else None
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def now_local() -> str:
    return datetime.fromtimestamp(int(time.time()), UTC).astimezone().isoformat()


def wrap_raw(body: bytes, pubsub: str, topic: str) -> bytes:
    """What a `rawPayload` subscription gets: a fresh id on every delivery, so it is no key to deduplicate by."""
    return _encode(
        {
            "id": _new_id(),
            "specversion": "1.0",
            "datacontenttype": "application/octet-stream",
            "source": _NO_SOURCE,
            "type": EVENT_TYPE,
            "topic": topic,
            "pubsubname": pubsub,
            "data_base64": base64.b64encode(body).decode(),
        }
    )
