from datetime import UTC, datetime, timedelta

import pytest

from daprlet.durations import go_duration, instant, proto_duration
from daprlet.schedule import parse

NOW = datetime(2026, 3, 28, 12, 0, 0, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("@every 1m30s", NOW + timedelta(seconds=90)),
        ("@hourly", datetime(2026, 3, 28, 13, tzinfo=UTC)),
        ("@daily", datetime(2026, 3, 29, tzinfo=UTC)),
        ("@weekly", datetime(2026, 3, 29, tzinfo=UTC)),
        ("*/10 * * * * *", datetime(2026, 3, 28, 12, 0, 10, tzinfo=UTC)),
        ("0 30 9 * * MON-FRI", datetime(2026, 3, 30, 9, 30, tzinfo=UTC)),
        ("0 0 12 ? * mon", datetime(2026, 3, 30, 12, tzinfo=UTC)),
        ("CRON_TZ=Europe/Rome 0 0 9 * * *", datetime(2026, 3, 29, 7, tzinfo=UTC)),
    ],
)
def test_the_next_tick(schedule: str, following: datetime) -> None:
    """Seconds come first, shorthands work, and zones follow their clocks (summer time began that night)."""
    assert parse(schedule).after(NOW) == following


@pytest.mark.parametrize(
    "schedule",
    [
        *("* * * * *", "@every", "@every 0s", "@every -1s", "@sometimes", "61 * * * * *", ""),
        *("CRON_TZ=Mars/Base 0 0 9 * * *", "TZ=UTC @every 1s", "TZ=../x 0 0 9 * * *"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    """Five-field cron above all: it would mean something else."""
    with pytest.raises(ValueError, match=r"."):
        parse(schedule)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("0", 0), ("2us", 2e-6)]
)
def test_go_durations(text: str, seconds: float) -> None:
    """As Go writes them."""
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-1s", "1d"])
def test_no_go_durations(text: str) -> None:
    """A number alone has no unit, and Go has no days."""
    with pytest.raises(ValueError, match="duration"):
        go_duration(text)


@pytest.mark.parametrize("text", ["5", "1m", "-5s", "s"])
def test_failure_policies_take_seconds_only(text: str) -> None:
    """protobuf's JSON form of a duration has one unit."""
    assert proto_duration("0.5s") == 0.5
    with pytest.raises(ValueError, match="seconds"):
        proto_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10s", NOW + timedelta(seconds=10)),
        ("PT10M", NOW + timedelta(minutes=10)),
        ("P1M", datetime(2026, 4, 28, 12, 0, 0, 500000, tzinfo=UTC)),
        ("P1Y2DT3H", datetime(2027, 3, 30, 15, 0, 0, 500000, tzinfo=UTC)),
        ("2026-04-01T02:00:00+02:00", datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_instants(text: str, moment: datetime) -> None:
    """Relative ones are counted from now, in both notations."""
    assert instant(text, NOW) == moment


@pytest.mark.parametrize("text", ["tomorrow", "2026-04-01T02:00:00", "P", "PT", "R3/PT1M"])
def test_no_instants(text: str) -> None:
    """A time without a zone is none, and neither is a repetition."""
    with pytest.raises(ValueError, match=r"."):
        instant(text, NOW)
