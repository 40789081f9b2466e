"""Todoist's CSV: a project exported as a template, or one of a backup."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from todo.backend.porting import todoist_dates
from todo.backend.porting.entries import Broken, Entry, Loss, Reading, Repeating, shown
from todo.backend.porting.own_csv import rows

_COLUMNS: Final = (
    "type", "content", "description", "priority", "indent", "author", "responsible", "date", "date_lang", "timezone",
    "duration", "duration_unit", "deadline", "deadline_lang", "is_collapsed",
)  # fmt: skip
_LABELS: Final = re.compile(r"(?:^|\s+)@(\S+)$")
_EMPTY: Final = frozenset({"", "none"})


def read(file: BinaryIO, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    """The tasks of a file. Raises `BrokenFileError`."""
    yield from _Project(reading).read(file)


class _Project:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._number = 0
        self._section = ""
        self._parents: list[tuple[str, str]] = []  # title and source of the task of each depth
        self._held: Entry | None = None  # comments on a task follow it

    def read(self, file: BinaryIO) -> Iterator[Entry | Broken | Loss]:
        for line, cells, unknown in rows(file, self._reading, needed="content", known=_COLUMNS):
            for name in unknown:
                yield Loss(line, 0, shown(name), "there is no such column here", "left out")
            if isinstance(cells, Broken):
                self._number += 1
                yield Broken(cells.line, self._number, cells.field, cells.problem)
            elif cells is not None:
                yield from self._row(line, cells)
        yield from self._release()

    def _row(self, line: int, cells: dict[str, str]) -> Iterator[Entry | Broken | Loss]:
        kind, content = cells.get("type", "task").strip().lower(), cells.get("content", "")
        if kind == "note" and self._held is not None:
            self._held.append_note(content.strip())
            self._held.lose("note", "it has a comment", "kept at the end of the notes", line)
            return
        yield from self._release()
        if kind == "task":
            self._held = self._task(line, content, cells)
        elif kind == "section":
            self._section = content.strip()
        elif kind != "meta":
            self._number += 1
            yield Broken(line, self._number, "type", f"{shown(kind)!r} is none of task, section and note")

    def _release(self) -> Iterator[Entry]:
        if self._held is not None:
            yield self._held
        self._held = None

    def _task(self, line: int, content: str, cells: dict[str, str]) -> Entry:
        self._number += 1
        title, labels = _split(content)
        source = f"{self._reading.sha256}/{self._number}"
        parent = self._parent(cells.get("indent", ""), (title, source))
        entry = Entry(
            number=self._number,
            line=line,
            source=source,
            title=title,
            notes=cells.get("description", ""),
            labels=labels,
            zone=cells.get("timezone", "").strip() or None,
            list_name=self._section,
            parent=parent[0],
            parent_source=parent[1],
        )
        _set_priority(entry, cells.get("priority", "").strip())
        self._set_date(entry, cells)
        _lose_the_rest(entry, cells)
        return entry

    def _parent(self, indent: str, own: tuple[str, str]) -> tuple[str, str]:
        depth = max(int(indent), 1) if indent.strip().isdecimal() and len(indent) < len("1000") else 1
        self._parents = [*self._parents[: depth - 1], own]
        return self._parents[-2] if len(self._parents) > 1 else ("", "")

    def _set_date(self, entry: Entry, cells: dict[str, str]) -> None:
        text = " ".join(cells.get("date", "").split())
        if not text:
            return
        language = cells.get("date_lang", "").strip().lower() or "en"
        found = todoist_dates.read(text, language, entry.zone or self._reading.zone, self._reading.now)
        if found is None:
            entry.append_note(f"Date in Todoist: {text}")
            entry.lose("date", f"{shown(text)!r} is not understood", "kept at the end of the notes; it has no due date")
            return
        entry.due = found.due
        if found.rule:
            entry.repeating = Repeating(rule=found.rule, mode=found.mode)


def _split(content: str) -> tuple[str, list[str]]:
    """Title and labels: words that begin with @ at its end."""
    labels: list[str] = []
    title = content.strip()
    while found := _LABELS.search(title):
        labels.insert(0, found[1])
        title = title[: found.start()].rstrip()
    return (title, labels) if title else (content.strip(), [])


def _set_priority(entry: Entry, text: str) -> None:
    if text in {"1", "2", "3", "4"}:
        entry.priority = int(text)
    elif text:
        entry.lose("priority", f"{shown(text)} is none of 1 to 4", "4 (none) is used")


def _lose_the_rest(entry: Entry, cells: dict[str, str]) -> None:
    for name in ("responsible", "duration"):
        if (text := cells.get(name, "").strip()).lower() not in _EMPTY:
            entry.lose(name, f"{shown(text)} is not known here", "left out")
    if (deadline := cells.get("deadline", "").strip()).lower() not in _EMPTY:
        entry.append_note(f"Deadline: {deadline}")
        entry.lose("deadline", f"there are no deadlines here beside due dates ({shown(deadline)})", "kept in the notes")
