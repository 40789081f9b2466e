"""RFC 5545 recurrence rules in a time zone: which dates a series has, and which one comes next.

Pure: no clock, no I/O but Python's cached time zone data. Every date is computed from the series' start, never from the
date before it, so nothing drifts. What happens in each corner (month ends, leap days, DST) is in `docs/recurrence.md`.

A rule is expanded period by period (year, month, week, day or hour; each has a number), so a search begins at the
period it needs and every expansion is bounded. python-dateutil walks from the start, cannot be stopped inside a stretch
without dates (seconds, for a rule that never fires) and reads some rules differently from the RFC; the tests take it as
the second opinion where it is right.
"""

import datetime as dt
import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from todo.domain.errors import RuleError

Due: TypeAlias = dt.datetime | dt.date  # an instant, or a whole day for a date-only series
NthDay: TypeAlias = tuple[int, int]  # (n, weekday): the n-th such day, from the end if negative, every one if 0

MAX_RULE_LENGTH: Final = 1024
MAX_COUNT: Final = 10_000
MAX_INTERVAL: Final = 10_000
MAX_TIMES_PER_HOUR: Final = 4
MAX_PREVIEW: Final = 1_000
FIRST_YEAR: Final = 1600
LAST_YEAR: Final = 9998  # one short of Python's, so that no zone's offset and no week leaves the calendar

_CYCLE_START: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time, in no zone
_MIDNIGHT: Final = dt.time()
_MAX_EMPTY_PERIODS: Final = 50_000  # a fraction of a second of search
_WIDEST_GAP: Final = dt.timedelta(days=2)  # zones have skipped a whole day (Samoa, 2011)
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class RecurrenceError(RuleError):
    """What a person gave cannot be a recurrence."""


class Mode(StrEnum):
    """What the next date is counted from: the series' own dates, or the day an occurrence was closed."""

    DUE = "due"
    COMPLETION = "completion"


class Policy(StrEnum):
    """What a late closing does with the dates that passed meanwhile: leave them out, or give each its occurrence."""

    SKIP = "skip"
    EACH = "each"


class _Freq(StrEnum):
    YEARLY = "YEARLY"
    MONTHLY = "MONTHLY"
    WEEKLY = "WEEKLY"
    DAILY = "DAILY"
    HOURLY = "HOURLY"


