import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from tests.integration.messaging.conftest import MovableClock
from tests.support.publishing import Broker, Call, Refusal
from todo.contracts import events, names
from todo.contracts.envelope import Event, encode, new_trace
from todo.contracts.events import EventParked, ReminderDue
from todo.dapr.client import Dapr
from todo.dapr.errors import SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.messaging import calls, parking
from todo.messaging.consumer import Consumer
from todo.messaging.direct import direct_unit
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, DirectUnit, Outgoing, Transaction

TOPIC = names.TASK_REMINDERS
NOW = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)

Act = Callable[[Sequence[Event]], Awaitable[None] | None]


class KilledError(BaseException):
    """The process ends here."""


def event(name: str, *, replay: int = 0) -> bytes:
    return encode(
        event_id=f"id of {name}", event_type=events.REMINDER_DUE, source="test", subject=name, time=NOW,
        traceparent=new_trace(), data=msgspec.json.encode(ReminderDue(uuid4(), name, NOW, 1)), replay=replay,
    )  # fmt: skip


PROBE = msgspec.json.encode({"id": "p", "type": events.PROBE, "data": {"task_id": 17}})


class Shop:
    """A consumer whose handler writes one effect per event, and does what a test has it do to some."""

    def __init__(self, database: Database, clock: MovableClock) -> None:
        self.database = database
        self.clock = clock
        self.fates: dict[str, Exception | BaseException] = {}
        self.calls: list[list[str]] = []
        self.begin()

    def begin(self) -> None:
        """Start the process (again): what it knew is gone."""
        self.sightings = DatabaseSightings(self.database.pool, "host:1", self.clock)
        self.consumer = Consumer(
            "shop", {TOPIC: self.handle}, scope=self.database.transaction, park=self.park, sightings=self.sightings,
            clock=self.clock,
        )  # fmt: skip

    async def handle(self, arrived: Sequence[Event], unit: Transaction) -> None:
        self.calls.append([one.data.reminder for one in arrived])
        for one in arrived:
            await unit.connection.execute("INSERT INTO effects VALUES ($1, 0)", one.data.reminder)
            unit.emit(parking.announcement("effect", parking.letter("effect", one, "", 0, NOW)))
            if fate := self.fates.get(one.data.reminder):
                raise fate

    async def park(self, letters: Sequence[EventParked], unit: Transaction) -> None:
        unit.emit(*(parking.announcement("shop", one) for one in letters))

    async def deliver(self, *originals: bytes) -> None:
        await self.consumer.deliver(TOPIC, originals)

    async def killed_by(self, *originals: bytes) -> None:
        with pytest.raises(KilledError):
            await self.deliver(*originals)
        self.begin()

    async def effects(self) -> list[str]:
        return [row["name"] for row in await self.database.pool.fetch("SELECT name FROM effects ORDER BY name")]

    async def _letters(self) -> list[EventParked]:
        rows = await self.database.pool.fetch("SELECT envelope FROM outbox ORDER BY id")
        return [msgspec.convert(msgspec.json.decode(row["envelope"])["data"], EventParked) for row in rows]

    async def parked(self) -> list[EventParked]:
        return [letter for letter in await self._letters() if letter.app == "shop"]

    async def told(self) -> list[str]:
        """Whose effects are told of in the outbox."""
        return sorted(letter.subject for letter in await self._letters() if letter.app == "effect")


@pytest.fixture
def shop(database: Database, clock: MovableClock) -> Shop:
    return Shop(database, clock)


async def test_a_batch_is_one_call_and_one_transaction(shop: Shop) -> None:
    await shop.deliver(event("a"), event("b"), event("c"))
    assert shop.calls == [["a", "b", "c"]]
    xids = await shop.database.pool.fetch("SELECT DISTINCT xmin FROM effects")
    assert len(xids) == 1
    assert (await shop.effects(), await shop.told()) == (["a", "b", "c"], ["a", "b", "c"])


async def test_an_empty_batch_is_nothing(shop: Shop) -> None:
    await shop.deliver()
    assert shop.calls == []


async def test_poison_is_isolated_and_parked_after_three_failures_with_its_bytes(shop: Shop) -> None:
    shop.fates["poison"] = ValueError("it cannot be")
    poison = event("poison", replay=2)
    await shop.deliver(event("a"), poison, event("b"))
    assert (await shop.effects(), await shop.told()) == (["a", "b"], ["a", "b"])
    (letter,) = await shop.parked()
    assert (letter.app, letter.topic, letter.event_id, letter.subject) == ("shop", TOPIC, "id of poison", "poison")
    assert (letter.body, letter.size, letter.attempts, letter.replay) == (poison, len(poison), 3, 2)
    assert letter.error == "ValueError: it cannot be"
    assert shop.calls[1:] == [["a"], ["poison"], ["poison"], ["poison"], ["b"]]


