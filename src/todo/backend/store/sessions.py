"""How people sign in: the hashes of their passwords, and the sessions that their browsers hold, by their hash."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from todo.messaging.failures import is_environment
from todo.messaging.postgres import Executor

log = structlog.get_logger()

IDLE: Final = dt.timedelta(days=14)  # without a call
LONGEST: Final = dt.timedelta(days=90)
SEEN_EVERY: Final = dt.timedelta(minutes=10)  # not a write for every request
MOST: Final = 50  # of one user

_LOGIN: Final = "p.user_id, p.hash, p.scopes, p.changed_at"
_SESSION: Final = (
    "s.id, s.user_id, s.issuer, coalesce(i.scopes, p.scopes) AS scopes,"
    " s.user_agent, s.created_at, s.seen_at, s.expires_at"
)
_ALIVE: Final = (
    "sessions s LEFT JOIN identities i ON i.issuer = s.issuer AND i.subject = s.subject AND i.user_id = s.user_id"
    " LEFT JOIN password_logins p ON p.user_id = s.user_id AND s.issuer IS NULL"
    " WHERE s.expires_at > $1 AND s.seen_at > $2 AND coalesce(i.scopes, p.scopes) IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Login:
    """A local account. `changed_at` is when its password was set, and tells one password from the next."""

    user_id: int
    hash: str
    scopes: Sequence[str]
    changed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that somebody signed in with; what it holds is nowhere. `issuer` None: with a password.

    `scopes` are the account's, as they are now. `seen_at` is noted every ten minutes.
    """

    id: int
    user_id: int
    issuer: str | None
    scopes: Sequence[str]
    user_agent: str
    created_at: dt.datetime
    seen_at: dt.datetime
    expires_at: dt.datetime

    @property
    def method(self) -> str:
        return "password" if self.issuer is None else "oidc"


async def login(db: Executor, email: str) -> Login | None:
    """The local account of whoever has this address, however it is capitalised."""
    row = await db.fetchrow(
        f"SELECT {_LOGIN} FROM password_logins p JOIN users u ON u.id = p.user_id WHERE lower(u.email) = lower($1)",
        email,
    )
    return Login(**row) if row else None


async def set_password(  # noqa: PLR0913 - a login has this many parts
    db: Executor,
    user_id: int,
    password_hash: str,
    scopes: Sequence[str] | None,
    *,
    default: Sequence[str],
    now: dt.datetime,
) -> Login:
    """Give a user a password. What it opens stays as it was if `scopes` are not said; `default` is for a first one."""
    row = await db.fetchrow(
        "INSERT INTO password_logins AS p (user_id, hash, scopes, changed_at)"
        " VALUES ($1, $2, coalesce($3::text[], $4), $5) ON CONFLICT (user_id)"
        " DO UPDATE SET hash = $2, scopes = coalesce($3::text[], p.scopes), changed_at = $5"
        f" RETURNING {_LOGIN}",
        user_id, password_hash, None if scopes is None else list(scopes), list(default), now,
    )  # fmt: skip
    return Login(**row)


async def remove_password(db: Executor, user_id: int) -> bool:
    """Whether there was one."""
    return await db.fetchval("DELETE FROM password_logins WHERE user_id = $1 RETURNING true", user_id) is not None


async def lock(db: Executor, login: Login) -> bool:
    """Keep a password from being changed until the transaction ends; False if it was since it was read."""
    return await db.fetchval(
        "SELECT true FROM password_logins WHERE user_id = $1 AND changed_at = $2 FOR UPDATE",
        login.user_id, login.changed_at,
    ) is not None  # fmt: skip


async def rehash(db: Executor, login: Login, password_hash: str) -> None:
    """Keep the same password under another hash."""
    await db.execute(
        "UPDATE password_logins SET hash = $3 WHERE user_id = $1 AND changed_at = $2",
        login.user_id, login.changed_at, password_hash,
    )  # fmt: skip


async def open_for(  # noqa: PLR0913 - a session has this many parts
    db: Executor,
    user_id: int,
    *,
    sha256: bytes,
    identity: tuple[str, str] | None,
    user_agent: str,
    now: dt.datetime,
) -> int:
    """Keep a session and return its id. Of a user's sessions the dead go, and the oldest beyond `MOST`."""
    await db.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND (expires_at <= $2 OR seen_at <= $3 OR id IN"
        " (SELECT id FROM sessions WHERE user_id = $1 ORDER BY seen_at DESC, id DESC OFFSET $4))",
        user_id, now, now - IDLE, MOST - 1,
    )  # fmt: skip
    issuer, subject = identity or (None, None)
    made: int = await db.fetchval(
        "INSERT INTO sessions (sha256, user_id, issuer, subject, user_agent, created_at, seen_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING id",
        sha256, user_id, issuer, subject, user_agent, now, now + LONGEST,
    )  # fmt: skip
    return made


async def use(db: Executor, sha256: bytes, now: dt.datetime) -> Session | None:
    """The living session with this hash, and note that it was seen."""
    row = await db.fetchrow(f"SELECT {_SESSION} FROM {_ALIVE} AND s.sha256 = $3", now, now - IDLE, sha256)
    if row is None:
        return None
    session = Session(**row)
    if now - session.seen_at >= SEEN_EVERY:
        await _note_seen(db, session.id, now)
    return session


async def _note_seen(db: Executor, session_id: int, now: dt.datetime) -> None:
    """As far as that goes: a database that takes no writes still lets in."""
    try:
        await db.execute("UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2", session_id, now)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if not is_environment(error):
            raise
        log.debug("use of a session not noted", session_id=session_id, reason=f"{type(error).__name__}: {error}")


async def living(db: Executor, now: dt.datetime, user_id: int | None = None) -> list[Session]:
    """The living sessions of a user, or everybody's, the one seen last first."""
    rows = await db.fetch(
        f"SELECT {_SESSION} FROM {_ALIVE} AND ($3::bigint IS NULL OR s.user_id = $3)"
        " ORDER BY s.seen_at DESC, s.id DESC",
        now, now - IDLE, user_id,
    )  # fmt: skip
    return [Session(**row) for row in rows]


async def end(db: Executor, session_id: int, user_id: int | None = None) -> bytes | None:
    """End a session, of this user if one is given; returns its hash, None when there is none."""
    ended: bytes | None = await db.fetchval(
        "DELETE FROM sessions WHERE id = $1 AND ($2::bigint IS NULL OR user_id = $2) RETURNING sha256",
        session_id, user_id,
    )  # fmt: skip
    return ended


async def end_known(db: Executor, sha256: bytes) -> None:
    """End the session with this hash, if there is one."""
    await db.execute("DELETE FROM sessions WHERE sha256 = $1", sha256)


async def end_all(db: Executor, user_id: int) -> int:
    """End every session of a user; returns how many there were."""
    return len(await db.fetch("DELETE FROM sessions WHERE user_id = $1 RETURNING id", user_id))