# Periods until the Gregorian calendar repeats, weekdays included.
_CYCLE: Final = {
    _Freq.YEARLY: 400,
    _Freq.MONTHLY: 4_800,
    _Freq.WEEKLY: 20_871,
    _Freq.DAILY: 146_097,
    _Freq.HOURLY: 3_506_328,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that `parse_rule` has checked and normalised; two rules are equal if their canonical texts are."""

    text: str  # canonical, without "RRULE:"; parsing it gives the same rule
    freq: _Freq = field(repr=False)
    interval: int = field(repr=False)
    count: int | None = field(repr=False)
    until: Due | None = field(repr=False)
    wkst: int = field(repr=False)
    months: tuple[int, ...] = field(repr=False)
    weeks: tuple[int, ...] = field(repr=False)
    year_days: tuple[int, ...] = field(repr=False)
    month_days: tuple[int, ...] = field(repr=False)
    days: tuple[NthDay, ...] = field(repr=False)
    hours: tuple[int, ...] = field(repr=False)
    minutes: tuple[int, ...] = field(repr=False)
    seconds: tuple[int, ...] = field(repr=False)
    positions: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Series:
    """A rule with its start; raises `RecurrenceError` if zone or start are impossible, or hourly and date-only meet.

    The start's wall time in `zone` is the time of day of every occurrence (whole seconds). The start itself is an
    occurrence only if it fits the rule.
    """

    start: Due  # aware, or a date for a date-only series
    zone: str  # IANA name
    rule: Rule
    mode: Mode = Mode.DUE
    policy: Policy = Policy.SKIP

    def __post_init__(self) -> None:
        _zone(self.zone)
        _check_moment("start", self.start)
        if self.date_only and self.rule.freq is _Freq.HOURLY:
            raise RecurrenceError(
                "start", "is a date, but the rule is hourly", "give it a time of day, or use FREQ=DAILY"
            )

    @property
    def date_only(self) -> bool:
        """Whether occurrences are whole days."""
        return not isinstance(self.start, dt.datetime)


def parse_rule(text: str) -> Rule:
    """Read an RRULE value, with or without "RRULE:".

    Guarantees: RFC 5545's grammar and restrictions hold, nothing is more frequent than 4 times an hour, every number is
    bounded, and the rule fires for some start (`first_due` tells for a given one). Raises `RecurrenceError` otherwise.
    """
    if len(text) > MAX_RULE_LENGTH:
        raise RecurrenceError("rule", f"is longer than {MAX_RULE_LENGTH} characters", "use fewer values")
    return _parse(text.strip().upper().removeprefix("RRULE:"))


def first_due(series: Series) -> Due:
    """Date the first occurrence; raises `RecurrenceError` if the rule has no date from this start on."""
    first = next(_instants(series, None), None)
    if first is not None:
        return _shown(series, first)
    until = _until(series)
    if until is not None and until < _mark(series, series.start):
        raise RecurrenceError("UNTIL", "is before the start", "choose a later end, or an earlier start")
    raise RecurrenceError("rule", "has no date from this start on", "change INTERVAL, UNTIL or the start")


def occurrences(series: Series, *, after: Due | None, limit: int) -> list[Due]:
    """Preview the first `limit` dates strictly after `after`, or from the first one on; fewer if the series ends.

    Instants are in UTC, whose order and arithmetic no DST can upset; date-only series give dates. For mode `completion`
    these are the dates that come of closing each occurrence on its day (and one at `after`, if that is given).
    """
    if not 0 < limit <= MAX_PREVIEW:
        raise RecurrenceError("limit", f"is {limit}", f"ask for 1 to {MAX_PREVIEW} dates")
    floor = None if after is None else _mark(series, _check_moment("after", after))
    dates = _instants(series, floor) if series.mode is Mode.DUE else _closed_on_their_days(series, floor)
    return [_shown(series, instant) for instant in itertools.islice(dates, limit)]


def next_due(series: Series, *, seq: int, due: Due, closed_at: dt.datetime, scheduled: Due | None = None) -> Due | None:
    """Date occurrence `seq` + 1 (the first is 1) when `seq` was due at `due` and closed at `closed_at`; None: ended.

    `due` may have been moved by the user: it only bounds what comes next from below. `scheduled`, the date this
    function or `first_due` gave to the occurrence, does the same; with it, an occurrence pulled forward and closed
    early is not dated a second time. Guarantee: the answer depends on the arguments alone. Instants are in UTC;
    date-only series give dates.
    """
    if seq < 1:
        raise RecurrenceError("seq", f"is {seq}", "number occurrences from 1")
    closed = _check_moment("closed_at", closed_at)
    marks = [_mark(series, _check_moment("due", due))]
    if scheduled is not None:
        marks.append(_mark(series, _check_moment("scheduled", scheduled)))
    if series.rule.count is not None and seq >= series.rule.count:
        return None
    if series.mode is Mode.COMPLETION:
        following = _after_closing(series, closed)
    else:
        late = [_mark(series, closed)] if series.policy is Policy.SKIP else []
        following = next(_instants(series, max(marks + late)), None)
    return None if following is None else _shown(series, following)


# --- A series' axis: UTC instants. A date-only series lies on it as midnights in UTC. ---


def _instants(series: Series, floor: dt.datetime | None) -> Iterator[dt.datetime]:
    """Instants of the series strictly after `floor`, strictly increasing, up to COUNT and UNTIL."""
    wall = _wall(series, series.start)
    since = _search_from(series, wall, floor)
    expansion = _Expansion(series.rule, wall, date_only=series.date_only)
    if series.rule.count is None:
        walls = expansion.walls(since)
    else:  # positions are counted from the start
        counted = itertools.islice(expansion.walls(wall), series.rule.count)
        walls = itertools.dropwhile(lambda each: each < since, counted)
    return _bounded(series, _resolved(walls, _axis(series)), floor)


def _bounded(series: Series, instants: Iterator[dt.datetime], floor: dt.datetime | None) -> Iterator[dt.datetime]:
    until = _until(series)
    for instant in instants:
        if until is not None and instant > until:
            return
        if floor is None or instant > floor:
            yield instant


def _after_closing(series: Series, closed: Due) -> dt.datetime | None:
    """Apply the rule from the local day of closing; only an hourly rule can fall on that same day again."""
    local = _wall(series, closed)
    hourly = series.rule.freq is _Freq.HOURLY
    time = local.time().replace(second=0) if hourly else _wall(series, series.start).time()
    anchor = dt.datetime.combine(local.date(), time)
    floor = _mark(series, closed) if hourly else _mark(series, local.date())
    walls = _Expansion(series.rule, anchor, date_only=series.date_only, clamp=True).walls(anchor)
    return next(_bounded(series, _resolved(walls, _axis(series)), floor), None)


def _closed_on_their_days(series: Series, floor: dt.datetime | None) -> Iterator[dt.datetime]:
    first = next(_instants(series, None), None)
    due = first if first is None or floor is None or first > floor else _after_closing(series, _shown(series, floor))
    for _ in range(series.rule.count or MAX_COUNT):
        if due is None:
            return
        yield due
        due = _after_closing(series, _shown(series, due))


def _search_from(series: Series, wall: dt.datetime, floor: dt.datetime | None) -> dt.datetime:
    if floor is None:
        return wall
    return max(wall, floor.astimezone(_axis(series)).replace(tzinfo=None, fold=0) - _WIDEST_GAP)


def _resolved(walls: Iterable[dt.datetime], zone: dt.tzinfo) -> Iterator[dt.datetime]:
    """Give increasing wall times their instants, in order and each once; a time that occurs twice means the first."""
    return (_instant(wall, zone) for wall, _ in itertools.groupby(_existing(walls, zone)))


def _existing(walls: Iterable[dt.datetime], zone: dt.tzinfo) -> Iterator[dt.datetime]:
    """Move wall times that a gap leaves out forward by the gap, where they can come after or meet later ones."""
    moved: list[dt.datetime] = []
    for wall in walls:
        while moved and moved[0] <= wall:
            yield heapq.heappop(moved)
        existing = _instant(wall, zone).astimezone(zone).replace(tzinfo=None, fold=0)
        if existing == wall:
            yield wall
        else:
            heapq.heappush(moved, existing)
    yield from sorted(moved)


def _instant(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    return wall.replace(tzinfo=zone).astimezone(dt.UTC)


def _axis(series: Series) -> dt.tzinfo:
    return dt.UTC if series.date_only else _zone(series.zone)


def _wall(series: Series, moment: Due) -> dt.datetime:
    """Wall time of `moment` in the zone, to the second; its midnight in a date-only series."""
    if isinstance(moment, dt.datetime):
        local = moment.astimezone(_zone(series.zone)).replace(tzinfo=None, microsecond=0, fold=0)
        return dt.datetime.combine(local, _MIDNIGHT) if series.date_only else local
    return dt.datetime.combine(moment, _MIDNIGHT)


def _mark(series: Series, moment: Due) -> dt.datetime:
    """Place on the axis what dates are compared with; a day, in a series with times, is over when it ends."""
    if series.date_only:
        return _instant(_wall(series, moment), dt.UTC)
    if isinstance(moment, dt.datetime):
        return moment.astimezone(dt.UTC)
    return dt.datetime.combine(moment, dt.time.max, _zone(series.zone)).astimezone(dt.UTC)


def _until(series: Series) -> dt.datetime | None:
    until = series.rule.until
    if until is None:
        return None
    # For whole days the RFC wants a date; where a time is written all the same, its date is what was meant.
    return _mark(series, until.date() if series.date_only and isinstance(until, dt.datetime) else until)


def _shown(series: Series, instant: dt.datetime) -> Due:
    return instant.date() if series.date_only else instant


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RecurrenceError(
            "zone", f"{name[:64]!r} is no time zone", "use an IANA name such as Europe/Berlin"
        ) from error


def _check_moment(field: str, moment: Due) -> Due:
    if isinstance(moment, dt.datetime) and moment.utcoffset() is None:
        raise RecurrenceError(field, "has no UTC offset", "write it with one, such as 2026-01-31T09:00:00+01:00")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise RecurrenceError(field, f"is in the year {moment.year}", f"use a year from {FIRST_YEAR} to {LAST_YEAR}")
    return moment


# --- Expansion: a rule and a start give wall times, in no zone. ---


class _Expansion:
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
        self._nth_in_month = rule.freq is _Freq.MONTHLY or bool(rule.months)
        seconds, minutes = rule.seconds or (start.second,), rule.minutes or (start.minute,)
        self._of_hour = [(minute, second) for minute in minutes for second in seconds]
        self._of_day = [
            dt.time(hour, minute, second) for hour in rule.hours or (start.hour,) for minute, second in self._of_hour
        ]
        if date_only:  # RFC 5545, 3.3.10: the parts for hours, minutes and seconds are ignored
            self._of_day = [_MIDNIGHT]
        self._anchor = self._period(start.toordinal(), start.hour)

    def _take_days_from_start(self, *, clamp: bool) -> None:
        rule, start = self._rule, self._start
        if rule.month_days or rule.year_days or rule.days:
            return
        if rule.freq is _Freq.WEEKLY or (rule.freq is _Freq.YEARLY and rule.weeks):
            self._days = ((0, start.weekday()),)
        elif rule.freq in {_Freq.YEARLY, _Freq.MONTHLY}:
            self._month_days = (start.day,)
            self._clamp = start.day if clamp else 0
            if rule.freq is _Freq.YEARLY:
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
        if rule.freq is not _Freq.HOURLY or not rule.hours:
            return True
        return not {(self._start.hour + step * rule.interval) % 24 for step in range(24)}.isdisjoint(rule.hours)

    def _period(self, day: int, hour: int = 0) -> int:
        date = dt.date.fromordinal(day)
        match self._rule.freq:
            case _Freq.YEARLY:
                return self._week_year(date) if self._rule.weeks else date.year
            case _Freq.MONTHLY:
                return date.year * 12 + date.month - 1
            case _Freq.WEEKLY:
                return (day - 1 - self._rule.wkst) // 7
            case _Freq.DAILY:
                return day
            case _Freq.HOURLY:
                return day * 24 + hour

    def _aligned_down(self, period: int) -> int:
        return self._anchor + max(0, period - self._anchor) // self._rule.interval * self._rule.interval

    def _following(self, period: int, *, skip: bool) -> int:
        """Step by the interval, or, after an empty period, over the days on which nothing can happen."""
        interval = self._rule.interval
        if not skip or self._rule.freq in {_Freq.YEARLY, _Freq.MONTHLY}:
            return period + interval
        day = self._last_day(period)
        if self._rule.freq is _Freq.HOURLY and self._fits(dt.date.fromordinal(day)):
            return period + interval
        return self._aligned_down(self._period(self._next_month_that_fits(day + 1)) + interval - 1)

    def _last_day(self, period: int) -> int:
        match self._rule.freq:
            case _Freq.WEEKLY:
                return period * 7 + 7 + self._rule.wkst
            case _Freq.HOURLY:
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
        if self._rule.freq is not _Freq.HOURLY:
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
            case _Freq.YEARLY:
                return self._days_of_year(period)
            case _Freq.MONTHLY:
                return self._days_of_month(*divmod(period, 12))
            case _Freq.WEEKLY:
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


# --- Parsing ---

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


def _freq(parts: dict[str, str]) -> _Freq:
    allowed = "use " + ", ".join(_Freq)
    if "FREQ" not in parts:
        raise RecurrenceError("FREQ", "is missing", allowed)
    if parts["FREQ"] in {"SECONDLY", "MINUTELY"}:
        raise RecurrenceError("FREQ", f"{parts['FREQ']} is too frequent for a task", allowed)
    try:
        return _Freq(parts["FREQ"])
    except ValueError:
        raise RecurrenceError("FREQ", f"{parts['FREQ'][:64]!r} is no frequency", allowed) from None


def _check_combinations(freq: _Freq, parts: dict[str, str]) -> None:
    """Refuse what RFC 5545, 3.3.10 says MUST NOT be combined."""
    if "COUNT" in parts and "UNTIL" in parts:
        raise RecurrenceError("UNTIL", "is given together with COUNT", "end the rule by one of them")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise RecurrenceError("BYSETPOS", "has nothing to choose from", "add another BY part, such as BYDAY")
    if "BYWEEKNO" in parts and freq is not _Freq.YEARLY:
        raise RecurrenceError("BYWEEKNO", f"does not go with FREQ={freq}", "use FREQ=YEARLY")
    if "BYYEARDAY" in parts and freq not in {_Freq.YEARLY, _Freq.HOURLY}:
        raise RecurrenceError("BYYEARDAY", f"does not go with FREQ={freq}", "use FREQ=YEARLY")
    if "BYMONTHDAY" in parts and freq is _Freq.WEEKLY:
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


def _byday(text: str, freq: _Freq, *, yearly_weeks: bool) -> tuple[NthDay, ...]:
    days = {_nth_day(item) for item in _items("BYDAY", text)}
    if any(nth for nth, _ in days) and (freq not in {_Freq.MONTHLY, _Freq.YEARLY} or yearly_weeks):
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
    somewhere = _Expansion(replace(rule, interval=1), _CYCLE_START, implied=False)
    if next(somewhere.walls(_CYCLE_START), None) is None:
        raise RecurrenceError("rule", "never fires: no date fits all of its parts", "leave out or change a BY part")
