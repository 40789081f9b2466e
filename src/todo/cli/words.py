"""What a person types for a due date, a reminder or a rule, in the words of the API."""

import datetime as dt
import re
from typing import Any, Final
from zoneinfo import ZoneInfo

_AMOUNT: Final = re.compile(r"(\d{1,6})\s*([a-z]+)")
_UNITS: Final = {
    1: ("s", "sec", "secs", "second", "seconds"),
    60: ("m", "min", "mins", "minute", "minutes"),
    3600: ("h", "hr", "hrs", "hour", "hours"),
    86_400: ("d", "day", "days"),
    604_800: ("w", "wk", "wks", "week", "weeks"),
}
_SECONDS: Final = {word: seconds for seconds, words in _UNITS.items() for word in words}
_NO_FIXED_LENGTH: Final = {"mo", "mos", "month", "months", "y", "yr", "yrs", "year", "years"}
_LONGEST: Final = 100 * 366 * 86_400
_DAY: Final = re.compile(r"(today|tomorrow)(?:\s+(\d{1,2}:\d{2}))?")
_SHORT_RULES: Final = {
    "daily": "FREQ=DAILY",
    "weekdays": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    "weekly": "FREQ=WEEKLY",
    "monthly": "FREQ=MONTHLY",
    "yearly": "FREQ=YEARLY",
}


class WordsError(ValueError):
    """What was typed means nothing here; the message says what would."""


def read_due(text: str, now: dt.datetime) -> dict[str, Any]:
    """The API's `due_at` or `due_date`. `now` is aware, in the zone in which today is meant.

    Understood: `now`, `in 10m` (s, m, h, d, w; also `in 1h 30m`), `today`, `tomorrow 09:00`, `2030-05-01`, and
    instants such as `2030-05-01T09:00` or `2030-05-01T09:00:00+02:00`; without an offset they are times in the task's
    zone. Raises `WordsError`.
    """
    words = " ".join(text.lower().split())
    if words == "now":
        return {"due_at": now.astimezone(dt.UTC).isoformat()}
    if words.startswith("in ") and (length := _length(words[3:])) is not None:
        return {"due_at": (now.astimezone(dt.UTC) + length).isoformat()}
    if match := _DAY.fullmatch(words):
        return _day(match, now)
    return _iso(text.strip())


def read_instant(text: str, now: dt.datetime, zone: ZoneInfo | None) -> str:
    """An instant with an offset, from the same words; wall times are in `zone` (None: the machine's).

    Raises `WordsError`.
    """
    read = read_due(text, now)
    if "due_at" not in read:
        raise WordsError(f"{text!r} has no time of day: add one, as in 'tomorrow 09:00'")
    at = dt.datetime.fromisoformat(read["due_at"])
    if at.tzinfo is None:  # the offset is that of `at`, which may not be that of now
        at = at.replace(tzinfo=zone) if zone else at.astimezone()
    return at.isoformat()


def read_reminder(text: str) -> str:
    """`due`, or `1h` for an hour before; what else is typed (-PT1H, an instant) is the API's to judge.

    Raises `WordsError` for a length that cannot be meant.
    """
    words = " ".join(text.lower().split()).removesuffix(" before")
    if words in {"due", "at due"}:
        return "PT0S"
    length = _length(words)
    if length is None:
        return text
    return f"-P{length.days}D" if length.seconds == 0 and length.days else f"-PT{round(length.total_seconds())}S"


def read_rule(text: str) -> str:
    """`daily`, `weekdays`, `weekly`, `monthly`, `yearly`, or an RFC 5545 rule as it is."""
    return _SHORT_RULES.get(text.strip().lower(), text)


def _length(words: str) -> dt.timedelta | None:
    """A length of time, None when it is something else. Raises `WordsError`."""
    parts = _AMOUNT.findall(words)
    if not parts or _AMOUNT.sub("", words).strip():
        return None
    units = {unit for _, unit in parts}
    if units & _NO_FIXED_LENGTH:
        raise WordsError(f"{words!r} is not exact, months and years differ: give a date, as 2030-05-01")
    if units - _SECONDS.keys():
        return None
    seconds = sum(int(amount) * _SECONDS[unit] for amount, unit in parts)
    if seconds > _LONGEST:
        raise WordsError(f"{words[:40]!r} is more than 100 years")
    return dt.timedelta(seconds=seconds)


def _day(match: re.Match[str], now: dt.datetime) -> dict[str, Any]:
    day = now.date() + dt.timedelta(days=match[1] == "tomorrow")
    if match[2] is None:
        return {"due_date": day.isoformat()}
    try:
        clock = dt.time.fromisoformat(match[2].zfill(5))
    except ValueError:
        raise WordsError(f"{match[2]} is not a time of day") from None
    return {"due_at": dt.datetime.combine(day, clock).isoformat()}


def _iso(text: str) -> dict[str, Any]:
    try:
        return {"due_date": dt.date.fromisoformat(text).isoformat()}
    except ValueError:
        pass
    try:
        return {"due_at": dt.datetime.fromisoformat(text).isoformat()}
    except ValueError:
        raise WordsError(
            f"{text!r} is not understood: say now, 'in 10m', 'tomorrow 09:00', 2030-05-01 or 2030-05-01T09:00+02:00"
        ) from None