async def test_an_event_that_no_table_takes_is_its_own_fault(shop: Shop) -> None:
    shop.fates["poison"] = asyncpg.DataError("value out of int32 range")
    await shop.deliver(event("poison"), event("a"))
    assert (await shop.effects(), len(await shop.parked())) == (["a"], 1)


async def test_what_fails_in_company_and_not_alone_is_not_parked(shop: Shop) -> None:
    class Once(dict[str, Exception]):
        def get(self, key: str, _: object = None) -> Exception | None:  # type: ignore[override]
            return self.pop(key, None)

    shop.fates = Once(a=ValueError("only the first time"))  # type: ignore[assignment]
    await shop.deliver(event("a"), event("b"))
    assert (await shop.effects(), await shop.parked()) == (["a", "b"], [])


@pytest.mark.parametrize(
    "failure",
    [
        UnavailableError("backend"),
        SidecarAwayError("refused"),
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.DiskFullError("full"),
        TimeoutError(),
        OSError("network"),
    ],
)
async def test_the_environments_failure_leaves_the_batch_as_if_it_had_not_come(shop: Shop, failure: Exception) -> None:
    shop.fates["b"] = failure
    with pytest.raises(UnavailableError):
        await shop.deliver(event("a"), event("b"), b"unreadable")
    assert (await shop.effects(), await shop.told(), await shop.parked()) == ([], [], [])
    shop.fates.clear()
    await shop.deliver(event("a"), event("b"), b"unreadable")
    assert (await shop.effects(), len(await shop.parked())) == (["a", "b"], 1)


async def test_an_outage_while_poison_is_isolated_parks_nothing(shop: Shop) -> None:
    shop.fates = {"poison": ValueError("own"), "b": UnavailableError("away")}
    with pytest.raises(UnavailableError):
        await shop.deliver(event("poison"), event("b"))
    assert (await shop.effects(), await shop.parked()) == ([], [])


async def test_unreadables_are_parked_in_the_same_transaction_each_with_its_reason(shop: Shop) -> None:
    wrong_type = msgspec.json.encode({"id": "w", "type": "todo.strange.v9", "data": {}})
    await shop.deliver(b"\xff", event("a"), wrong_type, b"{}")
    assert await shop.effects() == ["a"]
    letters = await shop.parked()
    assert [letter.body for letter in letters] == [b"\xff", wrong_type, b"{}"]
    assert all(letter.error and letter.attempts == 1 for letter in letters)


async def test_a_megabyte_of_poison_is_parked_as_its_head_with_size_and_hash(shop: Shop) -> None:
    original = b"x" * 2**20
    await shop.deliver(original)
    (letter,) = await shop.parked()
    assert (len(letter.body), letter.size) == (events.PARKED_LIMIT, 2**20)
    assert letter.event_id == f"sha256:{letter.sha256}"


async def test_a_probe_is_acknowledged_and_reaches_no_handler(shop: Shop) -> None:
    await shop.deliver(PROBE, event("a"))
    assert shop.calls == [["a"]]
    assert await shop.parked() == []


async def test_after_a_kill_events_are_taken_one_by_one_for_a_while(shop: Shop, clock: MovableClock) -> None:
    await shop.deliver(event("before"))
    shop.begin()
    await shop.deliver(event("a"), event("b"))
    assert shop.calls == [["before"], ["a"], ["b"]]
    clock.advance(seconds=61)
    await shop.deliver(event("c"), event("d"))
    assert shop.calls[3:] == [["c", "d"]]


async def test_a_clean_stop_is_no_kill(shop: Shop) -> None:
    await shop.deliver(event("before"))
    await shop.sightings.stop()
    shop.begin()
    await shop.deliver(event("a"), event("b"))
    assert shop.calls[1:] == [["a", "b"]]


async def test_the_third_sighting_of_an_event_that_kills_the_process_parks_it(shop: Shop) -> None:
    shop.fates["killer"] = KilledError()
    killer = event("killer")
    await shop.killed_by(event("a"), killer, event("b"))  # not cautious yet: uncounted
    await shop.killed_by(event("a"), killer, event("b"))
    await shop.killed_by(killer, event("b"))
    await shop.deliver(killer, event("b"))
    assert await shop.effects() == ["a", "b"]
    (letter,) = await shop.parked()
    assert (letter.body, letter.attempts) == (killer, 3)
    assert "ended 2 times" in letter.error
    assert await shop.database.pool.fetchval("SELECT count(*) FROM sightings") == 0


async def test_outages_while_cautious_count_as_no_kills(shop: Shop) -> None:
    await shop.deliver(event("before"))
    shop.begin()
    shop.fates["a"] = UnavailableError("backend is away")
    for _ in range(5):
        with pytest.raises(UnavailableError):
            await shop.deliver(event("a"))
    shop.fates.clear()
    await shop.deliver(event("a"))
    assert (await shop.effects(), await shop.parked()) == (["a", "before"], [])


