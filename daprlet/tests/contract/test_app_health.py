"""An app that is probed and says that it is unwell is left alone until it is well again."""

from uuid import uuid4

from tests.sidecars.recording import RecordingApp
from tests.sidecars.world import BUS, App, Client, World

TOPIC = "health.things"
WORLD = World(
    apps=[App("patient", [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}], probed=True)], redelivery="2s"
)


def ids(app: RecordingApp) -> list[str]:
    return [delivery.json()["id"] for delivery in app.seen("/things")]


async def delivered(app: RecordingApp, sidecar: Client) -> str:
    event_id = str(uuid4())
    await sidecar.publish(TOPIC, {}, cloudevent_id=event_id)
    await app.until(lambda: event_id in ids(app))
    return event_id


async def test_an_unwell_app_gets_its_events_later(app: RecordingApp, sidecar: Client) -> None:
    """While the probe fails nothing is delivered and nothing is lost; afterwards it all comes."""
    await delivered(app, sidecar)
    app.healthy = False
    await app.probed(failing=2)
    held_back = [str(uuid4()) for _ in range(5)]
    for event_id in held_back:
        assert (await sidecar.publish(TOPIC, {}, cloudevent_id=event_id)).status == 204
    await app.probed(failing=2)
    assert not set(held_back) & set(ids(app))
    app.healthy = True
    await app.until(lambda: set(held_back) <= set(ids(app)))
