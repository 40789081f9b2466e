import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from tests.support.publishing import Broker, Call, Refusal
from tests.support.waiting import until
from todo.contracts import names
from todo.contracts.events import (
    REMINDER_DUE,
    Outcome,
    ReminderDue,
    ReminderOutcome,
    outcome_type,
)
from todo.dapr.client import Dapr
from todo.messaging import backoff, calls, metrics, outbox
from todo.messaging import relay as relays
from todo.messaging.database import OwnConnection, Where, connect
from todo.messaging.postgres import Row
from todo.messaging.relay import Relay
from todo.messaging.unit import Database, Outgoing, outgoing

SCHEMA = "shop"
NOW = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
DUE = names.TASK_REMINDERS
DONE = names.REMINDER_DELIVERIES

Start = Callable[[], Relay]


def due(key: str = "k") -> Outgoing:
    return outgoing("shop", DUE, REMINDER_DUE, key, ReminderDue(uuid4(), "PT0S", NOW, 1), now=NOW)


def done(key: str = "k", reason: str = "") -> Outgoing:
    data = ReminderOutcome(uuid4(), "PT0S", NOW, 1, Outcome.FAILED, NOW, reason)
    return outgoing("shop", DONE, outcome_type(Outcome.FAILED), key, data, now=NOW)


async def emit(database: Database, *events: Outgoing) -> None:
    async with database.transaction() as unit:
        unit.emit(*events)


async def waiting(database: Database) -> list[str]:
    return [row["key"] for row in await database.pool.fetch("SELECT key FROM outbox ORDER BY id")]


async def is_empty(database: Database) -> bool:
    return not await waiting(database)


def keys(broker: Broker, topic: str) -> list[str]:
    return [one.key for one in broker.published if one.topic == topic]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that sweeps and comes back in no time."""
    monkeypatch.setattr(relays, "SWEEP", 0.05)
    monkeypatch.setattr(backoff, "DELAYS", (0.01, 0.02, 0.05))


class Parked:
    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, row: Row, reason: str) -> None:
        assert reason
        self.keys.append(row["key"])


@pytest.fixture
def parked() -> Parked:
    return Parked()


class Connections:
    """Connections of relays, which a test can cut."""

    def __init__(self, url: str) -> None:
        self.where: Where = url
        self.made: list[OwnConnection] = []

    async def __call__(self) -> OwnConnection:
        self.made.append(await connect(self.where, SCHEMA))
        return self.made[-1]


@pytest.fixture
def connections(url: str) -> Connections:
    return Connections(url)


@asynccontextmanager
async def running(*started: Relay) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(relay.run()) for relay in started]
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def new(connections: Connections, dapr: Dapr, parked: Parked) -> Start:
    return lambda: Relay(connections, dapr, names.PUBSUB, SCHEMA, park=parked, clock=lambda: NOW)


async def leads(database: Database) -> bool:
    return len(await leaders(database)) == 1


async def leaders(database: Database) -> list[int]:
    """The backends that hold a relay's lock in this database."""
    rows = await database.pool.fetch(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
    )
    return [row["pid"] for row in rows]


async def test_a_relay_that_is_woken_as_it_is_cancelled_ends(new: Start) -> None:
    """A wake-up that arrives together with the cancellation must not outlive it: the service would never stop."""
    for turns in range(6):
        relay = new()
        rest = asyncio.create_task(relay._rest())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        relay._wake.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        if rest.cancel():
            with pytest.raises(asyncio.CancelledError):
                await rest


