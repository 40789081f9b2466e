"""When a task is due: an instant in somebody's time zone, or a whole day."""

import datetime as dt
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from todo.domain.errors import RuleError

MORNING: Final = dt.time(9)  # where reminders of whole-day tasks are measured from
YEARS: Final = range(1970, 2200)


@dataclass(frozen=True, slots=True)
class Due:
    """Exactly one of `at` (aware, UTC) and `date`; `zone` is the IANA name both are shown and moved in."""

    zone: str
    at: dt.datetime | None = None
    date: dt.date | None = None

    @property
    def moment(self) -> dt.datetime:
        """The instant that relative reminders are measured from: the due instant, or 09:00 of the day."""
        if self.at is not None:
            return self.at
        return to_instant(dt.datetime.combine(self._date, MORNING), self.zone)

    @property
    def sort_key(self) -> dt.datetime:
        """Orders whole days after the instants of the same day."""
        if self.at is not None:
            return self.at
        return to_instant(dt.datetime.combine(self._date, dt.time(23, 59, 59)), self.zone)

    @property
    def begins(self) -> dt.datetime:
        """The instant, or the first one of the day: from when on a start counts."""
        if self.at is not None:
            return self.at
        return to_instant(dt.datetime.combine(self._date, dt.time()), self.zone)

    @property
    def local(self) -> dt.datetime:
        """The wall time in its zone, midnight of a whole day."""
        if self.at is not None:
            return self.at.astimezone(zone_info(self.zone)).replace(tzinfo=None)
        return dt.datetime.combine(self._date, dt.time())

    def moved(self, by: dt.timedelta) -> "Due":
        """The same later by `by`, on the calendar of its zone."""
        later = self.local + by
        return Due(self.zone, at=to_instant(later, self.zone)) if self.at else Due(self.zone, date=later.date())

    @property
    def value(self) -> dt.datetime | dt.date:
        return self.at if self.at is not None else self._date

    @property
    def _date(self) -> dt.date:
        if self.date is None:
            raise AssertionError("a due has an instant or a date")
        return self.date


def parse_due(at: dt.datetime | None, date: dt.date | None, zone: str, field: str = "due") -> Due | None:
    """Read what a person gave. A time without offset is a wall time in `zone`. Raises `RuleError`.

    `field` is the beginning of the names that the API has for the two.
    """
    if at is not None and date is not None:
        raise RuleError(f"{field}_date", f"given together with {field}_at", "give one of them")
    zone_info(zone)
    if at is not None:
        check_year(f"{field}_at", at.year)
        instant = wall_time(f"{field}_at", at, zone) if at.tzinfo is None else at.astimezone(dt.UTC)
        check_year(f"{field}_at", instant.year)
        return Due(zone, at=instant)
    if date is not None:
        check_year(f"{field}_date", date.year)
        return Due(zone, date=date)
    return None


def zone_info(zone: str, field: str = "zone") -> ZoneInfo:
    """Look a time zone up. Raises `RuleError`."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RuleError(field, f"{zone[:64]!r} is no time zone", "use an IANA name such as Europe/Berlin") from error


def wall_time(field: str, local: dt.datetime, zone: str) -> dt.datetime:
    """The instant of a wall time; of two (clocks going back) the first. Raises `RuleError` for one that is skipped."""
    instant = to_instant(local, zone)
    shown = instant.astimezone(zone_info(zone)).replace(tzinfo=None, fold=0)
    if shown != local.replace(fold=0):
        raise RuleError(
            field,
            f"{local:%H:%M} does not exist in {zone} on {local:%Y-%m-%d}: the clocks go forward",
            f"use {shown:%H:%M}, or an instant with an offset",
        )
    return instant


def to_instant(local: dt.datetime, zone: str) -> dt.datetime:
    """Like `wall_time`, but a skipped wall time moves forward by the gap."""
    return local.replace(tzinfo=zone_info(zone), fold=0).astimezone(dt.UTC)


def check_year(field: str, year: int) -> None:
    """Keep instants where every zone and every sum of them stays in the calendar. Raises `RuleError`."""
    if year not in YEARS:
        raise RuleError(field, f"the year {year} is out of range", f"use {YEARS.start} to {YEARS.stop - 1}")
