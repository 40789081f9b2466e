"""Series: what closing, reopening and deleting an occurrence leads to."""

import datetime as dt

from tests.integration.system.world import Json, Person, World, eventually

START = dt.datetime(2031, 3, 28, 8, 0, tzinfo=dt.UTC)  # nine in Berlin, two days before its summer time begins
DAILY = {"rule": "FREQ=DAILY"}


async def series(world: World, rule: str = "FREQ=DAILY", **fields: Json) -> tuple[Person, Json]:
    """Somebody with the first occurrence of a series."""
    person = await world.person()
    task = await person.add(
        due_at=START.isoformat(), zone="Europe/Berlin", reminders=["-PT1H"], recurrence={"rule": rule}, **fields
    )
    return person, task


async def occurrence(person: Person, seq: int) -> Json:
    """The open occurrence of that number, once it is there."""

    async def look() -> Json:
        return next((task for task in await person.tasks() if task["recurrence"]["seq"] == seq), None)

    return await eventually(look)


async def closed_for_good(person: Person) -> None:
    """Return once a series of the same person, completed after everything else, has gone on: the others could have."""
    other = await person.add("Other", due_at=START.isoformat(), zone="Europe/Berlin", recurrence=DAILY)
    await person.do(other, "complete")
    await eventually(lambda: _titled(person, "Other"))


async def _titled(person: Person, title: str) -> list[Json]:
    return [task for task in await person.tasks() if task["title"] == title]


def due(task: Json) -> dt.datetime:
    return dt.datetime.fromisoformat(task["due_at"])


async def test_completing_brings_the_next_date_at_the_same_time_of_day_across_the_change_of_the_clock(
    world: World,
) -> None:
    person, first = await series(world)
    await person.do(first, "complete")
    second = await occurrence(person, 2)
    assert due(second) == START + dt.timedelta(days=1)
    assert (second["title"], second["reminders"]) == (first["title"], first["reminders"])
    await person.do(second, "complete")
    assert due(await occurrence(person, 3)) == START + dt.timedelta(days=2, hours=-1)
    await person.do(first, "complete")
    assert [task["recurrence"]["seq"] for task in await person.tasks()] == [3]


async def test_the_next_occurrence_is_reminded_of_too(world: World) -> None:
    person, first = await series(world)
    await person.do(first, "complete")
    second = await occurrence(person, 2)
    await person.reached(second, "waiting")
    (step,) = await person.steps(second, "schedule")
    assert dt.datetime.fromisoformat(step["fire_at"]) == due(second) - dt.timedelta(hours=1)


async def test_reopening_withdraws_the_next_occurrence_and_completing_again_brings_it_back(world: World) -> None:
    person, first = await series(world)
    await person.do(first, "complete")
    second = await occurrence(person, 2)
    await person.reached(second, "waiting")
    await person.do(first, "reopen")
    assert [task["id"] for task in await person.tasks()] == [first["id"]]
    await person.reached(second, "withdrawn")
    await person.do(first, "complete")
    again = await occurrence(person, 2)
    assert (again["id"], due(again)) == (second["id"], due(second))
    await person.reached(second, "waiting")


async def test_deleting_an_occurrence_brings_the_next(world: World) -> None:
    person, first = await series(world)
    await person.delete(first, scope="occurrence")
    second = await occurrence(person, 2)
    assert due(second) == START + dt.timedelta(days=1)
    assert [task["id"] for task in await person.tasks("all")] == [second["id"]]


async def test_deleting_the_series_brings_none(world: World) -> None:
    person, first = await series(world)
    await person.do(first, "complete")
    await person.delete(await occurrence(person, 2), scope="series")
    assert (await person.task(first))["recurrence"] is None
    await closed_for_good(person)
    assert await _titled(person, first["title"]) == []


async def test_count_ends_the_series(world: World) -> None:
    person, first = await series(world, "FREQ=DAILY;COUNT=2")
    await person.do(first, "complete")
    second = await occurrence(person, 2)
    assert not second["recurrence"]["ended"]
    await person.do(second, "complete")
    await eventually(lambda: _ended(person, second))
    assert await person.tasks() == []


async def _ended(person: Person, task: Json) -> bool:
    return bool((await person.task(task))["recurrence"]["ended"])
