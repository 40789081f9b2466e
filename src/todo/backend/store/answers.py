"""Answers kept for `Idempotency-Key`: the same request again gets the answer it got, written with its effect."""

import datetime as dt
from typing import Final

from todo.messaging.postgres import Connection, Pool, Row

KEPT_FOR: Final = dt.timedelta(days=7)


async def begin(db: Connection, user_id: int, key: str, *, request: str, now: dt.datetime) -> Row | None:
    """Take the key, or return the answer that stands under it; waits for a request that is still running."""
    while True:
        taken = await db.fetchval(
            "INSERT INTO answers (user_id, key, request, status, headers, body, created_at)"
            " VALUES ($1, $2, $3, 0, '', '', $4) ON CONFLICT DO NOTHING RETURNING true",
            user_id, key, request, now,
        )  # fmt: skip
        kept = None if taken else await db.fetchrow(
            "SELECT * FROM answers WHERE user_id = $1 AND key = $2", user_id, key
        )  # fmt: skip
        if taken or kept is not None:  # neither: the answer was forgotten between the two
            return kept


async def keep(  # noqa: PLR0913 - an answer has this many parts
    db: Connection, user_id: int, key: str, *, status: int, headers: str, body: bytes
) -> None:
    """Write the answer under a key this transaction took."""
    await db.execute(
        "UPDATE answers SET status = $3, headers = $4, body = $5 WHERE user_id = $1 AND key = $2",
        user_id, key, status, headers, body,
    )  # fmt: skip


async def forget_old(db: Pool, now: dt.datetime) -> None:
    await db.execute("DELETE FROM answers WHERE created_at < $1", now - KEPT_FOR)
