"""A series: a rule with its start in a zone. Which dates it has, and which one comes next.

Inside, a series lies on an axis of UTC instants; a date-only series lies on it as midnights in UTC.
"""

import datetime as dt
import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from todo.domain.recurrence.expansion import Expansion
from todo.domain.recurrence.rule import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_COUNT,
    MAX_PREVIEW,
    Due,
    Freq,
    RecurrenceError,
    Rule,
)

_WIDEST_GAP: Final = dt.timedelta(days=2)  # zones have skipped a whole day (Samoa, 2011)


class Mode(StrEnum):
    """What the next date is counted from: the series' own dates, or the day an occurrence was closed."""

    DUE = "due"
    COMPLETION = "completion"


class Policy(StrEnum):
    """What a late closing does with the dates that passed meanwhile: leave them out, or give each its occurrence."""

    SKIP = "skip"
    EACH = "each"


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
        if self.date_only and self.rule.freq is Freq.HOURLY:
            raise RecurrenceError(
                "start", "is a date, but the rule is hourly", "give it a time of day, or use FREQ=DAILY"
            )

    @property
    def date_only(self) -> bool:
        """Whether occurrences are whole days."""
        return not isinstance(self.start, dt.datetime)


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


def falls_on(series: Series, wall: dt.datetime) -> bool:
    """Whether the rule has this wall time, even if the clocks leap over it. Of `completion` the time of day counts."""
    start = _wall(series, series.start)
    if series.mode is Mode.COMPLETION:
        return start.time() == wall.time() or bool(series.rule.hours)
    return next(Expansion(series.rule, start, date_only=series.date_only).walls(wall), None) == wall


def _instants(series: Series, floor: dt.datetime | None) -> Iterator[dt.datetime]:
    """Instants of the series strictly after `floor`, strictly increasing, up to COUNT and UNTIL."""
    wall = _wall(series, series.start)
    since = _search_from(series, wall, floor)
    expansion = Expansion(series.rule, wall, date_only=series.date_only)
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
    hourly = series.rule.freq is Freq.HOURLY
    time = local.time().replace(second=0) if hourly else _wall(series, series.start).time()
    anchor = dt.datetime.combine(local.date(), time)
    floor = _mark(series, closed) if hourly else _mark(series, local.date())
    walls = Expansion(series.rule, anchor, date_only=series.date_only, clamp=True).walls(anchor)
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
        return dt.datetime.combine(local, dt.time.min) if series.date_only else local
    return dt.datetime.combine(moment, dt.time.min)


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
