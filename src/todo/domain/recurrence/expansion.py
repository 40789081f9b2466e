"""Expansion: a rule and a start give wall times, in no zone.

A rule is expanded period by period (year, month, week, day or hour; each has a number), so a search begins at the
period it needs and every expansion is bounded. python-dateutil walks from the start, cannot be stopped inside a stretch
without dates (seconds, for a rule that never fires) and reads some rules differently from the RFC; the tests take it as
the second opinion where it is right.
"""

import datetime as dt
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Final

from todo.domain.recurrence.rule import LAST_YEAR, Freq, Rule

_MAX_EMPTY_PERIODS: Final = 50_000  # a fraction of a second of search

# Periods until the Gregorian calendar repeats, weekdays included.
_CYCLE: Final = {
    Freq.YEARLY: 400,
    Freq.MONTHLY: 4_800,
    Freq.WEEKLY: 20_871,
    Freq.DAILY: 146_097,
    Freq.HOURLY: 3_506_328,
}


class Expansion:
    """A rule bound to its start, from which it takes what it leaves open.

    Days are proleptic ordinals (Monday 1 January of year 1 is 1), periods are numbers of years, months, weeks, days or
    hours. `clamp` makes the day of a plain monthly or yearly rule the month's last where it has no such day. Without
    `implied`, the rule alone decides (any start).
    """

    def __init__(
        self, rule: Rule, start: dt.datetime, *, date_only: bool = False, clamp: bool = False, implied: bool = True
    ) -> None:
        self._rule = rule
        self._start = start
        self._months, self._month_days, self._days = rule.months, rule.month_days, rule.days
        self._clamp = 0
        if implied:
            self._take_days_from_start(clamp=clamp)
        self._nth_in_month = rule.freq is Freq.MONTHLY or bool(rule.months)
        seconds, minutes = rule.seconds or (start.second,), rule.minutes or (start.minute,)
        self._of_hour = [(minute, second) for minute in minutes for second in seconds]
        self._of_day = [
            dt.time(hour, minute, second) for hour in rule.hours or (start.hour,) for minute, second in self._of_hour
        ]
        if date_only:  # RFC 5545, 3.3.10: the parts for hours, minutes and seconds are ignored
            self._of_day = [dt.time.min]
        self._anchor = self._period(start.toordinal(), start.hour)

    def _take_days_from_start(self, *, clamp: bool) -> None:
        rule, start = self._rule, self._start
        if rule.month_days or rule.year_days or rule.days:
            return
        if rule.freq is Freq.WEEKLY or (rule.freq is Freq.YEARLY and rule.weeks):
            self._days = ((0, start.weekday()),)
        elif rule.freq in {Freq.YEARLY, Freq.MONTHLY}:
            self._month_days = (start.day,)
            self._clamp = start.day if clamp else 0
            if rule.freq is Freq.YEARLY:
                self._months = rule.months or (start.month,)

    def walls(self, since: dt.datetime) -> Iterator[dt.datetime]:
        """Wall times of the rule, increasing, from the start or the later `since` on; none after a bounded search.

        A rule without a date for as long as calendar and interval take to come round together has none ever. Only
        hourly rules that wait for centuries meet the second bound, on the periods looked at, before that.
        """
        if not self._reaches_an_hour():
            return
        period = self._aligned_down(self._period(since.toordinal(), since.hour))
        last = self._period(dt.date(LAST_YEAR, 12, 31).toordinal(), 23)
        horizon = math.lcm(_CYCLE[self._rule.freq], self._rule.interval)
        fired, empty = period, 0
        while period <= min(last, fired + horizon) and empty < _MAX_EMPTY_PERIODS:
            empty += 1
            for wall in self._walls_in(period):
                fired, empty = period, 0
                if wall >= since:
                    yield wall
            period = self._following(period, skip=empty > 0)

    def _reaches_an_hour(self) -> bool:
        rule = self._rule
        if rule.freq is not Freq.HOURLY or not rule.hours:
            return True
        return not {(self._start.hour + step * rule.interval) % 24 for step in range(24)}.isdisjoint(rule.hours)

    def _period(self, day: int, hour: int = 0) -> int:
        date = dt.date.fromordinal(day)
        match self._rule.freq:
            case Freq.YEARLY:
                return self._week_year(date) if self._rule.weeks else date.year
            case Freq.MONTHLY:
                return date.year * 12 + date.month - 1
            case Freq.WEEKLY:
                return (day - 1 - self._rule.wkst) // 7
            case Freq.DAILY:
                return day
            case Freq.HOURLY:
                return day * 24 + hour

    def _aligned_down(self, period: int) -> int:
        return self._anchor + max(0, period - self._anchor) // self._rule.interval * self._rule.interval

    def _following(self, period: int, *, skip: bool) -> int:
        """Step by the interval, or, after an empty period, over the days on which nothing can happen."""
        interval = self._rule.interval
        if not skip or self._rule.freq in {Freq.YEARLY, Freq.MONTHLY}:
            return period + interval
        day = self._last_day(period)
        if self._rule.freq is Freq.HOURLY and self._fits(dt.date.fromordinal(day)):
            return period + interval
        return self._aligned_down(self._period(self._next_month_that_fits(day + 1)) + interval - 1)

    def _last_day(self, period: int) -> int:
        match self._rule.freq:
            case Freq.WEEKLY:
                return period * 7 + 7 + self._rule.wkst
            case Freq.HOURLY:
                return period // 24
            case _:
                return period

    def _next_month_that_fits(self, day: int) -> int:
        date = dt.date.fromordinal(day)
        while self._months and date.month not in self._months and date.year <= LAST_YEAR:
            date = (date.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
        return date.toordinal()

    def _walls_in(self, period: int) -> Iterator[dt.datetime]:
        times = self._times(period)
        if not times:
            return
        days = (date for date in map(dt.date.fromordinal, self._candidates(period)) if self._fits(date))
        for date, time in (
            self._positioned(list(days), times) if self._rule.positions else itertools.product(days, times)
        ):
            yield dt.datetime.combine(date, time)

    def _times(self, period: int) -> list[dt.time]:
        if self._rule.freq is not Freq.HOURLY:
            return self._of_day
        hour = period % 24
        if self._rule.hours and hour not in self._rule.hours:
            return []
        return [dt.time(hour, minute, second) for minute, second in self._of_hour]

    def _positioned(self, days: list[dt.date], times: list[dt.time]) -> Iterator[tuple[dt.date, dt.time]]:
        size = len(days) * len(times)
        for index in sorted({at - 1 if at > 0 else size + at for at in self._rule.positions}):
            if 0 <= index < size:
                yield days[index // len(times)], times[index % len(times)]

    def _candidates(self, period: int) -> Iterable[int]:
        """Days of the period among which all that fit are, in order: few where the rule names days."""
        match self._rule.freq:
            case Freq.YEARLY:
                return self._days_of_year(period)
            case Freq.MONTHLY:
                return self._days_of_month(*divmod(period, 12))
            case Freq.WEEKLY:
                last = self._last_day(period)
                return range(last - 6, last + 1)
            case _:
                return (self._last_day(period),)

    def _days_of_year(self, year: int) -> Iterable[int]:
        if self._rule.weeks:
            first, end = self._week_one(year), self._week_one(year + 1)
            starts = {first + 7 * (n - 1) if n > 0 else end + 7 * n for n in self._rule.weeks}
            return (day for start in sorted(starts) if first <= start < end for day in range(start, start + 7))
        if self._rule.year_days and not self._month_days:
            first, end = dt.date(year, 1, 1).toordinal(), dt.date(year + 1, 1, 1).toordinal()
            days = {first + n - 1 if n > 0 else end + n for n in self._rule.year_days}
            return (day for day in sorted(days) if first <= day < end)
        return itertools.chain.from_iterable(
            self._days_of_month(year, month - 1) for month in self._months or range(1, 13)
        )

    def _days_of_month(self, year: int, month: int) -> Iterable[int]:
        first, length = dt.date(year, month + 1, 1).toordinal(), _month_length(year, month + 1)
        if not self._month_days:
            return range(first, first + length)
        days = {n if n > 0 else length + 1 + n for n in self._month_days} | ({min(self._clamp, length)} - {0})
        return (first + day - 1 for day in sorted(days) if 1 <= day <= length)

    def _fits(self, date: dt.date) -> bool:
        return (
            (not self._months or date.month in self._months)
            and (not self._month_days or self._fits_month_day(date))
            and (not self._days or self._fits_weekday(date))
            and (not self._rule.year_days or self._fits_year_day(date))
            and (not self._rule.weeks or self._fits_week(date))
        )

    def _fits_month_day(self, date: dt.date) -> bool:
        length = _month_length(date.year, date.month)
        if self._clamp:
            return date.day == min(self._clamp, length)
        return date.day in self._month_days or date.day - length - 1 in self._month_days

    def _fits_weekday(self, date: dt.date) -> bool:
        weekday = date.weekday()
        if (0, weekday) in self._days:
            return True
        nth, length = self._place(date)
        return (nth // 7 + 1, weekday) in self._days or (-((length - 1 - nth) // 7) - 1, weekday) in self._days

    def _place(self, date: dt.date) -> tuple[int, int]:
        """Index of the day in the month or year by which the rule counts weekdays, and that one's length."""
        if self._nth_in_month:
            return date.day - 1, _month_length(date.year, date.month)
        return _year_day(date) - 1, _year_length(date.year)

    def _fits_year_day(self, date: dt.date) -> bool:
        day = _year_day(date)
        return day in self._rule.year_days or day - _year_length(date.year) - 1 in self._rule.year_days

    def _fits_week(self, date: dt.date) -> bool:
        year = self._week_year(date)
        first, end = self._week_one(year), self._week_one(year + 1)
        week = (date.toordinal() - first) // 7
        return week + 1 in self._rule.weeks or week - (end - first) // 7 in self._rule.weeks

    def _week_one(self, year: int) -> int:
        """First day of the year's first week, the first with four days in the year: the week of 4 January."""
        fourth = dt.date(year, 1, 4).toordinal()
        return fourth - (fourth - 1 - self._rule.wkst) % 7

    def _week_year(self, date: dt.date) -> int:
        day = date.toordinal()
        if day < self._week_one(date.year):
            return date.year - 1
        return date.year + (date.year <= LAST_YEAR and day >= self._week_one(date.year + 1))


def _month_length(year: int, month: int) -> int:
    return (31, 29 if _leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def _year_length(year: int) -> int:
    return 366 if _leap(year) else 365


def _year_day(date: dt.date) -> int:
    return date.toordinal() - dt.date(date.year, 1, 1).toordinal() + 1


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
