"""Every statement about tasks and series. Readers that serve a person are scoped by owner here, and only here."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from todo.backend.store import filters
from todo.backend.store.filters import Wanted
from todo.backend.store.orders import PLACE, TITLE, Place, Sort, order_of
from todo.backend.store.rows import (
    SERIES_COLUMNS,
    TASK_COLUMNS,
    series_from,
    series_values,
    task_from,
    task_values,
)
from todo.contracts.invocation import TaskVersion
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging.postgres import Executor, Row


def _placeholders(columns: Sequence[str], first: int = 1) -> str:
    return ", ".join(f"${number}" for number in range(first, first + len(columns)))


def _assignments(columns: Sequence[str]) -> str:
    return ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 1) if column != "id")


_TASK: Final = ", ".join(TASK_COLUMNS)
_SERIES: Final = ", ".join(SERIES_COLUMNS)
_N: Final = len(TASK_COLUMNS)
_HISTORY: Final = "INSERT INTO task_history (task_id, version, event_type, at, trace)"

# One statement, one round trip: the task, its history and its event. Nothing happens for an id that exists.
_INSERT_TASK: Final = f"""
WITH made AS (
    INSERT INTO tasks ({_TASK}) VALUES ({_placeholders(TASK_COLUMNS)}) ON CONFLICT DO NOTHING RETURNING id, version
), noted AS (
    {_HISTORY} SELECT id, version, ${_N + 1}, ${_N + 2}, ${_N + 3} FROM made
), told AS (
    INSERT INTO outbox (topic, key, envelope, created_at) SELECT ${_N + 4}, ${_N + 5}, ${_N + 6}, ${_N + 2} FROM made
)
SELECT count(*) FROM made
"""
_UPDATE_TASK: Final = f"""
WITH made AS (
    UPDATE tasks SET {_assignments(TASK_COLUMNS)} WHERE id = $1 AND version < $3 RETURNING id, version
), noted AS (
    {_HISTORY} SELECT id, version, ${_N + 1}, ${_N + 2}, ${_N + 3} FROM made
), told AS (
    INSERT INTO outbox (topic, key, envelope, created_at) SELECT ${_N + 4}, ${_N + 5}, ${_N + 6}, ${_N + 2} FROM made
)
SELECT count(*) FROM made
"""
_INSERT_SERIES: Final = f"INSERT INTO series ({_SERIES}) VALUES ({_placeholders(SERIES_COLUMNS)})"
_UPDATE_SERIES: Final = f"UPDATE series SET {_assignments(SERIES_COLUMNS)}, tx = pg_current_xact_id() WHERE id = $1"

_OWNED: Final = f"SELECT {_TASK} FROM tasks WHERE id = $1 AND user_id = $2 AND (NOT deleted OR $3)"
_OCCURRENCE: Final = f"SELECT {_TASK} FROM tasks WHERE series_id = $1 AND seq = $2 FOR UPDATE"
_VERSIONS: Final = """
SELECT id, version FROM tasks WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
"""

# Closed, alive, and nobody made the successor: neither an open one nor a tombstone. A withdrawn one is none.
_ORPHANS: Final = f"""
SELECT {", ".join(f"t.{column}" for column in TASK_COLUMNS)}
FROM tasks t JOIN series s ON s.id = t.series_id
WHERE t.closed_version IS NOT NULL AND NOT s.deleted AND s.ended_seq IS NULL AND t.closed_at < $1
  AND t.seq >= s.first_seq
  AND NOT EXISTS (SELECT 1 FROM tasks n WHERE n.series_id = t.series_id AND n.seq = t.seq + 1 AND NOT n.withdrawn)
  AND ($2::uuid IS NULL OR t.id > $2)
ORDER BY t.id LIMIT $3
"""

_NEIGHBOUR: Final = f"""
SELECT {PLACE} FROM tasks t WHERE t.user_id = $1 AND NOT t.deleted AND {PLACE} > $2 AND t.id <> ALL($3::uuid[])
ORDER BY {PLACE} LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What is written beside a task: the event that tells of it."""

    event_type: str
    trace: str
    topic: str
    envelope: bytes


async def insert(db: Executor, task: Task, change: Change, now: dt.datetime) -> bool:
    """Store a new task with its event; False when its id exists."""
    return bool(await db.fetchval(_INSERT_TASK, *task_values(task), *_change_values(task, change, now)))


async def update(db: Executor, task: Task, change: Change, now: dt.datetime) -> bool:
    """Store a new version of a task with its event; False when this version or a later one is there."""
    return bool(await db.fetchval(_UPDATE_TASK, *task_values(task), *_change_values(task, change, now)))


def _change_values(task: Task, change: Change, now: dt.datetime) -> list[Any]:
    return [change.event_type, now, change.trace, change.topic, str(task.id), change.envelope]


async def insert_series(db: Executor, series: TaskSeries) -> None:
    await db.execute(_INSERT_SERIES, *series_values(series))


async def update_series(db: Executor, series: TaskSeries) -> None:
    await db.execute(_UPDATE_SERIES, *series_values(series))


async def owned(db: Executor, task_id: UUID, user_id: int, *, lock: bool = False, deleted: bool = False) -> Task | None:
    """A task of this user, None for anybody else's: the two look the same from outside. `deleted`: tombstones too."""
    row = await db.fetchrow(_OWNED + (" FOR UPDATE" if lock else ""), task_id, user_id, deleted)
    return task_from(row) if row else None


