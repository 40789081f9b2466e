"""backend without its HTTP side: a real database, a clock that the test moves, events as bytes."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from todo.backend import commands, handlers
from todo.backend.app import MIGRATIONS, SCHEMA
from todo.backend.commands import Context, Draft
from todo.backend.store import people, tasks
from todo.backend.store.people import User
from todo.contracts import envelope, events, names
from todo.contracts.envelope import Event, new_trace
from todo.contracts.events import (
    EventData,
    EventParked,
    OccurrenceDue,
    Outcome,
    ReminderOutcome,
    SeriesEnded,
    TaskSnapshot,
)
from todo.domain.due import Due
from todo.domain.series import Repetition, TaskSeries
from todo.domain.task import Task
from todo.messaging.consumer import Consumer
from todo.messaging.migrations import migrate
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, outgoing
from todo.recurring.handlers import follow

NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
WEEKLY = Repetition("FREQ=WEEKLY")


def prepare(url: str) -> None:
    migrate(url, SCHEMA, MIGRATIONS)


class MovableClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += dt.timedelta(**by)


def outcome(task_id: UUID, kind: Outcome, *, attempt: int = 1, minutes: int = 0, reason: str = "") -> ReminderOutcome:
    at = NOON + dt.timedelta(minutes=minutes)
    return ReminderOutcome(task_id, "PT0S", NOON, attempt, kind, at, reason, recipient="a@b.test")


def letter(event_id: str = "e", *, replay: int = 0, error: str = "ValueError: no", body: bytes = b"{}") -> EventParked:
    return EventParked(
        "recurring-service", names.TASK_EVENTS, event_id, events.TASK_UPDATED, "subject", body, len(body), "sha",
        error, 3, NOON, replay,
    )  # fmt: skip


class Scenario:
    def __init__(self, database: Database, clock: MovableClock, user: User) -> None:
        self.database = database
        self.clock = clock
        self.user = user
        self.consumer = Consumer(
            names.BACKEND.app_id,
            handlers.HANDLED | {names.TASK_OCCURRENCES: handlers.occurrences(lambda: 1)},
            scope=database.transaction,
            park=handlers.park,
            sightings=DatabaseSightings(database.pool, "host:8000", clock),
            clock=clock,
        )

    @property
    def context(self) -> Context:
        return Context(1, self.clock(), new_trace())

    async def create(self, repetition: Repetition | None = WEEKLY, **fields: Any) -> Task:  # noqa: ANN401 - JSON, or whatever the tested code takes
        usual = {"due": Due("UTC", at=NOON + DAY), "reminders": ("PT0S",)}
        draft = Draft("Water the plants", usual | fields, repetition)
        async with self.database.transaction() as unit:
            task, _ = await commands.create(unit.connection, self.context, self.user, draft)
        return task

    async def complete(self, task: Task) -> Task:
        async with self.database.transaction() as unit:
            return (await commands.complete(unit, self.context, task.user_id, task.id, None))[0]

    async def reopen(self, task: Task) -> Task:
        async with self.database.transaction() as unit:
            return (await commands.reopen(unit, self.context, task.user_id, task.id, None))[0]

    async def delete(self, task: Task, *, whole_series: bool | None = None) -> None:
        async with self.database.transaction() as unit:
            await commands.delete(unit, self.context, task.user_id, task.id, expected=None, whole_series=whole_series)

    async def edit(self, task: Task, repetition: Any = ..., **changes: Any) -> Task:  # noqa: ANN401 - JSON, or whatever the tested code takes
        async with self.database.transaction() as unit:
            return (
                await commands.edit(
                    unit, self.context, task.user_id, task.id, expected=None, changes=changes, repetition=repetition
                )
            )[0]

    async def task(self, task_id: UUID) -> Task:
        found = await tasks.by_id(self.database.pool, task_id)
        assert found is not None
        return found

    async def series(self, task: Task) -> TaskSeries:
        assert task.series_id is not None
        found = await tasks.series(self.database.pool, task.series_id)
        assert found is not None
        return found

    async def occurrence(self, task: Task, seq: int) -> Task | None:
        assert task.series_id is not None
        return await tasks.occurrence(self.database.pool, task.series_id, seq)

    async def occurrences(self, task: Task) -> list[tuple[int, str, bool]]:
        """(seq, status, deleted) of every occurrence of the task's series."""
        rows = await self.database.pool.fetch(
            "SELECT seq, status, deleted FROM tasks WHERE series_id = $1 ORDER BY seq", task.series_id
        )
        return [(row["seq"], row["status"], row["deleted"]) for row in rows]

    async def told(self) -> list[Event]:
        """Every event that was written to the outbox, in its order."""
        rows = await self.database.pool.fetch("SELECT topic, envelope FROM outbox ORDER BY id")
        read = [envelope.decode(row["envelope"], row["topic"]) for row in rows]
        assert all(isinstance(one, Event) for one in read), read
        return [one for one in read if isinstance(one, Event)]

    async def snapshots(self) -> list[TaskSnapshot]:
        return [event.data for event in await self.told() if event.topic == names.TASK_EVENTS]

    async def following(self) -> list[bytes]:
        """What recurring-service answers to everything it was told so far."""
        answers = [answer for snapshot in await self.snapshots() if (answer := follow(snapshot)) is not None]
        return [self.event(answer) for answer in answers]

    def event(self, data: EventData, *, trace: str = "") -> bytes:
        topic, kind = _address(data)
        return outgoing("test", topic, kind, str(uuid4()), data, now=self.clock(), cause=trace).envelope

    async def deliver(self, topic: str, originals: Sequence[bytes]) -> None:
        await self.consumer.deliver(topic, originals)

    async def follow(self) -> None:
        """Let recurring-service answer everything, and backend take it."""
        await self.deliver(names.TASK_OCCURRENCES, await self.following())

    async def tell(self, *data: EventData) -> None:
        """Deliver events of one topic as one batch."""
        await self.deliver(_address(data[0])[0], [self.event(one) for one in data])

    async def declined(self) -> list[str]:
        rows = await self.database.pool.fetch("SELECT reason FROM declined_occurrences ORDER BY at, reason")
        return [row["reason"] for row in rows]

    async def dump(self) -> dict[str, list[str]]:
        """Everything that events can change."""
        statements = {
            "tasks": "SELECT t FROM tasks t ORDER BY id",
            "series": "SELECT s FROM series s ORDER BY id",
            "deliveries": "SELECT (task_id, reminder, fire_at, attempt, outcome, reason, at)::text"
            " FROM deliveries ORDER BY 1",
            "letters": "SELECT (app, topic, event_id, status, replays, error)::text FROM dead_letters ORDER BY 1",
        }
        return {name: [str(row[0]) for row in await self.database.pool.fetch(sql)] for name, sql in statements.items()}


def _address(data: EventData) -> tuple[str, str]:
    match data:
        case ReminderOutcome():
            return names.REMINDER_DELIVERIES, events.outcome_type(data.outcome)
        case OccurrenceDue():
            return names.TASK_OCCURRENCES, events.OCCURRENCE_DUE
        case SeriesEnded():
            return names.TASK_OCCURRENCES, events.SERIES_ENDED
        case EventParked():
            return names.DEAD_LETTERS, events.EVENT_PARKED
        case _:
            raise AssertionError(data)


async def first_user(database: Database) -> User:
    await people.ensure_first(database.pool, "ada@example.test", "Ada", "Europe/Berlin", NOON)
    user = await people.find(database.pool, 1)
    assert user is not None
    return user
