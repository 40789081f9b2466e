"""What really crosses the wire is what the AsyncAPI document says."""

from typing import Final
from uuid import uuid4

from tests.integration.system.json_schema import Checker
from tests.integration.system.world import Json, World, all_of, eventually
from todo.contracts import events, names
from todo.operations import asyncapi

EVERY_TYPE: Final = {(topic, kind) for topic, kinds in events.TOPIC_TYPES.items() for kind in kinds}
SENDERS: Final = {
    (app_id, topic, kind)
    for app_id, topics in asyncapi.SENDS.items()
    for topic, kinds in topics.items()
    for kind in kinds
}
DOCUMENT: Final = asyncapi.document()
PAYLOADS: Final = {message["name"]: message.get("payload") for message in DOCUMENT["components"]["messages"].values()}


async def test_every_type_crosses_the_wire_and_each_event_is_as_documented_from_whom_it_is_documented(
    world: World,
) -> None:
    await all_of(
        a_whole_life(world),
        a_series_to_its_end(world),
        a_reminder_that_comes_too_late(world),
        *(a_reminder(world, local_part) for local_part in ("ada", "refused", "greylist")),
        *(poison(world, topic) for topic in (names.TASK_EVENTS, names.TASK_REMINDERS)),
    )

    async def everything() -> bool:
        return {(topic, event["type"]) for topic, event in of_services(world)} >= EVERY_TYPE

    await eventually(everything)
    checker = Checker(DOCUMENT)
    for topic, event in of_services(world):
        assert (event["source"], topic, event["type"]) in SENDERS
        assert checker.faults(event, PAYLOADS[event["type"]]) == [], event


def of_services(world: World) -> list[tuple[str, Json]]:
    """The events that our services wrote, with their topics; an operator's own are anything at all."""
    sources = {app.app_id for app in names.APPS}
    ours = [(topic, event) for topic, event in world.wire() if event.get("source") in sources]
    return [(topic, event) for topic, event in ours if event["type"] != events.PROBE]


async def a_whole_life(world: World) -> None:
    person = await world.person()
    task = await person.add(due_at="2031-01-01T00:00:00Z", reminders=["-PT1H"])
    await person.edit(task, title="Edited")
    await person.do(task, "complete")
    await person.do(task, "reopen")
    await person.delete(task)


async def a_series_to_its_end(world: World) -> None:
    person = await world.person()
    first = await person.add(due_date="2031-01-01", recurrence={"rule": "FREQ=DAILY;COUNT=2", "mode": "completion"})
    await person.do(first, "complete")
    (second,) = await eventually(person.tasks)
    await person.do(second, "complete")


async def a_reminder_that_comes_too_late(world: World) -> None:
    """One that was past when it was set, and one of a task that was completed while its mail could not be sent."""
    person = await world.person()
    await person.remind(-3600)
    await world.system.stop(names.EMAIL_DELIVERY.app_id)
    task = await person.remind(0)
    await person.reached(task, "dispatched")
    await person.do(task, "complete")
    await world.system.start(names.EMAIL_DELIVERY.app_id)


async def a_reminder(world: World, local_part: str) -> None:
    person = await world.person(local_part)
    task = await person.remind(0)
    await person.attempts(task)
    await person.do(task, "complete")


async def poison(world: World, topic: str) -> None:
    kind = next(iter(events.TOPIC_TYPES[topic]))
    event = {"specversion": "1.0", "id": str(uuid4()), "source": "operator", "type": kind, "subject": "s", "data": {}}
    await world.publish_event(topic, event)
