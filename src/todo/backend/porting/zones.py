"""VTIMEZONE of an IANA zone, for programs that do not know it by its name (RFC 5545, 3.6.5)."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from todo.backend.porting.content_lines import begin, end, folded, line

AHEAD: Final = 30  # years that are told beyond the last task: a series goes on
_STEP: Final = dt.timedelta(days=7)  # no zone changes its clocks twice within it
_SECOND: Final = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Shift:
    """Clocks change by going from one offset to another."""

    before: dt.timedelta
    after: dt.timedelta
    name: str
    daylight: bool


@lru_cache(maxsize=256)
def vtimezone(zone: str, first: int, last: int) -> bytes:
    """The component, with every change of the clocks in these years as a date of its own."""
    info = ZoneInfo(zone)
    start = dt.datetime(first, 1, 1, tzinfo=dt.UTC)
    shifts: dict[_Shift, list[dt.datetime]] = {_shift(info, start, start): [start]}
    for at in _changes(info, start, dt.datetime(last + 1, 1, 1, tzinfo=dt.UTC)):
        shifts.setdefault(_shift(info, at - _SECOND, at), []).append(at)
    parts = [_observance(shift, instants) for shift, instants in shifts.items()]
    return b"".join([begin("VTIMEZONE"), line("TZID", zone), *parts, end("VTIMEZONE")])


def _changes(info: ZoneInfo, at: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    while at < until:
        if _offset(info, at) != _offset(info, at + _STEP):
            yield _change(info, at, at + _STEP)
        at += _STEP


def _change(info: ZoneInfo, low: dt.datetime, high: dt.datetime) -> dt.datetime:
    """The first second with the later offset."""
    before = _offset(info, low)
    while high - low > _SECOND:
        middle = low + dt.timedelta(seconds=(high - low) // _SECOND // 2)
        low, high = (middle, high) if _offset(info, middle) == before else (low, middle)
    return high


def _shift(info: ZoneInfo, before: dt.datetime, after: dt.datetime) -> _Shift:
    then = after.astimezone(info)
    return _Shift(_offset(info, before), _offset(info, after), then.tzname() or "", bool(then.dst()))


def _observance(shift: _Shift, instants: list[dt.datetime]) -> bytes:
    kind = "DAYLIGHT" if shift.daylight else "STANDARD"
    walls = [f"{at + shift.before:%Y%m%dT%H%M%S}" for at in instants]
    return b"".join(
        [
            begin(kind),
            line("DTSTART", walls[0]),
            *([folded(f"RDATE:{','.join(walls[1:])}")] if walls[1:] else []),
            line("TZOFFSETFROM", _written(shift.before)),
            line("TZOFFSETTO", _written(shift.after)),
            line("TZNAME", shift.name),
            end(kind),
        ]
    )


def _offset(info: ZoneInfo, at: dt.datetime) -> dt.timedelta:
    return at.astimezone(info).utcoffset() or dt.timedelta()


def _written(offset: dt.timedelta) -> str:
    seconds = abs(offset) // _SECOND
    sign = "-" if offset < dt.timedelta() else "+"
    rest = f"{seconds % 60:02}" if seconds % 60 else ""
    return f"{sign}{seconds // 3600:02}{seconds // 60 % 60:02}{rest}"
