import datetime as dt

import pytest

from todo.domain.due import Due, parse_due
from todo.domain.errors import RuleError

BERLIN = "Europe/Berlin"


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]  # the parts are year, month, day ...


def wall(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - a wall time


def due_of(at: dt.datetime | None, date: dt.date | None = None, zone: str = BERLIN) -> Due:
    due = parse_due(at, date, zone)
    assert due is not None
    return due


def test_nothing_given_is_no_due() -> None:
    assert parse_due(None, None, BERLIN) is None


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        (wall(2026, 1, 15, 9), utc(2026, 1, 15, 8)),
        (wall(2026, 7, 15, 9), utc(2026, 7, 15, 7)),
        (wall(2026, 10, 25, 2, 30), utc(2026, 10, 25, 0, 30)),  # there are two: the first
        (wall(2026, 3, 29, 3), utc(2026, 3, 29, 1)),  # the first minute after the gap
    ],
)
def test_a_time_without_offset_is_a_wall_time_in_the_zone(local: dt.datetime, instant: dt.datetime) -> None:
    assert due_of(local).at == instant


def test_the_second_of_two_wall_times_can_be_said_with_an_offset() -> None:
    later = dt.datetime.fromisoformat("2026-10-25T02:30:00+01:00")
    assert due_of(later).at == utc(2026, 10, 25, 1, 30)


def test_a_wall_time_that_the_clocks_skip_is_refused_with_the_time_they_show() -> None:
    with pytest.raises(RuleError, match="02:30 does not exist in Europe/Berlin on 2026-03-29") as refused:
        parse_due(wall(2026, 3, 29, 2, 30), None, BERLIN)
    assert refused.value.field == "due_at"
    assert "use 03:30" in refused.value.fix


def test_a_skipped_wall_time_with_an_offset_is_an_instant_like_any_other() -> None:
    assert due_of(dt.datetime.fromisoformat("2026-03-29T02:30:00+01:00")).at == utc(2026, 3, 29, 1, 30)


@pytest.mark.parametrize(
    "at",
    [
        utc(1969, 12, 31),
        utc(2200, 1, 1),
        dt.datetime.fromisoformat("1970-01-01T00:00:00+14:00"),
        dt.datetime.fromisoformat("2199-12-31T23:00:00-05:00"),
        wall(9999, 12, 31),
        wall(1, 1, 1),
        dt.datetime.fromisoformat("0001-01-01T00:00:00+14:00"),
        dt.datetime.fromisoformat("9999-12-31T23:59:59-14:00"),
    ],
)
def test_years_out_of_range_are_refused_in_their_own_offset_and_in_utc(at: dt.datetime) -> None:
    with pytest.raises(RuleError, match="out of range"):
        parse_due(at, None, BERLIN)


@pytest.mark.parametrize("date", [dt.date(1969, 12, 31), dt.date(2200, 1, 1)])
def test_dates_out_of_range_are_refused(date: dt.date) -> None:
    with pytest.raises(RuleError, match="due_date"):
        parse_due(None, date, BERLIN)


def test_an_instant_and_a_day_together_are_refused() -> None:
    with pytest.raises(RuleError, match="give one of them"):
        parse_due(utc(2026, 1, 1), dt.date(2026, 1, 1), BERLIN)


@pytest.mark.parametrize("zone", ["", "Berlin", "Europe", "../../etc/passwd", "Europe/Berlin\x00", "\ud800", "x" * 500])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(RuleError, match="is no time zone") as refused:
        parse_due(utc(2026, 1, 1), None, zone)
    assert len(refused.value.problem) < 120


def test_a_whole_day_is_reminded_of_from_nine_in_the_morning_of_its_zone() -> None:
    assert due_of(None, dt.date(2026, 7, 15)).moment == utc(2026, 7, 15, 7)
    assert due_of(None, dt.date(2026, 7, 15), "Asia/Tokyo").moment == utc(2026, 7, 15, 0)


def test_a_morning_that_a_zone_skipped_moves_forward() -> None:
    """Samoa had no 30 December 2011."""
    assert due_of(None, dt.date(2011, 12, 30), "Pacific/Apia").moment == utc(2011, 12, 30, 19)


def test_a_whole_day_sorts_after_the_instants_of_that_day_and_before_those_of_the_next() -> None:
    day = due_of(None, dt.date(2026, 7, 15)).sort_key
    assert due_of(wall(2026, 7, 15, 23, 59)).sort_key < day < due_of(wall(2026, 7, 16, 0, 0)).sort_key
