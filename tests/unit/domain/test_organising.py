"""Lists, starts, the trash, dismissed reminders, and the subtasks of what repeats."""

import datetime as dt
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from todo.domain import task as rules
from todo.domain import tasklist
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.reminder import Instance
from todo.domain.task import Status, Task
from todo.domain.tasklist import TaskList

NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
TODAY = dt.date(2031, 5, 6)
BERLIN = "Europe/Berlin"
SERIES = uuid4()


def task(**fields: object) -> Task:
    made = Task(id=uuid4(), user_id=1, title="Water", created_at=NOON, updated_at=NOON)
    return rules.remind(replace(made, **fields), NOON)  # type: ignore[arg-type]  # fields of a task


def a_list(**fields: object) -> TaskList:
    usual: dict[str, object] = {"id": uuid4(), "user_id": 1, "name": "Work", "position": "1"}
    return TaskList(**usual | fields, created_at=NOON, updated_at=NOON)  # type: ignore[arg-type]  # fields of a list


class TestStart:
    @pytest.mark.parametrize(
        ("start", "due"),
        [
            (Due("UTC", at=NOON), Due("UTC", at=NOON)),
            (Due("UTC", date=TODAY), Due("UTC", date=TODAY)),
            (Due("UTC", date=TODAY), Due("UTC", at=NOON)),
            (Due("UTC", at=NOON), Due("UTC", date=TODAY)),
            (Due("UTC", at=NOON), None),
        ],
    )
    def test_a_task_may_start_until_it_is_due(self, start: Due, due: Due | None) -> None:
        assert rules.edit(task(), NOON, start=start, due=due).start == start

    @pytest.mark.parametrize(
        ("start", "due", "field"),
        [
            (Due("UTC", at=NOON + HOUR), Due("UTC", at=NOON), "start_at"),
            (Due("UTC", date=TODAY + DAY), Due("UTC", date=TODAY), "start_date"),
            (Due("UTC", date=TODAY + DAY), Due("UTC", at=NOON), "start_date"),
            (Due("UTC", at=NOON + DAY), Due("UTC", date=TODAY), "start_at"),
        ],
    )
    def test_a_task_that_starts_after_it_is_due_is_refused(self, start: Due, due: Due, field: str) -> None:
        with pytest.raises(RuleError) as refused:
            rules.edit(task(), NOON, start=start, due=due)
        assert refused.value.field == field

    def test_a_start_alone_says_the_zone(self) -> None:
        assert task(start=Due(BERLIN, date=TODAY)).zone == BERLIN
        assert task().zone is None


class TestTrash:
    def test_restoring_is_a_new_version_without_what_deleting_noted(self) -> None:
        parent = uuid4()
        gone = rules.delete(task(parent_id=parent), NOON, along_with=parent)
        assert (gone.deleted, gone.deleted_with, gone.deleted_at) == (True, parent, NOON)
        back = rules.restore(gone, NOON + HOUR)
        assert (back.version, back.deleted, back.deleted_with, back.deleted_at) == (3, False, None, None)
        assert (back.parent_id, back.updated_at) == (parent, NOON + HOUR)

    def test_what_is_not_in_the_trash_stays(self) -> None:
        there = task()
        withdrawn = rules.delete(there, NOON, withdrawn=True)
        assert rules.restore(there, NOON) is there
        assert rules.restore(withdrawn, NOON) is withdrawn

    def test_firings_that_passed_in_the_trash_are_past_and_those_to_come_are_not(self) -> None:
        gone = rules.delete(task(due=Due("UTC", at=NOON + 2 * HOUR), reminders=("-PT1H", "PT0S")), NOON)
        back = rules.restore(gone, NOON + HOUR + HOUR / 2)
        assert [(one.reminder, one.past) for one in back.wanted] == [("-PT1H", True), ("PT0S", False)]

    def test_what_was_dismissed_stays_dismissed(self) -> None:
        due = Due("UTC", at=NOON + 2 * HOUR)
        kept = rules.dismiss(task(due=due, reminders=("-PT1H", "PT0S")), NOON, "-PT1H")
        back = rules.restore(rules.delete(kept, NOON), NOON)
        assert [one.reminder for one in back.wanted] == ["PT0S"]

    def test_a_skipped_occurrence_is_open_again_and_a_done_task_stays_done(self) -> None:
        occurrence = task(series_id=SERIES, seq=1)
        skipped = rules.skip(occurrence, NOON)
        back = rules.restore(skipped, NOON)
        assert (back.status, back.closed_at, back.closed_version) == (Status.OPEN, None, None)
        done = rules.restore(rules.delete(rules.complete(occurrence, NOON), NOON), NOON)
        assert (done.status, done.closed_version) == (Status.DONE, 2)


