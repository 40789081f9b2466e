"""A paused relay publishes nothing, says when nothing is in flight, and goes on by itself when its holder is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.integration.messaging.conftest import SCHEMA, MovableClock
from tests.support.publishing import Broker, Call, Refusal
from tests.support.waiting import until
from todo.contracts import names
from todo.contracts.events import REMINDER_DUE, Outcome, ReminderDue, ReminderOutcome, outcome_type
from todo.dapr.client import Dapr
from todo.messaging import backoff, calls, pause
from todo.messaging import relay as relays
from todo.messaging.database import connect
from todo.messaging.pause import HeldError, LostError
from todo.messaging.postgres import Row
from todo.messaging.relay import Relay
from todo.messaging.unit import Database, Outgoing, outgoing

NOW = MovableClock().now
HOUR = 3600.0  # seconds: a lease that no test outlives

Start = Callable[[], Relay]


def due(key: str = "k") -> Outgoing:
    data = ReminderDue(uuid4(), "PT0S", NOW, 1)
    return outgoing("shop", names.TASK_REMINDERS, REMINDER_DUE, key, data, now=NOW)


def done(key: str = "k") -> Outgoing:
    data = ReminderOutcome(uuid4(), "PT0S", NOW, 1, Outcome.FAILED, NOW)
    return outgoing("shop", names.REMINDER_DELIVERIES, outcome_type(Outcome.FAILED), key, data, now=NOW)


async def emit(database: Database, *events: Outgoing) -> None:
    async with database.transaction() as unit:
        unit.emit(*events)


async def is_quiet(database: Database) -> bool:
    held = await pause.in_force(database.pool)
    return held is not None and held.quiet


async def depth(database: Database) -> int:
    return int(await database.pool.fetchval("SELECT count(*) FROM outbox"))


async def is_empty(database: Database) -> bool:
    return await depth(database) == 0


async def paused(database: Database, *, lease: float = HOUR) -> None:
    await pause.begin(database.pool, SCHEMA, "swap", "to another broker", lease=lease)


async def _park(_: Row, __: str) -> None:
    raise AssertionError("nothing is too large here")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "SWEEP", 0.05)
    monkeypatch.setattr(backoff, "DELAYS", (0.01, 0.02, 0.05))


@pytest.fixture
def new(url: str, dapr: Dapr) -> Start:
    return lambda: Relay(lambda: connect(url, SCHEMA), dapr, names.PUBSUB, SCHEMA, park=_park, clock=lambda: NOW)


@asynccontextmanager
async def running(*started: Relay) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(relay.run()) for relay in started]
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_while_paused_commits_go_on_and_nothing_is_published_until_the_end(
    database: Database, broker: Broker, new: Start
) -> None:
    await emit(database, due("before"))
    await paused(database)
    async with running(new()):
        await until(lambda: is_quiet(database))
        await emit(database, *(due(str(number)) for number in range(10)))
        assert await pause.renew(database.pool, "swap", lease=HOUR)
        assert (broker.calls, await depth(database)) == ([], 11)
        await pause.end(database.pool, SCHEMA, "swap")
        await until(lambda: is_empty(database))
    assert [one.key for one in broker.published] == ["before", *map(str, range(10))]


async def test_the_beginning_and_the_end_of_a_pause_wake_the_relay(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no sweep within the test's deadline, only the wake-ups can have done it."""
    await emit(database, due("first"))
    async with running(new()):
        await until(lambda: is_empty(database))
        monkeypatch.setattr(relays, "SWEEP", HOUR)
        await emit(database, due("second"))
        await until(lambda: is_empty(database))
        await paused(database)
        await until(lambda: is_quiet(database))
        event = due("third")
        await database.pool.execute(
            "INSERT INTO outbox (topic, key, envelope, created_at) VALUES ($1, $2, $3, $4)",
            event.topic,
            event.key,
            event.envelope,
            NOW,
        )
        await pause.end(database.pool, SCHEMA, "swap")
        await until(lambda: is_empty(database))
    assert len(broker.published) == 3


