"""Every statement about views. A statement that writes says in which transaction: `tx` is what changes are told by."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from todo.domain.views import View
from todo.messaging.postgres import Connection, Executor, Row

_COLUMNS: Final = (
    "id", "user_id", "name", "filter", "sort", "position", "version", "created_at", "updated_at", "deleted",
)  # fmt: skip
_VIEW: Final = ", ".join(_COLUMNS)
_PLACES: Final = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
_ASSIGNED: Final = ", ".join(f"{column} = ${number}" for number, column in enumerate(_COLUMNS, 1) if column != "id")


async def lock_all(db: Connection, user_id: int) -> None:
    """Let nobody else change this user's views, or how many there are, until the transaction ends."""
    await db.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)


async def of_user(db: Executor, user_id: int) -> list[View]:
    """A user's views in their order."""
    rows: Sequence[Row] = await db.fetch(
        f'SELECT {_VIEW} FROM views WHERE user_id = $1 AND NOT deleted ORDER BY position COLLATE "C", id', user_id
    )
    return [View(**row) for row in rows]


async def alive(db: Executor, user_id: int, after: UUID | None, limit: int) -> list[Row]:
    """A page of a user's views in the order of ids, after one: for readers of changes."""
    statement = f"SELECT {_VIEW} FROM views WHERE user_id = $1 AND NOT deleted AND ($2::uuid IS NULL OR id > $2)"
    return await db.fetch(f"{statement} ORDER BY id LIMIT $3", user_id, after, limit)  # type: ignore[no-any-return]


async def by_ids(db: Executor, user_id: int, ids: Sequence[UUID]) -> list[Row]:
    """Those of these views that are the user's, deleted ones too, in no order."""
    statement = f"SELECT {_VIEW} FROM views WHERE user_id = $1 AND id = ANY($2)"
    return await db.fetch(statement, user_id, list(ids))  # type: ignore[no-any-return]


async def insert(db: Connection, view: View) -> None:
    await db.execute(
        f"INSERT INTO views ({_VIEW}, tx) VALUES ({_PLACES}, pg_current_xact_id())", *_values(view)
    )  # fmt: skip


async def update(db: Connection, view: View) -> None:
    await db.execute(f"UPDATE views SET {_ASSIGNED}, tx = pg_current_xact_id() WHERE id = $1", *_values(view))


def _values(view: View) -> list[Any]:
    return [getattr(view, column) for column in _COLUMNS]
