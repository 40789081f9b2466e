"""Statements for many tasks of one user at once: what an export reads, and what an import writes."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from todo.backend.store.rows import (
    SERIES_COLUMNS,
    TASK_COLUMNS,
    series_from,
    series_values,
    task_from,
    task_values,
)
from todo.backend.store.tasks import Change
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging.postgres import Executor, Row

_TASK: Final = ", ".join(TASK_COLUMNS)
_SERIES: Final = ", ".join(SERIES_COLUMNS)

# Newest first: of a series the successor comes before its predecessor, so that a file that is imported in its order
# never shows a closed occurrence whose successor is missing. In pages, so that no connection waits for a slow reader.
_PAGE: Final = f"""
SELECT {", ".join(f"t.{column}" for column in TASK_COLUMNS)},
       {", ".join(f"s.{column} AS its_{column}" for column in SERIES_COLUMNS)}
FROM tasks t LEFT JOIN series s ON s.id = t.series_id AND NOT s.deleted
WHERE t.user_id = $1 AND NOT t.deleted AND t.created_at <= $2
  AND ($3::timestamptz IS NULL OR (t.created_at, t.id) < ($3, $4))
ORDER BY t.created_at DESC, t.id DESC LIMIT $5
"""
_ZONES: Final = """
SELECT zone, least(min(due_at), min(start_at)) AS first, greatest(max(due_at), max(start_at)) AS last FROM tasks
WHERE user_id = $1 AND NOT deleted AND (due_at IS NOT NULL OR start_at IS NOT NULL) AND zone IS NOT NULL
GROUP BY zone ORDER BY zone
"""
_THERE: Final = """
SELECT id FROM tasks WHERE id = ANY($2) AND user_id = $1
UNION ALL
SELECT id FROM tasks WHERE id = ANY($3) AND user_id = $1 AND NOT deleted
"""

_STANDING: Final = """
SELECT p.id, p.deleted, p.parent_id, p.list_id, coalesce(l.name, '') AS list_name,
       (SELECT count(*) FROM tasks c WHERE c.parent_id = p.id AND NOT c.deleted) AS subtasks
FROM tasks p LEFT JOIN lists l ON l.id = p.list_id AND NOT l.deleted
WHERE p.user_id = $1 AND p.id = ANY($2)
"""
_NAMED_LISTS: Final = """
SELECT wanted.name, l.id FROM unnest($2::text[]) AS wanted (name)
JOIN lists l ON l.user_id = $1 AND lower(l.name) = lower(wanted.name) AND NOT l.deleted
"""

# A row of JSON for each task: its columns are of many types, some of them arrays, which UNNEST would flatten.
_INSERT: Final = f"""
WITH told AS (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS told (id, trace, envelope)
), made AS (
    INSERT INTO tasks ({_TASK}) SELECT {_TASK} FROM json_populate_recordset(NULL::tasks, $1::json) ORDER BY id
    ON CONFLICT DO NOTHING RETURNING id, version
), noted AS (
    INSERT INTO task_history (task_id, version, event_type, at, trace)
    SELECT id, version, $5, $7, trace FROM made JOIN told USING (id)
), sent AS (
    INSERT INTO outbox (topic, key, envelope, created_at)
    SELECT $6, id::text, envelope, $7 FROM made JOIN told USING (id)
)
SELECT count(*) FROM made
"""
_INSERT_SERIES: Final = f"""
INSERT INTO series ({_SERIES}) SELECT {_SERIES} FROM json_populate_recordset(NULL::series, $1::json) ORDER BY id
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A stored task as others may be put under it. `subtasks` counts the living ones."""

    id: UUID
    deleted: bool
    parent_id: UUID | None
    list_id: UUID | None
    list_name: str
    subtasks: int


async def page(
    db: Executor, user_id: int, until: dt.datetime, after: Task | None, limit: int
) -> list[tuple[Task, TaskSeries | None]]:
    """A page of all tasks of a user that were made until then, newest first, with their living series."""
    place = (after.created_at, after.id) if after else (None, None)
    return [(task_from(row), _series_of(row)) for row in await db.fetch(_PAGE, user_id, until, *place, limit)]


async def zones(db: Executor, user_id: int) -> list[tuple[str, dt.datetime, dt.datetime]]:
    """The zones that tasks are due in, with the first and the last instant."""
    return [(row["zone"], row["first"], row["last"]) for row in await db.fetch(_ZONES, user_id)]


async def there(db: Executor, user_id: int, ids: Sequence[UUID], origins: Sequence[UUID]) -> set[UUID]:
    """Which of these ids a user has: `ids` even if they were deleted since, `origins` only if not."""
    return {row["id"] for row in await db.fetch(_THERE, user_id, list(ids), list(origins))}


async def standing(db: Executor, user_id: int, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Those of these tasks that a user has, and the parents of those that have one; in the trash or not."""
    found = {row["id"]: Standing(**dict(row)) for row in await db.fetch(_STANDING, user_id, list(ids))}
    above = list({one.parent_id for one in found.values() if one.parent_id})
    if above:
        found |= {row["id"]: Standing(**dict(row)) for row in await db.fetch(_STANDING, user_id, above)}
    return found


async def named_lists(db: Executor, user_id: int, names: Sequence[str]) -> dict[str, UUID]:
    """The lists of these names that a user has, whatever the case."""
    return {row["name"]: row["id"] for row in await db.fetch(_NAMED_LISTS, user_id, list(names))} if names else {}


async def insert_all(db: Executor, tasks: Sequence[tuple[Task, Change]], now: dt.datetime) -> int:
    """Store new tasks, each with its history and its event, all of one type; how many there were not yet."""
    if not tasks:
        return 0
    written = [_fields(TASK_COLUMNS, task_values(task)) for task, _ in tasks]
    changes = [change for _, change in tasks]
    return int(
        await db.fetchval(
            _INSERT,
            msgspec.json.encode(written).decode(),
            [task.id for task, _ in tasks],
            [change.trace for change in changes],
            [change.envelope for change in changes],
            changes[0].event_type,
            changes[0].topic,
            now,
        )
    )


async def insert_series(db: Executor, series: Sequence[TaskSeries]) -> None:
    """Store series, as far as they are not there yet."""
    written = [_fields(SERIES_COLUMNS, series_values(one)) for one in series]
    if written:
        await db.execute(_INSERT_SERIES, msgspec.json.encode(written).decode())


def _fields(columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    fields = dict(zip(columns, values, strict=True))
    if "instances" in fields:  # it is JSON already
        fields["instances"] = msgspec.Raw(fields["instances"].encode())
    return fields


def _series_of(row: Row) -> TaskSeries | None:
    own: Any = {column: row[f"its_{column}"] for column in SERIES_COLUMNS}  # as much of a row as is read
    return series_from(own) if own["id"] else None
