import datetime as dt
from dataclasses import replace
from uuid import uuid4

import pytest

from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.recurrence import Mode, Policy
from todo.domain.series import Repetition, TaskSeries, edit_series, preview, start_series

MONDAY = Due("Europe/Berlin", at=dt.datetime(2026, 3, 23, 8, tzinfo=dt.UTC))  # 09:00
WEEKLY = Repetition("FREQ=WEEKLY;BYDAY=MO")


def started(repetition: Repetition = WEEKLY, due: Due = MONDAY) -> TaskSeries:
    return start_series(uuid4(), 1, repetition, due)


def test_a_series_starts_at_the_due_date_and_keeps_its_wall_time() -> None:
    """The clocks go forward on 29 March."""
    assert preview(started(), MONDAY, 2) == [
        dt.datetime(2026, 3, 30, 7, tzinfo=dt.UTC),
        dt.datetime(2026, 4, 6, 7, tzinfo=dt.UTC),
    ]


def test_a_series_of_whole_days_has_days() -> None:
    series = started(Repetition("FREQ=DAILY"), Due("Europe/Berlin", date=dt.date(2026, 3, 28)))
    assert preview(series, None, 2) == [dt.date(2026, 3, 28), dt.date(2026, 3, 29)]


def test_a_task_without_due_date_cannot_repeat() -> None:
    with pytest.raises(RuleError, match="no due date"):
        start_series(uuid4(), 1, WEEKLY, None)


@pytest.mark.parametrize("rule", ["", "Every Monday", "FREQ=SECONDLY", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ="])
def test_rules_that_are_none_or_never_fire_are_refused(rule: str) -> None:
    with pytest.raises(RuleError):
        started(Repetition(rule))


def test_an_edit_that_changes_nothing_keeps_the_generation() -> None:
    series = started()
    assert edit_series(series, 3, Repetition("freq=weekly;byday=MO"), MONDAY) is series


@pytest.mark.parametrize(
    "repetition",
    [
        Repetition("FREQ=DAILY"),
        Repetition("FREQ=WEEKLY;BYDAY=MO", Mode.COMPLETION),
        Repetition("FREQ=WEEKLY;BYDAY=MO", Mode.DUE, Policy.EACH),
    ],
)
def test_an_edit_is_a_new_generation_that_starts_at_its_occurrence(repetition: Repetition) -> None:
    series = started()
    later = Due("Europe/Berlin", at=dt.datetime(2026, 4, 6, 7, tzinfo=dt.UTC))
    edited = edit_series(series, 3, repetition, later)
    assert (edited.id, edited.generation, edited.first_seq, edited.start) == (series.id, 2, 3, later)


def test_another_zone_is_another_generation() -> None:
    edited = edit_series(started(), 2, WEEKLY, Due("Asia/Tokyo", at=MONDAY.at))
    assert edited.generation == 2


@pytest.mark.parametrize("end", [{"deleted": True}, {"ended_seq": 2}])
def test_editing_a_series_that_ended_brings_it_back_under_a_new_generation(end: dict[str, int]) -> None:
    ended = replace(started(), **end)  # type: ignore[arg-type]
    assert not ended.is_alive
    again = edit_series(ended, 1, WEEKLY, MONDAY)
    assert again.is_alive
    assert again.generation == 2
