"""Slots that are not words of a language: numbers, dates and times in digits, and lists of other slots."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from todo.domain.language.patterns import MAX_ITEMS, Parse, Terminal

_MAX_PARTS: Final = 4  # of a length, such as 1 day 2 hours 30 minutes
_DIGITS: Final = re.compile(r"[0-9]{1,4}")
_ISO: Final = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})")
_DOTTED: Final = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4}|[0-9]{2})?")
_SLASHED: Final = re.compile(r"([0-9]{1,2})/([0-9]{1,2})(?:/([0-9]{4}|[0-9]{2}))?")
_CLOCK: Final = re.compile(r"([0-9]{1,2})([:.])([0-9]{2})")
_HOURS: Final = 24
_HALF: Final = 12
_MINUTES: Final = 60
_CENTURY: Final = 2000

Way = Iterator[tuple[int, Any]]
Numeric = tuple[int, int, int | None]  # as it was written, left to right; the year, if there is one, in full


def _number(parse: Parse, at: int) -> Way:
    """A positive number, in digits or as a word."""
    key = parse.key(at)
    if re.fullmatch(r"[0-9]{1,5}", key) and int(key):
        yield at + 1, int(key)
    elif key in parse.language.words["number"]:
        yield at + 1, parse.language.words["number"][key]


def _digits(parse: Parse, at: int) -> Way:
    if _DIGITS.fullmatch(parse.key(at)):
        yield at + 1, int(parse.key(at))


def _year(parse: Parse, at: int) -> Way:
    if re.fullmatch(r"[0-9]{4}", parse.key(at)):
        yield at + 1, int(parse.key(at))


def _iso(parse: Parse, at: int) -> Way:
    if match := _ISO.fullmatch(parse.key(at)):
        yield at + 1, (int(match[1]), int(match[2]), int(match[3]))


def _dotted(parse: Parse, at: int) -> Way:
    if match := _DOTTED.fullmatch(parse.key(at)):
        yield at + 1, _numeric(match)


def _slashed(parse: Parse, at: int) -> Way:
    if match := _SLASHED.fullmatch(parse.key(at)):
        yield at + 1, _numeric(match)


def _numeric(match: re.Match[str]) -> Numeric:
    year = None if match[3] is None else int(match[3]) + (_CENTURY if len(match[3]) == len("26") else 0)
    return int(match[1]), int(match[2]), year


def _time(parse: Parse, at: int, mark: str, digits: tuple[int, ...]) -> Way:
    match = _CLOCK.fullmatch(parse.key(at))
    if match and match[2] == mark and len(match[1]) in digits:
        hour, minute = int(match[1]), int(match[3])
        if hour < _HOURS and minute < _MINUTES:
            yield at + 1, dt.time(hour, minute)


def _seconds_time(parse: Parse, at: int) -> Way:
    if re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]", parse.key(at)):
        yield at + 1, dt.time.fromisoformat(parse.key(at))


def _hour(parse: Parse, at: int) -> Way:
    for end, hour in _digits(parse, at):
        if hour < _HOURS:
            yield end, dt.time(hour)


def _minute(parse: Parse, at: int) -> Way:
    for end, minute in _digits(parse, at):
        if minute < _MINUTES:
            yield end, minute


def _half_day(parse: Parse, at: int) -> Way:
    """An hour up to 12, perhaps with minutes, for am or pm to follow."""
    for end, time in (*_hour(parse, at), *_time(parse, at, ":", (1, 2))):
        if 1 <= time.hour <= _HALF:
            yield end, time.replace(hour=time.hour % _HALF)


def _weekday_range(parse: Parse, at: int) -> Way:
    first, dash, last = parse.key(at).partition("-")
    weekday = parse.language.words["weekday"]
    if dash and first in weekday and last in weekday and weekday[first] < weekday[last]:
        yield at + 1, tuple(range(weekday[first], weekday[last] + 1))


def _length(parse: Parse, at: int) -> Way:
    """Days on the calendar, and seconds on the clock."""
    days = seconds = 0
    for _ in range(_MAX_PARTS):
        number = next(_number(parse, at), None)
        span = parse.language.words["span"].get(parse.key(number[0])) if number else None
        if number is None or span is None:
            return
        at, days, seconds = number[0] + 1, days + number[1] * span[0], seconds + number[1] * span[1]
        yield at, (days, seconds)


def _listed(item: str) -> Terminal:
    """One item or several, separated by commas and words such as `and`."""

    def read(parse: Parse, at: int) -> Way:
        values: tuple[Any, ...] = ()
        while len(values) < MAX_ITEMS and (found := parse.slot(item, at)):
            values += (found[0].value,)
            yield found[0].end, values
            at = _separated(parse, found[0].end)
            if at == found[0].end:
                return

    return read


def _separated(parse: Parse, at: int) -> int:
    comma = at + (parse.key(at) == ",")
    return comma + (parse.key(comma) in parse.language.ands)


TERMINALS: Final[Mapping[str, Terminal]] = {
    "n": _number,
    "digits": _digits,
    "year": _year,
    "iso": _iso,
    "dotted": _dotted,
    "slashed": _slashed,
    "short_time": lambda parse, at: _time(parse, at, ":", (1,)),
    "full_time": lambda parse, at: _time(parse, at, ":", (2,)),
    "dotted_time": lambda parse, at: _time(parse, at, ".", (1, 2)),
    "seconds_time": _seconds_time,
    "hour": _hour,
    "minute": _minute,
    "half_day": _half_day,
    "weekday_range": _weekday_range,
    "length": _length,
    "weekdays": _listed("weekday"),
    "habits": _listed("habit"),  # in German: montags
    "nths": _listed("nth"),
    "month_days": _listed("month_day"),
    "nth_days": _listed("nth_day"),
    "year_days": _listed("year_day"),
    "reminders": _listed("reminder"),
}
