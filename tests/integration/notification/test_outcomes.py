"""Every outcome in every state, and what attempts, deferrals and lost connections do."""

import datetime as dt
import itertools
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.integration.notification.scenario import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    TEXT,
    Scenario,
    firing,
    newer,
    outcome_of,
    task,
)
from todo.contracts.events import Outcome, ReminderOutcome, TaskSnapshot
from todo.notification import schedule
from todo.notification.schedule import Reminder, State

CLOSED_BY = {
    Outcome.DELIVERED: State.DELIVERED,
    Outcome.SUPPRESSED: State.SUPPRESSED,
    Outcome.FAILED: State.FAILED,
    Outcome.DEFERRED: State.WAITING,
    Outcome.SKIPPED: State.DISPATCHED,
}


def row_in(state: State, attempt: int = 3) -> Reminder:
    return Reminder(
        task_id=UUID(int=1),
        reminder=TEXT,
        fire_at=NOON,
        state=state,
        attempt=attempt,
        next_at=NOON if state in (State.WAITING, State.DISPATCHED) else None,
        first_dispatched_at=NOON,
        updated_at=NOON,
    )


def expected(state: State, outcome: Outcome, attempt: int) -> State:
    if outcome is Outcome.DELIVERED:
        return State.DELIVERED
    return CLOSED_BY[outcome] if state is State.DISPATCHED and attempt == 3 else state


@pytest.mark.parametrize(("state", "outcome", "attempt"), list(itertools.product(State, Outcome, (2, 3))))
def test_only_delivered_counts_out_of_place(state: State, outcome: Outcome, attempt: int) -> None:
    before = row_in(state)
    told = replace(outcome_of(before, outcome, NOON), attempt=attempt)

    after = schedule.settled(before, told, NOON + MINUTE)

    assert after.state is expected(state, outcome, attempt)
    assert after.attempt == before.attempt
    if after.state is state:
        assert after is before
    assert (after.next_at is not None) == (after.state in (State.WAITING, State.DISPATCHED))
    assert schedule.settled(after, told, NOON + DAY) is after


@pytest.mark.parametrize(("state", "outcome"), list(itertools.product(State, Outcome)))
def test_an_attempt_that_a_restored_schedule_forgot_is_its_current_one(state: State, outcome: Outcome) -> None:
    """What had not ended is where that attempt left it, what had ended stays; and told again, nothing changes."""
    before = row_in(state)
    told = replace(outcome_of(before, outcome, NOON), attempt=4)

    after = schedule.settled(before, told, NOON + MINUTE)

    has_ended = state in (State.DELIVERED, State.FAILED, State.SKIPPED) and outcome is not Outcome.DELIVERED
    left = State.SKIPPED if outcome is Outcome.SKIPPED else CLOSED_BY[outcome]
    assert (after.state, after.attempt) == (state if has_ended else left, 4)
    assert (after.next_at is not None) == (after.state in (State.WAITING, State.DISPATCHED))
    assert schedule.settled(after, told, NOON + DAY) is after


async def dispatched(scenario: Scenario) -> TaskSnapshot:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    return snapshot


async def test_an_outcome_keeps_its_reason(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)

    await scenario.settle(await scenario.row(snapshot), Outcome.FAILED, reason="no such mailbox")

    assert (await scenario.row(snapshot)).reason == "no such mailbox"
    assert await scenario.publish() == []


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.DELIVERED, State.DELIVERED),
        (Outcome.FAILED, State.FAILED),
        (Outcome.SUPPRESSED, State.SUPPRESSED),
        (Outcome.SKIPPED, State.SKIPPED),
        (Outcome.DEFERRED, State.WITHDRAWN),
    ],
)
async def test_an_outcome_of_an_unknown_instance_is_remembered(
    scenario: Scenario, outcome: Outcome, state: State
) -> None:
    """A restored schedule hears of what it did before; nothing is sent for it."""
    row = row_in(State.DISPATCHED, attempt=3)

    await scenario.settle(row, outcome)

    (found,) = await scenario.rows()
    assert (found.key, found.state, found.attempt) == (row.key, state, 3)
    assert await scenario.tick() == []


async def test_a_restored_schedule_counts_on_from_the_attempts_it_hears_of(scenario: Scenario) -> None:
    """An attempt is never made twice: the next is one more than any that anybody knows of."""
    snapshot = await dispatched(scenario)
    row = replace(await scenario.row(snapshot), attempt=4)

    await scenario.settle(row, Outcome.DEFERRED)

    waiting = await scenario.row(snapshot)
    assert (waiting.state, waiting.attempt) == (State.WAITING, 4)
    scenario.pass_time(HOUR)
    (event,) = await scenario.tick()
    assert event.data.attempt == 5


