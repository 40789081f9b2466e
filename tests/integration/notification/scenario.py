"""notification-service without its HTTP side: a real database, a clock that the test moves, events as bytes."""

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec.structs import replace

from todo.contracts import envelope, events, names
from todo.contracts.envelope import Event
from todo.contracts.events import EventData, Outcome, ReminderInstance, ReminderKey, ReminderOutcome, TaskSnapshot
from todo.contracts.invocation import ResolvedReminder, ResolvedReminders, ResolveReminders
from todo.messaging import parking
from todo.messaging.consumer import Consumer
from todo.messaging.migrations import migrate
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, Transaction, outgoing
from todo.notification import handlers, polling, store
from todo.notification.app import MIGRATIONS, SCHEMA
from todo.notification.schedule import Reminder, State

NOON = dt.datetime(2031, 5, 6, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)
TEXT = "-PT1H"


def prepare(url: str) -> None:
    migrate(url, SCHEMA, MIGRATIONS)


class MovableClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        return self.now


def firing(at: dt.datetime, *, text: str = TEXT, past: bool = False) -> ReminderInstance:
    return ReminderInstance(text, at, past)


def task(*reminders: ReminderInstance, version: int = 1, task_id: UUID | None = None, **fields: object) -> TaskSnapshot:
    snapshot = TaskSnapshot(
        task_id=task_id or uuid4(),
        user_id=1,
        epoch=1,
        version=version,
        title="pay rent",
        status="open",
        deleted=False,
        reminders=reminders,
    )
    return replace(snapshot, **fields)


def newer(snapshot: TaskSnapshot, *reminders: ReminderInstance, **fields: object) -> TaskSnapshot:
    return replace(snapshot, version=snapshot.version + 1, reminders=reminders, **fields)


class Scenario:
    def __init__(self, database: Database, clock: MovableClock) -> None:
        self.database = database
        self.clock = clock
        self.consumer: Consumer[Transaction] = Consumer(
            handlers.APP_ID,
            {names.TASK_EVENTS: handlers.task_event, names.REMINDER_DELIVERIES: handlers.delivery_outcome},
            scope=database.transaction,
            park=self._park,
            sightings=DatabaseSightings(database.pool, "test:1", clock),
            clock=clock,
        )
        self.history: list[tuple[str, bytes]] = []

    async def arrive(self, *snapshots: TaskSnapshot) -> None:
        """Deliver snapshots in one batch."""
        await self.deliver(
            names.TASK_EVENTS,
            [self._event(names.TASK_EVENTS, events.TASK_UPDATED, one.task_id, one) for one in snapshots],
        )

    async def settle(self, row: Reminder, outcome: Outcome, **fields: object) -> None:
        """Deliver the outcome of the row's current attempt."""
        await self.outcomes(replace(outcome_of(row, outcome, self.clock.now), **fields))

    async def outcomes(self, *outcomes: ReminderOutcome) -> None:
        topic = names.REMINDER_DELIVERIES
        await self.deliver(
            topic, [self._event(topic, events.outcome_type(one.outcome), one.task_id, one) for one in outcomes]
        )

    async def deliver(self, topic: str, originals: Sequence[bytes]) -> None:
        self.history += [(topic, original) for original in originals]
        await self.consumer.deliver(topic, originals)

    async def tick(self) -> list[Event]:
        """Dispatch what is due; returns what went to the broker."""
        while await handlers.dispatch_due(self.database) == handlers.CLAIM:
            pass
        return await self.publish()

    async def chase(self) -> list[Event]:
        await self.reconcile()
        return await self.publish()

    async def reconcile(self) -> None:
        """The job, with a backend that has heard of everything."""
        await polling.reconcile_reminders(self.database, self.backend_knows)

    async def backend_knows(self, _: str, body: bytes) -> bytes:
        asked = msgspec.json.decode(body, type=ResolveReminders)
        ends = {row.key: row for row in await self.rows()}
        known = tuple(known_end(key, ends[key.task_id, key.reminder, key.fire_at]) for key in asked.reminders)
        return msgspec.json.encode(ResolvedReminders(known))

    async def publish(self) -> list[Event]:
        """Empty the outbox as the relay would; returns its events in order."""
        rows = await self.database.pool.fetch("DELETE FROM outbox RETURNING id, topic, envelope")
        published = [envelope.decode(row["envelope"], row["topic"]) for row in sorted(rows, key=lambda row: row["id"])]
        assert all(isinstance(event, Event) for event in published)
        return [event for event in published if isinstance(event, Event)]

    async def rows(self) -> list[Reminder]:
        async with self.database.transaction() as tx:
            return await store.page(tx.connection, (UUID(int=0), "", NOON - 100 * 365 * DAY), 10_000)

    async def row(self, snapshot: TaskSnapshot) -> Reminder:
        """The one reminder of this task."""
        (row,) = [row for row in await self.rows() if row.task_id == snapshot.task_id]
        return row

    async def contents(self) -> dict[str, list[dict[str, Any]]]:
        """Everything in the tables that hold effects."""
        return {
            table: [dict(row) for row in await self.database.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]  # noqa: S608 - our own names
            for table in ("tasks", "reminders", "outbox")
        }

    def pass_time(self, duration: dt.timedelta) -> None:
        self.clock.now += duration

    def _event(self, topic: str, kind: str, task_id: UUID, data: EventData) -> bytes:
        return outgoing("backend", topic, kind, str(task_id), data, now=self.clock.now).envelope

    async def _park(self, letters: Sequence[events.EventParked], unit: Transaction) -> None:
        unit.emit(*map(partial(parking.announcement, handlers.APP_ID), letters))


def known_end(key: ReminderKey, row: Reminder) -> ResolvedReminder:
    """backend's answer once it has heard of this end."""
    return ResolvedReminder(
        key,
        answered=(row.attempt,),
        delivered_at=row.updated_at if row.state is State.DELIVERED else None,
        failed=row.reason if row.state is State.FAILED else "",
    )


def outcome_of(row: Reminder, outcome: Outcome, now: dt.datetime) -> ReminderOutcome:
    return ReminderOutcome(row.task_id, row.reminder, row.fire_at, row.attempt, outcome, now, f"because {outcome}")
