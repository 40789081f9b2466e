"""Resource files that change while the sidecar runs."""

from uuid import uuid4

from tests.engine.resources import document, write
from tests.sidecars.recording import RecordingApp, eventually
from tests.sidecars.world import BUS, App, Client, Running, World

WORLD = World(
    apps=[App("reloader", [{"pubsubname": BUS, "topic": "reload.before", "route": "/before"}])], redelivery="2s"
)


async def test_a_subscription_added_at_run_time_is_served(world: Running, app: RecordingApp, sidecar: Client) -> None:
    """A file that appears in the resources folder takes effect without a restart, and the others go on."""
    spec = {"pubsubname": BUS, "topic": "reload.added", "routes": {"default": "/added"}}
    write(world.engine.resources, {"added.yaml": document("v2alpha1", "Subscription", "added", spec)})

    async def loaded() -> bool:
        told = (await sidecar.get("/v1.0/metadata")).json()["subscriptions"]
        return "reload.added" in [subscription["topic"] for subscription in told]

    await eventually(loaded)
    for topic, path in (("reload.added", "/added"), ("reload.before", "/before")):
        event_id = str(uuid4())
        await sidecar.publish(topic, {}, cloudevent_id=event_id)
        await app.until(lambda: event_id in [d.json()["id"] for d in app.seen(path)])  # noqa: B023 - awaited here


async def test_a_changed_component_keeps_what_was_published(world: Running, app: RecordingApp, sidecar: Client) -> None:
    """Changing the pub/sub component while events are published loses none that was answered 204."""
    path = world.engine.resources / "bus.yaml"
    changed = path.read_text().replace('"20"', '"10"')
    accepted: list[str] = []
    for number in range(100):
        if number == 50:
            path.write_text(changed)
        event_id = str(uuid4())
        if (await sidecar.publish("reload.before", {}, cloudevent_id=event_id)).status == 204:
            accepted.append(event_id)
    assert len(accepted) >= 50
    await app.until(lambda: set(accepted) <= {delivery.json()["id"] for delivery in app.seen("/before")})
