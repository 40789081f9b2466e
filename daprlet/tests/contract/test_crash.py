"""kill -9 of the sidecar: what was not acknowledged comes again, what was does not."""

import asyncio
from collections import Counter
from uuid import uuid4

from .app import Answer, RecordingApp
from .engine import BUS, App, Client, Running, World

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
    """An event whose handler had not answered at the crash is delivered again; those behind it that it had answered
    are not."""
    held, *answered, behind = [str(uuid4()) for _ in range(12)]
    never = asyncio.Event()
    app.answers("/held", lambda delivery: Answer(after=never if delivery.json()["id"] == held else None))
    for event_id in (held, *answered):
        await sidecar.publish(TOPIC, {"id": event_id}, cloudevent_id=event_id)
    await app.received("/held", 11)
    await deliver_others(app, sidecar)
    await world.engine.kill()
    app.answers("/held", Answer())
    await world.engine.start()
    await sidecar.publish(TOPIC, {"id": behind}, cloudevent_id=behind)
    await app.until(lambda: {held: 2, behind: 1}.items() <= Counter(ids(app, "/held")).items())
    assert Counter(ids(app, "/held")) == {held: 2, behind: 1, **dict.fromkeys(answered, 1)}
    assert [d.json()["data"] for d in app.seen("/held") if d.json()["id"] == held] == [{"id": held}] * 2


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
