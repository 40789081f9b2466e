"""Pages of changes, and the cursors between them.

Without a cursor a reader first gets everything that is alive, page by page. The place to read changes from was taken
before the first of these pages, so that what changes meanwhile comes again, and nothing is missed between.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from todo.backend.api import models
from todo.backend.store import changes
from todo.backend.store.changes import KINDS, SOURCES, Change, Place
from todo.domain.errors import RuleError
from todo.messaging.postgres import Executor, Row

NOW: Final = "now"
LONGEST_CURSOR: Final = 200
LOOKED_AT: Final = 8  # rows for each one that a page may have: others' are passed over, several of a thing are one

# How the rows of a kind are shown.
SHOWN: Final[dict[str, Callable[[Row], dict[str, Any]]]] = {
    "task": models.listed_out,
    "list": models.list_row_out,
    "view": models.view_row_out,
}

_NAMES: Final = tuple(KINDS)
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Some = Annotated[int, msgspec.Meta(ge=0, le=99)]


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far somebody has read; opaque to them.

    `sources` is how many there were: who has read without one of them starts over. While `alive`, `at` is the kind
    whose things are being listed and `id` the last one; afterwards they are a place among the changes.
    """

    epoch: _Number
    sources: _Some
    tx: _Number
    at: _Some
    id: UUID | None
    alive: bool

    def write(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @property
    def place(self) -> Place:
        return Place(self.tx, self.at, self.id or changes.FIRST)


_decoder: Final = msgspec.json.Decoder(Cursor)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing as it is now, and the cursor of whoever has read up to here."""

    cursor: Cursor
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """`reset`: the cursor was of no use, and everything that is alive comes anew."""

    entries: list[Entry]
    cursor: Cursor
    more: bool
    reset: bool = False


def read_cursor(text: str | None, field: str = "cursor") -> Cursor | str | None:
    """A cursor, `NOW`, or nothing. Raises `RuleError`."""
    if text is None or text == NOW:
        return text
    try:
        padded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return _decoder.decode(padded)
    except (ValueError, msgspec.DecodeError):
        raise RuleError(field, "it is not one of ours", f"give back a cursor as it came, {NOW}, or none") from None


async def page(db: Executor, epoch: int, user_id: int, cursor: Cursor | str | None, limit: int) -> Page:
    """What follows after the cursor: at most `limit` things, each as it is now."""
    edge = await changes.edge(db)
    if cursor == NOW:
        return Page([], _from(epoch, edge), more=False)
    if isinstance(cursor, Cursor) and _is_good(cursor, epoch, edge):
        return await (_alive if cursor.alive else _changed)(db, user_id, cursor, edge, limit)
    first = Cursor(epoch, len(SOURCES), edge, 0, None, alive=True)
    return replace(await _alive(db, user_id, first, edge, limit), reset=cursor is not None)


def _is_good(cursor: Cursor, epoch: int, edge: int) -> bool:
    """Not so if the database is another one by now, or was read by code that knew of less."""
    return cursor.epoch == epoch and cursor.sources == len(SOURCES) and cursor.tx <= edge


def _from(epoch: int, tx: int) -> Cursor:
    return Cursor(epoch, len(SOURCES), tx, 0, None, alive=False)


async def _alive(db: Executor, user_id: int, cursor: Cursor, edge: int, limit: int) -> Page:
    if cursor.at >= len(_NAMES):
        return Page([], _from(cursor.epoch, cursor.tx), more=True)
    name = _NAMES[cursor.at]
    rows = await KINDS[name].alive(db, user_id, cursor.id, limit)
    entries = [Entry(msgspec.structs.replace(cursor, id=row["id"]), _body(name, row)) for row in rows]
    if len(rows) == limit:
        return Page(entries, entries[-1].cursor, more=True)
    if cursor.at + 1 < len(_NAMES):
        return Page(entries, msgspec.structs.replace(cursor, at=cursor.at + 1, id=None), more=True)
    return Page(entries, _from(cursor.epoch, cursor.tx), more=edge > cursor.tx)  # what changed meanwhile


async def _changed(db: Executor, user_id: int, cursor: Cursor, edge: int, limit: int) -> Page:
    """Several changes of one thing are the last one."""
    found, end = await changes.read(db, user_id, cursor.place, edge, scan=limit * LOOKED_AT)
    last = {(one.kind, one.id): one for one in found}
    kept = sorted(last.values(), key=lambda one: one.place)
    is_cut = len(kept) > limit
    upto = kept[limit - 1].place if is_cut else end
    entries = await _entries(db, user_id, cursor.epoch, kept[:limit])
    return Page(entries, _at(cursor.epoch, upto), more=is_cut or end < Place.before(edge))


async def _entries(db: Executor, user_id: int, epoch: int, kept: list[Change]) -> list[Entry]:
    rows: dict[tuple[str, UUID], Row] = {}
    for name, kind in KINDS.items():
        if ids := [one.id for one in kept if one.kind == name]:
            rows |= {(name, row["id"]): row for row in await kind.named(db, user_id, ids)}
    return [
        Entry(_at(epoch, one.place), _body(one.kind, rows[one.kind, one.id]))
        for one in kept
        if (one.kind, one.id) in rows
    ]


def _at(epoch: int, place: Place) -> Cursor:
    return Cursor(epoch, len(SOURCES), place.tx, place.source, place.id, alive=False)


def _body(kind: str, row: Row) -> dict[str, Any]:
    value = None if row["deleted"] else SHOWN[kind](row)
    return {"kind": kind, "id": row["id"], "version": row["version"], "deleted": row["deleted"], "value": value}
