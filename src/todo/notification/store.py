"""Every statement on the reminder schedule. Locks are taken on tasks before reminders, each in the order of its key."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from msgspec.structs import astuple

from todo.contracts import names
from todo.contracts.events import TaskSnapshot
from todo.messaging import cluster
from todo.messaging.postgres import Executor, Row
from todo.messaging.unit import Transaction
from todo.notification.schedule import Reminder, State

Key = tuple[UUID, str, dt.datetime]

_COLUMNS: Final = ", ".join(Reminder.__struct_fields__)
_TYPES: Final = {
    "task_id": "uuid",
    "fire_at": "timestamptz",
    "wanted": "bool",
    "renewed": "bool",
    "attempt": "int",
    "deferrals": "int",
    "repeats": "int",
    "possibly_sent": "int",
    "possibly_sent_by": "int",
    "next_at": "timestamptz",
    "first_dispatched_at": "timestamptz",
    "dispatched_at": "timestamptz",
    "outbox_id": "bigint",
    "told": "bool",
    "asked_at": "timestamptz",
    "updated_at": "timestamptz",
}
_ARRAYS: Final = ", ".join(
    f"${place}::{_TYPES.get(column, 'text')}[]" for place, column in enumerate(Reminder.__struct_fields__, 1)
)
_KEY: Final = ("task_id", "reminder", "fire_at")
_CHANGES: Final = ", ".join(
    f"{column} = excluded.{column}" for column in Reminder.__struct_fields__ if column not in _KEY
)

# $1 ids, $2 epochs, $3 versions, $4 deleted, $5 users, $6 now
_KNOW_TASKS: Final = """
INSERT INTO tasks AS known (task_id, epoch, version, deleted, user_id, seen_at)
SELECT task_id, epoch, version, deleted, user_id, $6
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bool[], $5::bigint[])
    AS snapshot (task_id, epoch, version, deleted, user_id)
ORDER BY task_id
ON CONFLICT (task_id) DO UPDATE SET
    epoch = excluded.epoch, version = excluded.version, deleted = excluded.deleted,
    user_id = excluded.user_id, seen_at = excluded.seen_at
WHERE (known.epoch, known.version) < (excluded.epoch, excluded.version)
RETURNING task_id
"""

_OF_TASKS: Final = f"""
SELECT {_COLUMNS} FROM reminders WHERE task_id = ANY($1::uuid[]) ORDER BY task_id, reminder, fire_at FOR UPDATE
"""

# $1 ids, $2 reminders, $3 instants
_OF_KEYS: Final = f"""
SELECT {", ".join(f"reminders.{column}" for column in Reminder.__struct_fields__)}
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS wanted (task_id, reminder, fire_at)
JOIN reminders USING (task_id, reminder, fire_at)
ORDER BY task_id, reminder, fire_at FOR UPDATE OF reminders
"""

# $1 now, $2 limit
_DUE: Final = f"""
SELECT {_COLUMNS} FROM reminders
WHERE state = 'waiting' AND next_at <= $1 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""

# $1 now, $2 limit
_UNANSWERED: Final = f"""
SELECT {_COLUMNS}, EXISTS (SELECT FROM outbox WHERE outbox.id = reminders.outbox_id) AS in_outbox FROM reminders
WHERE state = 'dispatched' AND next_at <= $1 ORDER BY next_at LIMIT $2 FOR UPDATE OF reminders SKIP LOCKED
"""

# $1 heard of by then, $2 now, $3 the shortest and $4 the longest pause until the next question (it is as long as all
# asking has lasted), $5 topic, $6 limit; not while the outbox holds what tells of it
_UNTOLD: Final = f"""
SELECT {_COLUMNS} FROM reminders
WHERE NOT told AND state IN ('delivered', 'suppressed', 'failed', 'skipped') AND updated_at < $1
  AND (asked_at IS NULL OR asked_at + least(greatest(asked_at - updated_at, $3), $4) <= $2)
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.topic = $5 AND outbox.key = reminders.task_id::text)
ORDER BY coalesce(asked_at, updated_at) LIMIT $6
"""

_SAVE: Final = f"""
INSERT INTO reminders ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS})
ON CONFLICT (task_id, reminder, fire_at) DO UPDATE SET {_CHANGES}
"""

_ADD: Final = f"INSERT INTO reminders ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS}) ON CONFLICT DO NOTHING"

_VERSIONS: Final = "SELECT task_id, epoch, version FROM tasks WHERE task_id = ANY($1::uuid[])"

