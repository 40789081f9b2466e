"""Our own CSV: a task a row, its fields in columns that a person can fill in.

A cell that a spreadsheet would run (it begins with = + - @ or the like) is written with an apostrophe before it, which
is taken off again when it is read. One that begins with apostrophes before such a character gets one more.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import msgspec

from todo.backend.porting import own
from todo.backend.porting.entries import Broken, BrokenFileError, Entry, Loss, Reading, shown
from todo.backend.porting.lines import text_lines
from todo.domain.series import TaskSeries
from todo.domain.task import Task

_PLAIN: Final = (
    "id", "title", "notes", "status", "due", "start", "zone", "priority", "list", "list_color", "parent", "position",
)  # fmt: skip
_LISTS: Final = ("labels", "reminders")
_RECURRENCE: Final = {
    "repeats": "rule", "repeats_from": "mode", "when_late": "policy", "series": "series", "seq": "seq",
    "first_seq": "first_seq", "series_start": "start", "series_zone": "zone", "scheduled": "scheduled",
    "ended_seq": "ended_seq",
}  # fmt: skip
_TIMES: Final = ("created_at", "updated_at", "closed_at")
_NUMBERS: Final = frozenset({"priority", "seq", "first_seq", "ended_seq"})
COLUMNS: Final = (*_PLAIN, *_LISTS, *_RECURRENCE, *_TIMES, "dismissed")

_RUNS: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - their wide forms are run as well
_SEPARATORS: Final = ",;\t"
_PARTS: Final = re.compile(r"(?:[^,\\]|\\.?)+", re.DOTALL)


def head() -> bytes:
    return _written([COLUMNS])


def body(tasks: Iterable[tuple[Task, TaskSeries | None]], lists: own.Lists) -> bytes:
    return _written(_row(own.told(*one, lists)) for one in tasks)


def guarded(cell: str) -> str:
    """A cell as no spreadsheet runs it."""
    return f"'{cell}" if _RUNS.match(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell) else cell


def joined(items: Iterable[str]) -> str:
    """A list in one cell."""
    return ", ".join(re.sub(r"([,\\])", r"\\\1", one) for one in items)


def parted(cell: str) -> list[str]:
    """The list that `joined` was given, or that a person wrote."""
    parts = (re.sub(r"\\(.)", r"\1", part.strip(), flags=re.DOTALL) for part in _PARTS.findall(cell))
    return [part for part in parts if part]


def read(file: BinaryIO, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    """The tasks of a file with a row of column names. Raises `BrokenFileError`."""
    number = 0
    for line, cells, unknown in rows(file, reading, needed="title", known=COLUMNS):
        for name in unknown:
            yield Loss(line, 0, shown(name), "there is no such column here", "left out")
        if isinstance(cells, Broken):
            number += 1
            yield Broken(cells.line, number, cells.field, cells.problem)
        elif cells is not None:
            number += 1
            yield _read_row({name: unguarded(cell) for name, cell in cells.items()}, number, line, reading.sha256)


def rows(
    file: BinaryIO, reading: Reading, *, needed: str, known: Iterable[str]
) -> Iterator[tuple[int, dict[str, str] | Broken | None, list[str]]]:
    """(line, cells by column, columns that are not known), the last once with no cells. Raises `BrokenFileError`.

    Rows without any text are passed over; the separator is a comma, a semicolon or a tab.
    """
    lines = text_lines(file, reading)
    first = next(lines, "")
    separator = max(_SEPARATORS, key=first.count)
    found = csv.reader(_with(first, lines), delimiter=separator, strict=True)
    names = [name.strip().lower() for name in _next_row(found) or []]
    if needed not in names:
        raise BrokenFileError(1, f"the first line does not name the columns: there is no {needed!r} among them")
    yield 1, None, [name for name in names if name and name not in known]
    while True:
        line = found.line_num + 1
        cells = _next_row(found)
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names) and any(cells[len(names) :]):
            problem = f"it has {len(cells)} cells, but the first line names {len(names)} columns"
            yield line, Broken(line, 0, "row", problem), []
        else:
            yield line, dict(zip(names, cells, strict=False)), []


def _next_row(found: Any) -> list[str] | None:  # noqa: ANN401 - csv's reader has no public type
    try:
        row: list[str] | None = next(found, None)
    except csv.Error as error:
        raise BrokenFileError(max(found.line_num, 1), f"it is no CSV: {error}") from None
    return row


def _with(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _row(task: own.OwnTask) -> list[str]:
    plain: dict[str, Any] = msgspec.to_builtins(task)
    recurrence = plain.get("recurrence", {})
    cells: dict[str, str] = {name: str(plain[name]) for name in (*_PLAIN, *_TIMES) if name in plain}
    cells |= {name: joined(plain.get(name, [])) for name in _LISTS}
    cells |= {column: str(recurrence[name]) for column, name in _RECURRENCE.items() if name in recurrence}
    cells["dismissed"] = joined(f"{one['reminder']} {one['fire_at']}" for one in plain.get("dismissed", []))
    return [guarded(cells.get(name, "")) for name in COLUMNS]


def _read_row(cells: dict[str, str], number: int, line: int, sha256: str) -> Entry | Broken:
    given = {name: cell for name, cell in cells.items() if cell.strip() and name in COLUMNS}
    try:
        fields: dict[str, Any] = {name: _number(name, given[name]) for name in (*_PLAIN, *_TIMES) if name in given}
        fields["title"] = given.get("title", "")
        fields["notes"] = cells.get("notes", "")
        fields |= {name: parted(given[name]) for name in _LISTS if name in given}
        recurrence = {name: _number(column, given[column]) for column, name in _RECURRENCE.items() if column in given}
        if recurrence:
            fields["recurrence"] = recurrence
        fields["dismissed"] = [_instance(one) for one in parted(given.get("dismissed", ""))]
    except ValueError as error:
        return Broken(line, number, "row", str(error))
    return own.read_task(fields, number, line, sha256)


def _number(name: str, cell: str) -> str | int:
    if name not in _NUMBERS:
        return cell if name in {"title", "notes"} else cell.strip()
    try:
        return int(cell)
    except ValueError:
        raise ValueError(f"{name}: {shown(cell)!r} is no whole number") from None


def _instance(text: str) -> dict[str, str]:
    reminder, _, fire_at = text.partition(" ")
    return {"reminder": reminder, "fire_at": fire_at}


def _written(written: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(written)
    return text.getvalue().encode()
