"""Days as a filter names them: a date, a distance from today, or a day of the week."""

import calendar
import datetime as dt
import enum
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from todo.domain.due import YEARS


class Unit(enum.StrEnum):
    DAY = "d"
    WEEK = "w"
    MONTH = "m"
    YEAR = "y"


@dataclass(frozen=True, slots=True)
class Shift:
    """So far from today, backwards if negative."""

    amount: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Weekday:
    """The nearest such day, today included. Monday is 0."""

    number: int


Day: TypeAlias = dt.date | Shift | Weekday

TODAY: Final = Shift(0, Unit.DAY)
TOMORROW: Final = Shift(1, Unit.DAY)
YESTERDAY: Final = Shift(-1, Unit.DAY)
NAMED: Final = {
    "today": TODAY, "tomorrow": TOMORROW, "yesterday": YESTERDAY,
    "heute": TODAY, "morgen": TOMORROW, "gestern": YESTERDAY,
}  # fmt: skip
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_GERMAN: Final = ("montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag")
_NUMBERS: Final = {
    name: day
    for names in (WEEKDAYS, _GERMAN)
    for day, whole in enumerate(names)
    for name in (whole, whole[:3] if names is WEEKDAYS else whole[:2])
}
_MOST: Final = {Unit.DAY: 36_500, Unit.WEEK: 5_200, Unit.MONTH: 1_200, Unit.YEAR: 100}  # a century
_SHIFT: Final = re.compile(r"([+-])([0-9]{1,5})([dwmy])")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_day(text: str) -> Day | None:
    """A day as it is written, None if it is none."""
    word = text.casefold()
    if word in NAMED:
        return NAMED[word]
    if word in _NUMBERS:
        return Weekday(_NUMBERS[word])
    shift = _SHIFT.fullmatch(word)
    return _shift(*shift.groups()) if shift else _date(word)


def write_day(day: Day) -> str:
    """The text that is read as this day."""
    if isinstance(day, dt.date):
        return day.isoformat()
    if isinstance(day, Weekday):
        return WEEKDAYS[day.number]
    return next((name for name, named in NAMED.items() if named == day), f"{day.amount:+d}{day.unit}")


def resolve(day: Day, today: dt.date, *, back: bool = False) -> dt.date:
    """The date that is meant on a day; `back`: days of the week are those that have been."""
    if isinstance(day, dt.date):
        return day
    if isinstance(day, Weekday):
        ahead = (day.number - today.weekday()) % 7
        return today + dt.timedelta(days=ahead - 7 if back and ahead else ahead)
    if day.unit in {Unit.DAY, Unit.WEEK}:
        return today + dt.timedelta(days=day.amount * (7 if day.unit is Unit.WEEK else 1))
    return _months_on(today, day.amount * (12 if day.unit is Unit.YEAR else 1))


def _shift(sign: str, amount: str, unit: str) -> Shift | None:
    number = int(sign + amount)
    return Shift(number, Unit(unit)) if abs(number) <= _MOST[Unit(unit)] else None


def _date(text: str) -> dt.date | None:
    try:
        date = dt.date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return date if date is not None and date.year in YEARS else None


def _months_on(day: dt.date, months: int) -> dt.date:
    """A month's end stays in its month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
