"""Who gets an event: every app that subscribes, one of its replicas."""

from collections import Counter
from uuid import uuid4

from tests.sidecars.recording import Delivery, eventually
from tests.sidecars.world import BUS, App, Running, World

TOPIC = "groups.things"
SUBSCRIBED = [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}]
WORLD = World(apps=[App("one", SUBSCRIBED), App("many", SUBSCRIBED, replicas=2), App("silent")])


def ids(*deliveries: Delivery) -> Counter[str]:
    return Counter(delivery.json()["id"] for delivery in deliveries)


async def test_every_app_and_one_replica_get_each_event(world: Running) -> None:
    """Two apps both see everything; two replicas of one app share it; who published does not matter."""
    published = [str(uuid4()) for _ in range(60)]
    for number, event_id in enumerate(published):
        await world.clients[number % len(world.clients)].publish(TOPIC, {}, cloudevent_id=event_id)
    first, second = world.app("many", 0), world.app("many", 1)
    await world.app("one").received("/things", len(published))
    everything = dict.fromkeys(published, 1)

    async def all_arrived() -> bool:
        return len(first.seen("/things")) + len(second.seen("/things")) >= len(published)

    await eventually(all_arrived)
    assert ids(*world.app("one").seen("/things")) == everything
    assert ids(*first.seen("/things"), *second.seen("/things")) == everything
    assert world.app("silent").seen("/things") == []
