import datetime as dt
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from todo.cli.words import WordsError, read_due, read_instant, read_reminder, read_rule

BERLIN = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2030, 5, 1, 23, 30, tzinfo=BERLIN)


@pytest.fixture
def berlin_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("now", {"due_at": "2030-05-01T21:30:00+00:00"}),
        ("in 10m", {"due_at": "2030-05-01T21:40:00+00:00"}),
        ("in 1h 30m", {"due_at": "2030-05-01T23:00:00+00:00"}),
        ("IN 2 days", {"due_at": "2030-05-03T21:30:00+00:00"}),
        ("in 1hour 5 mins", {"due_at": "2030-05-01T22:35:00+00:00"}),
        ("today", {"due_date": "2030-05-01"}),
        ("tomorrow", {"due_date": "2030-05-02"}),
        ("tomorrow 9:00", {"due_at": "2030-05-02T09:00:00"}),
        ("2030-06-01", {"due_date": "2030-06-01"}),
        ("2030-06-01T08:00", {"due_at": "2030-06-01T08:00:00"}),
        ("2030-06-01T08:00:00Z", {"due_at": "2030-06-01T08:00:00+00:00"}),
    ],
)
def test_a_due_date_is_read_as_the_api_takes_it(text: str, read: dict[str, str]) -> None:
    assert read_due(text, NOW) == read


@pytest.mark.parametrize(
    "text", ["", "soon", "in", "in 5 lightyears", "in 2 moons", "in -5m", "tomorrow 25:00", "2030-13-01", "9:00"]
)
def test_what_is_no_due_date_says_what_is(text: str) -> None:
    with pytest.raises(WordsError):
        read_due(text, NOW)


@pytest.mark.parametrize("text", ["in 2 months", "in 1 month", "in 3mo", "in 1 year", "in 1d 2y"])
def test_months_and_years_are_refused_with_what_to_say_instead(text: str) -> None:
    with pytest.raises(WordsError, match="give a date"):
        read_due(text, NOW)
    with pytest.raises(WordsError, match="give a date"):
        read_reminder(text.removeprefix("in "))


@pytest.mark.parametrize("length", ["999999w", " ".join(["999999w"] * 200)])
def test_a_time_beyond_the_calendar_is_refused(length: str) -> None:
    with pytest.raises(WordsError, match="100 years"):
        read_due(f"in {length}", NOW)
    with pytest.raises(WordsError, match="100 years"):
        read_reminder(length)


def test_tomorrow_is_a_day_of_the_calendar_when_clocks_change() -> None:
    before = dt.datetime(2030, 3, 30, 12, 0, tzinfo=BERLIN)  # the next night has 23 hours
    assert read_due("tomorrow 12:00", before) == {"due_at": "2030-03-31T12:00:00"}


def test_an_instant_has_an_offset_and_a_time_of_day() -> None:
    assert read_instant("tomorrow 09:00", NOW, BERLIN) == "2030-05-02T09:00:00+02:00"
    assert read_instant("in 10m", NOW, BERLIN) == "2030-05-01T21:40:00+00:00"
    with pytest.raises(WordsError):
        read_instant("tomorrow", NOW, BERLIN)


@pytest.mark.usefixtures("berlin_machine")
@pytest.mark.parametrize("zone", [BERLIN, None], ids=["a named zone", "the machine's"])
def test_a_wall_time_after_clocks_change_is_that_wall_time(zone: ZoneInfo | None) -> None:
    now = dt.datetime(2030, 3, 30, 12, 0, tzinfo=BERLIN).astimezone(zone)
    assert read_instant("tomorrow 09:00", now, zone) == "2030-03-31T09:00:00+02:00"
    assert read_instant("2030-12-01T09:00", now, zone) == "2030-12-01T09:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "reminder"),
    [
        ("due", "PT0S"),
        ("1h", "-PT3600S"),
        ("15m before", "-PT900S"),
        ("1d", "-P1D"),
        ("1d 1h", "-PT90000S"),
        ("-PT1H", "-PT1H"),
        ("2030-05-01T09:00:00Z", "2030-05-01T09:00:00Z"),
        ("whenever", "whenever"),
    ],
)
def test_a_reminder_is_read_or_left_to_the_api(text: str, reminder: str) -> None:
    assert read_reminder(text) == reminder


def test_short_rules_are_rules() -> None:
    assert read_rule("weekdays") == "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"
    assert read_rule("FREQ=DAILY;INTERVAL=2") == "FREQ=DAILY;INTERVAL=2"
