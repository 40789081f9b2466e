"""The trash below the API: series, their successors and subtasks, what is told, and the release before."""

import asyncio
import datetime as dt

import pytest

from tests.integration.backend.scenario import DAY, NOON, MovableClock, Scenario
from todo.backend import organising
from todo.backend.commands import ConflictError, NotFoundError
from todo.backend.store import tasks as store
from todo.contracts import events
from todo.domain.due import Due
from todo.domain.series import Repetition
from todo.domain.task import Status, Task
from todo.domain.tasklist import MAX_LISTS

DAILY = Repetition("FREQ=DAILY")


async def restore(scenario: Scenario, task: Task) -> Task:
    async with scenario.database.transaction() as unit:
        return (await organising.restore(unit, scenario.context, task.user_id, task.id, None))[0]


async def below(scenario: Scenario, parent: Task, **fields: object) -> Task:
    return await scenario.create(None, parent_id=parent.id, **fields)


async def subtasks(scenario: Scenario, parent: Task) -> list[tuple[str, bool]]:
    found = await store.subtasks(scenario.database.pool, parent.id)
    return sorted((one.status.value, one.deleted) for one in found)


async def second(scenario: Scenario, task: Task) -> Task:
    found = await scenario.occurrence(task, 2)
    assert found is not None
    return found


