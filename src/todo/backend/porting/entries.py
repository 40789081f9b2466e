"""What a file says of one task, whatever its format; and what of it cannot be kept."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeAlias
from uuid import UUID

import msgspec

MAX_ENTRIES: Final = 100_000  # tasks in one file
MAX_VALUE: Final = 1024 * 1024  # characters of one task in a file
_SHOWN: Final = 80  # characters of somebody's text in a message


class Loss(msgspec.Struct, frozen=True):
    """Something in a file that is not imported as it stands. `entry` is the number of the task in the file."""

    line: int
    entry: int
    field: str
    problem: str
    instead: str


class Broken(msgspec.Struct, frozen=True):
    """A task that cannot be read."""

    line: int
    entry: int
    field: str
    problem: str


class BrokenFileError(Exception):
    """The file cannot be read any further."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class Repeating:
    """How an entry repeats. Without `series` it begins a series of its own at its due."""

    rule: str
    mode: str = "due"
    policy: str = "skip"
    series: str | None = None  # what all occurrences of one series have in common
    seq: int = 1
    first_seq: int = 1
    start: dt.datetime | dt.date | None = None
    zone: str | None = None
    ended_seq: int | None = None
    scheduled: dt.datetime | dt.date | None = None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One task of a file, unchecked. A `due` without offset is a wall time in `zone`."""

    number: int
    line: int
    source: str  # names the task where it comes from: what makes it the same when it comes again
    origin: UUID | None = None  # its id, if it was exported here
    title: str = ""
    notes: str = ""
    done: bool = False
    due: dt.datetime | dt.date | None = None
    zone: str | None = None
    priority: int = 4
    labels: list[str] = field(default_factory=list)
    reminders: list[str] = field(default_factory=list)
    dismissed: list[tuple[str, dt.datetime]] = field(default_factory=list)
    repeating: Repeating | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    list_name: str = ""
    list_color: str = ""
    parent: str = ""  # as it is called
    parent_source: str = ""  # its `source`, where that is known
    start: dt.datetime | dt.date | None = None
    position: str = ""  # as it is written here
    sorted_at: dt.datetime | None = None  # what other programs sort it by
    losses: list[Loss] = field(default_factory=list)

    def lose(self, field: str, problem: str, instead: str, line: int | None = None) -> None:
        """Note what of it cannot be kept, and what is done instead."""
        self.losses.append(Loss(line or self.line, self.number, shown(field), problem, instead))

    def append_note(self, text: str) -> None:
        self.notes = f"{self.notes.rstrip()}\n\n{text}".strip() if self.notes.strip() else text


@dataclass(slots=True)
class Reading:
    """What a reader knows, and how far it is."""

    zone: str  # the user's
    now: dt.datetime
    sha256: str
    size: int
    read: int = 0  # bytes; of an archive, those of what is in it

    @property
    def share(self) -> float:
        return min(self.read / self.size, 1.0) if self.size else 1.0


Reader: TypeAlias = Callable[[BinaryIO, Reading], Iterator[Entry | Broken | Loss]]  # raises `BrokenFileError`


def shown(text: object) -> str:
    """Somebody's text in a message: short, and nothing in it that a terminal obeys."""
    plain = "".join(each if each.isprintable() else " " for each in str(text))
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"
