"""Where the tasks of a file belong: in lists, under parents, among others.

What one entry says of it is checked here; what depends on the whole file, too: which lists there is room for, and which
task a subtask ends up under, for there is one level of them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from todo.backend.porting.entries import Entry, Loss, shown
from todo.backend.store.porting import Standing
from todo.domain.position import DIGITS, MAX_POSITION
from todo.domain.task import MAX_SUBTASKS
from todo.domain.tasklist import MAX_LISTS, MAX_NAME

OWN: Final = "imported as a task of its own"
_POSITION: Final = re.compile(f"[{DIGITS}]{{0,{MAX_POSITION - 1}}}[{DIGITS[1:]}]", re.ASCII)
_OURS: Final = "todo/"


def settle_list(entry: Entry, name: str) -> None:
    """The name of its list as a list can have it."""
    entry.list_name = " ".join(name.split())
    if len(entry.list_name) > MAX_NAME:
        entry.lose("list", f"its name has {len(entry.list_name):,} characters", f"cut at {MAX_NAME}")
        entry.list_name = entry.list_name[:MAX_NAME].rstrip()


def settle_position(entry: Entry) -> str | None:
    """Its place as it was written here; None where it says none."""
    if entry.position and _POSITION.fullmatch(entry.position) is None:
        entry.lose("position", f"{shown(entry.position)!r} is no position", "it comes in the order of the file")
        return None
    return entry.position or None


def origin_of(source: str) -> UUID | None:
    """The id that a task had where it was exported, if that was here."""
    return UUID(source.removeprefix(_OURS)) if source.startswith(_OURS) else None


class Names:
    """The lists that the tasks of a file may be in: those that are there, and new ones while there is room."""

    def __init__(self, there: Iterable[str]) -> None:
        self._known = {name.lower() for name in there}

    def has(self, name: str) -> bool:
        key = name.lower()
        if key not in self._known and len(self._known) < MAX_LISTS:
            self._known.add(key)
        return key in self._known


class Child(NamedTuple):
    """A task that is under another one in the file. `origin`: what that one was called if it was exported here."""

    line: int
    number: int
    list_key: str
    parent: UUID
    origin: UUID | None

    def loses(self, field: str, problem: str, instead: str) -> Loss:
        return Loss(self.line, self.number, field, problem, instead)


@dataclass(slots=True)
class Tree:
    """Which tasks of a file are under which. `under` is known once all of it was read."""

    children: dict[UUID, Child] = field(default_factory=dict)
    under: dict[UUID, UUID] = field(default_factory=dict)
    _used: Counter[UUID] = field(default_factory=Counter)

    def parents(self) -> list[UUID]:
        """The tasks to look up: any that may be a parent."""
        named = ((child.parent, child.origin) for child in self.children.values())
        return list(dict.fromkeys(one for both in named for one in both if one is not None))

    def settle(self, standing: Mapping[UUID, Standing], lists: Mapping[bytes, str]) -> list[Loss]:
        """Decide who is under whom, given what is stored, and the list of each task in the file."""
        losses: list[Loss] = []
        done: set[UUID] = set()
        for own in self.children:
            for each in reversed(self._chain(own, done)):
                losses += self._settle(each, standing, lists)
                done.add(each)
        self.children.clear()
        return losses

    def _chain(self, own: UUID, done: set[UUID]) -> list[UUID]:
        """A task and those above it that are not decided on, from below."""
        chain: dict[UUID, None] = {}
        while own in self.children and own not in done and own not in chain:
            chain[own] = None
            own = self.children[own].parent
        return list(chain)

    def _settle(self, own: UUID, standing: Mapping[UUID, Standing], lists: Mapping[bytes, str]) -> Iterator[Loss]:
        child = self.children[own]
        top, problem = self._top(child, standing, lists)
        if top == own or (top and self._used[own]):  # they go round in a circle
            top, problem = None, "it is a subtask of itself"
        there = standing.get(top) if top else None
        if top and self._used[top] + (there.subtasks if there else 0) >= MAX_SUBTASKS:
            top, problem = None, f"its parent has {MAX_SUBTASKS} subtasks"
        if top is None:
            yield child.loses("parent", problem, OWN)
            return
        self._used[top] += 1
        self.under[own] = top
        if problem:
            yield child.loses("parent", problem, "it is under the topmost of them")
        its_list = there.list_name.lower() if there else lists.get(top.bytes, "")
        if child.list_key and child.list_key != its_list:
            yield child.loses("list", "it is in another list than its parent", "it is in the list of its parent")

    def _top(
        self, child: Child, standing: Mapping[UUID, Standing], lists: Mapping[bytes, str]
    ) -> tuple[UUID | None, str]:
        """The task that it ends up under, and what is to be said about that."""
        parent = child.parent
        if parent in self.children:
            above = self.under.get(parent)
            return above or parent, _DEEP if above else ""
        known = [standing[one] for one in (child.origin, parent) if one is not None and one in standing]
        alive = next((one for one in known if not one.deleted), None)
        if alive is not None:
            return alive.parent_id or alive.id, _DEEP if alive.parent_id else ""
        if parent in standing:
            return None, "its parent was deleted here"
        return (parent, "") if parent.bytes in lists else (None, "its parent is not in the file")


_DEEP: Final = "it is a subtask of a subtask"
