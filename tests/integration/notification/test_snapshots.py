"""Snapshots of tasks become the schedule, whatever order they come in and however often."""

from random import Random

import pytest
from msgspec.structs import replace

from tests.integration.notification.scenario import DAY, HOUR, MINUTE, NOON, Scenario, firing, newer, task
from todo.contracts import events, names
from todo.contracts.events import Outcome
from todo.notification.schedule import State


async def test_wanted_instances_wait_for_their_time(scenario: Scenario) -> None:
    snapshot = task(firing(NOON + HOUR))

    await scenario.arrive(snapshot)

    row = await scenario.row(snapshot)
    assert (row.state, row.next_at, row.attempt) == (State.WAITING, NOON + HOUR, 0)
    assert row.traceparent.startswith("00-")


async def test_an_instance_that_was_past_when_set_is_skipped_and_said_so(scenario: Scenario) -> None:
    snapshot = task(firing(NOON - HOUR, past=True))

    await scenario.arrive(snapshot)

    assert (await scenario.row(snapshot)).state is State.SKIPPED
    (event,) = await scenario.publish()
    assert (event.topic, event.type, event.subject) == (
        names.REMINDER_DELIVERIES,
        "todo.reminder.skipped.v1",
        str(snapshot.task_id),
    )
    assert (event.data.attempt, event.data.outcome, event.data.fire_at) == (0, Outcome.SKIPPED, NOON - HOUR)
    assert event.data.reason


async def test_an_instance_known_in_time_is_not_skipped_by_a_later_snapshot(scenario: Scenario) -> None:
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(snapshot)

    await scenario.arrive(newer(snapshot, firing(NOON + HOUR, past=True)))

    assert (await scenario.row(snapshot)).state is State.WAITING


async def test_of_several_snapshots_in_a_batch_the_newest_counts(scenario: Scenario) -> None:
    first = task(firing(NOON + HOUR))
    second = newer(first, firing(NOON + 2 * HOUR))

    await scenario.arrive(second, first)

    assert (await scenario.row(first)).fire_at == NOON + 2 * HOUR


async def test_an_older_snapshot_changes_nothing(scenario: Scenario) -> None:
    first = task(firing(NOON + HOUR))
    await scenario.arrive(newer(first))

    await scenario.arrive(first)

    assert await scenario.rows() == []


async def test_a_higher_epoch_beats_a_higher_version(scenario: Scenario) -> None:
    snapshot = task(firing(NOON + HOUR), version=90)
    await scenario.arrive(snapshot)

    await scenario.arrive(replace(snapshot, epoch=2, version=3, reminders=(firing(NOON + 2 * HOUR),)))
    await scenario.arrive(replace(snapshot, version=91, reminders=()))

    assert {row.fire_at: row.state for row in await scenario.rows()} == {
        NOON + HOUR: State.WITHDRAWN,
        NOON + 2 * HOUR: State.WAITING,
    }


async def test_moving_a_reminder_withdraws_the_old_instance_and_only_the_new_one_is_dispatched(
    scenario: Scenario,
) -> None:
    first = task(firing(NOON + HOUR))
    await scenario.arrive(first)
    await scenario.arrive(newer(first, firing(NOON + 2 * HOUR)))
    scenario.pass_time(DAY)

    (event,) = await scenario.tick()

    assert event.data.fire_at == NOON + 2 * HOUR


async def test_a_deleted_task_leaves_a_tombstone_that_an_older_snapshot_cannot_wake(scenario: Scenario) -> None:
    first = task(firing(NOON + HOUR))
    await scenario.arrive(replace(newer(first), deleted=True))
    scenario.pass_time(400 * DAY)

    await scenario.arrive(first)

    assert await scenario.tick() == []
    (row,) = await scenario.database.pool.fetch("SELECT version, deleted FROM tasks")
    assert (row["version"], row["deleted"]) == (2, True)


async def test_a_withdrawn_instance_that_is_wanted_again_waits_again(scenario: Scenario) -> None:
    first = task(firing(NOON + HOUR))
    closed = newer(first, status="done")
    await scenario.arrive(first)
    await scenario.arrive(closed)
    assert (await scenario.row(first)).state is State.WITHDRAWN

    await scenario.arrive(newer(closed, firing(NOON + HOUR)))

    row = await scenario.row(first)
    assert (row.state, row.next_at) == (State.WAITING, NOON + HOUR)


async def test_what_was_suppressed_stays_so_when_it_is_wanted_again_too_late(scenario: Scenario) -> None:
    """It has ended, and its owner was told how."""
    first = task(firing(NOON))
    await scenario.arrive(first)
    await scenario.tick()
    await scenario.settle(await scenario.row(first), Outcome.SUPPRESSED)

    await scenario.arrive(newer(first, firing(NOON, past=True)))

    assert (await scenario.row(first)).state is State.SUPPRESSED
    assert await scenario.publish() == []


async def test_an_instance_that_is_wanted_again_too_late_is_skipped(scenario: Scenario) -> None:
    first = task(firing(NOON))
    closed = newer(first, status="done")
    await scenario.arrive(first)
    await scenario.arrive(closed)
    assert (await scenario.row(first)).state is State.WITHDRAWN
    scenario.pass_time(HOUR)

    await scenario.arrive(newer(closed, firing(NOON, past=True)))

    row = await scenario.row(first)
    assert row.state is State.SKIPPED
    (event,) = await scenario.publish()
    assert (event.data.outcome, event.data.attempt) == (Outcome.SKIPPED, row.attempt)


