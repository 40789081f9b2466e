import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.reminder import MAX_OFFSET, Instance, dismiss, instances, parse_reminder, parse_reminders

BERLIN = "Europe/Berlin"
NOON = dt.datetime(2026, 7, 15, 12, tzinfo=dt.UTC)
DUE = Due(BERLIN, at=NOON)


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("-PT1H", "-PT1H"),
        ("-PT60M", "-PT1H"),
        (" -pt3600s ", "-PT1H"),
        ("-P1W", "-P7D"),
        ("-P1DT0H", "-P1D"),
        ("-PT90M", "-PT1H30M"),
        ("-PT24H", "-PT24H"),
        ("PT5M", "PT5M"),
        ("+PT5M", "PT5M"),
        ("PT0S", "PT0S"),
        ("-P0D", "PT0S"),
        ("2026-07-15T14:00:00+02:00", "2026-07-15T12:00:00Z"),
        ("2026-07-15 12:00Z", "2026-07-15T12:00:00Z"),
        ("2026-07-15T12:00:00.5Z", "2026-07-15T12:00:00.500000Z"),
    ],
)
def test_a_reminder_is_its_canonical_text(said: str, canonical: str) -> None:
    assert parse_reminder(said).text == canonical


@pytest.mark.parametrize(
    "said",
    [
        "",
        "P",
        "-P",
        "PT",
        "P1DT",
        "-P1Y",
        "-P1M",
        "-PT1.5H",
        "--PT1H",
        "1H",
        "-PT1H\n-PT2H",
        "-PT\u0661H",
        "tomorrow",
        "2026-07-15T12:00:00",
        "2026-07-15",
        "2026-13-01T00:00:00Z",
        "\x00",
        "�",
        "9" * 100000,
        "1969-01-01T00:00:00Z",
        "1970-01-01T00:00:00+14:00",
        "2199-12-31T23:00:00-05:00",
        "9999-12-31T23:59:59-10:00",
    ],
)
def test_what_is_no_reminder_is_refused_with_an_example_or_the_range(said: str) -> None:
    with pytest.raises(RuleError) as refused:
        parse_reminder(said)
    assert refused.value.field == "reminders"
    assert '"-PT1H"' in refused.value.fix or "1970 to 2199" in refused.value.fix
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("said", ["-P367D", "P53W", "-PT8785H", "-P366DT1S"])
def test_a_reminder_is_at_most_a_year_from_due(said: str) -> None:
    with pytest.raises(RuleError, match="too far from due"):
        parse_reminder(said)


def test_saying_the_same_twice_is_one_reminder() -> None:
    assert parse_reminders(["-PT60M", "-PT1H", "-P1D"]) == ("-PT1H", "-P1D")


def test_there_are_at_most_twenty() -> None:
    with pytest.raises(RuleError, match="at most 20"):
        parse_reminders([f"-PT{minutes}M" for minutes in range(1, 22)])


@given(
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 52),
    st.integers(0, 366),
    st.integers(0, 8784),
    st.integers(0, 99_999),
    st.integers(0, 999_999),
)
def test_canonical_text_means_what_it_was_made_from(  # noqa: PLR0913 - the parts of what is made
    sign: str, weeks: int, days: int, hours: int, minutes: int, seconds: int
) -> None:
    length = dt.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    said = f"{sign}P{weeks}W{days}DT{hours}H{minutes}M{seconds}S"
    if length > MAX_OFFSET:
        with pytest.raises(RuleError):
            parse_reminder(said)
        return
    reminder = parse_reminder(said)
    assert parse_reminder(reminder.text) == reminder
    assert abs(dt.timedelta(days=reminder.days, seconds=reminder.seconds)) == length


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2199, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - a wall time
def test_a_canonical_instant_is_that_instant_and_stays_canonical(at: dt.datetime) -> None:
    reminder = parse_reminder(at.isoformat())
    assert parse_reminder(reminder.text) == reminder
    assert reminder.at == at.astimezone(dt.UTC)


@given(st.text())
def test_any_text_is_a_reminder_or_refused(text: str) -> None:
    try:
        reminder = parse_reminder(text)
    except RuleError:
        return
    assert parse_reminder(reminder.text) == reminder


def test_days_are_counted_on_the_calendar_and_hours_on_the_clock() -> None:
    """The night of 28 to 29 March 2026 has 23 hours in Berlin."""
    due = Due(BERLIN, at=dt.datetime(2026, 3, 29, 16, tzinfo=dt.UTC))  # 18:00 summer time
    assert parse_reminder("-P1D").fire_at(due) == dt.datetime(2026, 3, 28, 17, tzinfo=dt.UTC)  # 18:00 winter time
    assert parse_reminder("-PT24H").fire_at(due) == dt.datetime(2026, 3, 28, 16, tzinfo=dt.UTC)


def test_days_before_hours() -> None:
    due = Due(BERLIN, at=dt.datetime(2026, 3, 29, 16, tzinfo=dt.UTC))
    assert parse_reminder("-P1DT1H").fire_at(due) == dt.datetime(2026, 3, 28, 16, tzinfo=dt.UTC)


def test_a_day_before_may_fall_into_the_gap_and_moves_forward() -> None:
    due = Due(BERLIN, at=dt.datetime(2026, 3, 30, 0, 30, tzinfo=dt.UTC))  # 02:30; the day before has none
    assert parse_reminder("-P1D").fire_at(due) == dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC)


def test_relative_to_a_whole_day_is_relative_to_nine_in_the_morning() -> None:
    due = Due(BERLIN, date=dt.date(2026, 7, 15))
    assert parse_reminder("-PT1H").fire_at(due) == dt.datetime(2026, 7, 15, 6, tzinfo=dt.UTC)


def test_without_due_only_fixed_instants_fire() -> None:
    assert [one.reminder for one in instances(["-PT1H", "2026-07-15T12:00:00Z"], None, now=NOON)] == [
        "2026-07-15T12:00:00Z"
    ]


@pytest.mark.parametrize(("late", "past"), [(0, False), (59, False), (60, False), (61, True)])
def test_due_now_is_not_late_for_a_minute(late: int, past: bool) -> None:
    (one,) = instances(["PT0S"], DUE, now=NOON + dt.timedelta(seconds=late))
    assert one == Instance("PT0S", NOON, past=past)


def test_what_was_decided_about_a_firing_stays_decided() -> None:
    known = (Instance("PT0S", NOON, dismissed=True), Instance("-PT1H", NOON - dt.timedelta(hours=1)))
    later = NOON + dt.timedelta(days=1)
    assert instances(["-PT1H", "PT0S"], DUE, now=later, known=known) == (known[1], known[0])


def test_moving_due_makes_other_firings_with_decisions_of_their_own() -> None:
    known = (Instance("PT0S", NOON, dismissed=True),)
    moved = Due(BERLIN, at=NOON + dt.timedelta(hours=1))
    assert instances(["PT0S"], moved, now=NOON, known=known) == (Instance("PT0S", NOON + dt.timedelta(hours=1)),)


def test_dismissing_turns_off_the_firings_of_one_reminder() -> None:
    known = (Instance("PT0S", NOON), Instance("-PT1H", NOON - dt.timedelta(hours=1)))
    assert [one.dismissed for one in dismiss(known, "PT0S")] == [True, False]
