"""Bytes without an envelope, on the way in and on the way out."""

import base64
from typing import Any
from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, RecordingApp, every_entry
from tests.sidecars.world import BUS, App, Client, World

RAW, RAW_BULK, EVENTS, DEAD = "raw.single", "raw.bulk", "raw.events", "dead.raw.events"
BULK = {"enabled": True, "maxMessagesCount": 20, "maxAwaitDurationMs": 20}
AS_BYTES = {"rawPayload": "true"}
WORLD = World(
    apps=[
        App(
            "raw-consumer",
            [
                {"pubsubname": BUS, "topic": RAW, "route": "/raw", "metadata": AS_BYTES},
                {"pubsubname": BUS, "topic": RAW_BULK, "route": "/bulk", "metadata": AS_BYTES, "bulkSubscribe": BULK},
                {"pubsubname": BUS, "topic": EVENTS, "route": "/events", "deadLetterTopic": DEAD},
                {"pubsubname": BUS, "topic": DEAD, "route": "/dead", "metadata": AS_BYTES, "bulkSubscribe": BULK},
            ],
        )
    ]
)
PAYLOADS = [
    pytest.param(b"\x00\xff not JSON", id="bytes"),
    pytest.param(b'{"json": true}', id="JSON"),
    pytest.param(b"text", id="text"),
]


@pytest.fixture(autouse=True)
def _accepted(app: RecordingApp) -> None:
    app.answers("/bulk", every_entry("SUCCESS"))
    app.answers("/dead", every_entry("SUCCESS"))


def singles(app: RecordingApp, payload: bytes) -> list[dict[str, Any]]:
    encoded = base64.b64encode(payload).decode()
    return [event for d in app.seen("/raw") if (event := d.json()).get("data_base64") == encoded]


def entries(app: RecordingApp, path: str, payload: bytes) -> list[dict[str, Any]]:
    encoded = base64.b64encode(payload).decode()
    batches = (delivery.json()["entries"] for delivery in app.seen(path))
    return [entry for batch in batches for entry in batch if entry["event"] == encoded]


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_raw_bytes_are_wrapped_on_delivery(app: RecordingApp, sidecar: Client, payload: bytes) -> None:
    """A raw subscription gets an envelope around the untouched bytes as base64."""
    assert (await sidecar.publish(RAW, payload, rawPayload="true")).status == 204
    event = (await app.until(lambda: singles(app, payload)))[0]
    assert event["datacontenttype"] == "application/octet-stream"
    assert "data" not in event
    assert event["id"]
    assert (event["topic"], event["pubsubname"]) == (RAW, BUS)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_raw_bytes_in_a_batch_are_base64(app: RecordingApp, sidecar: Client, payload: bytes) -> None:
    """In a bulk delivery of a raw subscription the event is the base64 of the bytes, without an envelope."""
    assert (await sidecar.publish(RAW_BULK, payload, rawPayload="true")).status == 204
    assert await app.until(lambda: entries(app, "/bulk", payload))


async def test_an_envelope_read_raw_is_its_bytes(app: RecordingApp, sidecar: Client) -> None:
    """A raw subscription of an ordinary event sees the whole envelope as bytes."""
    event_id = str(uuid4())
    await sidecar.publish(RAW, {"a": 1}, cloudevent_id=event_id)

    def arrived() -> list[bytes]:
        bodies = (base64.b64decode(delivery.json()["data_base64"]) for delivery in app.seen("/raw"))
        return [body for body in bodies if event_id.encode() in body]

    (body,) = await app.until(arrived)
    assert b'"specversion"' in body


async def test_json_without_an_envelope_is_delivered_as_it_is(app: RecordingApp, sidecar: Client) -> None:
    """An ordinary subscription hands on JSON that is no CloudEvent."""
    mark = str(uuid4())
    await sidecar.publish(EVENTS, f'{{"mark": "{mark}"}}'.encode(), rawPayload="true")
    event = (await app.until(lambda: [e for d in app.seen("/events") if (e := d.json()).get("mark") == mark]))[0]
    assert event == {"mark": mark}


async def test_what_cannot_be_parsed_is_a_dead_letter_and_blocks_nothing(app: RecordingApp, sidecar: Client) -> None:
    """Bytes that are not JSON never reach an ordinary subscription; its dead-letter topic has them untouched."""
    payload = b"\xff\xfe" + uuid4().bytes
    await sidecar.publish(EVENTS, payload, rawPayload="true")
    behind = str(uuid4())
    await sidecar.publish(EVENTS, {}, cloudevent_id=behind)
    await app.until(lambda: [d for d in app.seen("/events") if d.json().get("id") == behind])
    assert await app.until(lambda: entries(app, "/dead", payload))


async def test_a_refused_event_is_dead_with_its_envelope(app: RecordingApp, sidecar: Client) -> None:
    """What an app refuses goes to the dead-letter topic with its envelope, and raw reading sees that."""
    event_id = str(uuid4())
    app.answers("/events", Answer(404))
    await sidecar.publish(EVENTS, {"a": 1}, cloudevent_id=event_id)

    def arrived() -> list[bytes]:
        batches = (delivery.json()["entries"] for delivery in app.seen("/dead"))
        bodies = (base64.b64decode(entry["event"]) for batch in batches for entry in batch)
        return [body for body in bodies if event_id.encode() in body]

    assert await app.until(arrived)
