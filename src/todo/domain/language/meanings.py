"""What phrases mean. Each takes the context and what its slots were read as; None is: nothing.

Dates without a year are the next such day, today included; weekdays are the next such day after today.
"""

import calendar as calendars
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from todo.domain.due import MORNING, YEARS
from todo.domain.language.patterns import Context
from todo.domain.recurrence import LAST_YEAR, MAX_COUNT, MAX_INTERVAL
from todo.domain.recurrence.rule import Freq, NthDay
from todo.domain.reminder import MAX_OFFSET

T = TypeVar("T")
D = TypeVar("D", bound=dt.date)
Unit = tuple[Freq, int]  # a quarter is (MONTHLY, 3)
Length = tuple[int, int]  # days on the calendar, seconds on the clock
YearDay = tuple[int, int]  # month, day

REACH: Final = range(YEARS.start + 1, YEARS.stop - 1)  # a year less than a task may be due in, for every zone
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WORK_WEEK: Final = tuple((0, day) for day in range(5))
_WEEKEND: Final = ((0, 5), (0, 6))
_SATURDAY: Final = 5
_MOST_DAYS: Final = 31
_NOON: Final = 12
_MOST_WEEKS: Final = 5
_LEAP_YEARS: Final = 8  # at most, between two days of the 29th of February
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a recurrence is made of, without its end."""

    freq: Freq
    interval: int = 1
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    days: tuple[NthDay, ...] = ()
    positions: tuple[int, ...] = ()
    completion: bool = False

    @property
    def text(self) -> str:
        """The RRULE."""
        days = ",".join(f"{nth or ''}{_WEEKDAYS[day]}" for nth, day in self.days)
        parts = {
            "FREQ": str(self.freq),
            "INTERVAL": str(self.interval) if self.interval > 1 else "",
            "BYMONTH": _joined(self.months),
            "BYMONTHDAY": _joined(self.month_days),
            "BYDAY": days,
            "BYSETPOS": _joined(self.positions),
        }
        return ";".join(f"{name}={value}" for name, value in parts.items() if value)


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a recurrence ends, and how it is counted: each part may be said by itself."""

    until: dt.date | None = None  # or an instant
    count: int | None = None
    completion: bool = False
    each: bool = False

    @property
    def text(self) -> str:
        """The end of the RRULE."""
        if isinstance(self.until, dt.datetime):
            return f";UNTIL={self.until:%Y%m%dT%H%M%SZ}"
        if self.until is not None:
            return f";UNTIL={self.until:%Y%m%d}"
        return "" if self.count is None else f";COUNT={self.count}"


@dataclass(frozen=True, slots=True)
class Remind:
    """When to remind: a length before due, a time of day counted from due's day, or a moment of its own."""

    days: int = 0
    seconds: int = 0
    clock: dt.time | None = None
    at: dt.datetime | None = None  # aware, or a wall time


def same(context: Context, **read: T) -> T:
    """What its one slot says."""
    del context
    (value,) = read.values()
    return value


# Days


def ahead(context: Context, n: int, unit: Unit) -> dt.date | None:
    freq, times = unit
    months = {Freq.MONTHLY: 1, Freq.YEARLY: 12}.get(freq, 0) * n * times
    if months:
        return _in_calendar(lambda: _months_ahead(context.today, months))
    days = {Freq.DAILY: 1, Freq.WEEKLY: 7}.get(freq)
    return None if days is None else _in_calendar(lambda: context.today + dt.timedelta(days * n * times))


def days_ahead(context: Context, n: int) -> dt.date | None:
    return ahead(context, n, (Freq.DAILY, 1))


def coming(context: Context, weekday: int, *, today: bool = False) -> dt.date | None:
    """The next such day after today, or today itself."""
    first = 0 if today else 1
    return days_ahead(context, (weekday - context.today.weekday() - first) % 7 + first)


def of_next_week(context: Context, weekday: int = 0) -> dt.date | None:
    return days_ahead(context, 7 - context.today.weekday() + weekday)


def start_of_next(context: Context, unit: Unit) -> dt.date | None:
    """The first day of what comes: Monday of next week, the first of next month or year."""
    first = context.today.replace(day=1)
    match unit:
        case (Freq.WEEKLY, 1):
            return of_next_week(context)
        case (Freq.MONTHLY, 1):
            return _in_calendar(lambda: _months_ahead(first, 1))
        case (Freq.YEARLY, 1):
            return _in_calendar(lambda: first.replace(year=first.year + 1, month=1))
    return None


def weekend(context: Context) -> dt.date | None:
    return coming(context, _SATURDAY, today=True)


def month_end(context: Context) -> dt.date:
    return _months_ahead(context.today, 0, 31)


