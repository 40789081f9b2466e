"""Vikunja's export: a zip archive with all projects and their tasks in data.json."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import msgspec

from todo.backend.porting import markdown
from todo.backend.porting.archive import open_member
from todo.backend.porting.entries import Broken, Entry, Loss, Reading, Repeating, shown
from todo.backend.porting.jsonstream import JsonStream
from todo.backend.porting.vtodo_writing import duration

DATA: Final = "data.json"
_NOBODY: Final = ("0001-01-01", "0001-01-02")  # Go's zero time, which stands for none
_PRIORITIES: Final = {0: 4, 1: 3, 2: 3, 3: 2, 4: 1, 5: 1}
_NAMES: Final = {1: "1 (low)", 2: "2 (medium)", 3: "3 (high)", 4: "4 (urgent)", 5: "5 (do now)"}
_UNITS: Final = ((604_800, "WEEKLY"), (86_400, "DAILY"), (3600, "HOURLY"))
_MONTHLY, _FROM_COMPLETION = 1, 2


class _Named(msgspec.Struct):
    title: str = ""
    id: int = 0
    created: str | None = None

    @property
    def source(self) -> str:
        """Ids are small numbers, and other systems have the same."""
        return f"vikunja/{self.id}/{self.created}"


class _Reminder(msgspec.Struct):
    reminder: str | None = None
    relative_period: int = 0
    relative_to: str | None = None


class _Task(_Named):
    """What is read of a task; the rest is of no use to a single person, or told as lost."""

    description: str | None = ""
    done: bool = False
    done_at: str | None = None
    due_date: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    reminders: list[_Reminder] | None = None
    reminder_dates: list[str] | None = None
    repeat_after: int = 0
    repeat_mode: int = 0
    priority: int = 0
    percent_done: float = 0.0
    labels: list[_Named] | None = None
    assignees: list[Any] | None = None
    attachments: list[Any] | None = None
    comments: list[dict[str, Any]] | None = None
    related_tasks: dict[str, list[_Named] | None] | None = None
    is_favorite: bool = False
    updated: str | None = None


def read(file: BinaryIO, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    """The tasks of an archive. Raises `BrokenFileError`."""
    member, reading.size = open_member(file, DATA)
    document = JsonStream(cast("BinaryIO", member), reading)
    number = 0
    for _ in document.items():
        project = ""
        for name in document.keys():  # noqa: SIM118 - no dict
            if name == "title":
                project = str(document.value())
            elif name == "tasks" and document.next() == "[":
                for _ in document.items():
                    number += 1
                    document.next()
                    yield _read_task(document.value(), number, document.line, project)
            else:
                document.skip()
    document.end()


def _read_task(fields: Any, number: int, line: int, project: str) -> Entry | Broken:  # noqa: ANN401 - JSON
    try:
        task = msgspec.convert(fields, _Task)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        return Broken(line, number, shown(place.rstrip("`") or "task"), problem[:1].lower() + problem[1:])
    entry = Entry(
        number=number,
        line=line,
        source=task.source,
        title=task.title,
        done=task.done,
        labels=[label.title for label in task.labels or []],
        list_name=project,
    )
    _set_notes(entry, task)
    _set_times(entry, task)
    _set_priority(entry, task)
    _set_reminders(entry, task)
    _set_repetition(entry, task)
    _set_relations(entry, task)
    _lose_the_rest(entry, task)
    return entry


def _set_notes(entry: Entry, task: _Task) -> None:
    entry.notes, lost = markdown.from_html(task.description or "")
    for element in lost:
        entry.lose("description", f"there is nothing like <{shown(element)}> in the notes", "its text is kept")
    for comment in task.comments or []:
        entry.append_note(markdown.from_html(str(comment.get("comment", "")))[0])
        entry.lose("comments", "it has a comment", "kept at the end of the notes")


def _set_times(entry: Entry, task: _Task) -> None:
    entry.due = _time(entry, "due_date", task.due_date)
    entry.start = _time(entry, "start_date", task.start_date)
    entry.created_at = _time(entry, "created", task.created)
    entry.updated_at = _time(entry, "updated", task.updated)
    entry.closed_at = _time(entry, "done_at", task.done_at) if task.done else None
    end = _time(entry, "end_date", task.end_date)
    if end is not None:
        entry.lose("end_date", f"it ends at {end.isoformat()}", "left out")


def _set_priority(entry: Entry, task: _Task) -> None:
    entry.priority = _PRIORITIES.get(task.priority, 4)
    if task.priority not in _PRIORITIES or task.priority in {1, 4}:
        said = _NAMES.get(task.priority, str(task.priority))
        entry.lose("priority", f"{shown(said)} is one of five", f"{entry.priority} of four is used")


def _set_reminders(entry: Entry, task: _Task) -> None:
    entry.reminders = list(task.reminder_dates or [])
    for one in task.reminders or []:
        if one.relative_to == "due_date" and entry.due is not None:
            entry.reminders.append(duration(one.relative_period))
        elif one.reminder:
            entry.reminders.append(one.reminder)
            if one.relative_to:
                entry.lose("reminders", f"one is relative to {shown(one.relative_to)}", "it fires at the same instant")


def _set_repetition(entry: Entry, task: _Task) -> None:
    if task.repeat_mode == _MONTHLY:
        entry.repeating = Repeating(rule="FREQ=MONTHLY")
    elif task.repeat_after > 0:
        seconds, freq = next((unit for unit in _UNITS if task.repeat_after % unit[0] == 0), (0, ""))
        if not freq:
            entry.lose("repeat_after", f"it repeats every {task.repeat_after} seconds", "it does not repeat")
            return
        mode = "completion" if task.repeat_mode == _FROM_COMPLETION else "due"
        entry.repeating = Repeating(rule=f"FREQ={freq};INTERVAL={task.repeat_after // seconds}", mode=mode)


def _set_relations(entry: Entry, task: _Task) -> None:
    for kind, others in (task.related_tasks or {}).items():
        if kind == "parenttask" and others:
            entry.parent, entry.parent_source = others[0].title, others[0].source
        elif kind != "subtask" and others:  # the other end tells
            entry.lose("related_tasks", f"it is related to others ({shown(kind)})", "left out")


def _lose_the_rest(entry: Entry, task: _Task) -> None:
    lost = {
        "assignees": (task.assignees, "it is assigned to somebody"),
        "attachments": (task.attachments, f"it has {len(task.attachments or [])} attached files"),
        "percent_done": (task.percent_done not in {0, 1}, "it is partly done"),
        "is_favorite": (task.is_favorite, "it is a favourite"),
    }
    for field, (there, problem) in lost.items():
        if there:
            entry.lose(field, problem, "left out")


def _time(entry: Entry, field: str, text: str | None) -> dt.datetime | None:
    if not text or text.startswith(_NOBODY):
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        entry.lose(field, f"{shown(text)} is no time", "left out")
        return None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)
