"""Subscriptions declared in a resource file instead of by the app."""

from uuid import uuid4

from tests.sidecars.recording import Answer
from tests.sidecars.world import BUS, App, Client, Running, World

TOPIC, BULK = "declared.things", "declared.bulk"
WORLD = World(
    apps=[App("declared"), App("other")],
    subscriptions=[
        {
            "pubsubname": BUS,
            "topic": TOPIC,
            "routes": {"rules": [{"match": 'event.type == "t.v1"', "path": "/typed"}], "default": "/things"},
            "deadLetterTopic": f"dead.{TOPIC}",
        },
        {
            "pubsubname": BUS,
            "topic": f"dead.{TOPIC}",
            "routes": {"default": "/dead"},
            "metadata": {"rawPayload": "true"},
        },
        {
            "pubsubname": BUS,
            "topic": BULK,
            "routes": {"default": "/bulk"},
            "bulkSubscribe": {"enabled": True, "maxMessagesCount": 10, "maxAwaitDurationMs": 20},
        },
    ],
)


async def test_declared_routes_and_dead_letters_work(world: Running, sidecar: Client) -> None:
    """Rules, default route, dead-letter topic and raw payload are those of a programmatic subscription."""
    app = world.recording[0]
    typed, plain = str(uuid4()), str(uuid4())
    await sidecar.publish(TOPIC, {}, cloudevent_id=typed, cloudevent_type="t.v1")
    await sidecar.publish(TOPIC, {}, cloudevent_id=plain)
    assert [delivery.json()["id"] for delivery in await app.received("/typed")] == [typed]
    assert [delivery.json()["id"] for delivery in await app.received("/things")] == [plain]
    app.answers("/typed", Answer(404))
    await sidecar.publish(TOPIC, {}, cloudevent_type="t.v1")
    (dead,) = await app.received("/dead")
    assert "data_base64" in dead.json()


async def test_declared_bulk_works(world: Running, sidecar: Client) -> None:
    """A declared bulk subscription gets batches."""
    await sidecar.publish(BULK, {})
    batch = (await world.recording[0].received("/bulk"))[0].json()
    assert batch["type"] == "com.dapr.event.sent.bulk"


async def test_a_declaration_without_scopes_is_for_every_app(world: Running, sidecar: Client) -> None:
    """Every app that loads the file has the subscription."""
    event_id = str(uuid4())
    await sidecar.publish(TOPIC, {}, cloudevent_id=event_id)
    for app in world.recording:
        await app.until(lambda: event_id in [d.json()["id"] for d in app.seen("/things")])  # noqa: B023 - awaited here


async def test_declared_subscriptions_are_told(sidecar: Client) -> None:
    """Metadata says that they were declared."""
    told = (await sidecar.get("/v1.0/metadata")).json()["subscriptions"]
    assert {subscription["topic"]: subscription["type"] for subscription in told}[TOPIC] == "DECLARATIVE"
