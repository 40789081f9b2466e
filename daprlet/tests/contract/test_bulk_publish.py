"""POST /v1.0/publish/bulk: many events in one request."""

from typing import Any
from uuid import uuid4

import pytest

from tests.sidecars.recording import Json, RecordingApp
from tests.sidecars.world import BUS, App, Client, World

TOPIC = "bulk-publish.things"
PATH = f"/v1.0/publish/bulk/{BUS}/{TOPIC}"
WORLD = World(apps=[App("bulk-publisher", [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}])])


def entry(entry_id: str, event: Json, content_type: str = "application/json", **metadata: str) -> dict[str, Any]:
    return {"entryId": entry_id, "event": event, "contentType": content_type, "metadata": metadata}


async def envelopes(app: RecordingApp, ids: list[str]) -> list[dict[str, Any]]:
    """Wait for the events with these ids and return them in this order."""

    def arrived() -> list[dict[str, Any]]:
        events = {delivery.json()["id"]: delivery.json() for delivery in app.seen("/things")}
        return [events[event_id] for event_id in ids] if events.keys() >= set(ids) else []

    return await app.until(arrived)


@pytest.mark.parametrize("path", [PATH, PATH.replace("/v1.0/", "/v1.0-alpha1/")])
async def test_every_entry_becomes_an_event(app: RecordingApp, sidecar: Client, path: str) -> None:
    """Each entry has its own content type and metadata; success has an empty answer."""
    ids = [str(uuid4()) for _ in range(3)]
    reply = await sidecar.post(
        path,
        [
            entry("1", {"n": 1}, **{"cloudevent.id": ids[0], "cloudevent.type": "t.v1", "cloudevent.subject": "s"}),
            entry("2", "two", "text/plain", **{"cloudevent.id": ids[1]}),
            entry("3", {"n": 3}, **{"cloudevent.id": ids[2]}),
        ],
    )
    assert (reply.status, reply.body) == (204, b"")
    first, second, third = await envelopes(app, ids)
    assert (first["type"], first["subject"], first["data"]) == ("t.v1", "s", {"n": 1})
    assert (second["datacontenttype"], second["data"]) == ("text/plain", "two")
    assert (third["type"], third["data"], third["topic"]) == ("com.dapr.event.sent", {"n": 3}, TOPIC)
    assert first["source"] == "bulk-publisher"


async def test_a_whole_event_can_be_an_entry(app: RecordingApp, sidecar: Client) -> None:
    """An entry of the CloudEvents type is the envelope itself."""
    event_id = str(uuid4())
    own = {"id": event_id, "specversion": "1.0", "type": "t.v1", "source": "s", "data": {"n": 1}}
    reply = await sidecar.post(PATH, [entry("1", own, "application/cloudevents+json")])
    assert reply.status == 204
    (event,) = await envelopes(app, [event_id])
    assert event | own == event


async def test_a_thousand_entries_all_arrive(app: RecordingApp, sidecar: Client) -> None:
    """A large batch is published whole."""
    ids = [str(uuid4()) for _ in range(1000)]
    reply = await sidecar.post(PATH, [entry(i, {"id": i}, **{"cloudevent.id": i}) for i in ids])
    assert reply.status == 204
    assert [event["data"]["id"] for event in await envelopes(app, ids)] == ids


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([entry("1", 1), entry("1", 2)], id="the same entry id twice"),
        pytest.param([{"event": 1, "contentType": "application/json"}], id="no entry id"),
        pytest.param({"entryId": "1"}, id="not a list"),
        pytest.param(b"{not json", id="not JSON"),
    ],
)
async def test_a_malformed_batch_is_refused_whole(app: RecordingApp, sidecar: Client, body: Json) -> None:
    """Entry ids are needed and unique; nothing of a bad batch is published."""
    before = len(app.seen("/things"))
    reply = await sidecar.post(PATH, body, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.error) == (400, "ERR_PUBSUB_EVENTS_SER")
    marker = str(uuid4())
    await sidecar.post(PATH, [entry("1", {}, **{"cloudevent.id": marker})])
    await envelopes(app, [marker])
    assert len(app.seen("/things")) == before + 1


async def test_an_unknown_component_is_not_found(sidecar: Client) -> None:
    """A name that no pub/sub component has is 404."""
    reply = await sidecar.post("/v1.0/publish/bulk/nobody/t", [entry("1", 1)])
    assert (reply.status, reply.error) == (404, "ERR_PUBSUB_NOT_FOUND")


async def test_metadata_is_checked(sidecar: Client) -> None:
    """A flag that is neither true nor false is 400."""
    reply = await sidecar.post(PATH, [entry("1", 1)], query={"metadata.rawPayload": "maybe"})
    assert (reply.status, reply.error) == (400, "ERR_PUBSUB_REQUEST_METADATA")
