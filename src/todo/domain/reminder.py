"""Reminders: when they fire, and what makes one firing the same as another.

A reminder's identity is its canonical text, so that saying the same thing twice is one reminder. One firing of it, an
instance, is (task, reminder, instant): moving the task makes another instance, and only that one may mail.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from todo.domain.due import Due, check_year, to_instant, zone_info
from todo.domain.errors import RuleError

GRACE: Final = dt.timedelta(minutes=1)  # "due now" is not late
MAX_REMINDERS: Final = 20
MAX_OFFSET: Final = dt.timedelta(days=366)
_DURATION: Final = re.compile(
    r"(?P<sign>[-+]?)P(?:(?P<weeks>\d{1,3})W)?(?:(?P<days>\d{1,4})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?",
    re.ASCII | re.IGNORECASE,
)
_FIX: Final = 'use an ISO 8601 duration relative to due, such as "-PT1H" or "-P1D", or an instant with an offset'


@dataclass(frozen=True, slots=True)
class Reminder:
    """Relative to due (`days` on the calendar, then `seconds` on the clock), or absolute (`at`)."""

    text: str
    days: int = 0
    seconds: int = 0
    at: dt.datetime | None = None

    def fire_at(self, due: Due | None) -> dt.datetime | None:
        """The instant it fires at, or None when it is relative and the task has no due."""
        if self.at is not None:
            return self.at
        if due is None:
            return None
        local = due.moment.astimezone(zone_info(due.zone)).replace(tzinfo=None) + dt.timedelta(days=self.days)
        moved = to_instant(local, due.zone) if self.days else due.moment
        return moved + dt.timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Instance:
    """One firing: `past` when it was over when it was set, `dismissed` when its owner does not want it."""

    reminder: str
    fire_at: dt.datetime
    past: bool = False
    dismissed: bool = False


def parse_reminder(text: str, field: str = "reminders") -> Reminder:
    """Read and normalise one reminder. Raises `RuleError`."""
    match = _DURATION.fullmatch(text.strip())
    if match and any(match[part] for part in ("weeks", "days", "hours", "minutes", "seconds")):
        return _relative(field, match)
    try:
        at = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise RuleError(field, f"{text[:40]!r} is not a reminder", _FIX) from None
    if at.tzinfo is None:
        raise RuleError(field, f"{text[:40]!r} has no time zone", _FIX)
    check_year(field, at.year)
    at = at.astimezone(dt.UTC)
    check_year(field, at.year)
    return Reminder(at.isoformat().replace("+00:00", "Z"), at=at)


def parse_reminders(texts: Sequence[str]) -> tuple[str, ...]:
    """Normalise a list, dropping repetitions. Raises `RuleError`."""
    if len(texts) > MAX_REMINDERS:
        raise RuleError("reminders", f"there are {len(texts)}", f"a task has at most {MAX_REMINDERS}")
    return tuple(dict.fromkeys(parse_reminder(text).text for text in texts))


def instances(
    reminders: Iterable[str], due: Due | None, *, now: dt.datetime, known: Iterable[Instance] = ()
) -> tuple[Instance, ...]:
    """Every firing these reminders ask for now. Those already known keep what was decided about them."""
    decided = {(one.reminder, one.fire_at): one for one in known}
    fresh = (
        Instance(text, fire_at, past=fire_at < now - GRACE)
        for text in reminders
        if (fire_at := parse_reminder(text).fire_at(due)) is not None
    )
    return tuple(decided.get((one.reminder, one.fire_at), one) for one in fresh)


def dismiss(known: Iterable[Instance], reminder: str) -> tuple[Instance, ...]:
    """The same firings with those of one reminder turned off."""
    return tuple(replace(one, dismissed=True) if one.reminder == reminder else one for one in known)


def _relative(field: str, match: re.Match[str]) -> Reminder:
    parts = {name: int(value or 0) for name, value in match.groupdict().items() if name != "sign"}
    days = parts["weeks"] * 7 + parts["days"]
    seconds = parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"]
    if dt.timedelta(days=days, seconds=seconds) > MAX_OFFSET:
        raise RuleError(field, f"{match[0]} is too far from due", f"use at most {MAX_OFFSET.days} days")
    sign = -1 if match["sign"] == "-" else 1
    return Reminder(_canonical(sign, days, seconds), sign * days, sign * seconds)


def _canonical(sign: int, days: int, seconds: int) -> str:
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    clock = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if value)
    text = "P" + (f"{days}D" if days else "") + (f"T{clock}" if clock else "")
    if text == "P":
        return "PT0S"
    return f"-{text}" if sign < 0 else text