async def test_a_commit_wakes_the_relay(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no sweep within the test's deadline, only NOTIFY can have done it."""
    async with running(new()):
        await emit(database, due("first"))
        await until(lambda: is_empty(database))
        monkeypatch.setattr(relays, "SWEEP", 3600)
        await emit(database, due("second"))
        await until(lambda: keys(broker, DUE) == ["first", "second"])
        await emit(database, due("third"))
        await until(lambda: keys(broker, DUE) == ["first", "second", "third"])


async def test_a_lost_wake_up_costs_a_sweep_and_no_event(database: Database, broker: Broker, new: Start) -> None:
    """A process may end between its commit and the ring."""
    async with running(new()):
        await until(lambda: leads(database))
        event = due()
        await database.pool.execute(outbox.INSERT, [event.topic], [event.key], [event.envelope], NOW)
        await until(lambda: is_empty(database))
    assert keys(broker, DUE) == ["k"]


async def test_a_relay_that_waits_to_lead_takes_a_changed_login(
    connections: Connections, new: Start, url: str, tmp_path: Path
) -> None:
    """It must not keep the old login in use, however long another leads."""
    place = tmp_path / "database-url"
    place.write_text(url)
    leader = await connect(url, SCHEMA)
    assert await leader.fetchval(relays._LOCK)
    connections.where = place
    async with running(new()):
        await until(lambda: connections.made)
        place.write_text(f"{url}{'&' if '?' in url else '?'}application_name=anew")
        await until(lambda: len(connections.made) > 1)
        assert connections.made[0].is_closed()
    await leader.close()


async def test_many_commits_are_few_rings_and_the_last_is_rung(database: Database) -> None:
    rung: list[str] = []
    listening = await database.pool.acquire()
    await listening.add_listener("outbox_shop", lambda *_: rung.append("ding"))
    for number in range(50):
        await emit(database, due(str(number)))
    await until(lambda: rung)
    before = len(rung)
    assert before <= 50
    await emit(database, due("last"))
    await until(lambda: len(rung) > before)
    await listening.reset()
    await database.pool.release(listening)


async def test_a_transaction_that_tells_of_nothing_wakes_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[bool] = []
    monkeypatch.setattr(database, "wake_relay", lambda: rung.append(True))
    async with database.transaction() as unit:
        await unit.connection.execute("INSERT INTO effects VALUES ('paid')")
    assert not rung
    await emit(database, due())
    async with database.transaction() as unit:
        await unit.emit_now([due()])
    assert len(rung) == 2


async def test_a_ring_that_fails_is_no_failure_of_what_was_committed(database: Database) -> None:
    await emit(database, due())
    await database.close()
    database.wake_relay()
    await database.close()


async def test_events_of_a_topic_go_out_in_the_order_they_were_written(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "BATCH", 7)
    await emit(database, *(due(str(number)) for number in range(40)))
    async with running(new()):
        await until(lambda: is_empty(database))
    assert keys(broker, DUE) == [str(number) for number in range(40)]


async def test_a_relay_with_a_batch_of_its_own_publishes_no_more_in_one_call(
    database: Database, broker: Broker, connections: Connections, dapr: Dapr, parked: Parked
) -> None:
    await emit(database, *(due(str(number)) for number in range(10)))
    relay = Relay(connections, dapr, names.PUBSUB, SCHEMA, park=parked, clock=lambda: NOW, batch=4)
    async with running(relay):
        await until(lambda: is_empty(database))
    assert [len(call.entries) for call in broker.calls] == [4, 4, 2]


async def test_a_call_stays_below_what_a_sidecar_takes(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BYTES", 10_000)
    await emit(database, *(done(str(number), "x" * 3_000) for number in range(10)), done("big", "x" * 50_000))
    async with running(new()):
        await until(lambda: is_empty(database))
    assert [len(call.entries) for call in broker.calls] == [3, 3, 3, 1, 1] or max(
        sum(map(len, call.entries.values())) for call in broker.calls if len(call.entries) > 1
    ) <= 10_000
    assert len(broker.published) == 11


async def test_what_a_bulk_call_refused_goes_out_singly_and_nothing_twice(
    database: Database, broker: Broker, new: Start, parked: Parked
) -> None:
    def decide(call: Call) -> Refusal | None:
        return None if call.singly else Refusal.of(dict.fromkeys(list(call.entries)[1::2], "leader not available"))

    broker.decide = decide
    await emit(database, *(due(str(number)) for number in range(6)))
    async with running(new()):
        await until(lambda: is_empty(database))
    assert sorted(keys(broker, DUE)) == [str(number) for number in range(6)]
    assert sorted(one.key for one in broker.published if one.singly) == ["1", "3", "5"]
    assert parked.keys == []


@pytest.mark.parametrize(
    "singly",
    [
        Refusal(413),
        Refusal(500, {"errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE", "message": "kafka server: Message was too large"}),
        Refusal(500, {"message": "kafka: Attempt to produce message larger than configured Producer.MaxMessageBytes"}),
    ],
)
async def test_what_is_too_large_is_parked_and_its_neighbours_are_published(
    database: Database, broker: Broker, new: Start, parked: Parked, singly: Refusal
) -> None:
    def decide(call: Call) -> Refusal | None:
        if call.singly:
            return singly if len(call.entries[""]) > 50_000 else None
        large = [entry for entry, event in call.entries.items() if len(event) > 50_000]
        return Refusal.of(dict.fromkeys(large, "too large")) if large else None

    broker.decide = decide
    await emit(database, done("a"), done("big", "x" * 60_000), done("b"))
    async with running(new()):
        await until(lambda: is_empty(database))
    assert keys(broker, DONE) == ["a", "b"]
    assert parked.keys == ["big"]


async def test_a_bulk_call_that_is_too_large_as_a_whole_goes_out_singly(
    database: Database, broker: Broker, new: Start, parked: Parked
) -> None:
    broker.decide = lambda call: None if call.singly else Refusal(413)
    await emit(database, due("a"), due("b"))
    async with running(new()):
        await until(lambda: is_empty(database))
    assert (keys(broker, DUE), parked.keys) == (["a", "b"], [])


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(404, {"errorCode": "ERR_PUBSUB_NOT_FOUND"}),
        Refusal(400, {"errorCode": "ERR_PUBSUB_NOT_FOUND"}),
        Refusal(400, {"errorCode": "ERR_PUBSUB_NOT_CONFIGURED"}),
        Refusal(403, {"errorCode": "ERR_PUBSUB_FORBIDDEN"}),
        Refusal(401),
        Refusal(500, {"errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE", "message": "broker is away"}),
        Refusal(503),
    ],
)
async def test_an_outage_is_waited_out_whatever_it_looks_like(
    database: Database, broker: Broker, new: Start, parked: Parked, refusal: Refusal
) -> None:
    broker.decide = lambda _: refusal
    await emit(database, due("a"), due("b"))
    async with running(new()):
        await until(lambda: len(broker.calls) > 3)
        assert await waiting(database) == ["a", "b"]
        broker.decide = lambda _: None
        await until(lambda: is_empty(database))
    assert (keys(broker, DUE), parked.keys) == (["a", "b"], [])


