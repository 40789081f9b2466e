"""The relay: moves the outbox to the broker.

One relay per database is active: the holder of an advisory lock on the connection that also listens for wake-ups. It
reads a batch, publishes it with no transaction open, and deletes what the broker took. A crash in between publishes
again, and every consumer is idempotent. `idle_session_timeout` takes the lock from a relay that is frozen. While it is
paused (`messaging/pause.py`) it publishes nothing and says so.
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
from todo.messaging import calls, metrics, outbox, pause, traced
from todo.messaging.backoff import BackOff
from todo.messaging.database import OwnConnection
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection, Row

log = structlog.get_logger()

ParkRow = Callable[[Row, str], Awaitable[None]]
Connect = Callable[[], Awaitable[OwnConnection]]

BATCH: Final = 200
PAGES: Final = 50  # batches of one drain: what waited meanwhile gets its turn
SWEEP: Final = 1.0  # seconds: a wake-up can be lost, a sweep cannot
FROZEN_AFTER: Final = "15s"  # longer than one publish call may take
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext(current_schema()))"


class Relay:
    """Publishes one database's outbox for as long as `run` runs. `park` takes a row the broker can never take."""

    def __init__(  # noqa: PLR0913 - these are a relay's parts
        self,
        connect: Connect,
        dapr: Dapr,
        pubsub: str,
        schema: str,
        *,
        park: ParkRow,
        clock: Clock,
        batch: int | None = None,
    ) -> None:
        self._connect = connect
        self._dapr = dapr
        self._pubsub = pubsub
        self._channel = outbox.CHANNEL_PREFIX + schema
        self._park = park
        self._clock = clock
        self._batch = batch
        self._wake = asyncio.Event()
        self._topics: BackOff[str] = BackOff()
        self._rows: BackOff[int] = BackOff()  # by id: refused alone, while their neighbours go out
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
        """Publish until nothing is left but what the broker refuses now, or for `PAGES`; returns how many went out.

        What is refused stands in nobody's way: its topic, or it alone, is left out of this drain, and of those that
        come before its back-off is over.
        """
        began = time.monotonic()
        sent = 0
        for _ in range(PAGES):
            waiting = self._topics.waiting(began), self._rows.waiting(began)
            rows = await connection.fetch(outbox.READ, self._batch or BATCH, *waiting)
            if not rows:
                return sent
            sent += await self._publish_page(connection, rows)
            await self._observe(connection)
        self._wake.set()  # there is more
        return sent

    async def _session(self) -> None:
        connection = await self._connect()
        try:
            await connection.execute(f"SET idle_session_timeout = '{FROZEN_AFTER}'")
            self._topics, self._rows = BackOff(), BackOff()
            if not await self._lead(connection):
                log.info("relay asks for the lock anew, the database login changed")
                return
            metrics.relay_leading.set(1)
            log.info("relay leads", channel=self._channel)
            await connection.add_listener(self._channel, lambda *_: self._wake.set())
            while not connection.is_outdated():
                self._wake.clear()
                await self.drain(connection)
                await connection.execute(pause.FALL_QUIET)
                await self._observe(connection)
                await self._rest()
            log.info("relay connects anew, the database login changed")
        finally:
            with suppress(Exception):
                await connection.close(timeout=2)

    async def _lead(self, connection: OwnConnection) -> bool:
        """Wait for the lock by asking: a blocked call would hold a snapshot, and its timeout could not tell why.

        False: the login changed meanwhile, and this connection keeps the old one in use.
        """
        while not await connection.fetchval(_LOCK):
            if connection.is_outdated():
                return False
            await asyncio.sleep(SWEEP)
        return True

    async def _rest(self) -> None:
        """Until woken or swept, or until the back-off of a topic or a row is over."""
        seconds = min(self._topics.next_in(SWEEP), self._rows.next_in(SWEEP), SWEEP)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _observe(self, connection: Connection) -> None:
        if time.monotonic() - self._observed_at < SWEEP:
            return
        self._observed_at = time.monotonic()
        state = await connection.fetchrow(outbox.DEPTH)
        if state is not None:
            metrics.outbox_depth.set(state["depth"])
            oldest = state["oldest"]
            metrics.outbox_age.set((self._clock() - oldest).total_seconds() if oldest else 0)

    async def _publish_page(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Publish rows topic by topic, each call by call until one fails; returns how many went out.

        Whether it is paused was asked with the page, and is asked before each further call: which also shows, when
        calls take long, that this session is alive.
        """
        sent, asked = 0, True
        refused: set[str] = set()
        for call in _calls(rows):
            topic = call[0]["topic"]
            if topic in refused:
                continue
            if not asked and await connection.fetchval(pause.IN_FORCE):
                return sent
            asked = False
            left = await self._publish(connection, call)
            self._remember(topic, call, left)
            sent += 0 if left is None else len(call) - len(left)
            if left is None or left:
                refused.add(topic)
        return sent

    def _remember(self, topic: str, call: Sequence[Row], left: set[int] | None) -> None:
        """Let wait what failed: the topic if nothing of it goes out, else the rows that were refused alone."""
        if left is None or len(left) == len(call) > 1:
            self._topics.failed(topic)
            return
        self._topics.succeeded(topic)
        for row in call:
            (self._rows.failed if row["id"] in left else self._rows.succeeded)(row["id"])

    async def _publish(self, connection: Connection, rows: Sequence[Row]) -> set[int] | None:
        """Publish rows of one topic, delete each once it is done with; returns the ids that wait, None if all do."""
        refused = await self._bulk(rows[0]["topic"], rows)
        if refused is None:
            return None
        waiting = [row for row in rows if str(row["id"]) in refused]
        await connection.execute(outbox.DELETE, [row["id"] for row in rows if str(row["id"]) not in refused])
        while waiting and not await connection.fetchval(pause.IN_FORCE) and await self._settle(waiting[0]):
            await connection.execute(outbox.DELETE, [waiting.pop(0)["id"]])
        return {row["id"] for row in waiting}

    async def _bulk(self, topic: str, rows: Sequence[Row]) -> dict[str, str] | None:
        """One bulk call: the refused entries with their reasons, or None when nothing is known to be stored."""
        started = time.perf_counter()
        try:
            with traced.sending(topic, (row["envelope"] for row in rows)):
                refused = await self._dapr.publish_all(self._pubsub, topic, [_message(row) for row in rows])
        except CallRefusedError as error:
            log.warning("publish refused", topic=topic, events=len(rows), reason=str(error))
            metrics.publish_failures.labels(topic).inc()
            return {str(row["id"]): str(error) for row in rows} if calls.is_refused_whole(error) else None
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
            with traced.sending(topic, [row["envelope"]]):
                await self._dapr.publish(self._pubsub, topic, _message(row))
        except DaprError as error:
            if not calls.is_too_large(error):
                log.warning("publish of one event failed", topic=topic, outbox_id=row["id"], reason=str(error))
                return False
            await self._park(row, str(error))
        else:
            metrics.published.labels(topic).inc()
        return True


def _calls(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The calls that publish a page: its topics one after the other, each in the order of its rows."""
    for topic in dict.fromkeys(row["topic"] for row in rows):
        yield from calls.pieces([row for row in rows if row["topic"] == topic], lambda row: len(row["envelope"]))


def _message(row: Row) -> Message:
    return Message(str(row["id"]), row["envelope"], row["key"])
