"""The relay: moves the outbox to the broker.

One relay per database is active: the holder of an advisory lock on the connection that also listens for wake-ups. It
reads a batch, publishes it with no transaction open, and deletes what the broker took. A crash in between publishes
again, and every consumer is idempotent. `idle_session_timeout` takes the lock from a relay that is frozen.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from todo.contracts.clock import Clock
from todo.dapr.client import Dapr, Message
from todo.dapr.errors import CallRefusedError, DaprError, SidecarAwayError
from todo.messaging import metrics, outbox
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection, Row

log = structlog.get_logger()

ParkRow = Callable[[Row, str], Awaitable[None]]
Connect = Callable[[], Awaitable[Connection]]

BATCH: Final = 200
SWEEP: Final = 1.0  # seconds: a wake-up can be lost, a sweep cannot
FROZEN_AFTER: Final = "15s"  # longer than a publish call may take
TOO_LARGE: Final = 413
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext(current_schema()))"
_BACK_OFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds, while the sidecar or its broker is away


class Relay:
    """Publishes one database's outbox for as long as `run` runs. `park` takes a row the broker can never take."""

    def __init__(  # noqa: PLR0913 - these are a relay's parts
        self, connect: Connect, dapr: Dapr, pubsub: str, schema: str, *, park: ParkRow, clock: Clock
    ) -> None:
        self._connect = connect
        self._dapr = dapr
        self._pubsub = pubsub
        self._channel = outbox.CHANNEL_PREFIX + schema
        self._park = park
        self._clock = clock
        self._wake = asyncio.Event()
        self._failures = 0
        self._observed_at = 0.0

    async def run(self) -> None:
        """Lead or wait to lead, until cancelled. A lost connection costs a second, never an event."""
        while True:
            try:
                await self._session()
            except Exception as error:
                if not is_environment(error):
                    raise
                log.warning("relay lost its database connection", reason=str(error))
            finally:
                metrics.relay_leading.set(0)
            await asyncio.sleep(SWEEP)

    async def drain(self, connection: Connection) -> int:
        """Publish until the outbox is empty or the broker refuses; returns how many rows went out."""
        sent = 0
        while rows := await connection.fetch(outbox.READ, BATCH):
            done = await self._publish(rows)
            await connection.execute(outbox.DELETE, done)
            sent += len(done)
            if len(done) < len(rows):
                break
        return sent

    async def _session(self) -> None:
        connection = await self._connect()
        try:
            await connection.execute(f"SET idle_session_timeout = '{FROZEN_AFTER}'")
            await self._lead(connection)
            metrics.relay_leading.set(1)
            log.info("relay leads", channel=self._channel)
            await connection.add_listener(self._channel, lambda *_: self._wake.set())
            while True:
                self._wake.clear()
                await self.drain(connection)
                await self._observe(connection)
                await self._rest()
        finally:
            with suppress(Exception):
                await connection.close(timeout=2)

    async def _lead(self, connection: Connection) -> None:
        """Wait for the lock by asking: a blocked call would hold a snapshot, and its timeout could not tell why."""
        while not await connection.fetchval(_LOCK):  # noqa: ASYNC110 - the event is another process's
            await asyncio.sleep(SWEEP)

    async def _rest(self) -> None:
        """Until woken or swept; after failures, a back-off that no wake-up shortens."""
        if self._failures:
            await asyncio.sleep(_BACK_OFF[min(self._failures, len(_BACK_OFF)) - 1])
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), SWEEP)

    async def _observe(self, connection: Connection) -> None:
        if time.monotonic() - self._observed_at < SWEEP:
            return
        self._observed_at = time.monotonic()
        state = await connection.fetchrow(outbox.DEPTH)
        if state is not None:
            metrics.outbox_depth.set(state["depth"])
            oldest = state["oldest"]
            metrics.outbox_age.set((self._clock() - oldest).total_seconds() if oldest else 0)

    async def _publish(self, rows: Sequence[Row]) -> list[int]:
        """Publish rows topic by topic; returns the ids that are done with."""
        done: list[int] = []
        failed = False
        for topic in dict.fromkeys(row["topic"] for row in rows):
            of_topic = [row for row in rows if row["topic"] == topic]
            refused = await self._publish_topic(topic, of_topic)
            if refused is None:
                failed = True
                continue
            done += [row["id"] for row in of_topic if str(row["id"]) not in refused]
            settled = await self._one_by_one(topic, [row for row in of_topic if str(row["id"]) in refused])
            done += settled
            failed = failed or len(settled) < len(refused)
        self._failures = self._failures + 1 if failed else 0
        return done

    async def _publish_topic(self, topic: str, rows: Sequence[Row]) -> dict[str, str] | None:
        """One bulk call: the refused entries with their reasons, or None when nothing is known to be stored."""
        started = time.perf_counter()
        try:
            refused = await self._dapr.publish_all(self._pubsub, topic, [_message(row) for row in rows])
        except CallRefusedError as error:
            log.warning("publish refused", topic=topic, events=len(rows), reason=str(error))
            metrics.publish_failures.labels(topic).inc()
            return {str(row["id"]): str(error) for row in rows} if error.status == TOO_LARGE else None
        except SidecarAwayError as error:
            log.warning("publish failed, the outbox keeps the events", topic=topic, events=len(rows), reason=str(error))
            metrics.publish_failures.labels(topic).inc()
            return None
        duration = time.perf_counter() - started
        metrics.publish_duration.labels(topic).observe(duration)
        metrics.published.labels(topic).inc(len(rows) - len(refused))
        log.info("event_publish_duration", topic=topic, events=len(rows), milliseconds=round(duration * 1000, 2))
        return refused

    async def _one_by_one(self, topic: str, rows: Sequence[Row]) -> list[int]:
        """Publish what a bulk call refused, singly. One that is refused for its size is parked; others wait."""
        done: list[int] = []
        for row in rows:
            try:
                await self._dapr.publish(self._pubsub, topic, _message(row))
            except DaprError as error:
                if not _is_too_large(error):
                    continue
                await self._park(row, str(error))
            done.append(row["id"])
        return done


def _message(row: Row) -> Message:
    return Message(str(row["id"]), row["envelope"], row["key"])


def _is_too_large(error: DaprError) -> bool:
    """Whether this one event is at fault. Brokers say it in their own words, inside Dapr's 500."""
    if isinstance(error, CallRefusedError) and error.status == TOO_LARGE:
        return True
    text = str(error).lower()
    return "too large" in text or "larger than" in text