async def test_a_sidecar_that_is_down_loses_nothing_and_is_asked_ever_less(
    database: Database, broker: Broker, new: Start
) -> None:
    await broker.stop()
    relay = new()
    async with running(relay):
        await emit(database, due("a"))
        await until(lambda: relay._topics.failures.get(DUE, 0) > 3)
        await emit(database, due("b"))
        assert await waiting(database) == ["a", "b"]
        await broker.start()
        await until(lambda: is_empty(database))
    assert keys(broker, DUE) == ["a", "b"]
    assert relay._topics.failures == {}


async def test_a_topic_that_is_refused_stands_in_no_other_topics_way(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when more of its events wait than one batch holds."""
    monkeypatch.setattr(relays, "BATCH", 3)
    broker.decide = lambda call: Refusal(403) if call.topic == DUE else None
    await emit(database, *(due(f"stuck {number}") for number in range(10)), done("free"))
    async with running(new()):
        await until(lambda: keys(broker, DONE) == ["free"])
        assert len(await waiting(database)) >= 10
        broker.decide = lambda _: None
        await until(lambda: is_empty(database))
    assert keys(broker, DUE) == [f"stuck {number}" for number in range(10)]


async def test_a_topic_that_is_refused_delays_no_other_and_is_asked_only_when_its_back_off_is_over(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "DELAYS", (3600,))
    broker.decide = lambda call: Refusal(403) if call.topic == DUE else None
    await emit(database, due("stuck"))
    async with running(new()):
        await until(lambda: broker.calls)
        monkeypatch.setattr(relays, "SWEEP", 3600)
        for number in range(5):
            await emit(database, due("stuck"), done(str(number)))
            await until(lambda: len(keys(broker, DONE)) == number + 1)  # noqa: B023 - it is awaited here
    assert [call.topic for call in broker.calls].count(DUE) == 1


async def test_calls_that_hang_cost_no_leadership_and_a_topics_first_failure_ends_its_turn(
    database: Database, broker: Broker, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls together take longer than an idle session may; each alone takes less."""
    monkeypatch.setattr(relays, "FROZEN_AFTER", "1800ms")
    monkeypatch.setattr(calls, "BYTES", 1_000)
    broker.gate.clear()
    await emit(database, *(one(str(number)) for number in range(9) for one in (due, done)))
    http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1))
    relay = Relay(connections, Dapr(http, broker.url), names.PUBSUB, SCHEMA, park=Parked(), clock=lambda: NOW)
    async with http, running(relay):
        await until(lambda: relay._topics.failures.keys() == {DUE, DONE})
        assert [call.topic for call in broker.calls] == [DUE, DONE]
        assert await leaders(database)
        assert len(connections.made) == 1
        broker.gate.set()
        await until(lambda: is_empty(database))
    assert len(connections.made) == 1


