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


def proto_text(text: str) -> str:
    """A protobuf duration as protobuf writes it: with 0, 3, 6 or 9 digits behind the point."""
    whole, _, fraction = text[:-1].partition(".")
    digits = fraction.rstrip("0")
    padded = digits.ljust(-(-len(digits) // 3) * 3, "0")
    return f"{int(whole)}.{padded}s" if padded else f"{int(whole)}s"


def is_duration(text: str) -> bool:
    """Whether `instant` counts this from now."""
    return text.startswith("P") or bool(_GO.fullmatch(text.removeprefix("-"))) or text in ("0", "-0")


def instant(text: str, now: datetime) -> datetime:
    """The instant meant by an RFC 3339 time, or by a Go or ISO 8601 duration counted from `now`."""
    later, ago = (text[1:], -1) if text.startswith("-") else (text, 1)
    if _GO.fullmatch(later) or later == "0":
        return now + ago * timedelta(seconds=go_duration(later))
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
