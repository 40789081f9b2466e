"""Which app may publish and subscribe where: the topic scopes of a component."""

from uuid import uuid4

import pytest

from tests.sidecars.world import SCOPED, App, Running, World

SUBSCRIBED = [
    {"pubsubname": SCOPED, "topic": "allowed", "route": "/allowed"},
    {"pubsubname": SCOPED, "topic": "kept", "route": "/kept"},
]
WORLD = World(apps=[App("writer", SUBSCRIBED), App("reader", SUBSCRIBED)])


@pytest.mark.parametrize(
    ("app_id", "topic", "status"),
    [
        pytest.param("writer", "allowed", 204, id="an allowed topic"),
        pytest.param("writer", "elsewhere", 403, id="a topic that is not allowed"),
        pytest.param("writer", "reserved", 403, id="a protected topic without a scope"),
        pytest.param("reader", "allowed", 403, id="an app that may publish nothing"),
    ],
)
async def test_publishing_is_scoped(world: Running, app_id: str, topic: str, status: int) -> None:
    """An app publishes only where the component lets it; single and bulk are the same."""
    single = await world.sidecar(app_id).publish(topic, {}, component=SCOPED)
    entries = [{"entryId": "1", "event": {}, "contentType": "application/json"}]
    bulk = await world.sidecar(app_id).post(f"/v1.0/publish/bulk/{SCOPED}/{topic}", entries)
    assert (single.status, bulk.status) == (status, status)
    if status == 403:
        assert (single.error, bulk.error) == ("ERR_PUBSUB_FORBIDDEN", "ERR_PUBSUB_FORBIDDEN")


async def test_subscribing_is_scoped(world: Running) -> None:
    """An app that may not subscribe gets nothing, whatever it asks for."""
    event_id = str(uuid4())
    await world.sidecar("writer").publish("kept", {}, component=SCOPED, cloudevent_id=event_id)
    await world.app("reader").until(lambda: event_id in [d.json()["id"] for d in world.app("reader").seen("/kept")])
    assert world.app("writer").seen("/kept") == []