def on_calendar(context: Context, month: int, dom: int, year: int | None = None) -> dt.date | None:
    if year is not None:
        return _in_calendar(lambda: dt.date(year, month, dom))
    years = range(context.today.year, context.today.year + _LEAP_YEARS + 1)
    days = (_in_calendar(partial(dt.date, year, month, dom)) for year in years)
    return next((day for day in days if day and day >= context.today), None)


def iso(context: Context, iso: tuple[int, int, int]) -> dt.date | None:
    return on_calendar(context, iso[1], iso[2], iso[0])


def dotted(context: Context, dotted: tuple[int, int, int | None]) -> dt.date | None:
    return on_calendar(context, dotted[1], dotted[0], dotted[2])


def slashed(context: Context, slashed: tuple[int, int, int | None]) -> dt.date | None:
    """Day and month in either order, where only one order is a date."""
    first, second, year = slashed
    readings = {on_calendar(context, first, second, year), on_calendar(context, second, first, year)} - {None}
    always = (first, second, year) == (24, 7, None)
    return readings.pop() if len(readings) == 1 and not always else None


def two_days(context: Context, slashed: tuple[int, int, int | None]) -> tuple[dt.date, dt.date] | None:
    """Both orders of day and month, where each is a date of its own."""
    first, second, year = slashed
    by_month, by_day = on_calendar(context, first, second, year), on_calendar(context, second, first, year)
    return (by_month, by_day) if by_month and by_day and by_month != by_day else None


def of_month(context: Context, dom: int) -> dt.date | None:
    """The next month's day of this number."""
    months = range(context.today.month, context.today.month + 12)
    days = (on_calendar(context, (month - 1) % 12 + 1, dom) for month in months)
    return min((day for day in days if day), default=None)


def agreed(context: Context, weekday: int, calendar: dt.date) -> dt.date | None:
    """A date with its weekday, if they agree."""
    del context
    return calendar if calendar.weekday() == weekday else None


# Times of day, and moments


def half_of_day(context: Context, half_day: dt.time, half: int) -> dt.time:
    del context
    return half_day.replace(hour=half_day.hour + half)


def two_hours(context: Context, hour: dt.time) -> tuple[dt.time, dt.time] | None:
    """Both halves of the day, where an hour may be of either."""
    del context
    return (hour, hour.replace(hour=hour.hour + _NOON)) if 1 <= hour.hour < _NOON else None


def hour_minute(context: Context, hour: dt.time, minute: int = 0) -> dt.time:
    del context
    return hour.replace(minute=minute)


def fixed(context: Context, time: dt.time) -> dt.time:
    del context
    return time


def soon(context: Context, length: Length) -> dt.datetime | None:
    """An instant hours or minutes from now, to the minute."""
    days, seconds = length
    if not seconds:
        return None
    now = context.now.astimezone(dt.UTC).replace(second=0, microsecond=0)
    return _in_calendar(lambda: now + dt.timedelta(days=days, seconds=seconds))


def part_of_day(context: Context, daypart: dt.time, day: dt.date | None = None) -> dt.datetime:
    return dt.datetime.combine(day or context.today, daypart)


# Recurrence


def on_weekdays(context: Context, weekdays: tuple[int, ...]) -> Repeat:
    del context
    return Repeat(Freq.WEEKLY, days=tuple((0, day) for day in weekdays))


def on_span(context: Context, weekday: int, last: int) -> Repeat | None:
    return on_weekdays(context, tuple(range(weekday, last + 1))) if weekday < last else None


def work_week(context: Context) -> Repeat:
    del context
    return Repeat(Freq.WEEKLY, days=_WORK_WEEK)


def weekends(context: Context) -> Repeat:
    del context
    return Repeat(Freq.WEEKLY, days=_WEEKEND)


def from_end(context: Context, nth: int) -> int | None:
    """Negative, as in an RRULE; the first from the end is called the last."""
    del context
    return -nth if nth > 1 else None


def day_of_month(context: Context, nth: int) -> int | None:
    del context
    return nth if 1 <= abs(nth) <= _MOST_DAYS else None


def on_month_days(context: Context, month_days: tuple[int, ...]) -> Repeat:
    del context
    return Repeat(Freq.MONTHLY, month_days=month_days)


def nth_days(context: Context, nths: tuple[int, ...], weekday: int) -> tuple[NthDay, ...] | None:
    del context
    return tuple((nth, weekday) for nth in nths) if max(map(abs, nths)) <= _MOST_WEEKS else None


def on_nth_days(context: Context, nth_days: tuple[tuple[NthDay, ...], ...]) -> Repeat:
    del context
    return Repeat(Freq.MONTHLY, days=tuple(day for days in nth_days for day in days))


