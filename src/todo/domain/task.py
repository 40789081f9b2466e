"""A task and what can happen to it. Every change is a new version; what closes a task remembers at which version."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid5

from todo.domain import position as positions
from todo.domain import reminder
from todo.domain.due import YEARS, Due
from todo.domain.errors import RuleError
from todo.domain.reminder import Instance

MAX_TITLE: Final = 500
MAX_NOTES: Final = 20_000
MAX_LABELS: Final = 20
MAX_LABEL: Final = 50
MAX_SUBTASKS: Final = 100
PRIORITIES: Final = range(1, 5)  # 1 is the most urgent, 4 is none
_GIVEN: Final = (
    "title", "notes", "due", "start", "priority", "labels", "reminders", "list_id", "parent_id", "position",
    "series_id", "seq", "scheduled",
)  # fmt: skip
_OCCURRENCES: Final = UUID("6d0e8a0e-5d3c-4b0f-9a53-9f5b8a3f6c11")
_SUBTASKS: Final = UUID("b8f1d1a4-2f0e-4c55-8f6e-1f6f3a0c7d92")


class Status(enum.StrEnum):
    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One version of a task. `instances` are the firings of its reminders, decided when they were set."""

    id: UUID
    user_id: int
    title: str
    created_at: dt.datetime
    updated_at: dt.datetime
    version: int = 1
    notes: str = ""
    status: Status = Status.OPEN
    deleted: bool = False
    due: Due | None = None
    priority: int = 4
    labels: tuple[str, ...] = ()
    reminders: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    series_id: UUID | None = None
    seq: int | None = None
    scheduled: Due | None = None  # the date its series gave it; `due` may have been moved since
    closed_at: dt.datetime | None = None
    closed_version: int | None = None
    touched: bool = True  # False while an occurrence is as the series made it: reopening its predecessor withdraws it
    withdrawn: bool = False
    start: Due | None = None
    list_id: UUID | None = None
    parent_id: UUID | None = None
    position: str | None = None  # in its owner's manual order; None: where it was made
    deleted_with: UUID | None = None  # the parent or the series whose deletion took it along

    @property
    def place(self) -> str:
        """Where it is in its owner's manual order."""
        return self.position or positions.at(self.created_at, self.id)

    @property
    def zone(self) -> str | None:
        """The zone its due and its start share."""
        dated = self.due or self.start
        return dated.zone if dated else None

    @property
    def deleted_at(self) -> dt.datetime | None:
        return self.updated_at if self.deleted else None  # a tombstone is a task's last version

    @property
    def is_open(self) -> bool:
        return self.status is Status.OPEN and not self.deleted

    @property
    def wanted(self) -> tuple[Instance, ...]:
        """The firings that may mail."""
        return tuple(one for one in self.instances if not one.dismissed) if self.is_open else ()


def check_title(title: str) -> str:
    """A title is one line of text with something in it. Raises `RuleError`."""
    clean = " ".join(title.split())
    if not clean:
        raise RuleError("title", "it is empty", "say what is to be done")
    if len(clean) > MAX_TITLE:
        raise RuleError("title", f"it has {len(clean):,} characters", f"use at most {MAX_TITLE}; notes hold the rest")
    check_text("title", clean)
    return clean


