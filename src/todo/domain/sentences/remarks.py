"""What the clocks' changes do to dates that are shown: a time that does not exist, or comes twice."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from todo.domain.due import zone_info
from todo.domain.recurrence import Due, Mode, Series
from todo.domain.recurrence.rule import Freq
from todo.domain.recurrence.series import falls_on
from todo.domain.sentences.speech import SPEECHES, Speech
from todo.domain.sentences.telling import say_day

_SHORTEST_MONTH: Final = 28
_FEBRUARY: Final = 2


def clock_remarks(series: Series, dates: Sequence[Due], language: str) -> list[str]:
    """One sentence for each of these dates of the series at which the clocks change in its way."""
    speech, zone = SPEECHES[language], zone_info(series.zone)
    return [
        remark
        for date in dates
        if isinstance(date, dt.datetime)
        for remark in _remarks(series, date.astimezone(zone), zone, speech)
    ]


def calendar_remarks(series: Series, language: str) -> list[str]:
    """What a rule leaves out because months differ."""
    speech, rule = SPEECHES[language], series.rule
    local = series.start.astimezone(zone_info(series.zone)) if isinstance(series.start, dt.datetime) else series.start
    days = rule.month_days or ((local.day,) if not rule.days and series.mode is Mode.DUE else ())
    longest = max(days, default=0)
    if rule.freq is Freq.MONTHLY and longest > _SHORTEST_MONTH:
        return [speech.say("short months", day=speech.nth(longest))]
    months = rule.months or (local.month,)
    if rule.freq is Freq.YEARLY and (months, longest) == ((_FEBRUARY,), _SHORTEST_MONTH + 1):
        return [speech.say("leap years")]
    return []


def wall_remarks(wall: dt.datetime, zone: str, language: str) -> list[str]:
    """The same for one wall time, without a series."""
    speech, info = SPEECHES[language], zone_info(zone)
    shown = wall.replace(tzinfo=info, fold=0).astimezone(dt.UTC).astimezone(info)
    if shown.replace(tzinfo=None, fold=0) != wall.replace(fold=0):
        return [_gap(wall, shown, zone, speech)]
    return list(_twice(shown, zone, speech))


def _remarks(series: Series, shown: dt.datetime, zone: ZoneInfo, speech: Speech) -> Iterator[str]:
    yield from _twice(shown, series.zone, speech)
    wall = _left_out(shown, zone)
    if wall is not None and falls_on(series, wall):
        yield _gap(wall, shown, series.zone, speech)


def _left_out(shown: dt.datetime, zone: ZoneInfo) -> dt.datetime | None:
    """The wall time that a gap may have moved here."""
    before = (shown.astimezone(dt.UTC) - dt.timedelta(days=1)).astimezone(zone).utcoffset()
    now = shown.utcoffset()
    if before is None or now is None or before >= now:
        return None
    wall = shown.replace(tzinfo=None, fold=0) - (now - before)
    exists = wall.replace(tzinfo=zone).astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None, fold=0) == wall
    return None if exists else wall


def _twice(shown: dt.datetime, zone: str, speech: Speech) -> Iterator[str]:
    first, second = shown.replace(fold=0).utcoffset(), shown.replace(fold=1).utcoffset()
    if first is not None and second is not None and first > second:
        yield speech.say("fold", wall=f"{shown:%H:%M}", day=say_day(shown.date(), speech), zone=zone)


def _gap(wall: dt.datetime, shown: dt.datetime, zone: str, speech: Speech) -> str:
    day = say_day(wall.date(), speech)
    return speech.say("gap", wall=f"{wall:%H:%M}", day=day, zone=zone, shown=f"{shown:%H:%M}")
