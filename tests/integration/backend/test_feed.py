"""Changes are read in an order in which nothing is missed, whatever commits when."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from tests.integration.backend.scenario import NOON, Scenario
from todo.backend import commands
from todo.backend.api import feed
from todo.backend.api.feed import Cursor, Page
from todo.backend.commands import Draft
from todo.backend.store import changes, people, tasks
from todo.domain.due import Due
from todo.domain.series import Repetition
from todo.domain.task import Task
from todo.messaging.unit import Transaction

EPOCH = 1
ALL = 500


async def page(scenario: Scenario, cursor: Cursor | str | None, limit: int = ALL, *, user_id: int = 1) -> Page:
    return await feed.page(scenario.database.pool, EPOCH, user_id, cursor, limit)


async def now(scenario: Scenario) -> Cursor:
    return (await page(scenario, feed.NOW)).cursor


def ids(found: Page) -> list[UUID]:
    return [entry.body["id"] for entry in found.entries]


def versions(found: Page) -> list[tuple[UUID, int]]:
    return [(entry.body["id"], entry.body["version"]) for entry in found.entries]


async def create(scenario: Scenario, unit: Transaction, title: str = "Water the plants") -> Task:
    task, _ = await commands.create(unit.connection, scenario.context, scenario.user, Draft(title, {}))
    return task


class TestOrder:
    async def test_a_transaction_that_began_first_and_commits_last_is_not_skipped(self, scenario: Scenario) -> None:
        cursor = await now(scenario)
        async with scenario.database.transaction() as early:
            late = await create(scenario, early, "early, and late")
            others = []
            for _ in range(3):  # commit meanwhile, and are read meanwhile
                others.append((await scenario.create(None)).id)
                found = await page(scenario, cursor)
                assert found.entries == []
                assert not found.more
                cursor = found.cursor
        assert ids(await page(scenario, cursor)) == [late.id, *others]

    async def test_what_was_rolled_back_is_nothing(self, scenario: Scenario) -> None:
        cursor = await now(scenario)
        with suppress(ZeroDivisionError):
            async with scenario.database.transaction() as unit:
                await create(scenario, unit)
                raise ZeroDivisionError
        found = await page(scenario, cursor)
        assert (found.entries, found.more) == ([], False)

    async def test_several_versions_are_the_last_one(self, scenario: Scenario) -> None:
        cursor = await now(scenario)
        task = await scenario.create(None)
        other = await scenario.create(None)
        for number in range(3):
            task = await scenario.edit(task, title=f"edit {number}")
        found = await page(scenario, cursor)
        assert versions(found) == [(other.id, 1), (task.id, 4)]
        assert found.entries[-1].body["value"]["title"] == "edit 2"

    async def test_one_transaction_larger_than_a_page_is_read_on_where_the_page_ended(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(feed, "LOOKED_AT", 2)
        cursor = await now(scenario)
        async with scenario.database.transaction() as unit:
            made = {(await create(scenario, unit)).id for _ in range(25)}
        seen: list[UUID] = []
        while True:
            found = await page(scenario, cursor, 3)
            seen += ids(found)
            assert len(found.entries) <= 3
            cursor = found.cursor
            if not found.more:
                break
        assert len(seen) == 25
        assert set(seen) == made

    async def test_every_entry_has_a_cursor_that_continues_after_it(self, scenario: Scenario) -> None:
        cursor = await now(scenario)
        made = [(await scenario.create(None)).id for _ in range(4)]
        await scenario.edit(await scenario.task(made[0]), title="again")
        whole = await page(scenario, cursor)
        assert ids(whole) == [*made[1:], made[0]]
        for number, entry in enumerate(whole.entries, 1):
            assert ids(await page(scenario, entry.cursor)) == ids(whole)[number:]

    async def test_a_deleted_task_is_told_without_its_value(self, scenario: Scenario) -> None:
        task = await scenario.create(None)
        cursor = await now(scenario)
        await scenario.delete(task)
        (entry,) = (await page(scenario, cursor)).entries
        assert entry.body == {"kind": "task", "id": task.id, "version": 2, "deleted": True, "value": None}

    async def test_a_task_changes_with_the_rule_of_its_series(self, scenario: Scenario) -> None:
        """That the series ended, or has another rule, is shown at its closed occurrences too."""
        first = await scenario.complete(await scenario.create(Repetition("FREQ=DAILY;COUNT=3")))
        await scenario.follow()
        second = await scenario.occurrence(first, 2)
        assert second is not None
        cursor = await now(scenario)
        await scenario.edit(second, Repetition("FREQ=WEEKLY"))
        found = await page(scenario, cursor)
        assert {entry.body["id"]: entry.body["value"]["recurrence"]["rule"] for entry in found.entries} == {
            first.id: "FREQ=WEEKLY",
            second.id: "FREQ=WEEKLY",
        }

    async def test_a_change_by_code_that_does_not_know_of_transactions_is_seen(self, scenario: Scenario) -> None:
        """The release before names none of the new columns."""
        task = await scenario.create(None)
        cursor = await now(scenario)
        await scenario.database.pool.execute(
            "WITH made AS (UPDATE tasks SET title = 'by old code', version = 2 WHERE id = $1 RETURNING id, version)"
            " INSERT INTO task_history (task_id, version, event_type, at, trace)"
            " SELECT id, version, 'todo.task.updated.v1', $2, '' FROM made",
            task.id,
            NOON,
        )
        (entry,) = (await page(scenario, cursor)).entries
        assert (entry.body["version"], entry.body["value"]["title"]) == (2, "by old code")

    async def test_rows_of_before_the_migration_are_no_changes(self, scenario: Scenario) -> None:
        cursor = await now(scenario)
        task = await scenario.create(None)
        await scenario.database.pool.execute("UPDATE task_history SET tx = NULL WHERE task_id = $1", task.id)
        assert (await page(scenario, cursor)).entries == []
        assert ids(await page(scenario, None)) == [task.id]


class TestAlive:
    async def test_without_a_cursor_everything_alive_comes_in_pages_newest_first(self, scenario: Scenario) -> None:
        made = []
        for _ in range(7):
            made.append(await scenario.create(None))
            scenario.clock.advance(seconds=1)
        await scenario.delete(made.pop(3))
        await scenario.complete(made[0])
        seen, cursor = [], None
        while True:
            found = await page(scenario, cursor, 2)
            assert not found.reset
            seen += ids(found)
            cursor = found.cursor
            if not found.more:
                break
        assert seen == [task.id for task in reversed(made)]

    async def test_what_changes_while_pages_are_read_comes_after_them(self, scenario: Scenario) -> None:
        made = [await scenario.create(None) for _ in range(4)]
        first = await page(scenario, None, 2)
        late = await scenario.create(None)
        await scenario.delete(made[0])
        seen = {entry.body["id"]: entry.body["deleted"] for entry in first.entries}
        found = first
        while found.more:
            found = await page(scenario, found.cursor, 2)
            seen |= {entry.body["id"]: entry.body["deleted"] for entry in found.entries}
        assert seen == {task.id: task is made[0] for task in made} | {late.id: False}

    async def test_whoever_stops_in_the_middle_goes_on_there(self, scenario: Scenario) -> None:
        for _ in range(5):
            await scenario.create(None)
        whole = await page(scenario, None)
        for number, entry in enumerate(whole.entries, 1):
            assert ids(await page(scenario, entry.cursor)) == ids(whole)[number:]

    async def test_a_user_sees_nothing_of_another(self, scenario: Scenario) -> None:
        other = await people.add(scenario.database.pool, "bob@example.test", "Bob", "UTC", NOON)
        assert other is not None
        cursor = await now(scenario)
        task = await scenario.create(None)
        await scenario.create()
        assert (await page(scenario, None, user_id=other.id)).entries == []
        found = await page(scenario, cursor, user_id=other.id)
        assert (found.entries, found.more) == ([], False)
        forged = msgspec.structs.replace((await page(scenario, None, 1)).cursor, id=task.id)
        assert (await page(scenario, forged, user_id=other.id)).entries == []


class TestReset:
    @pytest.mark.parametrize(
        "other", [{"epoch": 2}, {"sources": 1}, {"tx": 2**62}], ids=["restored", "read by older code", "of the future"]
    )
    async def test_a_cursor_that_says_nothing_here_starts_over(self, scenario: Scenario, other: dict[str, int]) -> None:
        task = await scenario.create(None)
        for cursor in (await now(scenario), (await page(scenario, None, 1)).cursor):
            found = await page(scenario, msgspec.structs.replace(cursor, **other))
            assert found.reset
            assert ids(found) == [task.id]
            assert not (await page(scenario, found.cursor)).reset

    def test_a_cursor_is_read_as_it_was_written(self) -> None:
        for cursor in (Cursor(3, 2, 2**40, 1, uuid4(), alive=False), Cursor(1, 1, 0, 0, None, alive=True)):
            assert feed.read_cursor(cursor.write()) == cursor
            assert len(cursor.write()) <= feed.LONGEST_CURSOR


async def test_news_names_who_changed_and_whether_something_waits(scenario: Scenario) -> None:
    since = await changes.edge(scenario.database.pool)
    await scenario.create()
    async with scenario.database.transaction() as early:
        await create(scenario, early)
        seen = await changes.news(scenario.database.pool, since)
        assert (seen.users, seen.held) == (frozenset({1}), False)
        await scenario.create(None)
        held = await changes.news(scenario.database.pool, seen.edge)
        assert (held.edge, held.users, held.held) == (seen.edge, frozenset(), True)
    freed = await changes.news(scenario.database.pool, seen.edge)
    assert (freed.users, freed.held) == (frozenset({1}), False)


async def test_rows_that_came_from_another_cluster_hold_nothing_back(scenario: Scenario) -> None:
    task = await scenario.create(None)
    await scenario.database.pool.execute("UPDATE task_history SET tx = '9000000000000000' WHERE task_id = $1", task.id)
    assert not (await changes.news(scenario.database.pool, 0)).held


@dataclass
class Reader:
    """Somebody who loses their connection again and again, and remembers the last cursor they were given."""

    scenario: Scenario
    chance: random.Random
    cursor: Cursor | None = None
    seen: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    async def read(self) -> bool:
        """One page, or the beginning of one; whether that was everything."""
        found = await page(self.scenario, self.cursor, self.chance.randint(1, 6))
        entries, cursor = found.entries, found.cursor
        if is_cut := bool(entries) and self.chance.random() < 0.3:
            entries = entries[: self.chance.randint(1, len(entries))]
            cursor = entries[-1].cursor
        for entry in entries:
            known = self.seen.get(entry.body["id"])
            if known is None or known["version"] <= entry.body["version"]:
                self.seen[entry.body["id"]] = entry.body
        self.cursor = cursor
        return not (found.more or is_cut)

    @property
    def alive(self) -> dict[UUID, Any]:
        return {id_: body["value"] for id_, body in self.seen.items() if not body["deleted"]}


async def work(scenario: Scenario, chance: random.Random) -> None:
    """Transactions that do one to three things and then take their time."""
    for _ in range(12):
        async with scenario.database.transaction() as unit:
            await unit.connection.execute("SELECT pg_current_xact_id()")
            for _ in range(chance.randint(1, 3)):
                await act(scenario, unit, chance)
                for _ in range(chance.choice([0, 0, 3, 15])):
                    await unit.connection.execute("SELECT 1")


async def act(scenario: Scenario, unit: Transaction, chance: random.Random) -> None:
    context = scenario.context
    rows = await unit.connection.fetch("SELECT id FROM tasks WHERE NOT deleted ORDER BY id FOR UPDATE SKIP LOCKED")
    if not rows or chance.random() < 0.3:
        repetition = chance.choice([None, Repetition("FREQ=DAILY;COUNT=2")])
        due = Due("UTC", at=NOON) if repetition else None
        await commands.create(unit.connection, context, scenario.user, Draft("made", {"due": due}, repetition))
        return
    task_id = chance.choice(rows)["id"]
    match chance.randrange(4):
        case 0:
            await commands.edit(unit, context, 1, task_id, expected=None, changes={"title": f"{chance.random()}"})
        case 1:
            await commands.complete(unit, context, 1, task_id, None)
        case 2:
            await commands.reopen(unit, context, 1, task_id, None)
        case _:
            await commands.delete(unit, context, 1, task_id, expected=None, whole_series=True)


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_reads_beside_many_writers_ends_with_what_there_is(
    scenario: Scenario, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOKED_AT", 2)
    chance = random.Random(seed)  # noqa: S311 - a test's
    for _ in range(5):
        await scenario.create(None)
    reader = Reader(scenario, chance)
    chances = [random.Random(seed * 10 + one) for one in range(5)]  # noqa: S311 - the same
    writing = [asyncio.create_task(attempt(scenario, one)) for one in chances]
    while not all(one.done() for one in writing):
        await reader.read()
    await asyncio.gather(*writing)
    while not await reader.read():
        pass
    rows = await tasks.alive(scenario.database.pool, 1, None, ALL)
    assert reader.alive == {row["id"]: feed.SHOWN["task"](row) for row in rows}


async def attempt(scenario: Scenario, chance: random.Random) -> None:
    """Writers take locks in random order, as no command does: one that meets a deadlock begins anew."""
    while True:
        try:
            await work(scenario, chance)
        except Exception as error:
            if not isinstance(error.__cause__, asyncpg.DeadlockDetectedError):
                raise
        else:
            return
