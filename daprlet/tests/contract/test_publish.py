"""POST /v1.0/publish: what the sidecar makes of a body, and what the subscriber is sent."""

import base64
import json
import re
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.sidecars.recording import Json, RecordingApp
from tests.sidecars.world import BUS, App, Client, World

TOPIC = "publish.things"
WORLD = World(apps=[App("publisher", [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}])])

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def published(app: RecordingApp, sidecar: Client, body: Json = None, **options: Json) -> dict[str, Any]:
    """Publish under an event id of its own and return the envelope that arrives with it."""
    event_id = str(uuid4())
    reply = await sidecar.publish(TOPIC, body, cloudevent_id=event_id, **options)
    assert (reply.status, reply.body) == (204, b"")
    return await envelope(app, event_id)


async def envelope(app: RecordingApp, event_id: str) -> dict[str, Any]:
    def arrived() -> list[dict[str, Any]]:
        return [event for event in (delivery.json() for delivery in app.seen("/things")) if event.get("id") == event_id]

    return (await app.until(arrived))[0]


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        (None, b"plain", {"datacontenttype": "text/plain", "data": "plain"}),
        ("text/plain", b"plain", {"datacontenttype": "text/plain", "data": "plain"}),
        ("text/plain; charset=utf-8", "ü".encode(), {"datacontenttype": "text/plain; charset=utf-8", "data": "ü"}),
        ("application/json", b'{"a": [1, null]}', {"datacontenttype": "application/json", "data": {"a": [1, None]}}),
        ("application/json", b'"text"', {"datacontenttype": "application/json", "data": "text"}),
        ("application/json", b"{not json", {"datacontenttype": "application/json", "data": "{not json"}),
        (
            "application/json; charset=utf-8",
            b'{"a": 1}',
            {"datacontenttype": "application/json; charset=utf-8", "data": {"a": 1}},
        ),
        ("application/vnd.api+json", b'{"a":1}', {"datacontenttype": "application/vnd.api+json", "data": '{"a":1}'}),
        (
            "application/octet-stream",
            b"\x00\xff",
            {"datacontenttype": "application/octet-stream", "data_base64": base64.b64encode(b"\x00\xff").decode()},
        ),
    ],
)
async def test_data_is_carried_as_its_content_type_says(
    app: RecordingApp, sidecar: Client, content_type: str | None, body: bytes, data: dict[str, Any]
) -> None:
    """JSON becomes an object, binary becomes base64, everything else (JSON that does not parse too) a string."""
    event = await published(app, sidecar, body, content_type=content_type)
    assert {key: event[key] for key in event if key.startswith("data")} == data


async def test_an_integer_beyond_doubles_keeps_its_digits(app: RecordingApp, sidecar: Client) -> None:
    """Numbers are not rounded on their way."""
    assert (await published(app, sidecar, {"n": 2**63 - 1}))["data"] == {"n": 2**63 - 1}


async def test_the_envelope_has_every_attribute(app: RecordingApp, sidecar: Client) -> None:
    """An event gets an id, type, source, time, topic and component of its own."""
    mark = str(uuid4())
    await sidecar.publish(TOPIC, {"mark": mark})

    def arrived() -> list[dict[str, Any]]:
        events = (delivery.json() for delivery in app.seen("/things"))
        return [event for event in events if event.get("data") == {"mark": mark}]

    event = (await app.until(arrived))[0]
    assert UUID(event["id"]).version == 4
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    fixed = {key: event[key] for key in ("specversion", "type", "source", "topic", "pubsubname", "datacontenttype")}
    assert fixed == {
        "specversion": "1.0",
        "type": "com.dapr.event.sent",
        "source": "publisher",
        "topic": TOPIC,
        "pubsubname": BUS,
        "datacontenttype": "application/json",
    }


async def test_the_delivery_is_a_cloudevent(app: RecordingApp, sidecar: Client) -> None:
    """Events come as POST with the content type of CloudEvents."""
    event = await published(app, sidecar, {})
    delivery = next(delivery for delivery in app.seen("/things") if delivery.json()["id"] == event["id"])
    assert (delivery.method, delivery.headers["content-type"]) == ("POST", "application/cloudevents+json")


async def test_metadata_overrides_attributes(app: RecordingApp, sidecar: Client) -> None:
    """Type, source and subject are the publisher's to set."""
    metadata = {"cloudevent_type": "t.v1", "cloudevent_source": "s", "cloudevent_subject": "task-7"}
    event = await published(app, sidecar, {}, **metadata)
    assert (event["type"], event["source"], event["subject"]) == ("t.v1", "s", "task-7")


async def test_metadata_overrides_neither_data_nor_route(app: RecordingApp, sidecar: Client) -> None:
    """What the event carries and where it goes are not metadata."""
    metadata = {"cloudevent_data": "other", "cloudevent_topic": "other", "cloudevent_pubsubname": "other"}
    event = await published(app, sidecar, {"a": 1}, **metadata)
    assert (event["data"], event["topic"], event["pubsubname"]) == ({"a": 1}, TOPIC, BUS)