def on_work_day(context: Context, nth: int) -> Repeat | None:
    del context
    return Repeat(Freq.MONTHLY, days=_WORK_WEEK, positions=(nth,)) if abs(nth) <= _MOST_DAYS else None


def year_day(context: Context, month: int, dom: int) -> YearDay | None:
    del context
    return (month, dom) if 1 <= dom <= _LONGEST_MONTHS[month - 1] else None


def last_of_month(context: Context, month: int) -> YearDay:
    del context
    return month, -1


def on_year_days(context: Context, year_days: tuple[YearDay, ...]) -> Repeat | None:
    """Every one of these months has every one of these days in it, or one RRULE cannot say it."""
    del context
    months, days = (tuple(sorted(set(each))) for each in zip(*year_days, strict=True))
    if len(set(year_days)) != len(months) * len(days):
        return None
    return Repeat(Freq.YEARLY, months=months, month_days=days)


def on_nth_days_of(context: Context, nth_days: tuple[tuple[NthDay, ...], ...], month: int) -> Repeat:
    return replace(on_nth_days(context, nth_days), freq=Freq.YEARLY, months=(month,))


def every(context: Context, unit: Unit, n: int = 1, on: Repeat | None = None, *, bang: bool = False) -> Repeat | None:
    """Every so many units, perhaps on some of its days; `bang`: counted from completion."""
    del context
    freq, times = unit
    if not 1 <= n * times <= MAX_INTERVAL or (on is not None and on.freq is not freq):
        return None
    return replace(on or Repeat(freq), interval=n * times, completion=bang)


def every_nth(context: Context, unit: Unit, nth: int, on: Repeat | None = None, *, bang: bool = False) -> Repeat | None:
    return every(context, unit, nth, on, bang=bang) if nth > 1 else None


def every_other(context: Context, weekdays: tuple[int, ...], *, bang: bool = False) -> Repeat | None:
    return every(context, (Freq.WEEKLY, 1), 2, on_weekdays(context, weekdays), bang=bang)


def every_on(context: Context, on: Repeat, *, bang: bool = False) -> Repeat:
    del context
    return replace(on, completion=bang)


def monthly_on(context: Context, on: Repeat, *, bang: bool = False) -> Repeat | None:
    return every_on(context, on, bang=bang) if on.freq is Freq.MONTHLY else None


def adverb(context: Context, adverb: Unit, on: Repeat | None = None) -> Repeat | None:
    return every(context, adverb, 1, on)


def after_done(context: Context, n: int, unit: Unit) -> Repeat | None:
    return every(context, unit, n, bang=True)


def until(context: Context, day: dt.date) -> Ending:
    del context
    return Ending(until=day)


def until_instant(context: Context, calendar: dt.date, seconds_time: dt.time) -> Ending:
    del context
    return Ending(until=dt.datetime.combine(calendar, seconds_time, dt.UTC))


def times(context: Context, n: int) -> Ending | None:
    del context
    return Ending(count=n) if n <= MAX_COUNT else None


def counted(context: Context) -> Ending:
    del context
    return Ending(completion=True)


def missed(context: Context) -> Ending:
    del context
    return Ending(each=True)


# Reminders


def before(context: Context, length: Length, clock: dt.time | None = None) -> Remind | None:
    del context
    days, seconds = length
    too_far = dt.timedelta(days, seconds) > MAX_OFFSET
    return None if too_far or (clock and seconds) else Remind(days, seconds, clock)


def day_before(context: Context, clock: dt.time | None = None) -> Remind:
    del context
    return Remind(1, 0, clock)


def at_clock(context: Context, clock: dt.time) -> Remind:
    del context
    return Remind(clock=clock)


def at_due(context: Context) -> Remind:
    del context
    return Remind()


def at_moment(context: Context, moment: dt.datetime) -> Remind | None:
    del context
    return Remind(at=moment) if moment.year in REACH else None


def on_day(context: Context, day: dt.date, clock: dt.time = MORNING) -> Remind | None:
    return at_moment(context, dt.datetime.combine(day, clock))


def in_length(context: Context, length: Length) -> Remind | None:
    days, seconds = length
    now = context.now.astimezone(dt.UTC).replace(second=0, microsecond=0)
    at = _in_calendar(lambda: now + dt.timedelta(days=days, seconds=seconds))
    return None if at is None else at_moment(context, at)


def _in_calendar(day: Callable[[], D]) -> D | None:
    """The day, if there is such a one."""
    try:
        found = day()
    except (ValueError, OverflowError):
        return None
    return found if YEARS.start <= found.year <= LAST_YEAR else None


def _months_ahead(day: dt.date, months: int, dom: int = 0) -> dt.date:
    """The same day so many months later, or the last of a month that is too short."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendars.monthrange(year, month + 1)[1]
    return dt.date(year, month + 1, min(dom or day.day, last))


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