async def by_id(db: Executor, task_id: UUID, *, lock: bool = False) -> Task | None:
    """Any task, tombstones included: for events, which are not a person's."""
    row = await db.fetchrow(f"SELECT {_TASK} FROM tasks WHERE id = $1" + (" FOR UPDATE" if lock else ""), task_id)
    return task_from(row) if row else None


async def by_ids(db: Executor, task_ids: Sequence[UUID]) -> list[Task]:
    """These tasks, tombstones included, in no order."""
    return [task_from(row) for row in await db.fetch(f"SELECT {_TASK} FROM tasks WHERE id = ANY($1)", list(task_ids))]


async def occurrence(db: Executor, series_id: UUID, seq: int) -> Task | None:
    """One occurrence of a series, tombstones included, locked."""
    row = await db.fetchrow(_OCCURRENCE, series_id, seq)
    return task_from(row) if row else None


async def open_occurrences(db: Executor, series_id: UUID) -> list[Task]:
    """The open occurrences of a series in their order, locked."""
    statement = f"SELECT {_TASK} FROM tasks WHERE series_id = $1 AND status = 'open' AND NOT deleted"
    return [task_from(row) for row in await db.fetch(statement + " ORDER BY seq FOR UPDATE", series_id)]


async def subtasks(db: Executor, parent_id: UUID, *, lock: bool = False) -> list[Task]:
    """The subtasks of a task, tombstones included, in the order of ids."""
    statement = f"SELECT {_TASK} FROM tasks WHERE parent_id = $1 ORDER BY id" + (" FOR UPDATE" if lock else "")
    return [task_from(row) for row in await db.fetch(statement, parent_id)]


async def deleted_with(db: Executor, gone: UUID, user_id: int) -> list[UUID]:
    """The occurrences that the deletion of their series took along, in their order."""
    statement = "SELECT id FROM tasks WHERE series_id = $1 AND user_id = $2 AND deleted AND deleted_with = $1"
    return [row["id"] for row in await db.fetch(f"{statement} ORDER BY seq", gone, user_id)]


async def place_after(db: Executor, user_id: int, place: str, besides: Sequence[UUID]) -> str | None:
    """The next place in a user's manual order that a task holds, of tasks other than some."""
    found: str | None = await db.fetchval(_NEIGHBOUR, user_id, place, list(besides))
    return found


async def series(db: Executor, series_id: UUID, *, lock: bool = False) -> TaskSeries | None:
    row = await db.fetchrow(f"SELECT {_SERIES} FROM series WHERE id = $1" + (" FOR UPDATE" if lock else ""), series_id)
    return series_from(row) if row else None


async def lock_all(db: Executor, task_ids: Sequence[UUID], user_id: int) -> None:
    """Lock those of these tasks that are a user's, and before them their series, each in the order of ids."""
    of_user = "id = ANY($1::uuid[]) AND user_id = $2"
    series = f"SELECT series_id FROM tasks WHERE {of_user}"
    await db.execute(f"SELECT FROM series WHERE id IN ({series}) ORDER BY id FOR UPDATE", list(task_ids), user_id)
    await db.execute(f"SELECT FROM tasks WHERE {of_user} ORDER BY id FOR UPDATE", list(task_ids), user_id)


async def series_of(db: Executor, series_ids: Sequence[UUID]) -> dict[UUID, TaskSeries]:
    rows = await db.fetch(f"SELECT {_SERIES} FROM series WHERE id = ANY($1)", list(series_ids))
    return {row["id"]: series_from(row) for row in rows}


async def versions(db: Executor, after: UUID | None, limit: int) -> list[TaskVersion]:
    """A page of (id, version) in the order of ids, tombstones included."""
    return [TaskVersion(row["id"], row["version"]) for row in await db.fetch(_VERSIONS, after, limit)]


async def orphans(db: Executor, closed_before: dt.datetime, after: UUID | None, limit: int) -> list[Task]:
    """Closed occurrences of living series that have no successor yet."""
    return [task_from(row) for row in await db.fetch(_ORPHANS, closed_before, after, limit)]


