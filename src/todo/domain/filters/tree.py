"""A filter as a tree. Saved filters keep relative days: what `+7d` means is decided when they are used."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from todo.domain.filters.days import Day
from todo.domain.task import Status


class Field(enum.StrEnum):
    """What has a day."""

    DUE = "due"
    START = "start"
    CREATED = "created"
    CLOSED = "closed"

    @property
    def looks_back(self) -> bool:
        """Whether its days are past ones: `created after: monday` is the Monday that was."""
        return self in {Field.CREATED, Field.CLOSED}


class Side(enum.StrEnum):
    ON = ""
    BEFORE = " before"
    AFTER = " after"


class Thing(enum.StrEnum):
    """What a task can have any of."""

    NOTES = "notes"
    REMINDERS = "reminders"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Label:
    name: str


@dataclass(frozen=True, slots=True)
class InList:
    """`None`: in no list."""

    name: str | None


@dataclass(frozen=True, slots=True)
class Priority:
    """`relation` is one of = < <= > >=."""

    relation: str
    level: int


@dataclass(frozen=True, slots=True)
class When:
    field: Field
    side: Side
    day: Day


@dataclass(frozen=True, slots=True)
class Undated:
    """Without a due."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Open, and its due has passed."""


@dataclass(frozen=True, slots=True)
class Repeats:
    pass


@dataclass(frozen=True, slots=True)
class Subtask:
    pass


@dataclass(frozen=True, slots=True)
class Has:
    thing: Thing


@dataclass(frozen=True, slots=True)
class Is:
    status: Status


@dataclass(frozen=True, slots=True)
class Text:
    """In title or notes: a word that begins so, or as a `phrase` these whole words in a row."""

    text: str
    phrase: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    part: "Node"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Node", ...]


Term: TypeAlias = Label | InList | Priority | When | Undated | Overdue | Repeats | Subtask | Has | Is | Text
Node: TypeAlias = Term | Not | And | Or

EVERYTHING: Final = And(())


def all_of(parts: Sequence[Node]) -> Node:
    """Every part; what is such a list itself becomes part of this one."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,)))
    return flat[0] if len(flat) == 1 else And(flat)


def any_of(parts: Sequence[Node]) -> Node:
    """At least one part."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def walk(node: Node) -> Iterator[Node]:
    """The node and all beneath it."""
    yield node
    parts = node.parts if isinstance(node, And | Or) else (node.part,) if isinstance(node, Not) else ()
    for part in parts:
        yield from walk(part)


def speaks_of_closed(node: Node) -> bool:
    """Whether it says itself which tasks it wants, open ones or others."""
    return any(isinstance(one, Is) or (isinstance(one, When) and one.field is Field.CLOSED) for one in walk(node))
