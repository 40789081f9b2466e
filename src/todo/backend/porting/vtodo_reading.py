"""A VTODO as an entry."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from todo.backend.porting.content_lines import BadLine, ContentLine
from todo.backend.porting.entries import Broken, Entry, Reading, Repeating, shown
from todo.backend.porting.vtodo_writing import (
    MIDNIGHT_TO_MORNING,
    PRIORITIES,
    count_of,
    duration,
    remaining,
    trigger_seconds,
)
from todo.domain.due import YEARS
from todo.domain.errors import RuleError
from todo.domain.recurrence import Mode, Policy
from todo.domain.reminder import parse_reminder

Moment = dt.datetime | dt.date

_2001: Final = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
_MOMENT: Final = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?", re.ASCII)
_DURATION: Final = re.compile(
    r"([+-]?)P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?", re.ASCII
)
_OURS: Final = {number: own for own, number in PRIORITIES.items()} | {0: 4}
_HIGH, _LOW = range(1, 5), range(6, 10)
_PROCESS: Final = frozenset(
    {"DTSTAMP", "SEQUENCE", "CLASS", "UID", "CREATED", "LAST-MODIFIED", "COMPLETED", "ORGANIZER", "RECURRENCE-ID"}
)  # of no meaning to a person, or read elsewhere
_MEANINGLESS: Final = re.compile(r"X-(MOZ|OC|EVOLUTION|LIC|SENDER|TODO)-.*|X-APPLE-(DEFAULT|LOCAL|CREATOR).*")
_TO_NOTES: Final = {"URL": "URL", "LOCATION": "Location", "CONTACT": "Contact", "COMMENT": "Comment"}


@dataclass(slots=True)
class Alarm:
    number: int
    lines: list[ContentLine] = field(default_factory=list)

    def get(self, name: str) -> ContentLine | None:
        return next((one for one in self.lines if one.name == name), None)


@dataclass(slots=True)
class Todo:
    """The properties of one VTODO as they came."""

    number: int
    line: int
    lines: list[ContentLine] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    broken: BadLine | None = None

    def get(self, name: str) -> ContentLine | None:
        return next((one for one in self.lines if one.name == name), None)


def entry_of(todo: Todo, reading: Reading, calendar: str) -> Entry | Broken:
    if todo.broken:
        return Broken(todo.broken.number, todo.number, "property", todo.broken.problem)
    return _Reader(todo, reading, calendar).read()


class _Reader:
    def __init__(self, todo: Todo, reading: Reading, calendar: str) -> None:
        self._todo = todo
        self._reading = reading
        self._to_notes: list[str] = []
        uid, again = todo.get("UID"), todo.get("RECURRENCE-ID")
        name = uid.value.strip() if uid else ""
        source = _source(name) if name else f"{reading.sha256}/{todo.number}"
        self.entry = Entry(
            number=todo.number,
            line=todo.line,
            source=f"{source}/{again.value}" if again else source,
            origin=None if again else _uuid(name),
            list_name=calendar,
        )

    def read(self) -> Entry:
        read: dict[str, Callable[[ContentLine], None]] = {
            "SUMMARY": self._summary,
            "DESCRIPTION": self._description,
            "PRIORITY": self._priority,
            "CATEGORIES": self._categories,
            "STATUS": self._status,
            "PERCENT-COMPLETE": self._percent,
            "RELATED-TO": self._related,
            "X-APPLE-SORT-ORDER": self._sort_order,
            "X-TODO-POSITION": self._position,
            "X-TODO-LIST": self._list,
            "X-TODO-REMINDER": lambda line: self.entry.reminders.append(line.value.strip()),
        }
        dates = {"DUE", "DTSTART", "DURATION", "RRULE"}
        for line in self._todo.lines:
            if line.cut:
                self._lose(line, f"it has more than {len(line.value):,} characters", "cut")
            if line.name in read:
                read[line.name](line)
            elif line.name not in dates:
                self._other(line)
        self._times()
        self._dates()
        self._repetition()
        for alarm in self._todo.alarms:
            self._alarm(alarm)
        self._own_start()
        for text in self._to_notes:
            self.entry.append_note(text)
        return self.entry

    def _lose(self, line: ContentLine, problem: str, instead: str) -> None:
        self.entry.lose(line.name, problem, instead, line.number)

    def _summary(self, line: ContentLine) -> None:
        self.entry.title = line.text

    def _description(self, line: ContentLine) -> None:
        self.entry.notes = line.text

    def _categories(self, line: ContentLine) -> None:
        self.entry.labels += line.items

    def _list(self, line: ContentLine) -> None:
        self.entry.list_name, self.entry.list_color = line.text, line.parameters.get("X-TODO-COLOR", "")

    def _position(self, line: ContentLine) -> None:
        self.entry.position = line.value.strip()

    def _sort_order(self, line: ContentLine) -> None:
        """Seconds since 2001: when it was made, or was put between others."""
        try:
            at = _2001 + dt.timedelta(seconds=float(line.value))
        except (ValueError, OverflowError):
            at = _2001.replace(year=YEARS.stop)
        if at.year in YEARS:
            self.entry.sorted_at = at
        else:
            self._lose(line, f"{shown(line.value)} is no place among others", "left out")

    def _priority(self, line: ContentLine) -> None:
        number = _whole(line.value)
        if number in _OURS:
            self.entry.priority = _OURS[number]
        elif number in _HIGH or number in _LOW:
            self.entry.priority = 1 if number in _HIGH else 3
            self._lose(line, f"{number} is one of nine", f"{self.entry.priority} of four is used")
        else:
            self._lose(line, f"{shown(line.value)} is no priority", "4 (none) is used")

    def _status(self, line: ContentLine) -> None:
        status = line.value.strip().upper()
        self.entry.done = status in {"COMPLETED", "CANCELLED"}
        if status not in {"COMPLETED", "NEEDS-ACTION"}:
            instead = "imported as done" if self.entry.done else "imported as open"
            self._lose(line, f"{shown(status)} is not known here", instead)

    def _percent(self, line: ContentLine) -> None:
        if line.value.strip() not in {"0", "100"}:
            self._lose(line, f"it is done to {shown(line.value)} percent", "left out")

    def _related(self, line: ContentLine) -> None:
        if line.parameters.get("RELTYPE", "PARENT").upper() == "PARENT":
            self.entry.parent, self.entry.parent_source = line.value, _source(line.value.strip())
        else:
            self._lose(line, "relations other than to a parent are not known here", "left out")

    def _other(self, line: ContentLine) -> None:
        if line.name in _TO_NOTES and line.text.strip():
            self._to_notes.append(f"{_TO_NOTES[line.name]}: {line.text.strip()}")
            self._lose(line, "there is no such field here", "kept at the end of the notes")
        elif line.name not in _PROCESS and not _MEANINGLESS.fullmatch(line.name):
            self._lose(line, f"{shown(line.value)} is not known here", "left out")

    def _times(self) -> None:
        entry = self.entry
        entry.created_at, entry.updated_at = self._instant("CREATED"), self._instant("LAST-MODIFIED")
        entry.closed_at = self._instant("COMPLETED")
        if entry.closed_at and self._todo.get("STATUS") is None:
            entry.done = True
        if self._todo.get("RECURRENCE-ID"):
            entry.lose("RECURRENCE-ID", "it is one changed occurrence of a task", "imported as a task of its own")

    def _dates(self) -> None:
        due, start = self._moment("DUE"), self._moment("DTSTART")
        length = self._todo.get("DURATION")
        if due is None and start is not None and length is not None and (seconds := _seconds(length.value)) is not None:
            due = self._later(start, seconds)
        if due is None and start is not None and self._todo.get("RRULE"):
            self.entry.lose("DTSTART", "it repeats and has no due date", "its start is its due date")
            due = start
        if due is not None:
            self.entry.due, self.entry.zone = due
        if start is not None and start != due and not self._restored():
            self._start(*start)

    def _start(self, start: Moment, zone: str | None) -> None:
        if self.entry.due is None:
            self.entry.zone = zone
        elif zone != self.entry.zone and isinstance(start, dt.datetime) and start.tzinfo is None:
            start = start.replace(tzinfo=ZoneInfo(zone or self._reading.zone))
        self.entry.start = start

    def _own_start(self) -> None:
        """A start that DTSTART had no room for, unless somebody gave it one since."""
        own = self._moment("X-TODO-START") if self.entry.start is None else None
        if own is not None:
            self._start(*own)

    def _later(self, start: tuple[Moment, str | None], seconds: int) -> tuple[Moment, str | None] | None:
        try:
            return start[0] + dt.timedelta(seconds=seconds), start[1]
        except OverflowError:
            self.entry.lose("DURATION", "it goes on beyond the calendar", "left out")
            return None

    def _restored(self) -> bool:
        """Whether DTSTART is one that is written here, for the rule's sake."""
        return self.entry.origin is not None and self._todo.get("X-TODO-SERIES") is not None

    def _repetition(self) -> None:
        rule = self._todo.get("RRULE")
        if rule is None:
            return
        self.entry.repeating = self._known_series(rule.value.strip()) or Repeating(rule=rule.value.strip())
        if self.entry.start is not None:
            self._lose(rule, "its dates are counted from DTSTART", "they are counted from the due date")
        due = self._todo.get("DUE") or self._todo.get("DTSTART")
        if due and due.value.strip().endswith("Z") and "X-TODO-ZONE" not in due.parameters:
            self.entry.repeating.zone = self.entry.zone = "UTC"  # its dates are counted there

    def _known_series(self, rule: str) -> Repeating | None:
        """The series as it was exported; none if somebody has changed the rule since."""
        line = self._todo.get("X-TODO-SERIES")
        if line is None:
            return None
        said = line.parameters
        seq, first, count = (_whole(said.get(name, "")) for name in ("SEQ", "FIRST-SEQ", "COUNT"))
        whole = re.sub(r"(?<=COUNT=)\d+", str(count), rule) if count else rule
        if not seq or not first or remaining(whole, count_of(whole), seq - first + 1) != rule:
            return None
        start, scheduled = (_basic(said.get(name, "")) for name in ("START", "SCHEDULED"))
        mode, policy = said.get("MODE", ""), said.get("POLICY", "")
        if mode not in set(Mode) or policy not in set(Policy):
            return None
        return Repeating(
            rule=whole,
            mode=mode,
            policy=policy,
            series=f"todo/{line.value.strip()}",
            seq=seq,
            first_seq=first,
            start=start,
            zone=said.get("ZONE"),
            scheduled=scheduled,
        )

    def _alarm(self, alarm: Alarm) -> None:
        action, trigger = alarm.get("ACTION"), alarm.get("TRIGGER")
        if action is not None and action.value.strip().upper() == "NONE":  # a program's way to say that there is none
            return
        if trigger is None:
            self.entry.lose("VALARM", "it does not say when", "left out", alarm.number)
            return
        text = self._reminder(trigger)
        own = alarm.get("X-TODO-REMINDER")
        if own is not None and self._same(own.value.strip(), trigger):
            text = own.value.strip()
        if text is None:
            self._lose(trigger, f"{shown(trigger.value)} cannot be read, or has nothing to count from", "left out")
            return
        self.entry.reminders.append(text)
        acknowledged = alarm.get("ACKNOWLEDGED")
        if own is not None and acknowledged is not None and isinstance(at := _basic(acknowledged.value), dt.datetime):
            self.entry.dismissed.append((text, at))
        if alarm.get("REPEAT"):
            self.entry.lose("REPEAT", "it reminds again and again", "it reminds once", alarm.number)

    def _reminder(self, trigger: ContentLine) -> str | None:
        """One of our reminders that fires at the same time, if there is one."""
        at = _basic(trigger.value)
        if isinstance(at, dt.datetime):
            return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(self._reading.zone))).isoformat()
        seconds, due = _seconds(trigger.value), self.entry.due
        if seconds is None or due is None:
            return None
        if trigger.parameters.get("RELATED", "START").upper() == "START" and self.entry.start is not None:
            apart = _apart(self.entry.start, due)
            if apart is None:
                return None
            seconds += apart
        if isinstance(due, dt.datetime):
            return duration(seconds)
        return duration(seconds - MIDNIGHT_TO_MORNING // dt.timedelta(seconds=1))

    def _same(self, own: str, trigger: ContentLine) -> bool:
        """Whether a reminder of ours still stands for this trigger: it may have been changed elsewhere."""
        try:
            reminder = parse_reminder(own)
        except RuleError:
            return False
        if reminder.at is not None:
            return _basic(trigger.value) == reminder.at.replace(microsecond=0)
        whole_day = not isinstance(self.entry.due, dt.datetime)
        return _seconds(trigger.value) == trigger_seconds(reminder, whole_day=whole_day)

    def _instant(self, name: str) -> dt.datetime | None:
        found = self._moment(name)
        if found is None:
            return None
        moment = found[0] if isinstance(found[0], dt.datetime) else dt.datetime.combine(found[0], dt.time())
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)

    def _moment(self, name: str) -> tuple[Moment, str | None] | None:
        """A time and the zone it is shown in."""
        line = self._todo.get(name)
        if line is None:
            return None
        moment = _basic(line.value)
        if moment is None:
            self._lose(line, f"{shown(line.value)} is no date", "left out")
            return None
        return moment, line.parameters.get("X-TODO-ZONE") or self._zone(line)

    def _zone(self, line: ContentLine) -> str | None:
        name = line.parameters.get("TZID", "")
        known = iana(name) if name else None
        if name and known is None:
            self._lose(line, f"the time zone {shown(name)!r} is not known here", f"{self._reading.zone} is used")
        return known


