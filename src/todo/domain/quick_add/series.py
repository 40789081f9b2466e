"""Where a series begins that was said in words."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from todo.domain import recurrence
from todo.domain.due import MORNING, YEARS, Due, zone_info
from todo.domain.language.meanings import Ending, Repeat
from todo.domain.language.patterns import Context
from todo.domain.recurrence import Mode, Policy, RecurrenceError, Series, parse_rule
from todo.domain.recurrence.rule import Freq
from todo.domain.series import Repetition

_LOOKED_AT: Final = 50  # dates from today's beginning on: an hourly rule may have passed most of them
_HOUR: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Begun:
    """A series from its first date on."""

    repetition: Repetition
    series: Series
    due: Due

    @property
    def day(self) -> dt.date:
        """The first date, in the zone."""
        value = self.due.value
        return value.astimezone(zone_info(self.due.zone)).date() if isinstance(value, dt.datetime) else value

    def dates(self, limit: int) -> tuple[recurrence.Due, ...]:
        return tuple(recurrence.occurrences(self.series, after=None, limit=limit))


def begin(  # noqa: PLR0913 - what a series is made of
    repeat: Repeat,
    endings: Sequence[Ending],
    start: dt.date | dt.datetime | None,
    time: dt.time | None,
    zone: str,
    context: Context,
) -> Begun:
    """Begin a series at its first date from `start` on, or still to come where no start was said.

    Every so many weeks are counted from that first date, whichever day it was said on. Raises `RecurrenceError`.
    """
    ends = "".join(one.text for one in endings)
    rule = parse_rule(repeat.text + ends)
    completion = repeat.completion or any(one.completion for one in endings)
    each = any(one.each for one in endings)
    repetition = Repetition(
        rule.text, Mode.COMPLETION if completion else Mode.DUE, Policy.EACH if each else Policy.SKIP
    )
    first = _first(_aligned(repeat, endings), start, _begins(repeat, start, time, context), zone, context)
    series = Series(first.value, zone, rule, repetition.mode, repetition.policy)
    recurrence.first_due(series)
    return Begun(repetition, series, first)


def _aligned(repeat: Repeat, endings: Sequence[Ending]) -> str:
    """The rule whose first date is to be found: intervals and counts begin there."""
    every = repeat if repeat.freq is Freq.HOURLY else replace(repeat, interval=1)
    return every.text + "".join(one.text for one in endings if one.until is not None)


def _begins(
    repeat: Repeat, start: dt.date | dt.datetime | None, time: dt.time | None, context: Context
) -> dt.date | dt.datetime:
    """The wall time or day to look from."""
    if isinstance(start, dt.datetime):
        return start
    day = start or context.today
    if time is not None:
        return dt.datetime.combine(day, time)
    if repeat.freq is not Freq.HOURLY:
        return day
    if start is not None:
        return dt.datetime.combine(day, MORNING)
    return context.now.replace(tzinfo=None, minute=0, second=0, microsecond=0, fold=0) + _HOUR


def _first(text: str, said: dt.date | None, begins: dt.date | dt.datetime, zone: str, context: Context) -> Due:
    rule, info = parse_rule(text), zone_info(zone)
    at = begins.replace(tzinfo=info) if isinstance(begins, dt.datetime) else begins
    series = Series(at, zone, rule)
    recurrence.first_due(series)
    for date in islice(recurrence.occurrences(series, after=None, limit=_LOOKED_AT), _LOOKED_AT):
        if date.year not in YEARS:
            break
        if not isinstance(date, dt.datetime):
            return Due(zone, date=date)
        # A start that the clocks leap over would give all that follow another time of day.
        regular = rule.freq is Freq.HOURLY or date.astimezone(info).time() == _time(begins)
        if regular and (said is not None or date > context.now):
            return Due(zone, at=date)
    raise RecurrenceError("rule", "has no date to come", "choose a later end, or another rule")


def _time(begins: dt.date | dt.datetime) -> dt.time:
    return begins.time() if isinstance(begins, dt.datetime) else dt.time.min
