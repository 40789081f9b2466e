"""Sightings in the service's own database, and the mark that tells an unclean end from a clean one."""

import asyncio
import datetime as dt
from typing import Final

import structlog

from todo.contracts.clock import Clock
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Pool

log = structlog.get_logger()

CAUTION: Final = dt.timedelta(seconds=60)

CREATE: Final = (
    "CREATE TABLE sightings (event_id text PRIMARY KEY, seen int NOT NULL, last_at timestamptz NOT NULL)",
    "CREATE TABLE running (instance text PRIMARY KEY, started_at timestamptz NOT NULL)",
)

_START = """
INSERT INTO running AS r (instance, started_at) VALUES ($1, $2)
ON CONFLICT (instance) DO UPDATE SET started_at = $2 RETURNING (xmax <> 0) AS was_running
"""
_STOP = "DELETE FROM running WHERE instance = $1"
_BEGIN = """
INSERT INTO sightings AS s (event_id, seen, last_at) VALUES ($1, 1, $2)
ON CONFLICT (event_id) DO UPDATE SET seen = s.seen + 1, last_at = $2 RETURNING seen
"""
_TAKE_BACK = "UPDATE sightings SET seen = seen - 1 WHERE event_id = $1 AND seen > 0"
_FINISH = "DELETE FROM sightings WHERE event_id = $1"
_FORGET_OLD = "DELETE FROM sightings WHERE last_at < $1"


class DatabaseSightings:
    """`instance` names this replica across its restarts (host and port): a row left behind means a kill.

    Starts by itself on the first delivery, so that a service can start while its database is away.
    """

    def __init__(self, pool: Pool, instance: str, clock: Clock) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._cautious_until: dt.datetime | None = None
        self._starting = asyncio.Lock()
        self._started = False

    async def start(self) -> None:
        """Mark this instance as running; be cautious for a while if the mark was still there."""
        now = self._clock()
        if await self._pool.fetchval(_START, self._instance, now):
            self._cautious_until = now + CAUTION
        self._started = True
        await self._pool.execute(_FORGET_OLD, now - dt.timedelta(days=7))

    async def stop(self) -> None:
        """Take the mark away: this end is a clean one. With the database away it stays: a minute of caution later."""
        if not self._started:
            return
        try:
            await self._pool.execute(_STOP, self._instance)
        except Exception as error:
            if not is_environment(error):
                raise
            log.warning("the mark of a running instance stays", reason=str(error))

    async def is_cautious(self) -> bool:
        async with self._starting:
            if not self._started:
                await self.start()
        return self._cautious_until is not None and self._clock() < self._cautious_until

    async def begin(self, event_id: str) -> int:
        seen: int = await self._pool.fetchval(_BEGIN, event_id, self._clock())
        return seen

    async def take_back(self, event_id: str) -> None:
        await self._pool.execute(_TAKE_BACK, event_id)

    async def finish(self, event_id: str) -> None:
        await self._pool.execute(_FINISH, event_id)
