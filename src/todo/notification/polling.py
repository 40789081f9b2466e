"""`check-due-tasks`: look at the schedule until nothing is due, and leave word of when that was."""

import asyncio
import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from todo.contracts import names
from todo.dapr.client import Dapr
from todo.dapr.errors import DaprError
from todo.messaging.unit import Database
from todo.notification import handlers, metrics, store
from todo.notification.reconciliation import Invoke, heard_of

log = structlog.get_logger()

PAGES: Final = 20  # a look; between two looks the time of the poll is told


class LastPoll:
    """Tells operators when the schedule was last looked at, in the state store; never backwards, never in the way."""

    def __init__(self, dapr: Dapr) -> None:
        self._dapr = dapr
        self._writing: asyncio.Task[None] | None = None

    def record(self, now: dt.datetime) -> None:
        """Write it in the background; while one write is under way, another is left out: the next tick brings one."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(now))

    async def close(self) -> None:
        """End a write that is under way."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    async def _write(self, now: dt.datetime) -> None:
        """Replace an earlier time by `now`. The ETag decides between replicas: whoever loses has nothing to add."""
        try:
            entry = (await self._dapr.get_state(names.STATE_STORE, [names.LAST_POLL])).get(names.LAST_POLL)
            if entry is not None and _time(entry.value) >= now:
                return
            item: dict[str, Any] = {"key": names.LAST_POLL, "value": now, "options": {"concurrency": "first-write"}}
            await self._dapr.save_state(names.STATE_STORE, [item | ({"etag": entry.etag} if entry else {})])
        except DaprError as error:
            log.debug("last poll not recorded", reason=str(error))


def _time(value: msgspec.Raw) -> dt.datetime:
    """The time in a state entry; what is no time is older than any."""
    try:
        found = msgspec.json.decode(value, type=dt.datetime)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


async def check_due_tasks(database: Database, record: Callable[[dt.datetime], None]) -> None:
    """Dispatch everything due. Raises `UnavailableError` when the database is away; then nothing is lost but time."""
    more = True
    while more:
        more = await _look(database)
        record(database.clock())


async def reconcile_reminders(database: Database, invoke: Invoke) -> None:
    """Chase what waited too long for an answer, and see to it that backend has heard of every end."""
    while await handlers.chase_unanswered(database) == handlers.CLAIM:
        pass
    while await handlers.tell_again(database, partial(heard_of, invoke)) == handlers.CLAIM:
        pass


async def gauge_oldest_due(database: Database) -> None:
    """Tell how late the schedule is, whether anybody looks at it or not."""
    now, oldest = database.clock(), await store.oldest_due(database.pool)
    metrics.oldest_due.set(max(0.0, (now - oldest).total_seconds()) if oldest else 0)


async def _look(database: Database) -> bool:
    """Dispatch at most `PAGES` pages; returns whether more is due."""
    for _ in range(PAGES):
        if await handlers.dispatch_due(database) < handlers.CLAIM:
            return False
    return True