class TestDismissing:
    def test_one_reminder_is_turned_off_and_the_others_fire(self) -> None:
        there = task(due=Due("UTC", at=NOON + HOUR), reminders=("-PT30M", "PT0S"))
        after = rules.dismiss(there, NOON, "-PT1800S")
        assert [one.reminder for one in after.wanted] == ["PT0S"]
        assert (after.version, after.reminders) == (2, there.reminders)
        assert rules.dismiss(after, NOON, "-PT30M") is after

    def test_a_reminder_of_another_or_a_closed_task_is_refused(self) -> None:
        there = task(due=Due("UTC", at=NOON + HOUR), reminders=("PT0S",))
        with pytest.raises(RuleError, match="no reminder -PT1H"):
            rules.dismiss(there, NOON, "-PT1H")
        with pytest.raises(RuleError, match="closed"):
            rules.dismiss(rules.complete(there, NOON), NOON, "PT0S")


class TestSuccessors:
    def test_a_successor_stays_in_its_list_and_place_and_starts_as_long_before_it_is_due(self) -> None:
        before = task(
            due=Due(BERLIN, at=NOON + DAY), scheduled=Due(BERLIN, at=NOON), start=Due(BERLIN, date=TODAY - 2 * DAY),
            list_id=uuid4(), series_id=SERIES, seq=1,
        )  # fmt: skip
        made = rules.successor(before, 2, Due(BERLIN, at=NOON + 7 * DAY), NOON)
        assert made.start == Due(BERLIN, date=TODAY + 5 * DAY)
        assert (made.list_id, made.parent_id, made.place) == (before.list_id, None, before.place)

    def test_a_start_keeps_its_time_of_day_over_a_change_of_clocks(self) -> None:
        saturday = dt.datetime(2031, 3, 29, 8, tzinfo=dt.UTC)  # 09:00 in Berlin, where clocks go forward that night
        before = task(
            due=Due(BERLIN, at=saturday), start=Due(BERLIN, at=saturday - HOUR), series_id=SERIES, seq=1
        )  # fmt: skip
        made = rules.successor(before, 2, Due(BERLIN, at=saturday + DAY - HOUR), NOON)
        assert made.start == Due(BERLIN, at=saturday + DAY - 2 * HOUR)

    def test_subtasks_come_again_open_under_ids_that_follow_from_the_two(self) -> None:
        before = task(due=Due("UTC", at=NOON), series_id=SERIES, seq=1, list_id=uuid4())
        below = task(
            parent_id=before.id, notes="n", priority=1, labels=("a",), due=Due("UTC", date=TODAY - DAY),
            reminders=("PT0S", "2031-05-01T08:00:00Z"), status=Status.DONE, closed_at=NOON, closed_version=2,
        )  # fmt: skip
        made = rules.successor(before, 2, Due("UTC", at=NOON + 7 * DAY), NOON)
        copy = rules.subtask_of_successor(below, before, made, NOON)
        assert (copy.status, copy.version, copy.parent_id, copy.list_id) == (Status.OPEN, 1, made.id, made.list_id)
        assert (copy.title, copy.notes, copy.priority, copy.labels) == ("Water", "n", 1, ("a",))
        assert (copy.due, copy.reminders, copy.touched) == (Due("UTC", date=TODAY + 6 * DAY), ("PT0S",), False)
        assert [type(one) for one in copy.instances] == [Instance]
        assert copy.id == rules.subtask_of_successor(below, before, made, NOON + HOUR).id

    def test_a_date_beyond_the_calendar_is_left_out(self) -> None:
        before = task(due=Due("UTC", at=NOON), series_id=SERIES, seq=1)
        below = task(parent_id=before.id, due=Due("UTC", date=dt.date(2199, 12, 30)))
        made = rules.successor(before, 2, Due("UTC", at=NOON + 7 * DAY), NOON)
        assert rules.subtask_of_successor(below, before, made, NOON).due is None


class TestLists:
    def test_a_name_is_one_line(self) -> None:
        assert tasklist.check_name(" Work\n at  home ") == "Work at home"

    @pytest.mark.parametrize("name", ["", " \n", "x" * 101, "a\x00b", "a\ud800"])
    def test_a_name_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(RuleError) as refused:
            tasklist.check_name(name)
        assert refused.value.field == "name"

    def test_a_colour_is_six_digits(self) -> None:
        assert tasklist.check_color("#1F6FEB") == "#1f6feb"
        assert tasklist.check_color(None) is None

    @pytest.mark.parametrize("color", ["red", "#fff", "#1f6feb;", "", "#١٢٣٤٥٦"])
    def test_a_colour_that_is_none_is_refused(self, color: str) -> None:
        with pytest.raises(RuleError) as refused:
            tasklist.check_color(color)
        assert refused.value.field == "color"

    def test_a_change_is_a_version_and_none_is_none(self) -> None:
        before = a_list()
        after = tasklist.edit(before, NOON - HOUR, name="Home")
        assert (after.version, after.name, after.updated_at) == (2, "Home", NOON)
        assert tasklist.edit(before, NOON, name="Work") is before
        assert isinstance(after.id, UUID)