class TestRestoring:
    async def test_it_is_told_as_an_update_and_what_passed_meanwhile_is_past(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        task = await scenario.create(None, reminders=("-P1D", "PT0S"))
        await scenario.delete(task)
        clock.advance(hours=1)
        await restore(scenario, task)
        *_, gone, back = await scenario.told()
        assert (gone.data.deleted, gone.data.reminders) == (True, ())
        assert (back.type, back.data.version, back.data.deleted) == (events.TASK_UPDATED, 3, False)
        assert [(one.reminder, one.past) for one in back.data.reminders] == [("-P1D", True), ("PT0S", False)]

    async def test_a_skipped_occurrence_is_open_again_and_its_untouched_successor_is_withdrawn(
        self, scenario: Scenario
    ) -> None:
        task = await scenario.create()
        await scenario.delete(task, whole_series=False)
        await scenario.follow()
        assert await scenario.occurrences(task) == [(1, "skipped", True), (2, "open", False)]
        back = await restore(scenario, task)
        assert (back.status, back.closed_version) == (Status.OPEN, None)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", True)]
        assert (await second(scenario, task)).withdrawn
        await scenario.complete(task)
        await scenario.follow()
        assert await scenario.occurrences(task) == [(1, "done", False), (2, "open", False)]

    async def test_a_successor_that_was_touched_stays(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await scenario.delete(task, whole_series=False)
        await scenario.follow()
        await scenario.edit(await second(scenario, task), title="mine")
        await restore(scenario, task)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", False)]

    async def test_a_date_that_was_on_its_way_is_declined(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await scenario.delete(task, whole_series=False)
        late = await scenario.following()
        await restore(scenario, task)
        await scenario.deliver("task-occurrences", late)
        assert await scenario.occurrences(task) == [(1, "open", False)]

    async def test_an_end_of_the_series_that_came_of_skipping_is_taken_back(self, scenario: Scenario) -> None:
        task = await scenario.create(Repetition("FREQ=DAILY;COUNT=1"))
        await scenario.delete(task, whole_series=False)
        await scenario.follow()
        assert not (await scenario.series(task)).is_alive
        await restore(scenario, task)
        assert (await scenario.series(task)).is_alive

    async def test_a_series_comes_back_with_every_occurrence_that_went(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await scenario.complete(task)
        await scenario.follow()
        await scenario.reopen(await scenario.task(task.id))
        await scenario.edit(await scenario.task(task.id), title="again open")
        other = await second(scenario, task)
        assert other.withdrawn
        await scenario.complete(task)
        await scenario.follow()
        await scenario.edit(await second(scenario, task), title="touched")
        await scenario.reopen(await scenario.task(task.id))
        await scenario.delete(await second(scenario, task), whole_series=True)
        assert await scenario.occurrences(task) == [(1, "open", True), (2, "open", True)]
        generation = (await scenario.series(task)).generation
        await restore(scenario, task)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", False)]
        series = await scenario.series(task)
        assert (series.is_alive, series.generation) == (True, generation + 1)
        assert [one.occurrence is not None for one in (await scenario.snapshots())[-2:]] == [True, True]

    async def test_what_was_deleted_by_itself_before_its_series_stays_deleted(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await scenario.delete(task, whole_series=False)
        await scenario.follow()
        other = await second(scenario, task)
        await scenario.delete(other, whole_series=True)
        await restore(scenario, other)
        assert await scenario.occurrences(task) == [(1, "skipped", True), (2, "open", False)]

    async def test_a_withdrawn_occurrence_is_nobodys_to_restore(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await scenario.complete(task)
        await scenario.follow()
        await scenario.reopen(task)
        page = await store.page(scenario.database.pool, store.Page(task.user_id, store.TRASH))
        assert page == []
        withdrawn = await second(scenario, task)
        with pytest.raises(NotFoundError):
            await restore(scenario, withdrawn)

    async def test_restoring_races_with_the_successors_date_and_both_orders_end_alike(self, scenario: Scenario) -> None:
        for _ in range(5):
            task = await scenario.create()
            await scenario.delete(task, whole_series=False)
            late = (await scenario.following())[-1:]
            await asyncio.gather(restore(scenario, task), scenario.deliver("task-occurrences", late))
            alive = [one for one in await scenario.occurrences(task) if not one[2]]
            assert alive == [(1, "open", False)]


class TestSubtasksOfASeries:
    async def test_the_successor_has_them_open_again(self, scenario: Scenario) -> None:
        task = await scenario.create()
        done, left = await below(scenario, task, due=None, reminders=()), await below(scenario, task)
        gone = await below(scenario, task)
        await scenario.complete(done)
        await scenario.delete(gone)
        await scenario.complete(task)
        await scenario.follow()
        made = await second(scenario, task)
        assert await subtasks(scenario, made) == [("open", False), ("open", False)]
        copies = await store.subtasks(scenario.database.pool, made.id)
        assert {one.due for one in copies} == {None, Due("UTC", at=NOON + 8 * DAY)}
        assert (await scenario.task(left.id)).version == 1
        before = await scenario.dump()
        await scenario.follow()
        assert await scenario.dump() == before

    async def test_those_that_went_with_a_skipped_occurrence_come_again(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await below(scenario, task)
        await scenario.delete(task, whole_series=False)
        await scenario.follow()
        assert await subtasks(scenario, await second(scenario, task)) == [("open", False)]

    async def test_they_are_withdrawn_and_come_back_with_their_occurrence(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await below(scenario, task)
        await scenario.complete(task)
        await scenario.follow()
        made = await second(scenario, task)
        await scenario.reopen(task)
        assert await subtasks(scenario, made) == [("open", True)]
        await below(scenario, task)
        await scenario.complete(task)
        await scenario.follow()
        assert await subtasks(scenario, made) == [("open", False), ("open", False)]

    async def test_an_occurrence_whose_subtask_was_touched_is_not_withdrawn(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await below(scenario, task)
        await scenario.complete(task)
        await scenario.follow()
        made = await second(scenario, task)
        (copy,) = await store.subtasks(scenario.database.pool, made.id)
        await scenario.complete(copy)
        await scenario.reopen(task)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", False)]

    async def test_a_series_goes_and_comes_back_with_the_subtasks_of_each_occurrence(self, scenario: Scenario) -> None:
        task = await scenario.create()
        await below(scenario, task)
        await scenario.delete(task, whole_series=True)
        assert await subtasks(scenario, task) == [("open", True)]
        await restore(scenario, task)
        assert await subtasks(scenario, task) == [("open", False)]


class TestTheReleaseBefore:
    """Its code names the columns it knows, in INSERT and in UPDATE."""

    async def test_a_task_it_made_is_where_it_was_made(self, scenario: Scenario, clock: MovableClock) -> None:
        first = await scenario.create(None)
        clock.advance(seconds=1)
        old = await scenario.create(None)
        clock.advance(seconds=1)
        last = await scenario.create(None)
        await scenario.database.pool.execute("UPDATE tasks SET position = NULL WHERE id = $1", old.id)
        read = await scenario.task(old.id)
        assert (read.position, read.place) == (None, old.place)
        rows = await store.page(scenario.database.pool, store.Page(old.user_id))
        assert {row["id"]: row["position"] for row in rows} == {one.id: one.place for one in (first, old, last)}
        assert first.place < old.place < last.place
        async with scenario.database.transaction() as unit:
            moved, _ = await organising.move(
                unit, scenario.context, 1, last.id, expected=None, after=first.id, changes={}
            )
        assert first.place < moved.place < old.place

    async def test_its_tombstone_is_restored(self, scenario: Scenario) -> None:
        parent = await scenario.create(None)
        child = await below(scenario, parent)
        await scenario.database.pool.execute(
            "UPDATE tasks SET deleted = true, version = version + 1 WHERE id = $1", parent.id
        )
        assert (await scenario.task(child.id)).parent_id == parent.id
        assert not (await restore(scenario, parent)).deleted

    async def test_sql_and_the_rules_agree_on_the_place_at_every_instant(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        for by in (dt.timedelta(), dt.timedelta(microseconds=1), dt.timedelta(microseconds=999_999), 12_345 * DAY):
            clock.now = NOON.replace(year=1999) + by
            task = await scenario.create(None, due=None, reminders=())
            await scenario.database.pool.execute("UPDATE tasks SET position = NULL WHERE id = $1", task.id)
        for row in await store.page(scenario.database.pool, store.Page(1)):
            assert row["position"] == (await scenario.task(row["id"])).place


async def test_the_neighbour_is_found_in_the_order_of_the_index(scenario: Scenario) -> None:
    """However many tasks there are, a move reads one of them."""
    statement = store._NEIGHBOUR
    for number, value in ((1, "1"), (2, "'0'"), (3, "'{}'")):
        statement = statement.replace(f"${number}", value)
    async with scenario.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
    assert "tasks_place" in plan
    assert "Sort" not in plan


async def test_lists_are_bounded(scenario: Scenario) -> None:
    async with scenario.database.transaction() as unit:
        for number in range(MAX_LISTS):
            await organising.add_list(unit, scenario.context, 1, f"list {number}", None)
        with pytest.raises(ConflictError, match="200 lists"):
            await organising.add_list(unit, scenario.context, 1, "one more", None)
