"""The relay: moves the outbox to the broker.

One relay per database is active: the holder of an advisory lock on the connection that also listens for wake-ups. It
reads a batch, publishes it with no transaction open, and deletes what the broker took. A crash in between publishes
again, and every consumer is idempotent. `idle_session_timeout` takes the lock from a relay that is frozen.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
CALL_BYTES: Final = 2 * 1024 * 1024  # of one bulk call; a sidecar takes bodies of 4 MiB
SWEEP: Final = 1.0  # seconds: a wake-up can be lost, a sweep cannot
FROZEN_AFTER: Final = "15s"  # longer than one publish call may take
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
        """Publish until nothing is left but what the broker refuses now; returns how many rows went out.

        What is refused stands in nobody's way: its topic, or it alone, is left out until the next drain.
        """
        sent = 0
        topics: set[str] = set()
        ids: set[int] = set()
        while rows := await connection.fetch(outbox.READ, BATCH, list(topics), list(ids)):
            for call in _calls(rows):
                left = await self._publish(connection, call)
                sent += len(call) - len(left)
                if len(left) == len(call):
                    topics.add(call[0]["topic"])
                else:
                    ids |= left
        self._failures = self._failures + 1 if (topics or ids) and not sent else 0
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

    async def _publish(self, connection: Connection, rows: Sequence[Row]) -> set[int]:
        """Publish rows of one topic; returns the ids that wait. Each is deleted as soon as it is done with."""
        refused = await self._bulk(rows[0]["topic"], rows)
        if refused is None:
            return {row["id"] for row in rows}
        waiting = [row for row in rows if str(row["id"]) in refused]
        await connection.execute(outbox.DELETE, [row["id"] for row in rows if str(row["id"]) not in refused])
        while waiting and await self._settle(waiting[0]):
            await connection.execute(outbox.DELETE, [waiting.pop(0)["id"]])
        return {row["id"] for row in waiting}

    async def _bulk(self, topic: str, rows: Sequence[Row]) -> dict[str, str] | None:
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

    async def _settle(self, row: Row) -> bool:
        """Publish alone what a bulk call refused. One refused for its size is parked; False: it waits."""
        topic = row["topic"]
        try:
            await self._dapr.publish(self._pubsub, topic, _message(row))
        except DaprError as error:
            if not _is_too_large(error):
                log.warning("publish of one event failed", topic=topic, outbox_id=row["id"], reason=str(error))
                return False
            await self._park(row, str(error))
        else:
            metrics.published.labels(topic).inc()
        return True


def _calls(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows topic by topic, in their order, in calls of bounded size."""
    for topic in dict.fromkeys(row["topic"] for row in rows):
        call: list[Row] = []
        size = 0
        for row in (row for row in rows if row["topic"] == topic):
            if call and size + len(row["envelope"]) > CALL_BYTES:
                yield call
                call, size = [], 0
            call.append(row)
            size += len(row["envelope"])
        yield call


def _message(row: Row) -> Message:
    return Message(str(row["id"]), row["envelope"], row["key"])


def _is_too_large(error: DaprError) -> bool:
    """Whether this one event is at fault. Brokers say it in their own words, inside Dapr's 500."""
    if isinstance(error, CallRefusedError) and error.status == TOO_LARGE:
        return True
    text = str(error).lower()
    return "too large" in text or "larger than" in text
