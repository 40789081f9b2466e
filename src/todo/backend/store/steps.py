"""Every statement about what can be taken back. Of each user the last `KEPT` steps are kept, for `KEPT_FOR` at most."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from todo.backend.steps import Item, Kind
from todo.messaging.postgres import Executor, Pool, Row

KEPT: Final = 100
KEPT_FOR: Final = dt.timedelta(days=7)
CREATED: Final = "create"

# A task that was made and never changed is a step of its own: making one writes no other row. What events made is none.
_CREATED: Final = f"""
SELECT id::text AS id, created_at AS at, '{CREATED}' AS what, title, 1 AS things, false AS takes_back FROM tasks
WHERE user_id = $1 AND created_at > $2 AND NOT deleted AND version = 1 AND touched
"""
_STEPS: Final = """
SELECT id::text AS id, at, what, title, things, takes_back FROM undo_steps
WHERE user_id = $1 AND at > $2 AND NOT undone
"""
_LATEST: Final = f"""
SELECT id, at, what, title, things, takes_back FROM (
    ({_STEPS} ORDER BY undo_steps.id DESC LIMIT $3) UNION ALL ({_CREATED} ORDER BY created_at DESC LIMIT $3)
) AS latest
"""
_ORDER: Final = f"ORDER BY at DESC, what = '{CREATED}', length(id) DESC, id DESC LIMIT $3"
# $1 kept for, $2 of each user
_OLD: Final = """
DELETE FROM undo_steps WHERE id IN (
    SELECT id FROM undo_steps WHERE at < $1 OR id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY id DESC) AS place FROM undo_steps
        ) AS placed WHERE place > $2
    ) ORDER BY id FOR UPDATE SKIP LOCKED
)
"""


# $1 owner, $2 at, $3 what, $4 title, $5 takes back, $6 things; then of each item $7 id, $8 kind, $9 version,
# $10 version before, $11 deleted, $12 what differed
_KEEP: Final = """
WITH step AS (
    INSERT INTO undo_steps (user_id, at, what, title, things, takes_back, undone)
    VALUES ($1, $2, $3, $4, $6, $5, false) RETURNING id
)
INSERT INTO undo_items (step_id, thing_id, kind, version, from_version, deleted, before)
SELECT step.id, item.* FROM step, unnest(
    $7::uuid[], $8::text[], $9::bigint[], $10::bigint[], $11::boolean[], $12::jsonb[]
) AS item
RETURNING step_id
"""
# $1 owner, $2 ids, $3 versions before, $4 versions that are as those were
_STAND_AGAIN: Final = """
UPDATE undo_items SET version = again.version
FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS again (id, before, version), undo_steps
WHERE undo_items.thing_id = again.id AND undo_items.version = again.before
  AND undo_steps.id = undo_items.step_id AND undo_steps.user_id = $1 AND NOT undo_steps.undone
"""
_STEP: Final = "SELECT id, what, title, takes_back, undone FROM undo_steps"
_MADE: Final = f"""
{_STEP} WHERE user_id = $2 AND what = '{CREATED}' AND NOT takes_back AND NOT undone
  AND id IN (SELECT step_id FROM undo_items WHERE thing_id = $1) ORDER BY id DESC LIMIT 1 FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A step as it was kept. `takes_back`: it is an undo itself."""

    id: int
    what: str
    title: str
    items: tuple[Item, ...]
    takes_back: bool
    undone: bool


async def keep(  # noqa: PLR0913 - a step has this many parts
    db: Executor, user_id: int, what: str, title: str, items: Sequence[Item], *, takes_back: bool, now: dt.datetime
) -> int:
    """Write a step; returns its id."""
    columns: list[list[object]] = [
        [item.id for item in items],
        [item.kind for item in items],
        [item.version for item in items],
        [item.from_version for item in items],
        [item.deleted for item in items],
        [msgspec.json.encode(item.before).decode() for item in items],
    ]
    step_id: int = await db.fetchval(_KEEP, user_id, now, what, title, takes_back, len(items), *columns)
    return step_id


async def find(db: Executor, step_id: int, user_id: int) -> Kept | None:
    """A step of this user, locked."""
    return await _kept(db, await db.fetchrow(f"{_STEP} WHERE id = $1 AND user_id = $2 FOR UPDATE", step_id, user_id))


async def made(db: Executor, task_id: UUID, user_id: int) -> Kept | None:
    """The step that made a task, kept once its first change was taken back; locked."""
    return await _kept(db, await db.fetchrow(_MADE, task_id, user_id))


async def stand_again(db: Executor, user_id: int, again: Sequence[tuple[UUID, int, int]]) -> None:
    """Steps that left a thing (id) at one version can be taken back at another, which is as that was."""
    ids, before, versions = zip(*again, strict=True)
    await db.execute(_STAND_AGAIN, user_id, ids, before, versions)


async def latest(db: Executor, user_id: int, since: dt.datetime, limit: int) -> list[Row]:
    """A user's steps that can be taken back, the last first."""
    return list(await db.fetch(f"{_LATEST} {_ORDER}", user_id, since, limit))


async def last(db: Executor, user_id: int, since: dt.datetime) -> tuple[str, str] | None:
    """Id and word of the user's last step that is not an undo itself."""
    row = await db.fetchrow(f"{_LATEST} WHERE NOT takes_back {_ORDER}", user_id, since, KEPT)
    return (row["id"], row["what"]) if row else None


async def mark_undone(db: Executor, step_id: int) -> None:
    await db.execute("UPDATE undo_steps SET undone = true WHERE id = $1", step_id)


async def forget_old(db: Pool, now: dt.datetime) -> None:
    await db.execute(_OLD, now - KEPT_FOR, KEPT)


async def _kept(db: Executor, row: Row | None) -> Kept | None:
    if row is None:
        return None
    found = await db.fetch("SELECT * FROM undo_items WHERE step_id = $1 ORDER BY thing_id", row["id"])
    items = tuple(
        Item(
            Kind(one["kind"]), one["thing_id"], one["version"], one["from_version"], one["deleted"],
            msgspec.json.decode(one["before"]),
        )
        for one in found
    )  # fmt: skip
    return Kept(row["id"], row["what"], row["title"], items, row["takes_back"], row["undone"])