def iana(name: str) -> str | None:
    """An IANA zone by its name, or by a longer name that ends with it, as some programs write."""
    parts = name.strip().strip("/").split("/")
    return next((one for start in range(len(parts)) if (one := "/".join(parts[start:])) in _zones()), None)


def _zones() -> set[str]:
    if not _KNOWN_ZONES:
        _KNOWN_ZONES.update(available_timezones())
    return _KNOWN_ZONES


_KNOWN_ZONES: set[str] = set()


def _basic(text: str) -> Moment | None:
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    try:
        day = dt.datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=dt.UTC).date()
        if found[2] is None:
            return day
        clock = dt.time(int(found[2][:2]), int(found[2][2:4]), min(int(found[2][4:]), 59))  # a leap second is none here
    except ValueError:
        return None
    return dt.datetime.combine(day, clock, dt.UTC if found[3] else None)


def _seconds(text: str) -> int | None:
    found = _DURATION.fullmatch(text.strip().upper())
    if found is None or not any(found.groups()[1:]):
        return None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    total = ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds
    return -total if found[1] == "-" else total


def _apart(start: Moment, due: Moment) -> int | None:
    """Seconds from due to start; None where one of the two is a day or in another zone."""
    if type(start) is not type(due) or getattr(start, "tzinfo", None) != getattr(due, "tzinfo", None):
        return None
    return (start - due) // dt.timedelta(seconds=1)


def _whole(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped) if re.fullmatch(r"\d{1,9}", stripped, re.ASCII) else None


def _source(uid: str) -> str:
    """What names a task by its UID: ours, and any UUID, is the same in each of our formats."""
    own = _uuid(uid)
    return f"todo/{own}" if own else f"ics/{uid}"


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