def check_notes(notes: str) -> str:
    """Notes are text of any lines. Raises `RuleError`."""
    if len(notes) > MAX_NOTES:
        raise RuleError("notes", f"they have {len(notes):,} characters", f"use at most {MAX_NOTES:,}")
    check_text("notes", notes)
    return notes


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels are short words; repetitions are dropped. Raises `RuleError`."""
    if len(labels) > MAX_LABELS:
        raise RuleError("labels", f"there are {len(labels)}", f"a task has at most {MAX_LABELS}")
    clean = tuple(dict.fromkeys(" ".join(label.split()) for label in labels))
    for label in clean:
        if not 0 < len(label) <= MAX_LABEL:
            raise RuleError("labels", f"{label[:60]!r} has {len(label)} characters", f"use 1 to {MAX_LABEL}")
        check_text("labels", label)
    return clean


def check_start(task: Task) -> Task:
    """A task starts before it is due. Raises `RuleError`."""
    if task.start is not None and task.due is not None and task.start.begins > task.due.sort_key:
        field = "start_at" if task.start.at else "start_date"
        raise RuleError(field, "it is after the due date", "start earlier, or move the due date too")
    return task


def remind(task: Task, now: dt.datetime) -> Task:
    """Decide the firings of its reminders anew, as of now; those that stay keep what was decided."""
    known = task.instances
    return replace(task, instances=reminder.instances(task.reminders, task.due, now=now, known=known))


def edit(task: Task, now: dt.datetime, **changes: object) -> Task:
    """Change fields. The same task comes back when nothing differs. Raises `RuleError`.

    The due of a closed task stays: its successor is dated by it, and one key must not have two dates.
    """
    edited = replace(task, **changes)  # type: ignore[arg-type]  # the API's model names the fields
    if edited == task:
        return task
    if (edited.start, edited.due) != (task.start, task.due):
        check_start(edited)
    if edited.due != task.due and not task.is_open:
        raise RuleError("due_at", "the task is closed", "reopen it first")
    return _next(remind(edited, now) if edited.is_open else edited, now, touched=True)


def renew(task: Task, now: dt.datetime) -> Task:
    """A new version for a change that is not in the task's own fields, such as its series' rule."""
    return _next(task, now, touched=True)


def complete(task: Task, now: dt.datetime) -> Task:
    """Close as done; a closed task stays as it is."""
    return _close(task, Status.DONE, now) if task.is_open else task


def skip(task: Task, now: dt.datetime) -> Task:
    """Delete one occurrence of a series: closed as skipped, so that its successor comes."""
    if task.deleted:
        return task
    closed = _close(task, Status.SKIPPED, now) if task.is_open else _next(task, now)
    return replace(closed, deleted=True)


def reopen(task: Task, now: dt.datetime) -> Task:
    """Undo closing. Firings that passed meanwhile are skipped, not mailed late."""
    if task.status is Status.OPEN or task.deleted:
        return task
    dismissed = tuple(one for one in task.instances if one.dismissed)
    opened = replace(task, status=Status.OPEN, closed_at=None, closed_version=None, instances=dismissed)
    return _next(remind(opened, now), now, touched=True)


def delete(task: Task, now: dt.datetime, *, withdrawn: bool = False, along_with: UUID | None = None) -> Task:
    """Leave a tombstone. `withdrawn` marks an occurrence that its series takes back, and may bring again.

    `along_with` is the parent or the series whose deletion takes it along: restoring that brings it back.
    """
    if task.deleted:
        return task
    gone = _next(task, now, touched=not withdrawn)
    return replace(gone, deleted=True, withdrawn=withdrawn, deleted_with=along_with)


def restore(task: Task, now: dt.datetime) -> Task:
    """Take a task out of the trash; a skipped occurrence is open again. Firings that passed meanwhile are skipped."""
    if not task.deleted or task.withdrawn:
        return task
    back = replace(_next(task, now, touched=True), deleted=False, deleted_with=None)
    if back.status is Status.SKIPPED:
        back = replace(back, status=Status.OPEN, closed_at=None, closed_version=None)
    if not back.is_open:
        return back
    return remind(replace(back, instances=tuple(one for one in back.instances if one.dismissed)), now)


def back(task: Task, before: Task, now: dt.datetime) -> Task:
    """A new version that is as `before` was: what undoes a change. Raises `RuleError`.

    Firings that neither the change nor its undoing concern keep what was decided; the others are decided as of now.
    """
    turned = _turned(task, before, now)
    fields = {name: getattr(before, name) for name in _GIVEN}
    instances = _still_decided(turned, before) if turned.is_open else turned.instances
    return replace(edit(turned, now, **fields, instances=instances), version=task.version + 1, touched=True)


def _turned(task: Task, before: Task, now: dt.datetime) -> Task:
    """Deleted or not, closed or not, as before."""
    if task.deleted and not before.deleted:
        return restore(task, now)
    if before.deleted and not task.deleted:
        skipped = before.status is Status.SKIPPED
        return skip(task, now) if skipped else delete(task, now, along_with=before.deleted_with)
    if before.is_open and not task.is_open:
        return reopen(task, now)
    return complete(task, now) if before.status is Status.DONE else renew(task, now)


def _still_decided(task: Task, before: Task) -> tuple[Instance, ...]:
    was = {(one.reminder, one.fire_at): one.dismissed for one in before.instances}
    same = (one for one in task.instances if was.get((one.reminder, one.fire_at)) is one.dismissed)
    return (*same, *(one for one in before.instances if one.dismissed))


def dismiss(task: Task, now: dt.datetime, text: str) -> Task:
    """Turn off what one reminder would still fire. Raises `RuleError`."""
    if not task.is_open:
        raise RuleError("task", "it is closed", "reopen it first")
    own = _own_reminder(task, text)
    return edit(task, now, instances=reminder.dismiss(task.instances, own.text))


def snooze(task: Task, now: dt.datetime, until: dt.datetime, instead_of: str | None) -> Task:
    """Remind once more at `until`. Raises `RuleError`.

    Of `instead_of` a firing that is still to come is dismissed; a reminder at a fixed instant moves.
    """
    if not task.is_open:
        raise RuleError("task", "it is closed", "reopen it first")
    if until <= now:
        raise RuleError("until", "it is not in the future", "choose a later instant")
    again = reminder.parse_reminder(until.isoformat(), "until").text
    before = _own_reminder(task, instead_of) if instead_of else None
    kept = [text for text in task.reminders if before is None or before.at is None or text != before.text]
    reminders = reminder.parse_reminders(_with_room(list(dict.fromkeys([*kept, again])), now))
    if before is None or before.text == again:
        return edit(task, now, reminders=reminders)
    return edit(task, now, reminders=reminders, instances=reminder.dismiss(task.instances, before.text))


def _with_room(texts: list[str], now: dt.datetime) -> list[str]:
    """The same reminders; of one too many the oldest that fired at a fixed instant in the past is left out."""
    fired = {text: at for text in texts if (at := reminder.parse_reminder(text).at) is not None and at <= now}
    if len(texts) > reminder.MAX_REMINDERS and fired:
        texts.remove(min(fired, key=lambda text: fired[text]))
    return texts


def _own_reminder(task: Task, text: str) -> reminder.Reminder:
    own = reminder.parse_reminder(text, "reminder")
    if own.text not in task.reminders:
        raise RuleError("reminder", f"the task has no reminder {own.text}", "give one of its `reminders`")
    return own


def successor(task: Task, seq: int, due: Due, now: dt.datetime) -> Task:
    """The next occurrence of a series, made from its predecessor. Reminders at fixed instants stay behind."""
    if task.series_id is None:
        raise AssertionError("only a task of a series has a successor")
    made = Task(
        id=occurrence_id(task.series_id, seq),
        user_id=task.user_id,
        title=task.title,
        notes=task.notes,
        priority=task.priority,
        labels=task.labels,
        due=due,
        scheduled=due,
        start=_moved_with(task.start, task.scheduled or task.due, due),
        list_id=task.list_id,
        parent_id=task.parent_id,
        position=task.place,
        reminders=_relative_reminders(task),
        series_id=task.series_id,
        seq=seq,
        created_at=now,
        updated_at=now,
        touched=False,
    )
    return remind(made, now)


def subtask_of_successor(subtask: Task, predecessor: Task, made: Task, now: dt.datetime) -> Task:
    """A subtask of the occurrence before, open again under the one that was made, its dates as far from due as before.

    Its id follows from the two, so that it is made once.
    """
    before = predecessor.scheduled or predecessor.due
    copy = Task(
        id=uuid5(_SUBTASKS, f"{made.id}/{subtask.id}"),
        user_id=subtask.user_id,
        title=subtask.title,
        notes=subtask.notes,
        priority=subtask.priority,
        labels=subtask.labels,
        due=_moved_with(subtask.due, before, made.due),
        start=_moved_with(subtask.start, before, made.due),
        list_id=made.list_id,
        parent_id=made.id,
        position=subtask.place,
        reminders=_relative_reminders(subtask),
        created_at=now,
        updated_at=now,
        touched=False,
    )
    return remind(copy, now)


def _moved_with(dated: Due | None, before: Due | None, after: Due | None) -> Due | None:
    """A date as far from the later due, on the calendar, as it was from the earlier one."""
    if dated is None or before is None or after is None:
        return dated
    by = after.local - before.local if dated.at and before.at and after.at else after.local.date() - before.local.date()
    return dated.moved(by) if (dated.local + by).year in YEARS else None


def _relative_reminders(task: Task) -> tuple[str, ...]:
    return tuple(text for text in task.reminders if reminder.parse_reminder(text).at is None)


def revive(withdrawn: Task, anew: Task, now: dt.datetime) -> Task:
    """Bring a withdrawn occurrence back as its predecessor makes it now: `anew` as a later version of it."""
    later = _next(withdrawn, now)
    return replace(
        anew,
        id=withdrawn.id,
        version=later.version,
        created_at=withdrawn.created_at,
        updated_at=later.updated_at,
    )


def occurrence_id(series_id: UUID, seq: int) -> UUID:
    """The id of an occurrence follows from its natural key."""
    return uuid5(_OCCURRENCES, f"{series_id}/{seq}")


def _close(task: Task, status: Status, now: dt.datetime) -> Task:
    closed = _next(task, now, touched=True)
    return replace(closed, status=status, closed_at=now, closed_version=closed.version)


def _next(task: Task, now: dt.datetime, *, touched: bool | None = None) -> Task:
    later = max(now, task.updated_at)  # the clock may go back, a task's history does not
    return replace(
        task, version=task.version + 1, updated_at=later, touched=task.touched if touched is None else touched
    )


def check_text(field: str, text: str) -> None:
    """Text that can be stored and shown. Raises `RuleError`."""
    strange = next((character for character in text if character < " " and character not in "\t\r\n"), None)
    if strange is not None:
        raise RuleError(field, f"it contains the control character U+{ord(strange):04X}", "remove the character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RuleError(field, "it contains half a character (a lone surrogate)", "remove it") from None
