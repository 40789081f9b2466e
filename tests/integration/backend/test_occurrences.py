import asyncio
import datetime as dt
from collections.abc import Awaitable
from dataclasses import replace

import msgspec
import pytest

from tests.integration.backend.scenario import DAY, NOON, MovableClock, Scenario
from todo.backend import handlers
from todo.contracts import names
from todo.contracts.events import OccurrenceDue, SeriesEnded
from todo.domain.due import Due
from todo.domain.recurrence import Mode
from todo.domain.series import Repetition
from todo.domain.task import Task

DAILY = Repetition("FREQ=DAILY")
TWICE = Repetition("FREQ=DAILY;COUNT=2")


def due_event(task: Task, **fields: object) -> OccurrenceDue:
    assert task.series_id is not None
    assert task.closed_version is not None
    assert task.seq is not None
    usual = OccurrenceDue(task.series_id, task.seq + 1, 1, task.id, task.closed_version, due_at=NOON + 8 * DAY)
    return msgspec.structs.replace(usual, **fields)


async def test_a_completed_occurrence_gets_its_successor(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    made = await scenario.occurrence(done, 2)
    assert made is not None
    assert made.due == made.scheduled == Due("UTC", at=NOON + 8 * DAY)
    assert not made.touched
    (told,) = [one for one in await scenario.snapshots() if one.task_id == made.id]
    assert told.occurrence is not None
    assert (told.version, told.occurrence.seq, told.occurrence.generation) == (1, 2, 1)
    assert [one.fire_at for one in told.reminders] == [NOON + 8 * DAY]


async def test_a_plain_task_has_none(scenario: Scenario) -> None:
    await scenario.complete(await scenario.create(None))
    assert await scenario.following() == []


async def test_duplicates_make_one_occurrence_in_one_batch_or_in_many(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    said = due_event(done)
    await scenario.tell(said, said, said)
    before = await scenario.dump()
    await scenario.tell(said)
    assert await scenario.dump() == before
    assert await scenario.occurrences(done) == [(1, "done", False), (2, "open", False)]
    assert await scenario.declined() == []


async def test_two_replicas_with_the_same_event_make_one_occurrence(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await asyncio.gather(*(scenario.tell(due_event(done)) for _ in range(5)))
    assert await scenario.occurrences(done) == [(1, "done", False), (2, "open", False)]


async def test_the_whole_history_twice_backwards_and_a_year_later_changes_nothing(
    scenario: Scenario, clock: MovableClock
) -> None:
    task = await scenario.create(DAILY)
    first = await scenario.complete(task)
    await scenario.follow()
    reopened = await scenario.reopen(first)
    first = await scenario.complete(reopened)
    await scenario.follow()
    second = await scenario.occurrence(first, 2)
    assert second is not None
    await scenario.delete(second, whole_series=False)
    await scenario.follow()
    history = await scenario.following()
    before = await scenario.dump()
    assert len(history) >= 3
    for replay in (history + history, history[::-1], history):
        await scenario.deliver(names.TASK_OCCURRENCES, replay)
        for event in replay:
            await scenario.deliver(names.TASK_OCCURRENCES, [event])
        assert await scenario.dump() == before
        clock.advance(days=365)


async def test_an_event_that_comes_before_its_predecessor_is_declined_with_the_reason(scenario: Scenario) -> None:
    task = await scenario.create()
    closed = replace(task, closed_version=2)
    await scenario.tell(due_event(closed))
    assert await scenario.occurrences(task) == [(1, "open", False)]
    assert await scenario.declined() == ["its predecessor is not closed by version 2 any more"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"generation": 0}, "it was dated under generation 0, not 1"),
        ({"generation": 2}, "it was dated under generation 2, not 1"),
        ({"closed_version": 1}, "its predecessor is not closed by version 1 any more"),
        ({"seq": 3}, "it does not follow occurrence 1"),
        ({"predecessor": "00000000-0000-4000-8000-000000000009"}, "the series or its predecessor is not here"),
        ({"series_id": "00000000-0000-4000-8000-000000000009"}, "the series or its predecessor is not here"),
    ],
)
async def test_what_does_not_fit_is_declined_with_its_reason(
    scenario: Scenario, change: dict[str, object], reason: str
) -> None:
    done = await scenario.complete(await scenario.create())
    said = msgspec.convert(msgspec.to_builtins(due_event(done)) | change, OccurrenceDue)
    await scenario.tell(said)
    await scenario.tell(said)
    assert await scenario.occurrences(done) == [(1, "done", False)]
    assert await scenario.declined() == [reason]