# $1 after and $2 up to which ids (or none), $3 ids to leave out, $4 backend's epoch, $5 now. Versions begin with 1: an
# occurrence that is made anew under the same id, which follows from series and number, is news.
_LOSE_TASKS: Final = """
WITH lost AS MATERIALIZED (
    SELECT task_id FROM tasks
    WHERE ($1::uuid IS NULL OR task_id > $1) AND ($2::uuid IS NULL OR task_id <= $2)
      AND epoch < $4 AND task_id <> ALL($3::uuid[])
    ORDER BY task_id FOR UPDATE
)
UPDATE tasks SET epoch = $4, version = 0, deleted = true, seen_at = $5 FROM lost WHERE tasks.task_id = lost.task_id
RETURNING tasks.task_id
"""

_ORIGIN: Final = f"SELECT {cluster.CURRENT} AS here, max(cluster) AS known, max(backend_epoch) AS epoch FROM origin"
# $1 cluster. A schedule that was never asked has told its ends to the backend it knows.
_AT_HOME: Final = """
INSERT INTO origin (cluster, backend_epoch) SELECT $1, coalesce(max(epoch), 0) FROM tasks
ON CONFLICT (one) DO UPDATE SET cluster = excluded.cluster
"""
_BACKENDS_EPOCH: Final = "UPDATE origin SET backend_epoch = $1 WHERE backend_epoch < $1"
# $1 to $3 the key after which it begins, $4 limit
_UNTELL: Final = """
WITH page AS MATERIALIZED (
    SELECT task_id, reminder, fire_at FROM reminders
    WHERE told AND state IN ('delivered', 'suppressed', 'failed', 'skipped')
      AND (task_id, reminder, fire_at) > ($1, $2, $3)
    ORDER BY task_id, reminder, fire_at LIMIT $4 FOR UPDATE
)
UPDATE reminders SET told = false, asked_at = NULL FROM page
WHERE (reminders.task_id, reminders.reminder, reminders.fire_at) = (page.task_id, page.reminder, page.fire_at)
RETURNING page.task_id, page.reminder, page.fire_at
"""
_RESTORES: Final = "SELECT taken_at, restored_at FROM restores ORDER BY restored_at"

_READ_OF_TASKS: Final = f"""
SELECT {_COLUMNS} FROM reminders WHERE task_id = ANY($1::uuid[]) ORDER BY task_id, fire_at, reminder
"""

_PAGE: Final = f"""
SELECT {_COLUMNS} FROM reminders WHERE (task_id, reminder, fire_at) > ($1, $2, $3)
ORDER BY task_id, reminder, fire_at LIMIT $4
"""

# $1 after (or none), $2 limit
_KNOWN_TASKS: Final = """
SELECT task_id, epoch, version, seen_at, deleted FROM tasks
WHERE task_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY task_id LIMIT $2
"""

_COUNTS: Final = "SELECT state, count(*) AS reminders FROM reminders GROUP BY state"
_NEXT_FIRE: Final = "SELECT min(next_at) FROM reminders WHERE state = 'waiting' AND next_at > $1"
_OLDEST_OVERDUE: Final = "SELECT min(next_at) FROM reminders WHERE state = 'waiting' AND next_at <= $1"


