"""The unit of work: one transaction is the effect and the events that tell of it."""

import datetime as dt
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar
from uuid import uuid4

import msgspec

from todo.contracts import envelope
from todo.contracts.clock import Clock
from todo.contracts.events import EventData
from todo.dapr.subscriber import UnavailableError
from todo.messaging import metrics, outbox, traced
from todo.messaging.bell import Bell
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection, Pool


class Outgoing(msgspec.Struct, frozen=True):
    """An event on its way out: a complete CloudEvent, its topic, and the key that orders it."""

    topic: str
    key: str
    envelope: bytes


def outgoing(  # noqa: PLR0913 - an event has this many attributes
    app_id: str,
    topic: str,
    event_type: str,
    subject: str,
    data: EventData,
    *,
    now: dt.datetime,
    cause: str = "",
    event_id: str = "",
) -> Outgoing:
    """Write an event of this app. `cause` is the traceparent of what it follows from; without one a trace starts.

    `event_id` is for what may be told again and again: were it parked, it would be one dead letter.
    """
    named = event_id or str(uuid4())
    written = envelope.encode(
        event_id=named,
        event_type=event_type,
        source=app_id,
        subject=subject,
        time=now,
        traceparent=traced.created(topic, named, event_type, cause),
        data=msgspec.json.encode(data),
    )
    return Outgoing(topic, subject, written)


class Unit(Protocol):
    """What a handler works in. Either everything it did and emitted happens, or it all happens again."""

    def emit(self, *events: Outgoing) -> None:
        """Tell of an effect: published after the effect is durable, at least once."""
        ...

    def isolated(self) -> AbstractAsyncContextManager[None]:
        """A part of the unit that fails alone: its effects and what it emitted are undone, the rest stays."""
        ...


U_co = TypeVar("U_co", bound=Unit, covariant=True)
Scope = AbstractAsyncContextManager[U_co]


class Transaction:
    """A unit of work on PostgreSQL. Emitted events become outbox rows in the same transaction."""

    def __init__(self, connection: Connection, now: dt.datetime) -> None:
        self.connection = connection
        self.now = now
        self.tells = False  # whether its commit leaves rows in the outbox, for the relay to be woken
        self._emitted: list[Outgoing] = []

    def emit(self, *events: Outgoing) -> None:
        self._emitted.extend(events)

    async def emit_now(self, events: Sequence[Outgoing]) -> list[int]:
        """Write events to the outbox at once; returns the ids of their rows, in the order of `events`."""
        self.tells = self.tells or bool(events)
        rows = await self.connection.fetch(
            outbox.INSERT_RETURNING,
            [event.topic for event in events],
            [event.key for event in events],
            [event.envelope for event in events],
            self.now,
        )
        return [row["id"] for row in rows]

    @asynccontextmanager
    async def isolated(self) -> AsyncIterator[None]:
        mark = len(self._emitted)
        try:
            async with self.connection.transaction():
                yield
        except BaseException:
            del self._emitted[mark:]
            raise

    async def write_outbox(self) -> None:
        """Turn what was emitted into rows; `Database.transaction` calls it right before its commit."""
        if self._emitted:
            self.tells = True
            await self.connection.execute(
                outbox.INSERT,
                [event.topic for event in self._emitted],
                [event.key for event in self._emitted],
                [event.envelope for event in self._emitted],
                self.now,
            )


class Database:
    """One service's database: a pool, and transactions that carry their events and wake the relay."""

    def __init__(self, pool: Pool, clock: Clock, bell: Bell | None = None) -> None:
        self.pool = pool
        self.clock = clock
        self._bell = bell

    def wake_relay(self) -> None:
        """Say that outbox rows were committed; `transaction` says it by itself if its unit `tells`."""
        if self._bell:
            self._bell.ring()

    async def close(self) -> None:
        if self._bell:
            await self._bell.stop()
        await self.pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction. Raises `UnavailableError` when the database is what failed, else what the caller raised."""
        asked = time.perf_counter()
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                metrics.connection_wait.observe(time.perf_counter() - asked)
                unit = Transaction(connection, self.clock())  # type: ignore[arg-type]  # the pool's proxy is one
                yield unit
                await unit.write_outbox()
        except Exception as error:
            if is_environment(error) and not isinstance(error, UnavailableError):
                raise UnavailableError(f"database: {type(error).__name__}: {error}") from error
            raise
        if unit.tells:
            self.wake_relay()


class DirectUnit:
    """The unit of a service without a database: what was emitted is published, then the batch is answered."""

    def __init__(self) -> None:
        self.emitted: list[Outgoing] = []

    def emit(self, *events: Outgoing) -> None:
        self.emitted.extend(events)

    @asynccontextmanager
    async def isolated(self) -> AsyncIterator[None]:
        mark = len(self.emitted)
        try:
            yield
        except BaseException:
            del self.emitted[mark:]
            raise
