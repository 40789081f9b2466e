"""Every statement about lists."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from todo.backend.store.rows import LIST_COLUMNS, list_from, list_values
from todo.domain.tasklist import TaskList
from todo.messaging.postgres import Executor, Row

_LIST: Final = ", ".join(LIST_COLUMNS)
_VALUES: Final = ", ".join(f"${number}" for number in range(1, len(LIST_COLUMNS) + 1))
_CHANGES: Final = ", ".join(
    f"{column} = ${number}" for number, column in enumerate(LIST_COLUMNS, 1) if column not in {"id", "user_id"}
)
_UPDATE: Final = f"UPDATE lists SET {_CHANGES}, tx = pg_current_xact_id() WHERE id = $1 AND user_id = $2"
_ALIVE: Final = f"SELECT {_LIST} FROM lists WHERE user_id = $1 AND NOT deleted"


async def insert(db: Executor, one: TaskList) -> None:
    await db.execute(f"INSERT INTO lists ({_LIST}) VALUES ({_VALUES})", *list_values(one))


async def update(db: Executor, one: TaskList) -> None:
    """Store a new version of a list that is locked."""
    await db.execute(
        f"UPDATE lists SET {_CHANGES}, tx = pg_current_xact_id() WHERE id = $1 AND user_id = $2", *list_values(one)
    )


async def owned(
    db: Executor, list_id: UUID, user_id: int, *, lock: bool = False, deleted: bool = False
) -> TaskList | None:
    """A list of this user, None for anybody else's. `deleted`: one that is gone, too."""
    statement = f"SELECT {_LIST} FROM lists WHERE id = $1 AND user_id = $2 AND (NOT deleted OR $3)"
    row = await db.fetchrow(statement + (" FOR UPDATE" if lock else ""), list_id, user_id, deleted)
    return list_from(row) if row else None


async def of_user(db: Executor, user_id: int) -> list[TaskList]:
    """Every list of a user in its order; there are `MAX_LISTS` at most."""
    return [list_from(row) for row in await db.fetch(f"{_ALIVE} ORDER BY position, id", user_id)]


async def alive(db: Executor, user_id: int, after: UUID | None, limit: int) -> list[Row]:
    """A page of a user's lists in the order of ids, after one: for readers of changes."""
    statement = f"{_ALIVE} AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"
    return await db.fetch(statement, user_id, after, limit)  # type: ignore[no-any-return]


async def by_ids(db: Executor, user_id: int, ids: Sequence[UUID]) -> list[Row]:
    """Those of these lists that are the user's, deleted ones too, in no order."""
    return await db.fetch(f"SELECT {_LIST} FROM lists WHERE user_id = $1 AND id = ANY($2)", user_id, list(ids))  # type: ignore[no-any-return]


async def count(db: Executor, user_id: int) -> int:
    found: int = await db.fetchval("SELECT count(*) FROM lists WHERE user_id = $1 AND NOT deleted", user_id)
    return found


async def named(db: Executor, user_id: int, name: str) -> UUID | None:
    """The list of this name, whatever its case."""
    found: UUID | None = await db.fetchval(
        "SELECT id FROM lists WHERE user_id = $1 AND lower(name) = lower($2) AND NOT deleted", user_id, name
    )
    return found
