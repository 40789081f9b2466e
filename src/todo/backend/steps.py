"""What a command changed, noted while it runs, so that it can be taken back."""

from dataclasses import fields
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.domain.tasklist import TaskList

Thing = Task | TaskSeries | TaskList
T = TypeVar("T", Task, TaskSeries, TaskList)

MADE: Final = {"deleted": True}  # what something was before it was made
_COUNTED: Final = frozenset({"version", "generation", "updated_at"})  # what every change changes


class Kind(StrEnum):
    TASK = "task"
    SERIES = "series"
    LIST = "list"


class Item(msgspec.Struct, frozen=True):
    """One thing: what differed before, at which version (of a series: generation) it was and the step left it."""

    kind: Kind
    id: UUID
    version: int
    from_version: int
    deleted: bool
    before: dict[str, Any]

    def fits(self, now: Thing) -> bool:
        """Whether nobody has changed it since."""
        return (version_of(now), now.deleted) == (self.version, self.deleted)

    def of(self, now: T) -> T:
        """The thing as it was, with today's version."""
        return msgspec.convert(msgspec.to_builtins(now) | self.before, type(now))


class Step:
    """Everything one command changed. What changes twice is one item, from before the first to after the last."""

    def __init__(self) -> None:
        self.title = ""  # of the first thing that has one
        self._items: dict[UUID, Item] = {}

    @property
    def items(self) -> list[Item]:
        return list(self._items.values())

    def note(self, before: T | None, after: T) -> None:
        """A change; `before` is None of what was made."""
        differs = dict(MADE) if before is None else _difference(before, after)
        first = version_of(before) if before is not None else 0
        noted = self._items.get(after.id)
        if noted is not None:
            differs, first = differs | noted.before, noted.from_version
        self._items[after.id] = Item(_kind(after), after.id, version_of(after), first, after.deleted, differs)
        self.title = self.title or _title(after)

    def deleted(self, thing_id: UUID) -> bool:
        """Whether this command has deleted it."""
        return thing_id in self._items and self._items[thing_id].deleted

    def mark(self) -> tuple[str, dict[UUID, Item]]:
        """For `back_to`, when a part of a command fails alone."""
        return self.title, dict(self._items)

    def back_to(self, mark: tuple[str, dict[UUID, Item]]) -> None:
        self.title, self._items = mark


def version_of(thing: Thing) -> int:
    return thing.generation if isinstance(thing, TaskSeries) else thing.version


def _difference(before: T, after: T) -> dict[str, Any]:
    names = (field.name for field in fields(before) if field.name not in _COUNTED)
    return {
        name: msgspec.to_builtins(value)
        for name in names
        if (value := getattr(before, name)) != getattr(after, name)
    }  # fmt: skip


def _kind(thing: Thing) -> Kind:
    if isinstance(thing, Task):
        return Kind.TASK
    return Kind.SERIES if isinstance(thing, TaskSeries) else Kind.LIST


def _title(thing: Thing) -> str:
    if isinstance(thing, Task):
        return thing.title
    return thing.name if isinstance(thing, TaskList) else ""