async def test_a_drain_ends_after_some_pages_and_watches_the_outbox_meanwhile(
    database: Database, new: Start, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "BATCH", 2)
    monkeypatch.setattr(relays, "PAGES", 3)
    await emit(database, *(due(str(number)) for number in range(10)))
    connection = await connections()
    relay = new()
    assert await relay.drain(connection) == 6
    assert metrics.outbox_depth._value.get() in {8, 6, 4}
    assert relay._wake.is_set()
    await connection.close()


async def test_a_depth_is_counted_up_to_a_bound(database: Database) -> None:
    await database.pool.execute(
        "INSERT INTO outbox (topic, key, envelope, created_at) SELECT 't', 'k', '', $1::timestamptz + n * interval '1s'"
        " FROM generate_series(1, 10100) n",
        NOW,
    )
    depth = await database.pool.fetchrow(outbox.DEPTH)
    assert depth is not None
    assert (depth["depth"], depth["oldest"]) == (10_001, NOW + dt.timedelta(seconds=1))


async def left_alone(database: Database) -> bool:
    return await waiting(database) == ["stuck"]


async def test_an_event_that_is_refused_alone_waits_alone(
    database: Database, broker: Broker, new: Start, parked: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "BATCH", 2)
    healed = False

    def decide(call: Call) -> Refusal | None:
        stuck = [entry for entry, event in call.entries.items() if b'"subject":"stuck"' in event and not healed]
        if call.singly:
            return Refusal(500, {"message": "no leader for partition 3"}) if stuck else None
        return Refusal.of(dict.fromkeys(stuck, "no leader")) if stuck else None

    broker.decide = decide
    await emit(database, due("stuck"), *(due(str(number)) for number in range(5)))
    async with running(new()):
        await until(lambda: keys(broker, DUE) == ["0", "1", "2", "3", "4"])
        await until(lambda: left_alone(database))  # what was published is deleted a moment later
        assert parked.keys == []
        healed = True
        await until(lambda: is_empty(database))


async def test_an_event_that_is_refused_alone_is_tried_once_in_a_drain(
    database: Database, broker: Broker, new: Start, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "BATCH", 2)

    def decide(call: Call) -> Refusal | None:
        stuck = [entry for entry, event in call.entries.items() if b'"subject":"stuck"' in event]
        return Refusal.of(dict.fromkeys(stuck, "no leader")) if stuck else None

    broker.decide = decide
    await emit(database, due("stuck"), *(due(str(number)) for number in range(5)))
    connection = await connections()
    assert await new().drain(connection) == 5
    assert sum(call.singly for call in broker.calls) == 1
    await connection.close()


