"""A task as a VTODO. What iCalendar has no property for is in parameters and properties that begin with X-TODO."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from todo.backend.porting import zones
from todo.backend.porting.content_lines import begin, end, escaped, line, listed
from todo.backend.porting.own import Lists
from todo.domain.due import MORNING, YEARS, Due, to_instant
from todo.domain.reminder import Reminder, parse_reminder
from todo.domain.series import TaskSeries
from todo.domain.task import Status, Task

PRIORITIES: Final = {1: 1, 2: 5, 3: 9}  # ours to iCalendar's: high, medium, low; none is not written
MIDNIGHT_TO_MORNING: Final = dt.timedelta(hours=MORNING.hour)
_COUNT: Final = re.compile(r"(?<=COUNT=)\d+")


def head(known: Sequence[tuple[str, dt.datetime, dt.datetime]]) -> bytes:
    """The beginning of the calendar, with the zones that its tasks are due in."""
    began = [begin("VCALENDAR"), line("VERSION", "2.0"), line("PRODID", "-//todo//export 1//EN")]
    told = [
        zones.vtimezone(zone, max(first.year - 1, YEARS.start), min(last.year + zones.AHEAD, YEARS.stop - 1))
        for zone, first, last in known
        if zone != "UTC"
    ]
    return b"".join(began + told)


def body(tasks: Iterable[tuple[Task, TaskSeries | None]], lists: Lists, now: dt.datetime) -> bytes:
    return b"".join(piece for task, series in tasks for piece in _todo(task, series, lists, now))


def foot() -> bytes:
    return end("VCALENDAR")


def remaining(rule: str, count: int | None, position: int) -> str:
    """A rule as it counts from its `position`-th date on."""
    return rule if count is None else _COUNT.sub(str(max(count - position + 1, 1)), rule)


def count_of(rule: str) -> int | None:
    found = _COUNT.search(rule)
    return int(found[0]) if found else None


def basic(moment: Due) -> str:
    """An instant in UTC or a day, in iCalendar's form."""
    return utc(moment.at) if moment.at else f"{moment.value:%Y%m%d}"


def utc(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"


def trigger_seconds(reminder: Reminder, *, whole_day: bool) -> int:
    """Seconds from when it is due; from the day's first midnight for a whole day, whose reminders count from 9:00."""
    offset = dt.timedelta(days=reminder.days, seconds=reminder.seconds)
    return (offset + MIDNIGHT_TO_MORNING if whole_day else offset) // dt.timedelta(seconds=1)


def duration(seconds: int) -> str:
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    days, rest = divmod(seconds, 86_400)
    hours, minutes, last = rest // 3600, rest // 60 % 60, rest % 60
    clock = f"T{hours}H{minutes}M{last}S" if last else f"T{hours}H{minutes}M" if minutes else f"T{hours}H"
    return f"{sign}P" + (f"{days}D" if days else "") + ("" if days and not rest else clock if rest else "T0S")


def _todo(task: Task, series: TaskSeries | None, lists: Lists, now: dt.datetime) -> Iterator[bytes]:
    yield begin("VTODO")
    yield line("UID", str(task.id))
    yield line("DTSTAMP", utc(now))
    yield line("CREATED", utc(task.created_at))
    yield line("LAST-MODIFIED", utc(task.updated_at))
    yield line("SUMMARY", escaped(task.title))
    if task.notes:
        yield line("DESCRIPTION", escaped(task.notes))
    if task.priority in PRIORITIES:
        yield line("PRIORITY", str(PRIORITIES[task.priority]))
    if task.labels:
        yield line("CATEGORIES", listed(task.labels))
    yield from _state(task)
    if task.due:
        yield _moment("DUE", task.due)
    repeats = series if task.is_open else None
    if task.start:
        yield _start(task.start, task.due, repeats=repeats is not None)
    if repeats:
        yield from _repetition(task, repeats)
    yield from _place(task, lists)
    for text in task.reminders:
        yield from _reminder(task, text)
    yield end("VTODO")


def _state(task: Task) -> Iterator[bytes]:
    if task.status is Status.OPEN:
        yield line("STATUS", "NEEDS-ACTION")
        return
    yield line("STATUS", "COMPLETED")
    if task.closed_at:
        yield line("COMPLETED", utc(task.closed_at))
    yield line("PERCENT-COMPLETE", "100")


def _moment(name: str, due: Due) -> bytes:
    """A time as its zone's clock shows it; as UTC where the clock would be read otherwise."""
    if due.at is None:
        return line(name, basic(due), VALUE="DATE", X_TODO_ZONE=due.zone)
    wall = due.at.astimezone(ZoneInfo(due.zone)).replace(tzinfo=None)
    if due.zone == "UTC" or to_instant(wall, due.zone) != due.at:
        return line(name, basic(due), X_TODO_ZONE=due.zone)
    return line(name, f"{wall:%Y%m%dT%H%M%S}", TZID=due.zone)


def _start(start: Due, due: Due | None, *, repeats: bool) -> bytes:
    """DTSTART where iCalendar has it so: of the kind of DUE, before it, and not what a rule counts from."""
    fits = due is None or ((start.at is None) == (due.at is None) and start.sort_key < due.sort_key)
    return _moment("DTSTART" if fits and not repeats else "X-TODO-START", start)


def _place(task: Task, lists: Lists) -> Iterator[bytes]:
    its_list = lists.get(task.list_id) if task.list_id else None
    if its_list:
        color = {"X_TODO_COLOR": its_list.color} if its_list.color else {}
        yield line("X-TODO-LIST", escaped(its_list.name), **color)
    if task.parent_id:
        yield line("RELATED-TO", str(task.parent_id))
    if task.position:
        yield line("X-TODO-POSITION", task.position)


def _repetition(task: Task, series: TaskSeries) -> Iterator[bytes]:
    """DTSTART is what the rule counts from for other programs: this occurrence. X-TODO-SERIES has how it began."""
    seq, count = task.seq or 1, count_of(series.rule)
    scheduled = task.scheduled or task.due or series.start
    start = task.due if task.due and task.due.sort_key < scheduled.sort_key else scheduled
    if task.due is None or (task.due.at is None) == (start.at is None):
        yield _moment("DTSTART", start)
    yield line("RRULE", remaining(series.rule, count, seq - series.first_seq + 1))
    known = {
        "SEQ": str(seq),
        "FIRST_SEQ": str(series.first_seq),
        "MODE": series.mode.value,
        "POLICY": series.policy.value,
        "START": basic(series.start),
        "ZONE": series.start.zone,
        "SCHEDULED": basic(scheduled),
    } | ({"COUNT": str(count)} if count else {})
    yield line("X-TODO-SERIES", str(series.id), **known)


def _reminder(task: Task, text: str) -> Iterator[bytes]:
    reminder = parse_reminder(text)
    if reminder.at is None and task.due is None:  # an alarm has nothing to count from
        yield line("X-TODO-REMINDER", text)
        return
    yield begin("VALARM")
    yield line("ACTION", "DISPLAY")
    yield line("DESCRIPTION", escaped(task.title))
    if reminder.at is not None:
        yield line("TRIGGER", utc(reminder.at), VALUE="DATE-TIME")
    else:
        whole_day = task.due is not None and task.due.at is None
        yield line("TRIGGER", duration(trigger_seconds(reminder, whole_day=whole_day)), RELATED="END")
    yield line("X-TODO-REMINDER", text)
    for one in task.instances:
        if one.dismissed and one.reminder == text:
            yield line("ACKNOWLEDGED", utc(one.fire_at))
    yield end("VALARM")
