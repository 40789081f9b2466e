import json
import time

import pytest

from daprlet.envelope import InvalidCloudEventError, Origin, header_fields, trace_parent, wrap

ORIGIN = Origin("app", "bus", "topic", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def envelope(body: bytes, content_type: str = "application/json", **metadata: str) -> dict[str, object]:
    return dict(json.loads(wrap(body, content_type, metadata, ORIGIN).body))


@pytest.mark.parametrize(
    ("body", "content_type", "field", "value"),
    [
        (b'{"a": 1.50}', "application/json; charset=utf-8", "data", {"a": 1.5}),
        (b"123456789012345678901234567890", "application/json", "data", 123456789012345678901234567890),
        (b"{broken", "application/json", "data", "{broken"),
        (b'{"a":1}', "application/vnd.x+json", "data", '{"a":1}'),
        (b"text", "", "data", "text"),
        (b"\xff\x00", "application/octet-stream", "data_base64", "/wA="),
        (b"\xff", "text/plain", "data", "�"),
    ],
)
def test_data_by_content_type(body: bytes, content_type: str, field: str, value: object) -> None:
    """Only JSON is parsed, only binary is base64, everything else is a string."""
    assert envelope(body, content_type)[field] == value


def test_numbers_keep_their_spelling() -> None:
    """JSON data is embedded as it came, not as floats would print it."""
    assert b'{"price": 1.10}' in wrap(b'{"price": 1.10}', "application/json", {}, ORIGIN).body


def test_overrides_are_case_insensitive_and_others_impossible() -> None:
    """Dapr lets some attributes be set from metadata, and not the ones that say where the event is."""
    event = envelope(b"{}", **{"CloudEvent.ID": "1", "cloudevent.type": "t", "cloudevent.topic": "other"})
    assert (event["id"], event["type"], event["topic"], event["source"]) == ("1", "t", "topic", "app")


def test_a_cloud_event_is_kept_and_completed() -> None:
    """Its own attributes stay; the id is not invented."""
    event = envelope(b'{"type": "mine", "source": null, "data": 1}', "application/cloudevents+json")
    assert event["type"] == "mine"
    assert event["source"] == "Dapr"
    assert event["pubsubname"] == "bus"
    assert "id" not in event


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"\xff"])
def test_a_false_cloud_event_is_refused(body: bytes) -> None:
    """What calls itself a CloudEvent must be a JSON object."""
    with pytest.raises(InvalidCloudEventError):
        wrap(body, "application/cloudevents+json", {}, ORIGIN)


@pytest.mark.parametrize("ttl", [{"ttlInSeconds": "60"}, {"ttl": "1m"}])
def test_a_time_to_live_becomes_an_expiration(ttl: dict[str, str]) -> None:
    """In seconds, or as a duration."""
    draft = wrap(b"{}", "application/json", ttl, ORIGIN)
    assert draft.expires is not None
    assert 58 < draft.expires - time.time() <= 61


@pytest.mark.parametrize("ttl", ["0", "-5s"])
def test_a_time_to_live_can_be_over_at_once(ttl: str) -> None:
    """Where Go reads a duration that is none, or less."""
    expires = wrap(b"{}", "application/json", {"ttlInSeconds": ttl}, ORIGIN).expires
    assert expires is not None
    assert expires <= time.time()


@pytest.mark.parametrize("ttl", ["-1", "soon", ""])
def test_an_unreadable_time_to_live_is_none(ttl: str) -> None:
    """As in Dapr, no error: the event simply does not expire."""
    assert wrap(b"{}", "application/json", {"ttlInSeconds": ttl}, ORIGIN).expires is None


def test_a_trace_is_continued() -> None:
    """Same trace, a span of our own; nonsense begins a new trace."""
    continued = trace_parent(PARENT).split("-")
    assert continued[1] == PARENT.split("-")[1]
    assert continued[2] != PARENT.split("-")[2]
    assert len(trace_parent("nonsense")) == len(PARENT)


def test_metadata_cannot_forge_headers() -> None:
    """Neither the delivery's own headers nor line breaks travel as metadata."""
    forged = {"Content-Length": "1", "dapr-api-token": "x", "Host": "x", "a": "b\r\nc: d", "b c": "d", "ok": "1"}
    assert header_fields(forged) == b'{"ok":"1"}'


def test_metadata_that_no_server_would_take_is_no_header() -> None:
    """Servers refuse heads of some 8 KB: the event would never arrive. The trace goes first, the rest as it fits."""
    draft = wrap(b"{}", "text/plain", {"huge": "x" * 5000, "large": "y" * 3000, "more": "z" * 3000, "ok": "1"}, ORIGIN)
    assert set(json.loads(draft.headers or b"")) == {"traceparent", "tracestate", "large", "ok"}