async def test_publishing_holds_no_transaction_open(database: Database, broker: Broker, new: Start) -> None:
    broker.gate.clear()
    await emit(database, due())
    async with running(new()):
        await asyncio.wait_for(broker.arrived.wait(), 15)
        states = await database.pool.fetch(
            "SELECT state, xact_start FROM pg_stat_activity WHERE pid = ANY($1)", await leaders(database)
        )
        assert [(row["state"], row["xact_start"]) for row in states] == [("idle", None)]
        broker.gate.set()
        await until(lambda: is_empty(database))


async def test_an_end_between_publish_and_delete_publishes_the_same_event_again(
    database: Database, broker: Broker, new: Start
) -> None:
    broker.gate.clear()
    await emit(database, due())
    async with running(new()) as (task,):
        await asyncio.wait_for(broker.arrived.wait(), 15)
        task.cancel()
    assert await waiting(database) == ["k"]
    broker.gate.set()
    async with running(new()):
        await until(lambda: is_empty(database))
    first, second = broker.of(DUE)
    assert first == second


async def test_of_two_relays_one_leads_and_nothing_goes_out_twice(
    database: Database, broker: Broker, new: Start, connections: Connections
) -> None:
    async with running(new(), new()):
        await until(lambda: len(connections.made) == 2)
        for number in range(20):
            await emit(database, due(str(number)))
        await until(lambda: is_empty(database))
        assert await leads(database)
    assert sorted(keys(broker, DUE), key=int) == [str(number) for number in range(20)]


async def test_when_the_leader_loses_its_connection_the_other_takes_over(
    database: Database, broker: Broker, new: Start, connections: Connections
) -> None:
    async with running(new(), new()):
        await until(lambda: leads(database))
        await until(lambda: len(connections.made) == 2)
        (leader,) = await leaders(database)
        await database.pool.execute(f"SELECT pg_terminate_backend({leader})")
        await emit(database, due())
        await until(lambda: is_empty(database))
        await until(lambda: leads(database))
    assert keys(broker, DUE) == ["k"]


async def test_a_frozen_leader_loses_the_lock_and_what_it_does_on_waking_harms_nothing(
    database: Database, broker: Broker, new: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "FROZEN_AFTER", "300ms")
    broker.gate.clear()
    await emit(database, due("held"))
    async with running(new()) as (frozen,):
        await asyncio.wait_for(broker.arrived.wait(), 15)  # it hangs in a publish call, its session idle
        gate, broker.gate = broker.gate, asyncio.Event()
        broker.gate.set()  # others are answered
        async with running(new()):
            await until(lambda: is_empty(database), seconds=5)  # sooner than the held call times out
            gate.set()
            await emit(database, due("after"))
            await until(lambda: "after" in keys(broker, DUE))
            await until(lambda: is_empty(database))
        assert not frozen.done()
    assert set(keys(broker, DUE)) == {"held", "after"}
    assert len(set(broker.of(DUE))) == 2


async def test_a_database_that_is_away_is_waited_for(database: Database, broker: Broker, dapr: Dapr, url: str) -> None:
    refused = 0

    async def reconnect() -> OwnConnection:
        nonlocal refused
        refused += 1
        if refused < 3:
            raise ConnectionRefusedError
        return await connect(url, SCHEMA)

    await emit(database, due())
    relay = Relay(reconnect, dapr, names.PUBSUB, SCHEMA, park=Parked(), clock=lambda: NOW)
    async with running(relay):
        await until(lambda: is_empty(database))
    assert keys(broker, DUE) == ["k"]


async def test_a_failure_that_is_nobodys_outage_ends_the_relay_so_that_its_process_ends(
    database: Database, broker: Broker, connections: Connections, dapr: Dapr
) -> None:
    async def park(_: Row, __: str) -> None:
        raise ValueError("a bug")

    broker.decide = lambda _: Refusal(413)
    await emit(database, due())
    relay = Relay(connections, dapr, names.PUBSUB, SCHEMA, park=park, clock=lambda: NOW)
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(relay.run(), 15)
    assert await waiting(database) == ["k"]


async def test_two_services_in_one_database_have_a_leader_each(url: str) -> None:
    held = [await connect(url, schema) for schema in (SCHEMA, "public")]
    assert [await one.fetchval(relays._LOCK) for one in held] == [True, True]
    await asyncio.gather(*(one.close() for one in held))
