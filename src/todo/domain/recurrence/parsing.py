"""Parsing: an RRULE text gives a checked rule in one canonical spelling."""

import datetime as dt
import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from todo.domain.recurrence.expansion import Expansion
from todo.domain.recurrence.rule import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_COUNT,
    MAX_INTERVAL,
    MAX_RULE_LENGTH,
    MAX_TIMES_PER_HOUR,
    Due,
    Freq,
    NthDay,
    RecurrenceError,
    Rule,
)

_CYCLE_START: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time, in no zone
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RANGES: Final = {  # lowest and highest value of each list, and whether it may be counted from the end
    "BYMONTH": (1, 12, False),
    "BYWEEKNO": (1, 53, True),
    "BYYEARDAY": (1, 366, True),
    "BYMONTHDAY": (1, 31, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 59, False),
    "BYSETPOS": (1, 366, True),
}
_ORDER: Final = (
    *("FREQ", "UNTIL", "COUNT", "INTERVAL", "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY"),
    *("BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS", "WKST"),
)
_DEFAULTS: Final = {"INTERVAL": "1", "WKST": "MO"}
_MAX_VALUES: Final = 366
_MAX_NTH: Final = 53
_BYDAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL: Final = re.compile(r"\d{8}(T\d{6}Z)?", re.ASCII)
_DIGITS: Final = re.compile(r"\d{1,6}", re.ASCII)
_SIGNED: Final = re.compile(r"[+-]?\d{1,3}", re.ASCII)


def parse_rule(text: str) -> Rule:
    """Read an RRULE value, with or without "RRULE:".

    Guarantees: RFC 5545's grammar and restrictions hold, nothing is more frequent than 4 times an hour, every number is
    bounded, and the rule fires for some start (`first_due` tells for a given one). Raises `RecurrenceError` otherwise.
    """
    if len(text) > MAX_RULE_LENGTH:
        raise RecurrenceError("rule", f"is longer than {MAX_RULE_LENGTH} characters", "use fewer values")
    return _parse(text.strip().upper().removeprefix("RRULE:"))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Rule:
    parts = _split(text)
    freq = _freq(parts)
    _check_combinations(freq, parts)
    lists = {name: _numbers(name, parts.get(name, "")) for name in _RANGES}
    count, until = _positive("COUNT", parts, MAX_COUNT), _until_value(parts.get("UNTIL"))
    days = _byday(parts.get("BYDAY", ""), freq, yearly_weeks=bool(lists["BYWEEKNO"]))
    if len(lists["BYMINUTE"] or (0,)) * len(lists["BYSECOND"] or (0,)) > MAX_TIMES_PER_HOUR:
        raise RecurrenceError(
            "BYMINUTE", "makes the rule too frequent", f"use up to {MAX_TIMES_PER_HOUR} times an hour"
        )
    rule = Rule(
        text=_canonical(parts, lists, days),
        freq=freq,
        interval=_positive("INTERVAL", parts, MAX_INTERVAL) or 1,
        count=count,
        until=until,
        wkst=_wkst(parts.get("WKST", "MO")),
        months=lists["BYMONTH"],
        weeks=lists["BYWEEKNO"],
        year_days=lists["BYYEARDAY"],
        month_days=lists["BYMONTHDAY"],
        days=days,
        hours=lists["BYHOUR"],
        minutes=lists["BYMINUTE"],
        seconds=lists["BYSECOND"],
        positions=lists["BYSETPOS"],
    )
    _check_fires(rule)
    return rule