async def test_a_ttl_is_written_into_the_envelope(app: RecordingApp, sidecar: Client) -> None:
    """`ttlInSeconds` becomes the instant of expiration."""
    event = await published(app, sidecar, {}, ttlInSeconds="3600")
    left = datetime.fromisoformat(event["expiration"]) - datetime.fromisoformat(event["time"])
    assert 3590 < left.total_seconds() < 3610


async def test_an_event_of_the_publisher_is_kept(app: RecordingApp, sidecar: Client) -> None:
    """An envelope that is already one keeps its attributes; only topic, component and gaps are filled."""
    event_id = str(uuid4())
    own = {"id": event_id, "specversion": "1.0", "type": "t.v1", "source": "s", "own": "kept", "data": {"a": 1}}
    reply = await sidecar.publish(TOPIC, json.dumps(own).encode(), content_type="application/cloudevents+json")
    assert reply.status == 204
    event = await envelope(app, event_id)
    assert event | own == event
    assert (event["topic"], event["pubsubname"]) == (TOPIC, BUS)


async def test_gaps_of_an_own_event_are_filled(app: RecordingApp, sidecar: Client) -> None:
    """Type, source and version are filled in when the publisher's envelope has none."""
    event_id = str(uuid4())
    body = json.dumps({"id": event_id, "data": 1}).encode()
    assert (await sidecar.publish(TOPIC, body, content_type="application/cloudevents+json")).status == 204
    event = await envelope(app, event_id)
    filled = (event["type"], event["source"], event["specversion"])
    assert filled == ("com.dapr.event.sent", "Dapr", "1.0")


async def test_trace_context_goes_through(app: RecordingApp, sidecar: Client) -> None:
    """The trace of the publishing request is in the envelope and on the delivering request."""
    event = await published(app, sidecar, {}, headers={"traceparent": TRACEPARENT})
    assert event["traceparent"].split("-")[1] == TRACE
    delivery = next(delivery for delivery in app.seen("/things") if delivery.json()["id"] == event["id"])
    assert delivery.headers["traceparent"].split("-")[1] == TRACE


async def test_trace_context_can_be_set_as_metadata(app: RecordingApp, sidecar: Client) -> None:
    """A relay publishes later than the request that it publishes for: the trace is the event's, not the relay's."""
    event = await published(app, sidecar, {}, cloudevent_traceparent=TRACEPARENT)
    assert event["traceparent"] == TRACEPARENT
    delivery = next(delivery for delivery in app.seen("/things") if delivery.json()["id"] == event["id"])
    assert delivery.headers["traceparent"].split("-")[1] == TRACE


async def test_a_trace_is_begun_where_none_is(app: RecordingApp, sidecar: Client) -> None:
    """Without a trace the sidecar starts one."""
    event = await published(app, sidecar, {})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", event["traceparent"])


async def test_put_publishes_as_well(app: RecordingApp, sidecar: Client) -> None:
    """PUT is POST here."""
    event_id = str(uuid4())
    path = f"/v1.0/publish/{BUS}/{TOPIC}"
    reply = await sidecar.call("PUT", path, {"a": 1}, query={"metadata.cloudevent.id": event_id})
    assert reply.status == 204
    assert (await envelope(app, event_id))["data"] == {"a": 1}


async def test_an_unreadable_event_is_refused(sidecar: Client) -> None:
    """A body that claims to be a CloudEvent and is not JSON is not published."""
    reply = await sidecar.publish(TOPIC, b"{not json", content_type="application/cloudevents+json")
    assert (reply.status, reply.error) == (500, "ERR_PUBSUB_CLOUD_EVENTS_SER")


async def test_an_unknown_component_is_not_found(sidecar: Client) -> None:
    """A name that no pub/sub component has is 404."""
    reply = await sidecar.publish(TOPIC, {}, component="nobody")
    assert (reply.status, reply.error) == (404, "ERR_PUBSUB_NOT_FOUND")


async def test_a_topic_is_needed(sidecar: Client) -> None:
    """An empty topic is 404."""
    assert (await sidecar.publish("", {})).status == 404


async def test_metadata_is_checked(sidecar: Client) -> None:
    """A flag that is neither true nor false is 400."""
    reply = await sidecar.publish(TOPIC, {}, rawPayload="maybe")
    assert (reply.status, reply.error) == (400, "ERR_PUBSUB_REQUEST_METADATA")


async def test_a_body_is_bounded(sidecar: Client) -> None:
    """More than 4 MiB is refused (413, by some engines 500)."""
    assert (await sidecar.publish(TOPIC, b"x" * (5 * 1024 * 1024))).status in (413, 500)