async def decline(  # noqa: PLR0913 - the key has this many parts
    db: Executor, series_id: UUID, seq: int, *, generation: int, closed_version: int, reason: str, now: dt.datetime
) -> None:
    """Record why an occurrence was not made."""
    await db.execute(
        "INSERT INTO declined_occurrences (series_id, seq, generation, closed_version, reason, at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        series_id, seq, generation, closed_version, reason, now,
    )  # fmt: skip


TRASH: Final = "trash"


@dataclass(frozen=True, slots=True)
class Page:
    """What to list; `TRASH` is a status here. `after` is the place of the last row of the page before."""

    user_id: int
    status: str | None = "open"
    label: str | None = None
    wanted: Wanted | None = None
    sort: Sort = Sort.CREATED
    after: Place | None = None
    limit: int = 100
    list_id: UUID | None = None
    parent_id: UUID | None = None


_LISTED: Final = f"""
SELECT t.id, t.user_id, t.version, t.title, t.notes, t.status, t.due_at, t.due_date, t.zone, t.priority, t.labels,
       t.reminders, t.created_at, t.updated_at, t.closed_at, t.due_sort, {TITLE} AS title_sort,
       t.list_id, t.parent_id, t.start_at, t.start_date, {PLACE} AS position,
       CASE WHEN t.deleted THEN t.updated_at END AS deleted_at,
       s.id AS series_id, t.seq, s.rule, s.mode, s.policy, s.ended_seq
FROM tasks t LEFT JOIN series s ON s.id = t.series_id AND NOT s.deleted
"""
# What a parent's deletion took along comes back with it, and is not shown beside it. Nobody deleted what was withdrawn.
_TRASH: Final = (
    "t.deleted AND NOT t.withdrawn",
    "(t.deleted_with IS NULL OR t.deleted_with IS DISTINCT FROM t.parent_id)",
)


async def page(db: Executor, wanted: Page) -> list[Row]:
    """A page of one user's tasks with their living series. Raises `RuleError`."""
    arguments: list[Any] = [wanted.user_id]

    def argument(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    conditions = ["t.user_id = $1", *(_TRASH if wanted.status == TRASH else ("NOT t.deleted",))]
    if wanted.status and wanted.status != TRASH:
        conditions.append(f"t.status = {argument(wanted.status)}")
    if wanted.label:
        conditions.append(f"{argument(wanted.label)} = ANY(t.labels)")
    for column, value in (("list_id", wanted.list_id), ("parent_id", wanted.parent_id)):
        if value:
            conditions.append(f"t.{column} = {argument(value)}")
    if wanted.wanted:
        conditions.append(filters.condition(wanted.wanted, argument))
    order = order_of(wanted.sort, is_trash=wanted.status == TRASH)
    if wanted.after:
        conditions.append(order.beyond(wanted.after, argument))
    statement = f"{_LISTED} WHERE {' AND '.join(conditions)} ORDER BY {order.by} LIMIT {argument(wanted.limit)}"
    rows: list[Row] = await db.fetch(statement, *arguments)
    return rows


_SHOWN: Final = _LISTED.replace("SELECT", "SELECT t.deleted,", 1)
_ALIVE: Final = f"{_SHOWN} WHERE t.user_id = $1 AND NOT t.deleted"
_BEYOND: Final = "(t.created_at, t.id) < ((SELECT created_at FROM tasks WHERE id = $3 AND user_id = $1), $3)"
_NEWEST_FIRST: Final = "ORDER BY t.created_at DESC, t.id DESC LIMIT $2"


async def alive(db: Executor, user_id: int, after: UUID | None, limit: int) -> list[Row]:
    """A page of what a user has, as `page` has it, newest first. `after` is the last one's id of the page before."""
    if after is None:
        return await db.fetch(f"{_ALIVE} {_NEWEST_FIRST}", user_id, limit)  # type: ignore[no-any-return]
    return await db.fetch(f"{_ALIVE} AND {_BEYOND} {_NEWEST_FIRST}", user_id, limit, after)  # type: ignore[no-any-return]


async def named(db: Executor, user_id: int, ids: Sequence[UUID]) -> list[Row]:
    """Those of these tasks that are the user's, tombstones included, in no order."""
    statement = f"{_SHOWN} WHERE t.user_id = $1 AND t.id = ANY($2)"
    return await db.fetch(statement, user_id, list(ids))  # type: ignore[no-any-return]


async def history(db: Executor, task_id: UUID) -> list[Row]:
    """Every version of a task: its event type, instant and trace."""
    rows: list[Row] = await db.fetch(
        "SELECT version, event_type, at, trace FROM task_history WHERE task_id = $1 ORDER BY version", task_id
    )
    return rows