def _split(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise RecurrenceError(
                "rule", f"{part[:64]!r} is not NAME=VALUE", "write an RRULE such as FREQ=WEEKLY;BYDAY=MO"
            )
        if name not in _ORDER:
            raise RecurrenceError("rule", f"{name[:64]!r} is no part of an RRULE", f"use {', '.join(_ORDER)}")
        if name in parts:
            raise RecurrenceError(name, "is given twice", "give it once, its values separated by commas")
        parts[name] = value
    return parts


def _freq(parts: dict[str, str]) -> Freq:
    allowed = "use " + ", ".join(Freq)
    if "FREQ" not in parts:
        raise RecurrenceError("FREQ", "is missing", allowed)
    if parts["FREQ"] in {"SECONDLY", "MINUTELY"}:
        raise RecurrenceError("FREQ", f"{parts['FREQ']} is too frequent for a task", allowed)
    try:
        return Freq(parts["FREQ"])
    except ValueError:
        raise RecurrenceError("FREQ", f"{parts['FREQ'][:64]!r} is no frequency", allowed) from None


def _check_combinations(freq: Freq, parts: dict[str, str]) -> None:
    """Refuse what RFC 5545, 3.3.10 says MUST NOT be combined."""
    if "COUNT" in parts and "UNTIL" in parts:
        raise RecurrenceError("UNTIL", "is given together with COUNT", "end the rule by one of them")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise RecurrenceError("BYSETPOS", "has nothing to choose from", "add another BY part, such as BYDAY")
    if "BYWEEKNO" in parts and freq is not Freq.YEARLY:
        raise RecurrenceError("BYWEEKNO", f"does not go with FREQ={freq}", "use FREQ=YEARLY")
    if "BYYEARDAY" in parts and freq not in {Freq.YEARLY, Freq.HOURLY}:
        raise RecurrenceError("BYYEARDAY", f"does not go with FREQ={freq}", "use FREQ=YEARLY")
    if "BYMONTHDAY" in parts and freq is Freq.WEEKLY:
        raise RecurrenceError("BYMONTHDAY", "does not go with FREQ=WEEKLY", "use FREQ=MONTHLY, or BYDAY")


def _numbers(name: str, text: str) -> tuple[int, ...]:
    lowest, highest, from_end = _RANGES[name]
    values = {_number(name, item, lowest, highest, from_end=from_end) for item in _items(name, text)}
    return tuple(sorted(values))


def _items(name: str, text: str) -> list[str]:
    items = text.split(",") if text else []
    if len(items) > _MAX_VALUES:
        raise RecurrenceError(name, f"has {len(items)} values", f"use at most {_MAX_VALUES}")
    return items


def _number(name: str, text: str, lowest: int, highest: int, *, from_end: bool) -> int:
    pattern, signs = (_SIGNED, f" or -{highest} to -1") if from_end else (_DIGITS, "")
    value = int(text) if pattern.fullmatch(text) else None
    if value is None or not lowest <= (abs(value) if from_end else value) <= highest:
        raise RecurrenceError(name, f"{text[:64]!r} is out of range", f"use numbers from {lowest} to {highest}{signs}")
    return value


def _positive(name: str, parts: dict[str, str], highest: int) -> int | None:
    return _number(name, parts[name], 1, highest, from_end=False) if name in parts else None


def _until_value(text: str | None) -> Due | None:
    if text is None:
        return None
    fix = "write a date (20261231) or an instant in UTC (20261231T235959Z)"
    if not _UNTIL.fullmatch(text):
        raise RecurrenceError("UNTIL", f"{text[:64]!r} is neither a date nor a date-time in UTC", fix)
    try:
        until = dt.date.fromisoformat(text) if len(text) == len("20261231") else _utc(text)
    except ValueError:
        raise RecurrenceError("UNTIL", f"{text!r} is not in the calendar", fix) from None
    if not FIRST_YEAR <= until.year <= LAST_YEAR:
        raise RecurrenceError("UNTIL", f"is in the year {until.year}", "leave it out for a rule without end")
    return until


def _utc(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


def _byday(text: str, freq: Freq, *, yearly_weeks: bool) -> tuple[NthDay, ...]:
    days = {_nth_day(item) for item in _items("BYDAY", text)}
    if any(nth for nth, _ in days) and (freq not in {Freq.MONTHLY, Freq.YEARLY} or yearly_weeks):
        where = "BYWEEKNO" if yearly_weeks else f"FREQ={freq}"
        raise RecurrenceError("BYDAY", f"numbers its days, which does not go with {where}", "write MO instead of 1MO")
    return tuple(sorted(days))


def _nth_day(text: str) -> NthDay:
    match = _BYDAY.fullmatch(text)
    nth = int(match[1] or 0) if match else 0
    if match is None or abs(nth) > _MAX_NTH or (match[1] and not nth):
        raise RecurrenceError("BYDAY", f"{text[:64]!r} is no weekday", "use MO to SU; 1MO is the first, -1MO the last")
    return nth, _WEEKDAYS.index(match[2])


def _wkst(text: str) -> int:
    if text not in _WEEKDAYS:
        raise RecurrenceError("WKST", f"{text[:64]!r} is no weekday", "use MO to SU")
    return _WEEKDAYS.index(text)


def _canonical(parts: dict[str, str], lists: dict[str, tuple[int, ...]], days: tuple[NthDay, ...]) -> str:
    """One spelling per rule: parts in a fixed order, values sorted and once, defaults left out."""
    values = parts | {name: ",".join(map(str, numbers)) for name, numbers in lists.items() if numbers}
    values |= {name: str(int(parts[name])) for name in ("COUNT", "INTERVAL") if name in parts}
    if days:
        values["BYDAY"] = ",".join(f"{nth or ''}{_WEEKDAYS[day]}" for nth, day in days)
    return ";".join(
        f"{name}={values[name]}" for name in _ORDER if values.get(name, _DEFAULTS.get(name)) != _DEFAULTS.get(name)
    )


def _check_fires(rule: Rule) -> None:
    somewhere = Expansion(replace(rule, interval=1), _CYCLE_START, implied=False)
    if next(somewhere.walls(_CYCLE_START), None) is None:
        raise RecurrenceError("rule", "never fires: no date fits all of its parts", "leave out or change a BY part")
