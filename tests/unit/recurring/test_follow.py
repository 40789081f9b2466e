"""What follows a closed occurrence: a function of the snapshot, and of nothing else."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from todo.contracts.events import Occurrence, OccurrenceDue, SeriesEnded, TaskSnapshot
from todo.domain.recurrence import RecurrenceError
from todo.recurring.handlers import follow

SERIES, TASK = UUID(int=1), UUID(int=2)
DUE = dt.datetime(2031, 5, 6, 7, 0, tzinfo=dt.UTC)  # 9:00 in Berlin
DAY = dt.timedelta(days=1)


def occurrence(**fields: object) -> Occurrence:
    daily = Occurrence(
        series_id=SERIES,
        seq=4,
        position=4,
        generation=2,
        rule="FREQ=DAILY",
        zone="Europe/Berlin",
        start=(DUE - 3 * DAY).isoformat(),
        mode="due",
        policy="skip",
    )
    return replace(daily, **fields)


def closed(one: Occurrence | None, **fields: object) -> TaskSnapshot:
    snapshot = TaskSnapshot(
        task_id=TASK,
        user_id=1,
        epoch=1,
        version=9,
        title="water the plants",
        status="done",
        deleted=False,
        reminders=(),
        due_at=DUE,
        zone="Europe/Berlin",
        closed_at=DUE + dt.timedelta(hours=2),
        closed_version=8,
        occurrence=one,
    )
    return replace(snapshot, **fields)


def test_the_next_occurrence_carries_the_whole_key() -> None:
    assert follow(closed(occurrence())) == OccurrenceDue(SERIES, 5, 2, TASK, 8, due_at=DUE + DAY)


@pytest.mark.parametrize(
    "nothing",
    [
        {"occurrence": None},
        {"status": "open", "closed_at": None, "closed_version": None},
        {"status": "open"},
        {"closed_at": None},
        {"closed_version": None},
    ],
    ids=str,
)
def test_nothing_follows_what_is_no_closed_occurrence(nothing: dict[str, Any]) -> None:
    assert follow(replace(closed(occurrence()), **nothing)) is None


@pytest.mark.parametrize("fields", [{"status": "skipped"}, {"status": "skipped", "deleted": True}], ids=str)
def test_skipped_and_deleted_occurrences_have_a_successor_too(fields: dict[str, Any]) -> None:
    assert isinstance(follow(closed(occurrence(), **fields)), OccurrenceDue)


def test_the_same_snapshot_has_the_same_answer() -> None:
    assert len({follow(closed(occurrence())) for _ in range(3)}) == 1


def test_closing_twice_names_the_closing_it_follows() -> None:
    once, again = (follow(closed(occurrence(), version=v, closed_version=v)) for v in (8, 11))

    assert isinstance(once, OccurrenceDue)
    assert isinstance(again, OccurrenceDue)
    assert (once.closed_version, again.closed_version) == (8, 11)
    assert once.due_at == again.due_at


def test_a_later_version_of_a_closed_task_names_the_version_that_closed_it() -> None:
    assert follow(closed(occurrence(), version=30)) == follow(closed(occurrence()))


def test_a_series_that_has_no_further_date_ends_with_the_same_key() -> None:
    assert follow(closed(occurrence(rule="FREQ=DAILY;COUNT=4"))) == SeriesEnded(SERIES, 5, 2, TASK, 8)


def test_count_is_counted_from_the_last_edit_of_the_rule() -> None:
    edited = occurrence(rule="FREQ=DAILY;COUNT=4", seq=40, position=1, start=DUE.isoformat())

    assert follow(closed(edited)) == OccurrenceDue(SERIES, 41, 2, TASK, 8, due_at=DUE + DAY)


def test_a_late_closing_skips_what_passed_or_gives_each_its_occurrence() -> None:
    late = DUE + 3 * DAY + dt.timedelta(hours=1)
    skip, each = (follow(closed(occurrence(policy=policy), closed_at=late)) for policy in ("skip", "each"))

    assert isinstance(skip, OccurrenceDue)
    assert isinstance(each, OccurrenceDue)
    assert (skip.due_at, each.due_at) == (DUE + 4 * DAY, DUE + DAY)


def test_completion_counts_from_the_day_of_closing() -> None:
    late = DUE + 3 * DAY + dt.timedelta(hours=5)
    following = follow(closed(occurrence(mode="completion", rule="FREQ=WEEKLY"), closed_at=late))

    assert following == OccurrenceDue(SERIES, 5, 2, TASK, 8, due_at=DUE + 10 * DAY)


def test_a_series_of_whole_days_has_dates() -> None:
    days = occurrence(rule="FREQ=MONTHLY;BYMONTHDAY=-1", start="2031-04-30")
    following = follow(
        closed(days, due_at=None, due_date="2031-04-30", closed_at=dt.datetime(2031, 5, 2, tzinfo=dt.UTC))
    )

    assert following == OccurrenceDue(SERIES, 5, 2, TASK, 8, due_date="2031-05-31")


def test_an_occurrence_pulled_forward_is_not_dated_a_second_time() -> None:
    forward = closed(
        occurrence(scheduled=DUE.isoformat()), due_at=DUE - DAY, closed_at=DUE - DAY + dt.timedelta(hours=1)
    )

    assert follow(forward) == OccurrenceDue(SERIES, 5, 2, TASK, 8, due_at=DUE + DAY)


def test_a_task_that_lost_its_due_date_goes_on_from_its_closing() -> None:
    following = follow(closed(occurrence(policy="each"), due_at=None))

    assert following == OccurrenceDue(SERIES, 5, 2, TASK, 8, due_at=DUE + DAY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "FREQ=NEVER"},
        {"zone": "Mars/Olympus"},
        {"start": "soon"},
        {"start": "2031-13-01"},
        {"scheduled": "tomorrow"},
        {"seq": 0, "position": 0},
    ],
    ids=str,
)
def test_a_series_that_cannot_be_followed_says_why(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecurrenceError):
        follow(closed(occurrence(**wrong)))


@pytest.mark.parametrize("wrong", [{"mode": "moon"}, {"policy": "none"}], ids=str)
def test_an_unknown_mode_or_policy_is_no_series(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        follow(closed(occurrence(**wrong)))
