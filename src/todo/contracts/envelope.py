"""CloudEvents 1.0 as this system writes and reads them.

Written: `application/cloudevents+json`, complete, so that id, type, subject and trace are ours under any sidecar.
Read: `data` as an object, as a string, or as `data_base64`; anything else is a `Malformed` with its reason.
"""

import base64
import datetime as dt
import hashlib
import re
import secrets
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from todo.contracts import events

MAX_ID: Final = 200  # characters of an event id that are believed: it becomes a key in tables and stores
MAX_REPLAY: Final = 1_000_000


class Malformed(ValueError):  # noqa: N818 - it names what the event is
    """These bytes are not an event this system can read; the message says why."""


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The attributes read from a CloudEvent. `replay` is our extension: which replay of a dead letter this is."""

    id: str = ""
    type: str = ""
    source: str = ""
    subject: str = ""
    topic: str = ""
    time: Any = None  # a text, of whoever wrote it
    traceparent: str = ""
    replay: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLAY)] = 0
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One event as a handler sees it: decoded data and the bytes it came as."""

    id: str
    type: str
    topic: str
    subject: str
    data: Any  # the struct that `TOPIC_TYPES` names for the type; handlers are registered per type
    traceparent: str
    replay: int
    original: bytes
    time: dt.datetime | None = None  # when it was written, if it says


class Probe(msgspec.Struct, frozen=True):
    """An operator's test event (Dapr's default type): logged, acknowledged, never acted on."""

    id: str
    topic: str
    task_id: str


class Unreadable(msgspec.Struct, frozen=True):
    """What could not become an `Event`, to be parked as it came."""

    id: str
    type: str
    topic: str
    subject: str
    replay: int
    original: bytes
    reason: str


_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # an escaped U+0000, not an escaped backslash before "u0000"
_TRACE: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")  # W3C Trace Context
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder: Final = msgspec.json.Encoder()
_envelope: Final = msgspec.json.Decoder(Envelope)
_data_decoders: Final = {
    (topic, kind): msgspec.json.Decoder(struct)
    for topic, kinds in events.TOPIC_TYPES.items()
    for kind, struct in kinds.items()
}


def encode(  # noqa: PLR0913 - a CloudEvent has this many attributes
    *,
    event_id: UUID | str,
    event_type: str,
    source: str,
    subject: str,
    time: dt.datetime,
    traceparent: str,
    data: bytes,
    replay: int = 0,
) -> bytes:
    """Write one envelope around `data`, which is JSON already."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event_id),
        "type": event_type,
        "source": source,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "traceparent": traceparent,
        "traceid": traceparent,  # Dapr's older name; a sidecar that finds none writes its own trace over ours
        "data": msgspec.Raw(data),
    }
    if replay:
        attributes["replay"] = replay
    return _encoder.encode(attributes)


def decode(original: bytes, topic: str) -> Event | Probe | Unreadable:
    """Read what a sidecar delivered for `topic`. Never raises: what cannot be read says why."""
    try:
        envelope = _envelope.decode(original)
    except _UNREADABLE as error:
        return Unreadable(fingerprint(original), "", topic, "", 0, original, f"not a CloudEvent: {error}")
    try:
        data = _data_bytes(envelope)
        return _typed(envelope, data, topic, original)
    except (Malformed, *_UNREADABLE) as error:
        event_id = _identity(envelope, original)
        return Unreadable(event_id, envelope.type, topic, envelope.subject, envelope.replay, original, str(error))


def fingerprint(original: bytes) -> str:
    """Name bytes that carry no event id of their own; the same bytes get the same name."""
    return f"sha256:{hashlib.sha256(original).hexdigest()}"


def new_trace() -> str:
    """Start a W3C trace context, sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_trace(traceparent: str) -> str:
    """Continue a trace with a span of its own, sampled if it is; start one where there is none to continue."""
    match = _TRACE.fullmatch(traceparent)
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else new_trace()


def trace_id(traceparent: str) -> str:
    """The id that all of a trace's spans share, as it is logged; nothing for what is no trace."""
    match = _TRACE.fullmatch(traceparent)
    return match[1] if match else ""


def is_sampled(traceparent: str) -> bool:
    """Whether whoever began the trace wants it recorded."""
    match = _TRACE.fullmatch(traceparent)
    return match is not None and int(match[2], 16) & 1 == 1


def traceparent_of(original: bytes) -> str:
    """The trace context of an envelope that was written here; nothing where there is none."""
    try:
        found = _envelope.decode(original).traceparent
    except _UNREADABLE:
        return ""
    return found if _TRACE.fullmatch(found) else ""


def _typed(envelope: Envelope, data: bytes, topic: str, original: bytes) -> Event | Probe:
    decoder = _data_decoders.get((topic, envelope.type))
    if decoder is None:
        if envelope.type == events.PROBE and not _is_ours(data, topic):
            return Probe(_identity(envelope, original), topic, _task_id(data))
        raise Malformed(f"type {envelope.type!r} does not belong to topic {topic!r}")
    decoded = decoder.decode(data)
    _refuse_nul(data)
    event_id = _identity(envelope, original)
    trace = envelope.traceparent if _TRACE.fullmatch(envelope.traceparent) else ""
    written = _instant(envelope.time)
    return Event(event_id, envelope.type, topic, envelope.subject, decoded, trace, envelope.replay, original, written)


def _instant(text: object) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _identity(envelope: Envelope, original: bytes) -> str:
    """The event's own id; its fingerprint where that is absent or could not be a key."""
    own = envelope.id
    return own if 0 < len(own) <= MAX_ID and own.isprintable() else fingerprint(original)


def _data_bytes(envelope: Envelope) -> bytes:
    if envelope.data_base64 is not None:
        try:
            return base64.b64decode(envelope.data_base64, validate=True)
        except ValueError as error:
            raise Malformed(f"data_base64 is not base64: {error}") from error
    raw = bytes(envelope.data)
    if not raw or raw == b"null":
        raise Malformed("the event has no data")
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str).encode()
    return raw


def _is_ours(data: bytes, topic: str) -> bool:
    """Whether data without our type would be one of this topic's structs: then its type was lost, and it is parked."""
    for struct in set(events.TOPIC_TYPES.get(topic, {}).values()):
        try:
            msgspec.json.decode(data, type=struct)
        except _UNREADABLE:
            continue
        return True
    return False


def _task_id(data: bytes) -> str:
    try:
        fields = msgspec.json.decode(data)
    except _UNREADABLE:
        return ""
    return str(fields.get("task_id", ""))[:64] if isinstance(fields, dict) else ""


def _refuse_nul(data: bytes) -> None:
    if _NUL.search(data):
        raise Malformed("the data contains U+0000, which PostgreSQL cannot store as text")
