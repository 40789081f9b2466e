"""Before the app is there, and after it went away."""

import time

import aiohttp

from tests.sidecars.recording import RecordingApp, eventually
from tests.sidecars.world import BUS, App, Client, Running, World

TOPIC, AWAY = "start.things", "start.away"
WORLD = World(
    apps=[
        App(
            "late",
            [
                {"pubsubname": BUS, "topic": TOPIC, "route": "/things"},
                {"pubsubname": BUS, "topic": AWAY, "route": "/away", "deadLetterTopic": f"dead.{AWAY}"},
                {"pubsubname": BUS, "topic": f"dead.{AWAY}", "route": "/dead"},
            ],
        )
    ],
    redelivery="2s",
)


async def test_a_sidecar_works_outwards_before_its_app_is_there(
    world: Running, app: RecordingApp, sidecar: Client
) -> None:
    """An app can publish while it starts; it is healthy, and delivered to, once it listens."""
    await world.engine.stop()
    await app.stop()
    await world.engine.start(apps=False)
    assert (await sidecar.get("/v1.0/healthz/outbound")).status == 204
    assert (await sidecar.get("/v1.0/healthz")).status == 500
    assert (await sidecar.publish(TOPIC, {"early": True})).status == 204
    await app.start()

    async def healthy() -> bool:
        return (await sidecar.get("/v1.0/healthz")).status == 204

    await eventually(healthy)
    (delivery,) = await app.received("/things")
    assert delivery.json()["data"] == {"early": True}


async def test_an_app_that_is_away_misses_nothing(app: RecordingApp, sidecar: Client) -> None:
    """While the app does not listen its events wait: no attempt is used up and nothing is dead-lettered."""
    await app.stop()
    for number in range(5):
        await sidecar.publish(AWAY, {"n": number})
    over = time.monotonic() + 1  # ten times what the policy's retries take

    async def retries_are_over() -> bool:
        return time.monotonic() > over

    await eventually(retries_are_over)
    await app.start()
    arrived = await app.received("/away", 5)
    assert sorted(delivery.json()["data"]["n"] for delivery in arrived) == [0, 1, 2, 3, 4]
    assert app.seen("/dead") == []


async def test_shutdown_ends_the_sidecar(world: Running, sidecar: Client) -> None:
    """POST /v1.0/shutdown is 204, and then nothing listens any more."""
    assert (await sidecar.post("/v1.0/shutdown")).status == 204

    async def gone() -> bool:
        try:
            await sidecar.get("/v1.0/healthz")
        except aiohttp.ClientError:
            return True
        return False

    await eventually(gone)
    await world.engine.stop()
    await world.engine.start()
