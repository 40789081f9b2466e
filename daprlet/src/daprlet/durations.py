"""The three ways Dapr writes time: Go durations (`1h30m`), ISO 8601 durations (`PT90M`) and RFC 3339 instants."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_GO: Final = re.compile(rf"(?:{_PART.pattern})+")
_ISO: Final = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_PROTO: Final = re.compile(r"\d+(?:\.\d{1,9})?s")


def go_duration(text: str) -> float:
    """Seconds of a Go duration such as `1h30m` or `250ms`; ValueError for anything else, negative ones included."""
    if text == "0":
        return 0.0
    if not _GO.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def proto_duration(text: str) -> float:
    """Seconds of a protobuf JSON duration (`5s`, `0.5s`), the only form Dapr takes in a job's failure policy."""
    if not _PROTO.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration in seconds such as 5s or 0.5s")
    return float(text[:-1])


def instant(text: str, now: datetime) -> datetime:
    """The instant meant by an RFC 3339 time, or by a Go or ISO 8601 duration counted from `now`."""
    if _GO.fullmatch(text) or text == "0":
        return now + timedelta(seconds=go_duration(text))
    if text.startswith("P"):
        return _after_iso(text, now)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise ValueError(f"{text!r} is neither an RFC 3339 time nor a Go or ISO 8601 duration")
    return parsed.astimezone(UTC)


def _after_iso(text: str, now: datetime) -> datetime:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groupdict().values()):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT10M or P1D")
    part = {name: float(value or 0) for name, value in match.groupdict().items()}
    months = int(part.pop("years")) * 12 + int(part.pop("months"))
    return _add_months(now, months) + timedelta(**part)


def _add_months(moment: datetime, months: int) -> datetime:
    """Calendar months later; a day the month does not have rolls over into the next one, as Go's AddDate does."""
    years, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + years, month=month + 1, day=1)
    return first + timedelta(days=moment.day - 1)