async def test_editing_the_rule_declines_dates_of_the_old_one_and_the_new_one_applies(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    old = await scenario.following()
    await scenario.edit(done, DAILY)
    await scenario.deliver(names.TASK_OCCURRENCES, old)
    assert await scenario.declined() == ["it was dated under generation 1, not 2"]
    await scenario.follow()
    made = await scenario.occurrence(done, 2)
    assert made is not None
    assert made.due == Due("UTC", at=NOON + 2 * DAY)


async def test_reopening_before_the_event_comes_declines_it(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    late = await scenario.following()
    await scenario.reopen(done)
    await scenario.deliver(names.TASK_OCCURRENCES, late)
    assert await scenario.occurrences(done) == [(1, "open", False)]


async def test_reopening_withdraws_an_untouched_successor_and_closing_revives_it(
    scenario: Scenario, clock: MovableClock
) -> None:
    done = await scenario.complete(await scenario.create(Repetition("FREQ=DAILY", Mode.COMPLETION)))
    await scenario.follow()
    first = await scenario.following()
    opened = await scenario.reopen(done)
    withdrawn = await scenario.occurrence(done, 2)
    assert withdrawn is not None
    assert (withdrawn.deleted, withdrawn.withdrawn) == (True, True)
    await scenario.deliver(names.TASK_OCCURRENCES, first)
    assert await scenario.occurrences(done) == [(1, "open", False), (2, "open", True)]
    clock.advance(days=3)
    await scenario.complete(opened)
    await scenario.follow()
    revived = await scenario.occurrence(done, 2)
    assert revived is not None
    assert (revived.is_open, revived.withdrawn, revived.touched) == (True, False, False)
    assert revived.version == withdrawn.version + 1
    assert revived.due is not None
    assert withdrawn.due is not None
    assert revived.due.moment > withdrawn.due.moment
    assert [one.fire_at for one in revived.wanted] == [revived.due.moment]


async def test_a_revived_occurrence_is_as_its_predecessor_is_when_closed_again(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    opened = await scenario.reopen(done)
    await scenario.complete(await scenario.edit(opened, title="both plants", reminders=("-PT1H",)))
    await scenario.follow()
    revived = await scenario.occurrence(done, 2)
    assert revived is not None
    assert (revived.title, revived.reminders, revived.version) == ("both plants", ("-PT1H",), 3)


async def test_reopening_leaves_the_successor_of_a_series_that_was_ended(scenario: Scenario) -> None:
    """Nothing would bring it back."""
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    await scenario.edit(done, None)
    await scenario.reopen(done)
    assert await scenario.occurrences(done) == [(1, "open", False), (2, "open", False)]


async def test_deleting_a_series_that_has_run_out_deletes_what_was_opened_again(scenario: Scenario) -> None:
    first = await scenario.complete(await scenario.create(TWICE))
    await scenario.follow()
    second = await scenario.occurrence(first, 2)
    assert second is not None
    await scenario.complete(second)
    await scenario.follow()
    await scenario.reopen(first)
    assert not (await scenario.series(first)).is_alive
    await scenario.delete(second, whole_series=True)
    assert await scenario.occurrences(first) == [(1, "open", True), (2, "done", True)]


async def test_reopening_leaves_a_touched_successor(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    second = await scenario.occurrence(done, 2)
    assert second is not None
    await scenario.edit(second, title="mine now")
    await scenario.reopen(done)
    assert await scenario.occurrences(done) == [(1, "open", False), (2, "open", False)]


async def test_a_tombstone_counts_as_successor(scenario: Scenario) -> None:
    """Deleting an occurrence makes its successor, and no event brings the deleted one back."""
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    second = await scenario.occurrence(done, 2)
    assert second is not None
    await scenario.delete(second, whole_series=False)
    await scenario.follow()
    assert await scenario.occurrences(done) == [(1, "done", False), (2, "skipped", True), (3, "open", False)]
    await scenario.tell(due_event(done))
    assert await scenario.occurrences(done) == [(1, "done", False), (2, "skipped", True), (3, "open", False)]


async def test_a_deleted_series_makes_nothing(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    late = await scenario.following()
    await scenario.delete(done, whole_series=True)
    await scenario.deliver(names.TASK_OCCURRENCES, late)
    assert await scenario.occurrences(done) == [(1, "done", True)]
    assert await scenario.declined() == ["the series was deleted"]


async def test_deleting_a_series_deletes_every_open_occurrence_and_keeps_what_was_done(scenario: Scenario) -> None:
    """A predecessor that was opened again and its touched successor are both open: both go."""
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    second = await scenario.occurrence(done, 2)
    assert second is not None
    second = await scenario.complete(await scenario.edit(second, title="mine now"))
    await scenario.follow()
    await scenario.reopen(done)
    third = await scenario.occurrence(done, 3)
    assert third is not None
    await scenario.delete(third, whole_series=True)
    assert await scenario.occurrences(done) == [(1, "open", True), (2, "done", False), (3, "open", True)]


async def test_a_series_that_runs_out_ends_and_reopening_its_last_brings_it_back(scenario: Scenario) -> None:
    first = await scenario.complete(await scenario.create(TWICE))
    await scenario.follow()
    second = await scenario.occurrence(first, 2)
    assert second is not None
    second = await scenario.complete(second)
    await scenario.follow()
    assert (await scenario.series(first)).ended_seq == 3
    ended = await scenario.following()
    await scenario.reopen(second)
    assert (await scenario.series(first)).is_alive
    await scenario.deliver(names.TASK_OCCURRENCES, ended)
    assert (await scenario.series(first)).is_alive


async def test_the_end_again_is_nothing_new(scenario: Scenario) -> None:
    first = await scenario.complete(await scenario.create(Repetition("FREQ=DAILY;COUNT=1")))
    await scenario.follow()
    await scenario.follow()
    assert (await scenario.series(first)).ended_seq == 2
    assert await scenario.declined() == []


async def test_a_series_is_not_ended_before_an_occurrence_that_is_there(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await scenario.follow()
    assert done.series_id is not None
    assert done.closed_version is not None
    await scenario.tell(SeriesEnded(done.series_id, 2, 1, done.id, done.closed_version))
    assert (await scenario.series(done)).is_alive


async def test_after_the_end_a_date_is_declined(scenario: Scenario) -> None:
    first = await scenario.complete(await scenario.create(Repetition("FREQ=DAILY;COUNT=1")))
    await scenario.follow()
    await scenario.tell(due_event(first))
    assert await scenario.occurrences(first) == [(1, "done", False)]
    assert await scenario.declined() == ["the series has ended"]


async def test_an_occurrence_without_a_date_or_with_two_is_parked(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create())
    await scenario.tell(due_event(done, due_at=None), due_event(done, due_date="2031-05-14"))
    assert await scenario.occurrences(done) == [(1, "done", False)]
    assert await scenario.database.pool.fetchval("SELECT count(*) FROM dead_letters WHERE app = 'backend'") == 2


async def test_a_series_of_whole_days_goes_on_in_whole_days(scenario: Scenario) -> None:
    done = await scenario.complete(await scenario.create(DAILY, due=Due("Europe/Berlin", date=dt.date(2031, 5, 6))))
    await scenario.follow()
    made = await scenario.occurrence(done, 2)
    assert made is not None
    assert made.due == Due("Europe/Berlin", date=dt.date(2031, 5, 7))


async def test_batches_of_many_series_from_two_replicas_do_not_block_each_other(scenario: Scenario) -> None:
    done = [await scenario.complete(await scenario.create()) for _ in range(10)]
    said = [due_event(task) for task in done]
    await asyncio.gather(scenario.tell(*said), scenario.tell(*said[::-1]))
    assert await scenario.database.pool.fetchval("SELECT count(*) FROM tasks WHERE seq = 2") == 10


async def test_commands_and_events_on_one_series_wait_for_each_other(scenario: Scenario) -> None:
    task = await scenario.create(DAILY)
    for _ in range(5):
        task = await scenario.complete(task)
        await asyncio.gather(scenario.follow(), scenario.reopen(task), scenario.follow())
        task = await scenario.task(task.id)
        assert task.is_open
        successor = await scenario.occurrence(task, 2)
        assert successor is None or successor.withdrawn


class TestReconciliation:
    async def test_a_lost_occurrence_is_made_after_a_minute(self, scenario: Scenario, clock: MovableClock) -> None:
        done = await scenario.complete(await scenario.create())
        await scenario.database.pool.execute("TRUNCATE outbox")  # the broker lost everything
        await self._reconcile(scenario)
        assert await scenario.snapshots() == []
        clock.advance(seconds=61)
        await self._reconcile(scenario)
        await scenario.follow()
        assert await scenario.occurrences(done) == [(1, "done", False), (2, "open", False)]
        await scenario.database.pool.execute("TRUNCATE outbox")
        await self._reconcile(scenario)
        assert await scenario.snapshots() == []

    async def test_an_occurrence_declined_for_an_old_generation_is_made_under_the_new(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        done = await scenario.complete(await scenario.create())
        await scenario.edit(done, DAILY)
        await scenario.database.pool.execute("TRUNCATE outbox")
        clock.advance(minutes=2)
        await self._reconcile(scenario)
        await scenario.follow()
        assert await scenario.occurrences(done) == [(1, "done", False), (2, "open", False)]

    async def test_a_lost_revival_of_a_withdrawn_occurrence_is_made_up_for(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        done = await scenario.complete(await scenario.create())
        await scenario.follow()
        await scenario.complete(await scenario.reopen(done))
        await scenario.database.pool.execute("TRUNCATE outbox")
        clock.advance(minutes=2)
        await self._reconcile(scenario)
        await scenario.follow()
        assert await scenario.occurrences(done) == [(1, "done", False), (2, "open", False)]

    async def test_a_deleted_occurrence_has_its_successor_made_too(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        task = await scenario.create()
        await scenario.delete(task, whole_series=False)
        await scenario.database.pool.execute("TRUNCATE outbox")
        clock.advance(minutes=2)
        await self._reconcile(scenario)
        await scenario.follow()
        assert await scenario.occurrences(task) == [(1, "skipped", True), (2, "open", False)]

    async def test_series_that_ended_or_were_deleted_are_left_alone(
        self, scenario: Scenario, clock: MovableClock
    ) -> None:
        await scenario.complete(await scenario.create(Repetition("FREQ=DAILY;COUNT=1")))
        await scenario.follow()
        await scenario.delete(await scenario.complete(await scenario.create()), whole_series=True)
        await scenario.edit(await scenario.complete(await scenario.create()), None)
        await scenario.complete(await scenario.create(None))
        await scenario.database.pool.execute("TRUNCATE outbox")
        clock.advance(minutes=2)
        await self._reconcile(scenario)
        assert await scenario.snapshots() == []

    async def test_more_than_a_page_is_told_of_once_each(
        self, scenario: Scenario, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handlers, "PAGE", 3)
        done = [await scenario.complete(await scenario.create()) for _ in range(7)]
        await scenario.database.pool.execute("TRUNCATE outbox")
        clock.advance(minutes=2)
        await self._reconcile(scenario)
        assert sorted(one.task_id for one in await scenario.snapshots()) == sorted(task.id for task in done)

    async def _reconcile(self, scenario: Scenario) -> None:
        await handlers.reconcile_series(scenario.database, 1, scenario.clock)


async def test_whatever_writes_to_the_outbox_wakes_the_relay_and_nothing_else_does(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake-up too few costs a second of latency, one too many a round trip."""
    rung: list[bool] = []
    monkeypatch.setattr(scenario.database, "wake_relay", lambda: rung.append(True))
    first = await scenario.create()

    async def rings(work: Awaitable[object]) -> bool:
        rows = len(await scenario.told())
        rung.clear()
        await work
        assert bool(rung) == (len(await scenario.told()) > rows)
        return bool(rung)

    assert await rings(scenario.complete(first))
    assert not await rings(scenario.complete(first))
    assert await rings(scenario.follow())
    assert not await rings(scenario.follow())
    assert await rings(scenario.reopen(first))  # and withdraws the second
    assert await rings(scenario.complete(first))
    assert await rings(scenario.follow())  # and revives it
    second = await scenario.occurrence(first, 2)
    assert second is not None
    assert await rings(scenario.edit(second, title="mine now"))
    assert await rings(scenario.edit(second, DAILY))
    assert await rings(scenario.delete(second, whole_series=False))
    assert await rings(scenario.delete(first, whole_series=True))