async def test_a_holder_that_is_frozen_or_dead_is_forgotten(database: Database, broker: Broker, new: Start) -> None:
    await paused(database, lease=0.5)
    await emit(database, due())
    async with running(new()):
        await until(lambda: is_quiet(database))
        assert broker.calls == []
        await until(lambda: is_empty(database))
    with pytest.raises(LostError):
        await pause.renew(database.pool, "swap")


async def test_a_call_in_flight_ends_before_the_relay_is_quiet(database: Database, broker: Broker, new: Start) -> None:
    broker.gate.clear()
    await emit(database, due("in flight"))
    async with running(new()):
        async with asyncio.timeout(15):
            await broker.arrived.wait()
        await paused(database)
        for _ in range(20):  # as many looks as a relay that did not wait would need
            assert not await pause.renew(database.pool, "swap", lease=HOUR)
            await asyncio.sleep(0.01)
        broker.gate.set()
        await until(lambda: is_quiet(database))
        assert await is_empty(database)


async def test_a_page_ends_before_its_next_call(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next call is of another topic, and when it is one event that a bulk call refused."""
    monkeypatch.setattr(calls, "BYTES", 1_000)
    broker.decide = lambda call: None if call.singly else _refuse_all(call)
    broker.gate.clear()
    await emit(database, due("a"), due("b"), due("c"), done("d"))
    async with running(new()):
        async with asyncio.timeout(15):
            await broker.arrived.wait()
        await paused(database)
        broker.gate.set()
        await until(lambda: is_quiet(database))
        assert len(broker.calls) == 1
        assert await depth(database) == 4
        await pause.end(database.pool, SCHEMA, "swap")
        await until(lambda: is_empty(database))
    assert sorted(one.key for one in broker.published) == ["a", "b", "c", "d"]


def _refuse_all(call: Call) -> Refusal:
    return Refusal.of(dict.fromkeys(call.entries, "no leader"))


async def test_a_relay_that_takes_over_stays_paused(database: Database, broker: Broker, new: Start) -> None:
    await paused(database)
    await emit(database, due())
    async with running(new()) as (leader,):
        await until(lambda: is_quiet(database))
        await database.pool.execute("UPDATE relay_pause SET quiet_at = NULL")
        async with running(new()):
            leader.cancel()
            await until(lambda: is_quiet(database))  # said by the second one
            assert broker.calls == []
            await pause.end(database.pool, SCHEMA, "swap")
            await until(lambda: is_empty(database))


async def test_only_the_relay_that_leads_says_that_it_is_quiet(database: Database, broker: Broker, new: Start) -> None:
    """Another one knows nothing of what the leader has in flight."""
    broker.gate.clear()
    await emit(database, due())
    async with running(new()):
        async with asyncio.timeout(15):
            await broker.arrived.wait()
        async with running(new(), new()):
            await paused(database)
            for _ in range(20):
                assert not await is_quiet(database)
                await asyncio.sleep(0.01)
            broker.gate.set()
            await until(lambda: is_quiet(database))


async def test_a_pause_has_one_holder_at_a_time(database: Database) -> None:
    await paused(database)
    with pytest.raises(HeldError, match=r"already paused until \d\d:\d\d:\d\d UTC by swap \(to another broker\)"):
        await pause.begin(database.pool, SCHEMA, "another", "impatience")
    await pause.end(database.pool, SCHEMA, "another")
    assert await pause.in_force(database.pool)
    await pause.renew(database.pool, "swap", lease=0.0)
    await pause.begin(database.pool, SCHEMA, "another", "its turn", lease=HOUR)
    with pytest.raises(LostError):
        await pause.renew(database.pool, "swap")
    held = await pause.in_force(database.pool)
    assert held is not None
    assert (held.holder, held.reason, held.quiet) == ("another", "its turn", False)


async def test_a_pause_begun_anew_is_not_quiet_yet(database: Database, new: Start) -> None:
    await paused(database)
    async with running(new()):
        await until(lambda: is_quiet(database))
    await paused(database)
    assert not await is_quiet(database)
