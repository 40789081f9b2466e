"""kill -9 of the sidecar: what was not acknowledged comes again, what was does not."""

import asyncio
from collections import Counter
from uuid import uuid4

from tests.sidecars.recording import Answer, RecordingApp
from tests.sidecars.world import BUS, App, Client, Running, World

TOPIC, SETTLED = "crash.held", "crash.settled"
WORLD = World(
    apps=[
        App(
            "survivor",
            [
                {"pubsubname": BUS, "topic": TOPIC, "route": "/held"},
                {"pubsubname": BUS, "topic": SETTLED, "route": "/settled"},
            ],
        )
    ],
    redelivery="2s",
)


def ids(app: RecordingApp, path: str) -> list[str]:
    return [delivery.json()["id"] for delivery in app.seen(path)]


async def test_what_was_not_acknowledged_comes_again(world: Running, app: RecordingApp, sidecar: Client) -> None:
    """An event whose handler had not answered at the crash is delivered again, as it was."""
    held, behind = str(uuid4()), str(uuid4())
    hold(app, held)
    await sidecar.publish(TOPIC, {"id": held}, cloudevent_id=held)
    await app.until(lambda: held in ids(app, "/held"))
    await crash(world, app)
    await sidecar.publish(TOPIC, {"id": behind}, cloudevent_id=behind)
    await app.until(lambda: {held: 2, behind: 1}.items() <= Counter(ids(app, "/held")).items())
    assert [d.json()["data"] for d in app.seen("/held") if d.json()["id"] == held] == [{"id": held}] * 2


async def test_what_was_acknowledged_does_not(world: Running, app: RecordingApp, sidecar: Client) -> None:
    """Events that were answered behind one that was not are not delivered again with it."""
    held, *answered = [str(uuid4()) for _ in range(11)]
    hold(app, held)
    for event_id in (held, *answered):
        await sidecar.publish(TOPIC, {}, cloudevent_id=event_id)
    await app.until(lambda: {held, *answered} <= set(ids(app, "/held")))
    await deliver_others(app, sidecar)
    await crash(world, app)
    await app.until(lambda: Counter(ids(app, "/held"))[held] == 2)
    assert all(Counter(ids(app, "/held"))[event_id] == 1 for event_id in answered)


def hold(app: RecordingApp, event_id: str) -> None:
    """Never answer the event with this id."""
    never = asyncio.Event()
    app.answers("/held", lambda delivery: Answer(after=never if delivery.json()["id"] == event_id else None))


async def crash(world: Running, app: RecordingApp) -> None:
    await world.engine.kill()
    app.answers("/held", Answer())
    await world.engine.start()


async def deliver_others(app: RecordingApp, sidecar: Client) -> None:
    """Publish and deliver other events one by one, so that what was answered before has been recorded meanwhile."""
    for _ in range(10):
        event_id = str(uuid4())
        await sidecar.publish(SETTLED, {}, cloudevent_id=event_id)
        await app.until(lambda: event_id in ids(app, "/settled"))  # noqa: B023 - awaited here


async def test_an_answered_publish_survives(world: Running, app: RecordingApp, sidecar: Client) -> None:
    """What was answered 204 right before the crash is delivered after it."""
    published = [str(uuid4()) for _ in range(20)]
    for event_id in published:
        assert (await sidecar.publish(SETTLED, {}, cloudevent_id=event_id)).status == 204
    await world.engine.kill()
    await world.engine.start()
    await app.until(lambda: set(published) <= set(ids(app, "/settled")))