async def test_unclean_ends_in_one_outage_park_no_event_that_was_only_put_off(shop: Shop) -> None:
    await shop.deliver(event("before"))
    shop.fates["a"] = UnavailableError("backend is away")
    for _ in range(4):
        shop.begin()
        with pytest.raises(UnavailableError):
            await shop.deliver(event("a"))
    shop.fates.clear()
    await shop.deliver(event("a"))
    assert (await shop.effects(), await shop.parked()) == (["a", "before"], [])


async def test_a_sighting_that_cannot_be_taken_back_is_counted_once_in_a_process(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: str) -> None:
        raise ConnectionRefusedError

    await shop.deliver(event("before"))
    shop.begin()
    monkeypatch.setattr(shop.sightings, "take_back", away)
    shop.fates["a"] = UnavailableError("backend is away")
    for _ in range(4):
        with pytest.raises(UnavailableError):
            await shop.deliver(event("a"))
    assert await shop.database.pool.fetchval("SELECT seen FROM sightings") == 1


async def test_deliveries_at_the_same_time_while_cautious_are_one_sighting(shop: Shop) -> None:
    await shop.deliver(event("before"))
    shop.begin()
    shop.fates["a"] = UnavailableError("backend is away")
    await asyncio.gather(*(shop.deliver(event("a")) for _ in range(3)), return_exceptions=True)
    assert await shop.database.pool.fetchval("SELECT seen FROM sightings") == 0  # and were taken back once


async def test_poison_is_parked_while_cautious_too(shop: Shop) -> None:
    await shop.deliver(event("before"))
    shop.begin()
    shop.fates["poison"] = ValueError("own")
    await shop.deliver(event("poison"), b"unreadable", event("a"))
    assert await shop.effects() == ["a", "before"]
    assert sorted(letter.attempts for letter in await shop.parked()) == [1, 3]


async def test_an_event_with_an_id_that_is_no_key_can_be_counted_and_parked(shop: Shop) -> None:
    await shop.deliver(event("before"))
    shop.begin()
    shop.fates["poison"] = ValueError("own")
    strange = event("poison").replace(b"id of poison", b"x" * 9_000)
    await shop.deliver(strange, strange.replace(b"x" * 9_000, b"nul\\u0000"))
    assert [letter.event_id[:7] for letter in await shop.parked()] == ["sha256:"] * 2


async def test_without_a_database_what_was_emitted_is_published_before_the_answer(dapr: Dapr, broker: Broker) -> None:
    told = parking.announcement("shop", EventParked("a", "t", "e", "", "", b"", 0, "", "", 1, NOW))

    async def fail(unit: DirectUnit) -> None:
        async with unit.isolated():
            unit.emit(told)
            raise ValueError("undone")

    async with direct_unit(dapr, names.PUBSUB) as unit:
        with pytest.raises(ValueError, match="undone"):
            await fail(unit)
        unit.emit(told)
    assert len(broker.published) == 1
    broker.decide = lambda call: Refusal.of(dict.fromkeys(call.entries, "no"))
    with pytest.raises(UnavailableError):
        async with direct_unit(dapr, names.PUBSUB) as unit:
            unit.emit(told)


def letter_of(size: int) -> Outgoing:
    return parking.announcement("shop", EventParked("shop", TOPIC, "e", "", "", b"x" * size, size, "", "", 1, NOW))


async def test_without_a_database_calls_stay_below_what_a_sidecar_takes(
    dapr: Dapr, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BYTES", 10_000)
    async with direct_unit(dapr, names.PUBSUB) as unit:
        unit.emit(*(letter_of(3_000) for _ in range(5)))
    assert [len(call.entries) for call in broker.calls] == [2, 2, 1]
    assert len(broker.published) == 5


async def test_without_a_database_a_letter_that_is_too_large_is_shortened_and_holds_nothing_up(
    dapr: Dapr, broker: Broker
) -> None:
    """Events of effects go first, so that they never wait for letters."""

    def decide(call: Call) -> Refusal | None:
        return Refusal(413) if sum(map(len, call.entries.values())) > 20_000 else None

    broker.decide = decide
    effect = Outgoing(TOPIC, "k", event("effect"))
    async with direct_unit(dapr, names.PUBSUB) as unit:
        unit.emit(letter_of(100_000), letter_of(10), effect)
    assert [one.topic for one in broker.published] == [TOPIC, names.DEAD_LETTERS, names.DEAD_LETTERS]
    shortened = msgspec.convert(msgspec.json.decode(broker.published[1].envelope)["data"], EventParked)
    assert (shortened.size, 0 < len(shortened.body) < 20_000) == (100_000, True)
