"""Users, and where this database comes from."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from todo.messaging import cluster
from todo.messaging.postgres import Executor, Pool

FIRST_USER: Final = 1
MADE_UP: Final = ("you@example.org", "me@localhost.test")  # what user 1 has until somebody says where mails shall go

ADDRESS: Final = r"^[^\s@<>\",;]+@[^\s@<>\",;]+$"
LONGEST_ADDRESS: Final = 254
LONGEST_NAME: Final = 100


def is_address(text: str) -> bool:
    """Whether mails can be sent there, as far as its form tells."""
    return len(text) <= LONGEST_ADDRESS and text.isprintable() and re.fullmatch(ADDRESS, text) is not None


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who owns tasks. `email` is where reminders go, `zone` the time zone they are written in."""

    id: int
    email: str
    name: str
    zone: str


@dataclass(frozen=True, slots=True)
class Owner:
    """What never changes about a user: who owns tasks, and the zone their wall times are in."""

    id: int
    zone: str


async def find(db: Executor, user_id: int) -> User | None:
    row = await db.fetchrow("SELECT id, email, name, zone FROM users WHERE id = $1", user_id)
    return User(**row) if row else None


async def find_all(db: Executor, user_ids: Sequence[int] | None = None) -> dict[int, User]:
    """These users, or every one."""
    rows = await db.fetch(
        "SELECT id, email, name, zone FROM users WHERE $1::bigint[] IS NULL OR id = ANY($1) ORDER BY id",
        None if user_ids is None else list(user_ids),
    )
    return {row["id"]: User(**row) for row in rows}


async def add(db: Executor, email: str, name: str, zone: str, now: dt.datetime) -> User | None:
    """Add a user; None when the address is taken."""
    row = await db.fetchrow(
        "INSERT INTO users (email, name, zone, created_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT DO NOTHING RETURNING id, email, name, zone",
        email, name, zone, now,
    )  # fmt: skip
    return User(**row) if row else None


async def change_email(db: Executor, user_id: int, email: str) -> User | None:
    """Send reminders somewhere else from now on; None when there is no such user."""
    row = await db.fetchrow("UPDATE users SET email = $2 WHERE id = $1 RETURNING id, email, name, zone", user_id, email)
    return User(**row) if row else None


async def lock(db: Executor, user_id: int) -> None:
    """Let nobody else organise this user's tasks until the transaction ends; adding and editing tasks go on."""
    await db.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def ensure_first(db: Executor, email: str, name: str, zone: str, now: dt.datetime) -> None:
    """Make user 1 unless there is one; replicas that start together make one.

    If its address is still a made-up one it gets this one, unless that is somebody else's.
    """
    await db.execute(
        "WITH made AS (INSERT INTO users (id, email, name, zone, created_at) VALUES ($5, $1, $2, $3, $4)"
        " ON CONFLICT DO NOTHING RETURNING id)"
        " SELECT setval(pg_get_serial_sequence('users', 'id'), max(id)) FROM made HAVING max(id) IS NOT NULL",
        email, name, zone, now, FIRST_USER,
    )  # fmt: skip
    await db.execute(
        "UPDATE users SET email = $1, name = CASE name WHEN split_part(email, '@', 1) THEN $2 ELSE name END"
        " WHERE id = $3 AND email = ANY($4) AND NOT $1 = ANY($4)"
        " AND NOT EXISTS (SELECT FROM users WHERE lower(email) = lower($1))",
        email, name, FIRST_USER, MADE_UP,
    )  # fmt: skip


async def epoch(db: Pool) -> int:
    """The epoch of this database, raised by one when it finds itself in another cluster or timeline.

    Versions counted by a restored database start from before; the epoch tells readers that they do.
    """
    here = await db.fetchval(f"SELECT {cluster.CURRENT}")
    epoch: int = await db.fetchval(
        "INSERT INTO origin AS o (epoch, cluster) VALUES (1, $1)"
        " ON CONFLICT (one) DO UPDATE SET epoch = o.epoch + (o.cluster <> $1)::int, cluster = $1 RETURNING epoch",
        here,
    )
    return epoch


async def is_current(db: Executor, epoch: int) -> bool:
    """Whether this is still the cluster and timeline that the epoch was counted in."""
    return bool(await db.fetchval(f"SELECT epoch = $1 AND cluster = {cluster.CURRENT} FROM origin", epoch))
