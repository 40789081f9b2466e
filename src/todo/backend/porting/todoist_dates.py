"""What Todoist's DATE column says: days and times, and `every ...`. What is not fully understood is not guessed at."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from todo.domain import recurrence
from todo.domain.due import zone_info
from todo.domain.errors import RuleError
from todo.domain.recurrence import Series, parse_rule

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CODES: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_FREQUENCIES: Final = {"day": "DAILY", "week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY", "hour": "HOURLY"}
_WORDS: Final = {"daily": "every day", "weekly": "every week", "monthly": "every month", "yearly": "every year"}
_RULES: Final = {
    "last day": "FREQ=MONTHLY;BYMONTHDAY=-1",
    "weekend": "FREQ=WEEKLY;BYDAY=SA",
    **dict.fromkeys(("weekday", "workday", "weekdays", "workdays"), "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
}
_NTH: Final = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_TIME: Final = re.compile(
    r"(?:^|\s)(?:at |@ ?)?(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})? ?(?P<half>[ap]m)?"
    r"|(?P<only>\d{1,2}) ?(?P<of>[ap]m))$"
)
_ISO: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:t(\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?(z)?)?")
_MONTH_FIRST: Final = re.compile(r"([a-z]{3,9}) (\d{1,2})(?:st|nd|rd|th)?(?:,? (\d{4}))?")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\.? ([a-z]{3,9})(?:,? (\d{4}))?")
_EVERY: Final = re.compile(r"(?:every|ev)(!?) (.+)")
_PERIOD: Final = re.compile(r"(?:(\d{1,4}) )?(day|week|month|year|hour)s?")
_OF_MONTH: Final = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_NTH_DAY: Final = re.compile(r"(first|second|third|fourth|last|1st|2nd|3rd|4th) ([a-z]+)")


@dataclass(frozen=True, slots=True)
class Found:
    due: dt.datetime | dt.date
    rule: str = ""
    mode: str = "due"


def read(text: str, language: str, zone: str, now: dt.datetime) -> Found | None:
    """A date without offset is a wall time. `now` is what today, and a day without a year, count from."""
    try:
        local = now.astimezone(zone_info(zone))
    except RuleError:
        local = now
    words = " ".join(text.lower().split())
    if iso := _ISO.fullmatch(words):
        return _iso(iso)
    if language != "en":
        words, time = _split_time(words)
        found = _ISO.fullmatch(words)
        return _at(_date(found[1]), time) if found else None
    words, time = _split_time(_WORDS.get(words, words))
    if every := _EVERY.fullmatch(words):
        return _repeating(every[2], time, "completion" if every[1] else "due", local)
    return _at(_day(words, local.date()), time)


def _iso(found: re.Match[str]) -> Found | None:
    day = _date(found[1])
    if day is None or found[2] is None:
        return Found(day) if day else None
    try:
        at = dt.datetime.combine(day, dt.time.fromisoformat(found[2]))
    except ValueError:
        return None
    return Found(at.replace(tzinfo=dt.UTC) if found[3] else at)


def _split_time(words: str) -> tuple[str, dt.time | None]:
    found = _TIME.search(words)
    if found is None:
        return words, None
    hour, minute = int(found["hour"] or found["only"]), int(found["minute"] or 0)
    half = found["half"] or found["of"]
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return words[: found.start()].strip(), dt.time(hour, minute)
    except ValueError:
        return words, None


def _at(day: dt.date | None, time: dt.time | None) -> Found | None:
    if day is None:
        return None
    return Found(dt.datetime.combine(day, time) if time else day)


def _day(words: str, today: dt.date) -> dt.date | None:
    near = {"today": 0, "tod": 0, "tomorrow": 1, "tom": 1, "yesterday": -1, "": 0}
    if words in near:
        return today + dt.timedelta(days=near[words])
    if iso := _ISO.fullmatch(words):
        return _date(iso[1])
    if (weekday := _place(words, _DAYS)) is not None:
        return today + dt.timedelta(days=(weekday - today.weekday()) % 7)
    for pattern, month, day in ((_MONTH_FIRST, 1, 2), (_DAY_FIRST, 2, 1)):
        found = pattern.fullmatch(words)
        if found and (number := _place(found[month], _MONTHS)) is not None:
            return _of_year(found[3], number + 1, int(found[day]), today)
    return None


def _of_year(year: str | None, month: int, day: int, today: dt.date) -> dt.date | None:
    """The day, in the year that is said, or the next time it comes."""
    years = [int(year)] if year else [today.year, today.year + 1]
    days = (_date(f"{one:04}-{month:02}-{day:02}") for one in years)
    return next((one for one in days if one is not None and (year or one >= today)), None)


def _repeating(words: str, time: dt.time | None, mode: str, local: dt.datetime) -> Found | None:
    rule = _rule(words)
    if rule is None:
        return None
    if rule.startswith("FREQ=HOURLY") and time is None:
        time = local.time().replace(second=0, microsecond=0)
    start = _at(local.date(), time)
    first = _first(rule, start.due, local) if start else None
    return Found(first, rule, mode) if first else None


def _first(rule: str, start: dt.datetime | dt.date, local: dt.datetime) -> dt.datetime | dt.date | None:
    """The first date of the rule from now on; times as the clock shows them."""
    zone = local.tzinfo if isinstance(local.tzinfo, ZoneInfo) else ZoneInfo("UTC")
    begin = start.replace(tzinfo=zone) if isinstance(start, dt.datetime) else start
    try:
        series = Series(begin, zone.key, parse_rule(rule))
        dates = recurrence.occurrences(series, after=local if isinstance(begin, dt.datetime) else None, limit=1)
    except RuleError:
        return None
    first = dates[0] if dates else None
    return first.astimezone(zone).replace(tzinfo=None, fold=0) if isinstance(first, dt.datetime) else first


def _rule(words: str) -> str | None:
    if words in _RULES:
        return _RULES[words]
    other = words.removeprefix("other ")
    if other != words and (period := _PERIOD.fullmatch(other)) and not period[1]:
        return f"FREQ={_FREQUENCIES[period[2]]};INTERVAL=2"
    if period := _PERIOD.fullmatch(words):
        return f"FREQ={_FREQUENCIES[period[2]]}" + (f";INTERVAL={int(period[1])}" if period[1] else "")
    if day := _OF_MONTH.fullmatch(words):
        return f"FREQ=MONTHLY;BYMONTHDAY={int(day[1])}"
    return _nth_day(words) or _weekdays(words) or _yearly(words)


def _nth_day(words: str) -> str | None:
    found = _NTH_DAY.fullmatch(words)
    day = _place(found[2], _DAYS) if found else None
    if found is None or day is None:
        return None
    nth = _NTH.get(found[1]) or int(found[1][0])
    return f"FREQ=MONTHLY;BYDAY={nth}{_CODES[day]}"


def _weekdays(words: str) -> str | None:
    days = [_place(one, _DAYS) for one in re.split(r",? and |, ?| ", words)]
    codes = [_CODES[day] for day in days if day is not None]
    return f"FREQ=WEEKLY;BYDAY={','.join(codes)}" if codes and len(codes) == len(days) else None


def _yearly(words: str) -> str | None:
    for pattern, month, day in ((_MONTH_FIRST, 1, 2), (_DAY_FIRST, 2, 1)):
        found = pattern.fullmatch(words)
        if found and found[3] is None and (number := _place(found[month], _MONTHS)) is not None:
            return f"FREQ=YEARLY;BYMONTH={number + 1};BYMONTHDAY={int(found[day])}"
    return None


def _place(word: str, names: tuple[str, ...]) -> int | None:
    """Which of the names a word is, or the beginning of: three letters at least."""
    if len(word) < len("mon"):
        return None
    return next((place for place, name in enumerate(names) if name.startswith(word.rstrip("."))), None)


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None
