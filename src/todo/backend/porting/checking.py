"""From an entry of a file to a task: the rules of the API, but what breaks one is mended or left out, and reported."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

from todo.backend.porting import places
from todo.backend.porting.entries import Entry, Repeating, shown
from todo.backend.store.people import Owner
from todo.domain import position as positions
from todo.domain import reminder as reminders
from todo.domain import series as series_rules
from todo.domain import task as task_rules
from todo.domain.due import YEARS, Due, parse_due, to_instant, zone_info
from todo.domain.errors import RuleError
from todo.domain.recurrence import Mode, Policy
from todo.domain.series import Repetition, TaskSeries
from todo.domain.task import MAX_LABEL, MAX_LABELS, MAX_NOTES, MAX_TITLE, Status, Task
from todo.domain.tasklist import MAX_LISTS

_IMPORTED: Final = UUID("0f6f4c52-9d0b-5d57-8f0e-1f6e0a7f9b21")
_FIRST: Final = dt.datetime(YEARS.start, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MOST_OCCURRENCES: Final = 1_000_000  # of one series
_UNTITLED: Final = "(untitled)"
_STRANGE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """A task as it can be stored, and the series it is of."""

    entry: Entry
    task: Task
    series: TaskSeries | None = None


def task_id(user_id: int, source: str) -> UUID:
    """The same task of the same source has the same id, however often it is imported."""
    return uuid5(_IMPORTED, f"{user_id}/{source}")


def check(entry: Entry, user: Owner, now: dt.datetime) -> Checked:
    """Make a task of an entry; what is lost is noted on the entry. Reminders that are past by now are never mailed."""
    title, notes = _title_and_notes(entry)
    zone = _zone(entry, user.zone)
    due = _dated(entry, "due", entry.due, zone)
    created = _time(entry, "created_at", entry.created_at, _FIRST, now) or now
    updated = _time(entry, "updated_at", entry.updated_at, created, now) or created
    task = Task(
        id=task_id(user.id, entry.source),
        user_id=user.id,
        title=title,
        notes=notes,
        due=due,
        priority=_priority(entry),
        labels=_labels(entry),
        reminders=_reminders(entry),
        created_at=created,
        updated_at=updated,
        start=_start(entry, due, zone),
        position=_position(entry, user, now),
    )
    places.settle_list(entry, _clean(entry, "list", entry.list_name))
    if entry.done:
        closed = _time(entry, "closed_at", entry.closed_at, _FIRST, now) or updated
        task = replace(task, status=Status.DONE, closed_at=closed, closed_version=task.version)
    return _with_series(entry, task, user, now)


def as_label(one: Checked) -> Checked:
    """The task with the name of its list, for which there is no room, as a label."""
    entry, task = one.entry, one.task
    label = entry.list_name[:MAX_LABEL].rstrip()
    fits = label in task.labels or len(task.labels) < MAX_LABELS
    instead = f"kept as the label {shown(label)!r}" if fits else "left out"
    entry.lose("list", f"there are {MAX_LISTS} lists, and {shown(entry.list_name)!r} is none of them", instead)
    entry.list_name = ""
    labels = tuple(dict.fromkeys((*task.labels, label))) if fits else task.labels
    return replace(one, task=replace(task, labels=labels))


def _with_series(entry: Entry, task: Task, user: Owner, now: dt.datetime) -> Checked:
    series = _series(entry, task, user) if entry.repeating else None
    if series is not None and entry.parent_source:
        entry.lose("parent", f"a subtask of {shown(entry.parent)!r} repeats, which none does here", places.OWN)
        entry.parent_source = ""
    if series is not None and entry.repeating is not None:
        zone, said = series.start.zone, entry.repeating.scheduled
        scheduled = _tried(entry, lambda one: _moment(one, zone), said, "recurrence.scheduled", "its due is used")
        task = replace(task, series_id=series.id, seq=entry.repeating.seq, scheduled=scheduled or task.due)
    return Checked(entry, _reminded(entry, task, now) if task.is_open else task, series)


def _reminded(entry: Entry, task: Task, now: dt.datetime) -> Task:
    task = task_rules.remind(task, now)
    unwanted = set(entry.dismissed)
    instances = (replace(one, dismissed=(one.reminder, one.fire_at) in unwanted) for one in task.instances)
    return replace(task, instances=tuple(instances))


def _title_and_notes(entry: Entry) -> tuple[str, str]:
    title = " ".join(_clean(entry, "title", entry.title).split())
    notes = _clean(entry, "notes", entry.notes)
    if not title:
        title = next((line for one in notes.splitlines() if (line := " ".join(one.split())[:MAX_TITLE])), _UNTITLED)
        entry.lose("title", "it is empty", f"{shown(title)!r} is the title")
    if len(title) > MAX_TITLE:
        entry.lose("title", f"it has {len(title):,} characters", f"cut at {MAX_TITLE}; all of it begins the notes")
        title, notes = title[:MAX_TITLE].rstrip(), f"{title}\n\n{notes}".strip()
    if len(notes) > MAX_NOTES:
        entry.lose("notes", f"they have {len(notes):,} characters", f"cut at {MAX_NOTES:,}")
        notes = notes[:MAX_NOTES]
    return task_rules.check_title(title), task_rules.check_notes(notes)


def _clean(entry: Entry, field: str, text: str) -> str:
    """Text without what no text here may have."""
    clean, strange = _STRANGE.subn("", text)
    if strange:
        entry.lose(field, f"control or half characters in it: {strange}", "removed")
    return clean


def _zone(entry: Entry, own_zone: str) -> str:
    zone = entry.zone or own_zone
    return own_zone if _tried(entry, zone_info, zone, "zone", f"{own_zone} is used") is None else zone


def _dated(entry: Entry, field: str, moment: dt.datetime | dt.date | None, zone: str) -> Due | None:
    if isinstance(moment, dt.datetime) and moment.tzinfo is None:
        moment = _instant(entry, field, moment, zone)
    return _tried(entry, lambda one: _parsed(one, zone), moment, field, "left out") if moment else None


def _start(entry: Entry, due: Due | None, zone: str) -> Due | None:
    start = _dated(entry, "start", entry.start, zone)
    if start is not None and due is not None and start.begins > due.sort_key:
        entry.lose("start", f"it starts at {start.value.isoformat()}, after it is due", "left out")
        return None
    return start


def _position(entry: Entry, user: Owner, now: dt.datetime) -> str | None:
    """Its place; without one, the place where it was made; without that, too, the order of the file."""
    said = places.settle_position(entry)
    own = task_id(user.id, entry.source)
    at = entry.sorted_at or (now + entry.number * _MICROSECOND if entry.created_at is None else None)
    return said or (positions.at(at, own) if at else None)


def _instant(entry: Entry, field: str, wall: dt.datetime, zone: str) -> dt.datetime:
    """The instant of a wall time; one that the clocks leap over is moved as a series moves it."""
    if wall.year not in YEARS:
        return wall
    instant = to_instant(wall, zone)
    shown_there = instant.astimezone(zone_info(zone)).replace(tzinfo=None, fold=0)
    if shown_there != wall.replace(fold=0):
        entry.lose(field, f"{wall:%H:%M} does not exist in {zone} on {wall:%Y-%m-%d}", f"{shown_there:%H:%M} is used")
    return instant


def _parsed(moment: dt.datetime | dt.date, zone: str) -> Due | None:
    return parse_due(moment, None, zone) if isinstance(moment, dt.datetime) else parse_due(None, moment, zone)


def _priority(entry: Entry) -> int:
    if entry.priority in task_rules.PRIORITIES:
        return entry.priority
    entry.lose("priority", f"{shown(entry.priority)} is none of 1 to 4", "4 (none) is used")
    return 4


def _labels(entry: Entry) -> tuple[str, ...]:
    words = (" ".join(_clean(entry, "labels", label).split()) for label in entry.labels)
    labels = list(dict.fromkeys(word for word in words if word))
    for label in labels:
        if len(label) > MAX_LABEL:
            entry.lose("labels", f"{shown(label)!r} has {len(label)} characters", f"cut at {MAX_LABEL}")
    for label in labels[MAX_LABELS:]:
        entry.lose("labels", f"there are more than {MAX_LABELS}", f"{shown(label)!r} is left out")
    return task_rules.check_labels([label[:MAX_LABEL].rstrip() for label in labels[:MAX_LABELS]])


def _reminders(entry: Entry) -> tuple[str, ...]:
    known: dict[str, None] = {}
    for text in entry.reminders:
        read = _tried(entry, reminders.parse_reminder, text, "reminders", "left out")
        if read is not None and len(known) == reminders.MAX_REMINDERS and read.text not in known:
            entry.lose("reminders", f"there are more than {reminders.MAX_REMINDERS}", f"{read.text} is left out")
        elif read is not None:
            known[read.text] = None
    return tuple(known)


def _series(entry: Entry, task: Task, user: Owner) -> TaskSeries | None:
    repeating = entry.repeating
    if repeating is None:
        return None
    if repeating.series is None and not task.is_open:
        entry.lose("recurrence", f"it repeats ({shown(repeating.rule)}) and is done", "it is imported as done for good")
        return None
    _check_place(entry, repeating)
    zone = repeating.zone or (task.due.zone if task.due else user.zone)
    start = _tried(entry, lambda one: _moment(one, zone), repeating.start, "recurrence.start", "its due is used")
    name = repeating.series or f"{entry.source}/series"
    made = _tried(
        entry,
        lambda rule: series_rules.start_series(
            task_id(user.id, f"series/{name}"), user.id, _repetition(rule, repeating), start or task.due
        ),
        repeating.rule,
        "recurrence",
        f"it does not repeat ({shown(repeating.rule)})",
    )
    return replace(made, first_seq=repeating.first_seq, ended_seq=repeating.ended_seq) if made else None


def _check_place(entry: Entry, repeating: Repeating) -> None:
    """Of a place in a series that cannot be, make the first of a series of its own."""
    numbers = (repeating.seq, repeating.first_seq, repeating.ended_seq or 1)
    if not all(0 < number <= _MOST_OCCURRENCES for number in numbers):
        entry.lose(
            "recurrence", f"it is no. {shown(repeating.seq)} of its series", "a series of its own begins with it"
        )
        repeating.series, repeating.start, repeating.scheduled, repeating.ended_seq = None, None, None, None
        repeating.seq = repeating.first_seq = 1


def _repetition(rule: str, repeating: Repeating) -> Repetition:
    return Repetition(rule, Mode(repeating.mode), Policy(repeating.policy))


def _moment(moment: dt.datetime | dt.date | None, zone: str) -> Due | None:
    if isinstance(moment, dt.datetime) and moment.tzinfo is None:
        moment = to_instant(moment, zone)
    return _parsed(moment, zone) if moment else None


def _time(
    entry: Entry, field: str, given: dt.datetime | None, earliest: dt.datetime, now: dt.datetime
) -> dt.datetime | None:
    """A time of the past, kept in bounds."""
    if given is None:
        return None
    bounded = min(max(given, earliest), now)
    if bounded != given:
        entry.lose(field, f"{given.isoformat()} cannot be", f"{bounded.isoformat()} is used")
    return bounded.astimezone(dt.UTC)


def _tried(entry: Entry, read: Callable[[Any], T], given: object, field: str, instead: str) -> T | None:
    """What `read` makes of a value; None, reported, if it breaks a rule."""
    try:
        return read(given)
    except RuleError as error:
        entry.lose(field, error.problem, instead)
    except OverflowError:
        entry.lose(field, f"{shown(given)} is out of range", instead)
    return None