async def test_a_suppressed_instance_that_is_wanted_again_is_dispatched_as_a_new_attempt(scenario: Scenario) -> None:
    first = task(firing(NOON))
    await scenario.arrive(first)
    await scenario.tick()
    await scenario.settle(await scenario.row(first), Outcome.SUPPRESSED)

    await scenario.arrive(newer(first, firing(NOON)))

    (event,) = await scenario.tick()
    assert event.data.attempt == 2


@pytest.mark.parametrize("end", [Outcome.DELIVERED, Outcome.FAILED])
async def test_delivered_and_failed_instances_stay_when_they_are_wanted_again(scenario: Scenario, end: Outcome) -> None:
    first = task(firing(NOON))
    await scenario.arrive(first)
    await scenario.tick()
    await scenario.settle(await scenario.row(first), end)
    closed = newer(first)
    await scenario.arrive(closed)

    await scenario.arrive(newer(closed, firing(NOON)))

    assert (await scenario.row(first)).state.value == end.value
    assert await scenario.tick() == []


async def test_a_dispatched_instance_that_is_no_longer_wanted_is_closed_by_its_outcome(scenario: Scenario) -> None:
    first = task(firing(NOON))
    await scenario.arrive(first)
    await scenario.tick()
    await scenario.arrive(newer(first))
    row = await scenario.row(first)
    assert (row.state, row.wanted) == (State.DISPATCHED, False)

    await scenario.settle(row, Outcome.DELIVERED)

    assert (await scenario.row(first)).state is State.DELIVERED


async def test_a_dispatched_instance_wanted_again_in_flight_stays_dispatched(scenario: Scenario) -> None:
    first = task(firing(NOON))
    closed = newer(first)
    await scenario.arrive(first)
    await scenario.tick()
    await scenario.arrive(closed)

    await scenario.arrive(newer(closed, firing(NOON)))

    row = await scenario.row(first)
    assert (row.state, row.wanted, row.attempt) == (State.DISPATCHED, True, 1)
    assert await scenario.tick() == []


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
async def test_closed_and_reopened_in_flight_the_suppressed_attempt_is_made_up_for(
    scenario: Scenario, *, together: bool
) -> None:
    first = task(firing(NOON))
    closed = newer(first)
    reopened = newer(closed, firing(NOON))
    await scenario.arrive(first)
    await scenario.tick()
    dispatched = await scenario.row(first)
    for batch in [[closed, reopened]] if together else [[reopened], [closed]]:
        await scenario.arrive(*batch)

    await scenario.settle(dispatched, Outcome.SUPPRESSED)

    (event,) = await scenario.tick()
    assert event.data.attempt == 2
    await scenario.settle(await scenario.row(first), Outcome.SUPPRESSED)
    assert (await scenario.row(first)).state is State.SUPPRESSED


async def test_a_snapshot_that_repeats_an_instance_counts_it_once(scenario: Scenario) -> None:
    snapshot = task(firing(NOON + HOUR), firing(NOON + HOUR))

    await scenario.arrive(snapshot)

    assert len(await scenario.rows()) == 1


async def test_a_firing_without_a_zone_is_parked(scenario: Scenario) -> None:
    await scenario.arrive(task(firing(NOON.replace(tzinfo=None))))

    assert await scenario.rows() == []
    (event,) = await scenario.publish()
    assert event.type == events.EVENT_PARKED


async def test_a_snapshot_no_database_can_take_is_parked_and_blocks_nobody(scenario: Scenario) -> None:
    poison = task(firing(NOON + HOUR), version=2**70)
    healthy = task(firing(NOON + HOUR))

    await scenario.arrive(poison, healthy)

    assert [row.task_id for row in await scenario.rows()] == [healthy.task_id]
    (event,) = await scenario.publish()
    assert (event.topic, event.type) == (names.DEAD_LETTERS, events.EVENT_PARKED)
    assert event.data.attempts == 3


async def test_the_whole_history_twice_backwards_and_a_year_later_changes_nothing(scenario: Scenario) -> None:
    random = Random(7)  # noqa: S311 - an order, no secret
    tasks = [task(firing(NOON + index * MINUTE, past=index == 3)) for index in range(8)]
    await scenario.arrive(*tasks)
    scenario.pass_time(HOUR)
    await scenario.tick()
    for snapshot, outcome in zip(tasks, [*Outcome, Outcome.DELIVERED], strict=False):
        await scenario.settle(await scenario.row(snapshot), outcome)
    await scenario.arrive(*(newer(snapshot, *snapshot.reminders) for snapshot in tasks[:4]))
    await scenario.arrive(*(newer(snapshot) for snapshot in tasks[4:6]))
    await scenario.arrive(newer(newer(tasks[0]), firing(NOON + 30 * DAY)))
    await scenario.tick()
    history, before = list(scenario.history), await scenario.contents()

    scenario.pass_time(365 * DAY)
    for topic, original in history + history[::-1] + random.sample(history, len(history)):
        await scenario.consumer.deliver(topic, [original])
    for topic in (names.TASK_EVENTS, names.REMINDER_DELIVERIES):
        await scenario.consumer.deliver(topic, [original for name, original in history if name == topic][::-1])

    assert await scenario.contents() == before
