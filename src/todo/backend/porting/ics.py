"""iCalendar with VTODOs: what is written, and which property is read as what is in the two modules beside this one."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from todo.backend.porting.content_lines import BadLine, ContentLine, read_lines
from todo.backend.porting.entries import Broken, BrokenFileError, Entry, Loss, Reading, shown
from todo.backend.porting.vtodo_reading import Alarm, Todo, entry_of
from todo.backend.porting.vtodo_writing import body, foot, head

__all__ = ["body", "foot", "head", "read"]

_MOST_LINES: Final = 5_000  # of one task
_KNOWN: Final = ("VCALENDAR", "VTIMEZONE", "VTODO", "VALARM", "STANDARD", "DAYLIGHT")


def read(file: BinaryIO, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    """The tasks of a file with one calendar or several. Raises `BrokenFileError`."""
    yield from _Calendar(reading).read(read_lines(file, reading))


class _Calendar:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._open: list[str] = []  # components, the innermost last
        self._name = ""
        self._todo: Todo | None = None
        self._number = 0
        self._last = 0

    def read(self, lines: Iterator[ContentLine | BadLine]) -> Iterator[Entry | Broken | Loss]:
        for line in lines:
            self._last = line.number
            if not self._open and not _begins_calendar(line):
                raise BrokenFileError(line.number, "it is no iCalendar: that begins with BEGIN:VCALENDAR")
            yield from self._take(line)
        if self._open or not self._last:
            missing = f"END:{self._open[-1]} is missing" if self._open else "there is nothing in it"
            raise BrokenFileError(self._last, f"the file ends too early: {missing}")

    def _take(self, line: ContentLine | BadLine) -> Iterator[Entry | Broken | Loss]:
        if isinstance(line, BadLine):
            if self._todo is not None:
                self._todo.broken = self._todo.broken or line
            elif not set(self._open) - set(_KNOWN):
                raise BrokenFileError(line.number, line.problem)
        elif line.opens:
            yield from self._begin(line)
        elif line.name == "END":
            yield from self._end(line)
        else:
            self._property(line)

    def _begin(self, line: ContentLine) -> Iterator[Loss]:
        name = line.opens
        if name == "VTODO" and self._open[-1:] == ["VCALENDAR"]:
            self._number += 1
            self._todo = Todo(self._number, line.number)
        elif name == "VALARM" and self._todo is not None:
            self._todo.alarms.append(Alarm(line.number))
        elif name == "VCALENDAR":
            self._name = ""
        elif name not in _KNOWN and self._open[-1:] == ["VCALENDAR"]:
            yield Loss(line.number, 0, shown(name), "it is not a task", "left out")
        self._open.append(name)

    def _end(self, line: ContentLine) -> Iterator[Entry | Broken]:
        name = line.value.strip().upper()
        if self._open[-1:] != [name]:
            expected = f"END:{self._open[-1]}" if self._open else "BEGIN:VCALENDAR"
            raise BrokenFileError(line.number, f"END:{shown(name)} where {expected} was expected")
        self._open.pop()
        if name == "VTODO" and self._todo is not None:
            todo, self._todo = self._todo, None
            yield entry_of(todo, self._reading, self._name)

    def _property(self, line: ContentLine) -> None:
        if self._todo is not None:
            place = self._open[-1]
            kept = self._todo.lines if place == "VTODO" else self._todo.alarms[-1].lines if place == "VALARM" else None
            if kept is not None:
                kept.append(line)
            if len(self._todo.lines) + sum(len(alarm.lines) for alarm in self._todo.alarms) > _MOST_LINES:
                raise BrokenFileError(line.number, f"a task has more than {_MOST_LINES:,} properties")
        elif self._open == ["VCALENDAR"] and line.name in {"X-WR-CALNAME", "NAME"}:
            self._name = line.text.strip()


def _begins_calendar(line: ContentLine | BadLine) -> bool:
    return isinstance(line, ContentLine) and line.opens == "VCALENDAR"
