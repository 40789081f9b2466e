"""How callers are known: API tokens, by their hash, and identities that a provider vouches for."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from todo.messaging.failures import is_environment
from todo.messaging.postgres import Executor

log = structlog.get_logger()

USE_NOTED_EVERY: Final = dt.timedelta(minutes=1)  # not a write for every request

_TOKEN: Final = "id, user_id, name, beginning, scopes, created_at, expires_at, revoked_at, last_used_at"  # noqa: S105 - columns
_IDENTITY: Final = "issuer, subject, user_id, scopes, created_at"


@dataclass(frozen=True, slots=True)
class Token:
    """An API token; the token itself is nowhere. `expires_at` None: never."""

    id: int
    user_id: int
    name: str
    beginning: str
    scopes: Sequence[str]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which user somebody is whom an identity provider calls `subject`."""

    issuer: str
    subject: str
    user_id: int
    scopes: Sequence[str]
    created_at: dt.datetime


async def add_token(  # noqa: PLR0913 - a token has this many parts
    db: Executor,
    user_id: int,
    name: str,
    *,
    beginning: str,
    sha256: bytes,
    scopes: Sequence[str],
    expires_at: dt.datetime | None,
    now: dt.datetime,
) -> Token:
    """Keep a token. The database raises its foreign key violation when there is no such user."""
    row = await db.fetchrow(
        "INSERT INTO api_tokens (user_id, name, beginning, sha256, scopes, created_at, expires_at)"
        f" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_TOKEN}",
        user_id, name, beginning, sha256, list(scopes), now, expires_at,
    )  # fmt: skip
    return Token(**row)


async def tokens(db: Executor) -> list[Token]:
    """Every token, revoked ones included, in the order they were made."""
    return [Token(**row) for row in await db.fetch(f"SELECT {_TOKEN} FROM api_tokens ORDER BY id")]


async def revoke(db: Executor, token_id: int, now: dt.datetime) -> Token | None:
    """Take a token back; None when there is none. Again changes nothing."""
    row = await db.fetchrow(
        f"UPDATE api_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING {_TOKEN}", token_id, now
    )
    return Token(**row) if row else None


async def use(db: Executor, sha256: bytes, now: dt.datetime) -> Token | None:
    """The token with this hash unless it was revoked, and note that it is used; expired ones are returned too."""
    row = await db.fetchrow(f"SELECT {_TOKEN} FROM api_tokens WHERE sha256 = $1 AND revoked_at IS NULL", sha256)
    if row is None:
        return None
    token = Token(**row)
    if token.last_used_at is None or now - token.last_used_at >= USE_NOTED_EVERY:
        await _note_use(db, token.id, now)
    return token


async def _note_use(db: Executor, token_id: int, now: dt.datetime) -> None:
    """As far as that goes: a database that takes no writes, its disk full or itself a standby, still lets in."""
    try:
        await db.execute(
            "UPDATE api_tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
            token_id, now,
        )  # fmt: skip
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if not is_environment(error):
            raise
        log.debug("use of a token not noted", token_id=token_id, reason=f"{type(error).__name__}: {error}")


async def identity(db: Executor, issuer: str, subject: str) -> Identity | None:
    row = await db.fetchrow(
        f"SELECT {_IDENTITY} FROM identities WHERE issuer = $1 AND subject = $2", issuer, subject
    )  # fmt: skip
    return Identity(**row) if row else None


async def identities(db: Executor) -> list[Identity]:
    """Every identity, by user."""
    rows = await db.fetch(f"SELECT {_IDENTITY} FROM identities ORDER BY user_id, issuer, subject")
    return [Identity(**row) for row in rows]


async def link(  # noqa: PLR0913 - an identity has this many parts
    db: Executor, issuer: str, subject: str, user_id: int, scopes: Sequence[str], now: dt.datetime
) -> Identity | None:
    """Say which user somebody is, or with which scopes; None when they are another user already."""
    row = await db.fetchrow(
        "INSERT INTO identities AS i (issuer, subject, user_id, scopes, created_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (issuer, subject) DO UPDATE SET scopes = excluded.scopes WHERE i.user_id = excluded.user_id"
        f" RETURNING {_IDENTITY}",
        issuer, subject, user_id, list(scopes), now,
    )  # fmt: skip
    return Identity(**row) if row else None


async def unlink(db: Executor, issuer: str, subject: str) -> Identity | None:
    """Forget who somebody is; None when nobody knew. Their user stays."""
    row = await db.fetchrow(
        f"DELETE FROM identities WHERE issuer = $1 AND subject = $2 RETURNING {_IDENTITY}", issuer, subject
    )
    return Identity(**row) if row else None