async def test_a_suppressed_outcome_of_an_earlier_attempt_does_not_close_a_newer_one(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    earlier = await scenario.row(snapshot)
    scenario.pass_time(HOUR)
    await scenario.chase()

    await scenario.settle(earlier, Outcome.SUPPRESSED)

    row = await scenario.row(snapshot)
    assert (row.state, row.attempt) == (State.DISPATCHED, 2)


async def test_delivered_wins_over_everything_else_in_its_batch(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    row = await scenario.row(snapshot)

    await scenario.outcomes(
        *(outcome_of(row, outcome, NOON) for outcome in (Outcome.FAILED, Outcome.DELIVERED, Outcome.SUPPRESSED))
    )

    assert (await scenario.row(snapshot)).state is State.DELIVERED


async def test_deferred_is_tried_again_after_1_5_30_and_then_every_60_minutes(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    delays = []
    for _ in range(6):
        await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
        row = await scenario.row(snapshot)
        assert row.state is State.WAITING
        assert row.next_at is not None
        delays.append((row.next_at - scenario.clock.now) // MINUTE)
        scenario.clock.now = row.next_at - dt.timedelta(microseconds=1)
        assert await scenario.tick() == []
        scenario.clock.now = row.next_at
        (event,) = await scenario.tick()
        assert event.data.attempt == row.attempt + 1

    assert delays == [1, 5, 30, 60, 60, 60]


async def test_deferred_for_24_hours_is_failed_and_said_so(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    while (row := await scenario.row(snapshot)).state is not State.FAILED:
        assert scenario.clock.now - NOON < 25 * HOUR
        await scenario.settle(row, Outcome.DEFERRED, reason="greylisted")
        row = await scenario.row(snapshot)
        scenario.clock.now = row.next_at or scenario.clock.now
        published = await scenario.tick()

    assert scenario.clock.now - NOON >= 24 * HOUR
    (event,) = published
    assert (event.type, event.data.attempt) == ("todo.reminder.failed.v1", row.attempt)
    assert "24 hours" in event.data.reason
    assert "greylisted" in event.data.reason


async def test_a_weekend_in_which_nothing_ran_ends_nothing(scenario: Scenario) -> None:
    """The laptop was closed for three days: a refusal for now on Monday morning is one of a few."""
    snapshot = await dispatched(scenario)
    scenario.pass_time(3 * DAY)

    for _ in range(schedule.TRIES - 1):
        await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
        assert (await scenario.row(snapshot)).state is State.WAITING
        scenario.pass_time(HOUR)
        await scenario.tick()

    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
    assert (await scenario.row(snapshot)).state is State.FAILED


async def test_our_own_outcomes_come_back_and_change_nothing(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    for _ in range(schedule.TRIES - 1):
        await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
        scenario.pass_time(HOUR)
        await scenario.tick()
    scenario.pass_time(25 * HOUR)
    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
    await scenario.arrive(skipped := task(firing(NOON, past=True)))
    published = await scenario.publish()
    before = await scenario.contents()
    assert [event.data.outcome for event in published] == [Outcome.FAILED, Outcome.SKIPPED]

    scenario.pass_time(MINUTE)
    for event in published:
        await scenario.deliver(event.topic, [event.original])

    assert await scenario.contents() == before
    assert (await scenario.row(skipped)).state is State.SKIPPED


async def test_the_second_lost_connection_after_the_mail_was_handed_over_ends_it(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED, possibly_sent=True)
    assert (await scenario.row(snapshot)).state is State.WAITING
    scenario.pass_time(MINUTE)
    await scenario.tick()

    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED, possibly_sent=True)

    row = await scenario.row(snapshot)
    assert (row.state, row.possibly_sent) == (State.FAILED, 2)
    assert row.reason.startswith("Possibly sent twice")
    (event,) = await scenario.publish()
    assert (event.type, event.data.reason) == ("todo.reminder.failed.v1", row.reason)


async def test_the_same_lost_connection_told_twice_counts_once(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    row = await scenario.row(snapshot)
    told: ReminderOutcome = replace(outcome_of(row, Outcome.DEFERRED, NOON), possibly_sent=True)

    await scenario.outcomes(told, told)
    await scenario.outcomes(told)

    assert (await scenario.row(snapshot)).possibly_sent == 1


async def test_a_lost_connection_of_an_earlier_attempt_counts_once_however_late_it_is_told(scenario: Scenario) -> None:
    """Attempt 1 was possibly sent, and told after attempt 2 was dispatched: the next one is the second."""
    snapshot = await dispatched(scenario)
    first = await scenario.row(snapshot)
    scenario.pass_time(HOUR)
    await scenario.chase()

    for _ in range(3):
        await scenario.settle(first, Outcome.DEFERRED, possibly_sent=True)

    row = await scenario.row(snapshot)
    assert (row.state, row.attempt, row.possibly_sent) == (State.DISPATCHED, 2, 1)
    await scenario.settle(row, Outcome.DEFERRED, possibly_sent=True)
    assert (await scenario.row(snapshot)).reason.startswith("Possibly sent twice")


async def test_a_second_lost_connection_that_is_told_late_ends_it_before_a_third_mail(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    first = await scenario.row(snapshot)
    scenario.pass_time(HOUR)
    await scenario.chase()
    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED, possibly_sent=True)
    assert (await scenario.row(snapshot)).state is State.WAITING

    await scenario.settle(first, Outcome.DEFERRED, possibly_sent=True)

    row = await scenario.row(snapshot)
    assert (row.state, row.possibly_sent) == (State.FAILED, 2)
    (event,) = await scenario.publish()
    assert event.type == "todo.reminder.failed.v1"
    scenario.pass_time(DAY)
    assert await scenario.tick() == []


async def test_deferred_and_no_longer_wanted_is_withdrawn(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    await scenario.arrive(newer(snapshot))

    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)

    assert (await scenario.row(snapshot)).state is State.WITHDRAWN
    scenario.pass_time(DAY)
    assert await scenario.tick() == []


async def test_an_instance_reopened_a_year_later_has_its_24_hours_again(scenario: Scenario) -> None:
    snapshot = await dispatched(scenario)
    await scenario.settle(await scenario.row(snapshot), Outcome.SUPPRESSED)
    scenario.pass_time(365 * DAY)
    await scenario.arrive(newer(snapshot, firing(NOON)))
    await scenario.tick()

    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)

    row = await scenario.row(snapshot)
    assert (row.state, row.next_at) == (State.WAITING, scenario.clock.now + MINUTE)
