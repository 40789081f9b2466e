"""How lists of tasks can be sorted, and where in such a list a page begins."""

import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec

from todo.domain.position import MAX_POSITION
from todo.messaging.postgres import Row

Place: TypeAlias = tuple[Any, ...]  # the values a row is sorted by, its id the last of them

_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
_Priority = Annotated[int, msgspec.Meta(ge=1, le=4)]
_LONGEST: Final = 64  # characters of a title that count
_Position = Annotated[str, msgspec.Meta(max_length=MAX_POSITION, pattern="^[0-9A-Za-z]*$")]
_Title = Annotated[str, msgspec.Meta(max_length=_LONGEST, pattern="^[^\\x00]*$")]


class Sort(enum.StrEnum):
    CREATED = "created"
    DUE = "due"
    PRIORITY = "priority"
    TITLE = "title"
    POSITION = "position"


@dataclass(frozen=True, slots=True)
class Order:
    """`columns` are expressions, which rows have as `names`; ids decide between equals. `place` reads a cursor."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    place: Any
    descending: bool = False

    @property
    def by(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(f"{column}{' DESC' if self.descending else ''}" for column in (*self.columns, "t.id"))

    def beyond(self, place: Place, argument: Callable[[object], str]) -> str:
        """The condition for rows that come after a place."""
        there = ", ".join(argument(value) for value in place)
        return f"({', '.join(self.columns)}, t.id) {'<' if self.descending else '>'} ({there})"

    def place_of(self, row: Row) -> Place:
        return (*(row[name] for name in self.names), row["id"])


# Where a task is in its owner's manual order: one without a position is where it was made, as in `domain/position.py`.
PLACE: Final = (
    "coalesce(t.position, "
    "lpad(to_hex((extract(epoch FROM t.created_at AT TIME ZONE 'UTC') * 1000000)::bigint), 14, '0')"
    " || right(t.id::text, 12) || 'V') COLLATE \"C\""
)
TITLE: Final = f"left(lower(t.title), {_LONGEST})"
ORDERS: Final = {
    Sort.CREATED: Order(("t.created_at",), ("created_at",), tuple[_Instant, UUID], descending=True),
    Sort.DUE: Order(("t.due_sort",), ("due_sort",), tuple[_Instant, UUID]),
    Sort.PRIORITY: Order(("t.priority", "t.due_sort"), ("priority", "due_sort"), tuple[_Priority, _Instant, UUID]),
    Sort.TITLE: Order((TITLE,), ("title_sort",), tuple[_Title, UUID]),
    Sort.POSITION: Order((PLACE,), ("position",), tuple[_Position, UUID]),
}
_TRASH: Final = Order(("t.updated_at",), ("updated_at",), tuple[_Instant, UUID], descending=True)


def order_of(sort: Sort, *, is_trash: bool) -> Order:
    """The trash has an order of its own: what came there last is what somebody looks for."""
    return _TRASH if is_trash else ORDERS[sort]
