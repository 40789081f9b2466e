"""What is due is dispatched once, never early, by any number of replicas; what nobody answers is chased."""

import asyncio
import datetime as dt
from collections import Counter

import pytest
from msgspec.structs import replace

from tests.integration.notification.scenario import DAY, HOUR, MINUTE, NOON, Scenario, firing, newer, task
from todo.contracts import names
from todo.contracts.events import Outcome
from todo.messaging.unit import Database
from todo.notification import handlers, polling, schedule, store
from todo.notification.schedule import State


async def test_due_reminders_go_out_as_events_of_their_task(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    trace = (await scenario.row(snapshot)).traceparent

    (event,) = await scenario.tick()

    assert (event.topic, event.type, event.subject) == (
        names.TASK_REMINDERS,
        "todo.reminder.due.v1",
        str(snapshot.task_id),
    )
    assert (event.data.reminder, event.data.fire_at, event.data.attempt) == ("-PT1H", NOON, 1)
    assert event.traceparent[:35] == trace[:35]
    row = await scenario.row(snapshot)
    assert (row.state, row.dispatched_at, row.next_at) == (State.DISPATCHED, NOON, NOON + 2 * MINUTE)


async def test_nothing_is_dispatched_early_even_when_the_clock_goes_back(scenario: Scenario) -> None:
    await scenario.arrive(task(firing(NOON + HOUR)))
    scenario.pass_time(HOUR - MINUTE)
    assert await scenario.tick() == []

    scenario.pass_time(-DAY)
    assert await scenario.tick() == []

    scenario.clock.now = NOON + HOUR
    assert len(await scenario.tick()) == 1


async def test_a_clock_that_goes_back_after_a_dispatch_does_not_dispatch_again(scenario: Scenario) -> None:
    await scenario.arrive(task(firing(NOON)))
    await scenario.tick()

    scenario.pass_time(-DAY)

    assert [await scenario.tick(), await scenario.chase()] == [[], []]


async def test_everything_overdue_after_downtime_is_caught_up(scenario: Scenario) -> None:
    snapshots = [task(firing(NOON + index * MINUTE)) for index in range(1, 1201)]
    await scenario.arrive(*snapshots)
    scenario.pass_time(3 * DAY)

    events = await scenario.tick()

    assert Counter(event.subject for event in events) == Counter(str(one.task_id) for one in snapshots)
    assert [event.data.fire_at for event in events] == sorted(event.data.fire_at for event in events)


async def test_concurrent_claimers_share_the_work_and_dispatch_each_once(scenario: Scenario) -> None:
    snapshots = [task(firing(NOON)) for _ in range(1500)]
    await scenario.arrive(*snapshots)

    async def work() -> int:
        done = 0
        while taken := await handlers.dispatch_due(scenario.database):
            done += taken
        return done

    shares = await asyncio.gather(work(), work(), work())

    events = await scenario.publish()
    assert Counter(event.subject for event in events) == Counter(str(one.task_id) for one in snapshots)
    assert sum(shares) == 1500
    assert {row.attempt for row in await scenario.rows()} == {1}


async def test_a_claimer_does_not_wait_for_what_another_one_holds(scenario: Scenario) -> None:
    await scenario.arrive(task(firing(NOON)))

    async with scenario.database.transaction() as tx:
        assert len(await store.claim_due(tx, 10)) == 1
        assert await handlers.dispatch_due(scenario.database) == 0


async def test_a_crash_between_claim_and_commit_leaves_nothing(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)

    async def claim_and_die() -> None:
        async with scenario.database.transaction() as tx:
            due = await store.claim_due(tx, 10)
            await handlers._dispatch(tx, [schedule.dispatched(row, tx.now) for row in due])
            pid = await tx.connection.fetchval("SELECT pg_backend_pid()")
            await scenario.database.pool.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    with pytest.raises(Exception, match="database"):
        await claim_and_die()

    row = await scenario.row(snapshot)
    assert (row.state, row.attempt) == (State.WAITING, 0)
    assert [event.data.attempt for event in await scenario.tick()] == [1]


async def test_a_reminder_remembers_its_own_outbox_row(scenario: Scenario) -> None:
    await scenario.arrive(*(task(firing(NOON)) for _ in range(50)))

    await handlers.dispatch_due(scenario.database)

    pairs = await scenario.database.pool.fetch(
        "SELECT reminders.task_id::text, outbox.key FROM reminders JOIN outbox ON outbox.id = outbox_id"
    )
    assert len(pairs) == 50
    assert all(pair["task_id"] == pair["key"] for pair in pairs)


async def test_what_nobody_answers_is_dispatched_again_with_doubling_delay_up_to_an_hour(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    delays = []
    for attempt in range(2, 10):
        row = await scenario.row(snapshot)
        assert row.next_at is not None
        assert row.dispatched_at is not None
        delays.append((row.next_at - row.dispatched_at) // MINUTE)
        scenario.clock.now = row.next_at - MINUTE
        assert await scenario.chase() == []
        scenario.clock.now = row.next_at
        (event,) = await scenario.chase()
        assert event.data.attempt == attempt

    assert delays == [2, 4, 8, 16, 32, 60, 60, 60]


async def test_an_answer_resets_the_doubling(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    for _ in range(3):
        scenario.pass_time(HOUR)
        await scenario.chase()
    await scenario.settle(await scenario.row(snapshot), Outcome.DEFERRED)
    scenario.pass_time(MINUTE)

    await scenario.tick()

    row = await scenario.row(snapshot)
    assert (row.attempt, row.next_at) == (5, scenario.clock.now + 2 * MINUTE)
    scenario.pass_time(2 * MINUTE)
    await scenario.chase()
    assert (await scenario.row(snapshot)).next_at == scenario.clock.now + 4 * MINUTE


async def test_no_answer_for_24_hours_is_failed_and_said_so(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    published = []
    while (row := await scenario.row(snapshot)).state is State.DISPATCHED:
        assert row.next_at is not None
        scenario.clock.now = row.next_at
        published = await scenario.chase()

    assert row.state is State.FAILED
    assert 24 * HOUR <= scenario.clock.now - NOON <= 25 * HOUR
    (event,) = published
    assert (event.topic, event.type) == (names.REMINDER_DELIVERIES, "todo.reminder.failed.v1")
    assert (event.data.attempt, event.data.reason) == (row.attempt, row.reason)
    assert row.reason


async def test_hours_in_which_nothing_ran_end_nothing(scenario: Scenario) -> None:
    """The laptop was closed over the weekend: on Monday it is dispatched again, and again, before it is given up."""
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    scenario.pass_time(3 * DAY)

    for attempt in range(2, 2 + schedule.TRIES):
        assert [event.data.attempt for event in await scenario.chase()] == [attempt]
        scenario.pass_time(HOUR)

    assert [event.type for event in await scenario.chase()] == ["todo.reminder.failed.v1"]


async def test_while_the_outbox_holds_the_event_it_is_not_dispatched_again_nor_given_up(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await handlers.dispatch_due(scenario.database)
    for _ in range(30):
        scenario.pass_time(HOUR)
        await scenario.reconcile()

    (event,) = await scenario.publish()
    assert event.data.attempt == 1
    scenario.pass_time(MINUTE)
    assert await scenario.chase() == []
    scenario.pass_time(MINUTE)
    (event,) = await scenario.chase()
    assert event.data.attempt == 2


async def test_unanswered_and_no_longer_wanted_is_told_as_suppressed_and_possibly_sent(scenario: Scenario) -> None:
    """Whoever was sending it may have died after the mail was taken, and before it could tell."""
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    await scenario.arrive(newer(snapshot))
    scenario.pass_time(HOUR)

    (event,) = await scenario.chase()

    row = await scenario.row(snapshot)
    assert row.state is State.SUPPRESSED
    assert event.type == "todo.reminder.suppressed.v1"
    assert (event.data.attempt, event.data.reason, event.data.possibly_sent) == (1, row.reason, True)


async def test_concurrent_chasers_dispatch_each_once(scenario: Scenario) -> None:
    await scenario.arrive(*(task(firing(NOON)) for _ in range(1200)))
    await scenario.tick()
    scenario.pass_time(HOUR)

    await asyncio.gather(*(scenario.reconcile() for _ in range(3)))

    assert {row.attempt for row in await scenario.rows()} == {2}
    assert len(await scenario.publish()) == 1200


async def test_a_chaser_does_not_wait_for_what_another_one_holds(scenario: Scenario) -> None:
    await scenario.arrive(task(firing(NOON)))
    await scenario.tick()
    scenario.pass_time(HOUR)

    async with scenario.database.transaction() as tx:
        assert len(await store.claim_unanswered(tx, 10)) == 1
        assert await handlers.chase_unanswered(scenario.database) == 0


async def test_a_snapshot_waits_for_a_claim_under_way_and_sees_what_it_did(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)

    async with scenario.database.transaction() as tx:
        (due,) = await store.claim_due(tx, 10)
        withdrawal = asyncio.create_task(scenario.arrive(newer(snapshot)))
        await until_blocked(scenario)
        await store.save(tx, [schedule.dispatched(due, tx.now)])
    await withdrawal

    row = await scenario.row(snapshot)
    assert (row.state, row.attempt, row.wanted) == (State.DISPATCHED, 1, False)


async def test_an_outcome_waits_for_a_dispatch_under_way_and_sees_what_it_did(scenario: Scenario) -> None:
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    first = await scenario.row(snapshot)
    scenario.pass_time(HOUR)

    async with scenario.database.transaction() as tx:
        ((row, _),) = await store.claim_unanswered(tx, 10)
        outcome = asyncio.create_task(scenario.settle(first, Outcome.SUPPRESSED))
        await until_blocked(scenario)
        await store.save(tx, [schedule.unanswered(row, tx.now, in_outbox=False)])
    await outcome

    assert ((await scenario.row(snapshot)).state, (await scenario.row(snapshot)).attempt) == (State.DISPATCHED, 2)


async def until_blocked(scenario: Scenario) -> None:
    """Until somebody waits for a lock in this database."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await scenario.database.pool.fetchval(waiting):  # noqa: ASYNC110 - the event is the database's
            await asyncio.sleep(0.005)


async def test_snapshots_outcomes_and_claims_at_once_end_in_order(scenario: Scenario) -> None:
    """Nothing deadlocks, and every instance is dispatched at most once an attempt."""
    snapshots = [task(*(firing(NOON, text=f"-PT{index}H") for index in range(4))) for _ in range(100)]
    await scenario.arrive(*snapshots)

    async def claims() -> None:
        for _ in range(10):
            await handlers.dispatch_due(scenario.database)

    async def edits(step: int) -> None:
        for version in range(2, 8):
            for start in range(0, 100, 20):
                batch = snapshots[start : start + 20][::step]
                await scenario.arrive(*(replace(one, version=version) for one in batch))

    async def answers() -> None:
        for _ in range(10):
            for row in [row for row in await scenario.rows() if row.state is State.DISPATCHED][:50]:
                await scenario.settle(row, Outcome.DELIVERED)

    await asyncio.gather(claims(), edits(1), edits(-1), answers())

    due = Counter((event.subject, event.data.reminder, event.data.attempt) for event in await scenario.tick())
    assert set(due.values()) == {1}
    assert len(due) == 400


async def test_a_look_dispatches_all_there_is_and_leaves_word_in_between(
    scenario: Scenario, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "CLAIM", 10)
    monkeypatch.setattr(polling, "PAGES", 2)
    await scenario.arrive(*(task(firing(NOON)) for _ in range(55)))
    polls: list[dt.datetime] = []

    await polling.check_due_tasks(database, polls.append)

    assert len(await scenario.publish()) == 55
    assert polls == [NOON] * 3
