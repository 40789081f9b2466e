"""Dead letters: one per (app, topic, event id), whatever happens to it again and again."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from todo.contracts.events import EventParked
from todo.messaging.postgres import Connection, Executor

OPEN: Final = "open"
REPLAYED: Final = "replayed"
DISCARDED: Final = "discarded"

# A failure reopens a closed letter only if it is of a later replay than any before: `replays` counts those made.
_PUT: Final = """
INSERT INTO dead_letters AS d
    (app, topic, event_id, event_type, subject, body, size, sha256, error, attempts, parked_at, changed_at, status,
     replays)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open', $13)
ON CONFLICT (app, topic, event_id) DO UPDATE
SET error = excluded.error, attempts = d.attempts + excluded.attempts, parked_at = excluded.parked_at,
    changed_at = excluded.changed_at, status = 'open', replays = excluded.replays
WHERE d.status = 'replayed' AND excluded.replays >= d.replays
"""
_COLUMNS: Final = (
    "id, app, topic, event_id, event_type, subject, size, sha256, error, attempts, status, replays, parked_at,"
    " changed_at"
)


_COUNT_OPEN: Final = "SELECT count(*) FROM (SELECT FROM dead_letters WHERE status = 'open' LIMIT 10001) AS counted"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `body` is the original envelope (its head, when `size` says it was longer)."""

    id: int
    app: str
    topic: str
    event_id: str
    event_type: str
    subject: str
    size: int
    sha256: str
    error: str
    attempts: int
    status: str
    replays: int
    parked_at: dt.datetime
    changed_at: dt.datetime
    body: bytes = b""


async def count_open(db: Executor) -> int:
    """How many wait for somebody, counted up to 10,001."""
    return int(await db.fetchval(_COUNT_OPEN))


async def put(db: Connection, parked: Sequence[EventParked], now: dt.datetime) -> None:
    """Keep letters; the same letter again changes nothing, a failed replay reopens it."""
    ordered = sorted(parked, key=lambda one: (one.app, one.topic, one.event_id))
    await db.executemany(
        _PUT,
        [
            (
                one.app, one.topic, one.event_id, one.event_type, one.subject, one.body, one.size, one.sha256,
                one.error, one.attempts, one.parked_at, now, one.replay,
            )
            for one in ordered
        ],
    )  # fmt: skip


async def page(db: Executor, status: str | None, after: int | None, limit: int) -> list[Letter]:
    """A page of letters, newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM dead_letters"
        " WHERE ($1::text IS NULL OR status = $1) AND ($2::bigint IS NULL OR id < $2)"
        " ORDER BY id DESC LIMIT $3",
        status, after, limit,
    )  # fmt: skip
    return [Letter(**row) for row in rows]


async def find(db: Executor, letter_id: int, *, lock: bool = False) -> Letter | None:
    row = await db.fetchrow(
        f"SELECT {_COLUMNS}, body FROM dead_letters WHERE id = $1" + (" FOR UPDATE" if lock else ""), letter_id
    )
    return Letter(**row) if row else None


async def mark(db: Executor, letter_id: int, status: str, replays: int, now: dt.datetime) -> None:
    await db.execute(
        "UPDATE dead_letters SET status = $2, replays = $3, changed_at = $4 WHERE id = $1",
        letter_id, status, replays, now,
    )  # fmt: skip


async def counts(db: Executor) -> dict[str, int]:
    """How many letters there are of each status."""
    return {
        row["status"]: row["n"]
        for row in await db.fetch("SELECT status, count(*) AS n FROM dead_letters GROUP BY status")
    }
