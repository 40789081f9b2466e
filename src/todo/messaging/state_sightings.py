"""Sightings for services without a database, in the Dapr state store."""

import asyncio
import datetime as dt
import hashlib
from typing import Any, Final

import msgspec
import structlog

from todo.contracts.clock import Clock
from todo.dapr.client import Dapr, ttl
from todo.dapr.errors import DaprError
from todo.dapr.subscriber import UnavailableError
from todo.messaging.sightings import CAUTION

log = structlog.get_logger()

KEPT: Final = dt.timedelta(days=7)
RENEWED: Final = dt.timedelta(days=1)  # how often a running instance writes its mark again


class StateSightings:
    """`instance` names this replica across its restarts (host and port): a mark left behind means a kill.

    Evaluated on the first delivery, so that the service starts without its sidecar. Counts are shared by the replicas
    of an app; two that count the same event at once may count one sighting. Every method raises `UnavailableError`
    while the state store is away.
    """

    def __init__(self, dapr: Dapr, store: str, instance: str, clock: Clock) -> None:
        self._dapr = dapr
        self._store = store
        self._mark = f"running:{instance}"
        self._clock = clock
        self._starting = asyncio.Lock()
        self._marked_at: dt.datetime | None = None
        self._cautious_until: dt.datetime | None = None

    async def is_cautious(self) -> bool:
        async with self._starting:
            if self._marked_at is None:
                await self._start()
            elif self._clock() - self._marked_at > RENEWED:
                await self._write_mark()
        return self._cautious_until is not None and self._clock() < self._cautious_until

    async def begin(self, event_id: str) -> int:
        return await self._count(event_id, 1)

    async def take_back(self, event_id: str) -> None:
        await self._count(event_id, -1)

    async def finish(self, event_id: str) -> None:
        await self._delete(_key(event_id))

    async def stop(self) -> None:
        """Take the mark away: this end is a clean one. With the store away it stays, and costs a minute of caution."""
        if self._marked_at is None:
            return
        try:
            await self._delete(self._mark)
        except UnavailableError as error:
            log.warning("the mark of a running instance stays", reason=str(error))

    async def _start(self) -> None:
        if await self._read(self._mark) is not None:
            self._cautious_until = self._clock() + CAUTION
            log.warning("the last run did not end cleanly: events are taken one by one for a while")
        await self._write_mark()

    async def _write_mark(self) -> None:
        now = self._clock()
        await self._write(self._mark, now)
        self._marked_at = now

    async def _count(self, event_id: str, by: int) -> int:
        key = _key(event_id)
        seen = max(0, msgspec.json.decode(await self._read(key) or b"0", type=int) + by)
        await self._write(key, seen)
        return seen

    async def _read(self, key: str) -> bytes | None:
        try:
            entry = (await self._dapr.get_state(self._store, [key])).get(key)
        except DaprError as error:
            raise _away(error) from error
        return bytes(entry.value) if entry else None

    async def _write(self, key: str, value: int | dt.datetime) -> None:
        entry: dict[str, Any] = {"key": key, "value": value, "metadata": ttl(KEPT)}
        try:
            await self._dapr.save_state(self._store, [entry])
        except DaprError as error:
            raise _away(error) from error

    async def _delete(self, key: str) -> None:
        try:
            entry = (await self._dapr.get_state(self._store, [key])).get(key)
            if entry is not None:
                await self._dapr.delete_state(self._store, key, entry.etag)
        except DaprError as error:
            raise _away(error) from error


def _key(event_id: str) -> str:
    """A state key takes neither every length nor `||`; ids of strangers may have both."""
    return f"sighting:{hashlib.sha256(event_id.encode()).hexdigest()}"


def _away(error: DaprError) -> UnavailableError:
    return UnavailableError(f"state store, for sightings: {error}")