async def know_tasks(tx: Transaction, snapshots: Iterable[TaskSnapshot]) -> set[UUID]:
    """Remember these versions, one per task; returns the tasks of which they are news, locked until the commit."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.task_id)
    rows = await tx.connection.fetch(
        _KNOW_TASKS,
        [snapshot.task_id for snapshot in ordered],
        [snapshot.epoch for snapshot in ordered],
        [snapshot.version for snapshot in ordered],
        [snapshot.deleted for snapshot in ordered],
        [snapshot.user_id for snapshot in ordered],
        tx.now,
    )
    return {row["task_id"] for row in rows}


async def versions(tx: Transaction, task_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """(epoch, version) of the tasks that are known."""
    rows = await tx.connection.fetch(_VERSIONS, task_ids)
    return {row["task_id"]: (row["epoch"], row["version"]) for row in rows}


async def lose_tasks(
    tx: Transaction, after: UUID | None, last: UUID | None, there: Sequence[UUID], epoch: int
) -> set[UUID]:
    """Delete the tasks of earlier epochs that are not `there`, of those with ids after one and up to another.

    Returns which, locked until the commit.
    """
    rows = await tx.connection.fetch(_LOSE_TASKS, after, last, there, epoch, tx.now)
    return {row["task_id"] for row in rows}


async def origin(db: Executor) -> tuple[str, str | None, int]:
    """Which server this is, which it was when `at_home` was called, and the latest epoch of backend it heard of."""
    here, known, epoch = await db.fetchrow(_ORIGIN) or ("", None, None)
    return here, known, epoch or 0


async def at_home(db: Executor, server: str) -> None:
    """Remember that all outcomes were learned on this server."""
    await db.execute(_AT_HOME, server)


async def untell(tx: Transaction, after: Key, limit: int) -> Key | None:
    """Take it that backend has not heard of these ends: it was restored from before it did. Returns where to go on."""
    rows = await tx.connection.fetch(_UNTELL, *after, limit)
    return max(((row["task_id"], row["reminder"], row["fire_at"]) for row in rows), default=None)


async def begin_epoch(tx: Transaction, epoch: int) -> None:
    """Remember that every end was taken back that an earlier backend had heard of."""
    await tx.connection.execute(_BACKENDS_EPOCH, epoch)


async def restores(db: Executor) -> list[Row]:
    """When this schema was restored from a backup, and when that was taken."""
    return list(await db.fetch(_RESTORES))


async def lock_of_tasks(tx: Transaction, task_ids: Iterable[UUID]) -> dict[Key, Reminder]:
    """Every reminder of these tasks, locked."""
    return _by_key(await tx.connection.fetch(_OF_TASKS, list(task_ids)))


async def lock(tx: Transaction, keys: Iterable[Key]) -> dict[Key, Reminder]:
    """The reminders with these keys, locked; unknown ones are absent."""
    ids, reminders, instants = zip(*set(keys), strict=True)
    return _by_key(await tx.connection.fetch(_OF_KEYS, ids, reminders, instants))


async def oldest_due(db: Executor) -> dt.datetime | None:
    """When the reminder is, or was, to be dispatched that comes first of all that wait."""
    found: dt.datetime | None = await db.fetchval("SELECT min(next_at) FROM reminders WHERE state = 'waiting'")
    return found


async def claim_due(tx: Transaction, limit: int) -> list[Reminder]:
    """Waiting reminders whose time has come, oldest first, locked; those another replica holds are left to it."""
    return [_reminder(row) for row in await tx.connection.fetch(_DUE, tx.now, limit)]


async def claim_unanswered(tx: Transaction, limit: int) -> list[tuple[Reminder, bool]]:
    """Dispatched reminders that waited long enough, locked, each with whether the outbox still holds its event."""
    return [(_reminder(row), row["in_outbox"]) for row in await tx.connection.fetch(_UNANSWERED, tx.now, limit)]


async def untold(
    db: Executor, now: dt.datetime, pauses: tuple[dt.timedelta, dt.timedelta], limit: int
) -> list[Reminder]:
    """Ended reminders of which backend is not known to have heard, and ought to have by now; longest not asked first.

    `pauses` are the shortest and the longest time to the next question, which doubles.
    """
    shortest, longest = pauses
    topic = names.REMINDER_DELIVERIES
    rows = await db.fetch(_UNTOLD, now - shortest, now, shortest, longest, topic, limit)
    return [_reminder(row) for row in rows]


async def save(tx: Transaction, reminders: Sequence[Reminder]) -> None:
    """Write rows that are locked, or new under the lock of their task."""
    if reminders:
        await tx.connection.execute(_SAVE, *zip(*map(astuple, reminders), strict=True))


async def add(tx: Transaction, reminders: Sequence[Reminder]) -> None:
    """Write rows unless they are there by now."""
    await tx.connection.execute(_ADD, *zip(*map(astuple, reminders), strict=True))


async def of_tasks(db: Executor, task_ids: Sequence[UUID]) -> list[Reminder]:
    return [_reminder(row) for row in await db.fetch(_READ_OF_TASKS, task_ids)]


async def page(db: Executor, after: Key, limit: int) -> list[Reminder]:
    """Reminders in the order of their keys, strictly after one."""
    return [_reminder(row) for row in await db.fetch(_PAGE, *after, limit)]


async def known_tasks(db: Executor, after: UUID | None, limit: int) -> list[Row]:
    """Tasks that were seen, in the order of their ids, strictly after one."""
    return list(await db.fetch(_KNOWN_TASKS, after, limit))


async def counts(db: Executor) -> dict[str, int]:
    return {row["state"]: row["reminders"] for row in await db.fetch(_COUNTS)}


async def next_fire(db: Executor, now: dt.datetime) -> dt.datetime | None:
    found: dt.datetime | None = await db.fetchval(_NEXT_FIRE, now)
    return found


async def oldest_overdue(db: Executor, now: dt.datetime) -> dt.datetime | None:
    found: dt.datetime | None = await db.fetchval(_OLDEST_OVERDUE, now)
    return found


def _by_key(rows: Iterable[Row]) -> dict[Key, Reminder]:
    return {reminder.key: reminder for reminder in map(_reminder, rows)}


def _reminder(row: Row) -> Reminder:
    fields = {name: row[name] for name in Reminder.__struct_fields__}
    return Reminder(**fields | {"state": State(fields["state"])})
