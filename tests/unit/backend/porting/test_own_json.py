import json
from typing import Any

import pytest

from tests.unit.backend.porting.files import NOW, read
from todo.backend.porting import own_json


def document(*tasks: Any, **more: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps({"format": "todo", "version": 1} | more | {"tasks": tasks}, indent=1)


def test_a_document_that_somebody_laid_out_anew_reads_the_same() -> None:
    tasks = [{"title": "a", "due": "2031-05-06"}, {"title": "b", "labels": ["x"], "due": "2031-05-06T09:00"}]
    tight = json.dumps({"format": "todo", "version": 1, "tasks": tasks}, separators=(",", ":"))
    first, second = read(own_json.read, tight), read(own_json.read, document(*tasks))
    assert first.tasks == second.tasks
    assert [one.due and one.due.value.isoformat() for one in first.tasks] == ["2031-05-06", "2031-05-06T07:00:00+00:00"]


def test_what_breaks_a_rule_is_mended_and_reported() -> None:
    strange = {
        "title": "x" * 600, "notes": "a\x00b", "zone": "Europe/Nowhere", "due": "2031-03-30T02:30:00", "priority": 9,
        "labels": ["l" * 60, *map(str, range(25))], "reminders": ["soon", "-PT1H", *(f"-P{n}D" for n in range(1, 25))],
        "recurrence": {"rule": "FREQ=SECONDLY"}, "created_at": "2999-01-01T00:00:00Z", "colour": "red",
    }  # fmt: skip
    found = read(own_json.read, document(strange))
    task = found.task
    assert (len(task.title), len(task.labels), len(task.reminders), task.priority) == (500, 20, 20, 4)
    assert task.notes == "x" * 600 + "\n\nab"
    assert task.due is not None
    assert task.due.zone == "Europe/Berlin"
    assert task.created_at == NOW
    assert {field for _, field in found.lost} == {
        *("title", "notes", "zone", "due", "priority", "labels", "reminders", "recurrence", "created_at", "colour"),
    }


def test_a_due_that_cannot_be_is_left_out_with_what_hangs_on_it() -> None:
    found = read(own_json.read, document({"title": "a", "due": "1066-10-14", "recurrence": {"rule": "FREQ=DAILY"}}))
    assert (found.task.due, found.checked[0].series) == (None, None)
    assert [field for _, field in found.lost] == ["due", "recurrence"]


def test_reminders_that_are_past_are_never_mailed() -> None:
    found = read(own_json.read, document({"title": "a", "due": "2026-11-25T12:30:00Z", "reminders": ["-PT1H", "PT0S"]}))
    assert [(one.reminder, one.past) for one in found.task.wanted] == [("-PT1H", True), ("PT0S", False)]


def test_a_dismissed_reminder_stays_dismissed() -> None:
    off = {"reminder": "PT0S", "fire_at": "2031-05-06T12:00:00Z"}
    task = {"title": "a", "due": "2031-05-06T12:00:00Z", "reminders": ["PT0S", "-PT1H"], "dismissed": [off]}
    assert [one.reminder for one in read(own_json.read, document(task)).task.wanted] == ["-PT1H"]


def test_a_later_occurrence_keeps_its_place_in_its_series() -> None:
    recurrence = {
        "rule": "FREQ=MONTHLY;COUNT=5", "series": "3f0e", "seq": 3, "first_seq": 2, "start": "2031-01-31",
        "zone": "Asia/Tokyo", "scheduled": "2031-05-31", "mode": "completion", "policy": "each",
    }  # fmt: skip
    checked = read(own_json.read, document({"title": "a", "due": "2031-06-02", "recurrence": recurrence})).checked[0]
    series = checked.series
    assert series is not None
    assert (series.rule, series.first_seq) == ("FREQ=MONTHLY;COUNT=5", 2)
    assert (series.start.zone, series.start.value.isoformat()) == ("Asia/Tokyo", "2031-01-31")
    scheduled = checked.task.scheduled
    assert scheduled is not None
    assert (checked.task.seq, scheduled.value.isoformat()) == (3, "2031-05-31")


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ({}, "title"),
        ({"title": 5}, "title"),
        ({"title": "a", "status": "skipped"}, "status"),
        ({"title": "a", "due": "soon"}, "due"),
        ({"title": "a", "labels": [1]}, "labels[...]"),
        ({"title": "a", "recurrence": {"rule": "FREQ=DAILY", "mode": "x"}}, "recurrence.mode"),
        ("a", "task"),
    ],
)
def test_a_task_that_cannot_be_read_is_told_with_its_line(task: Any, field: str) -> None:  # noqa: ANN401 - JSON
    found = read(own_json.read, document({"title": "before"}, task, {"title": "after"}))
    assert [one.title for one in found.tasks] == ["before", "after"]
    ((line, entry, where),) = [(one.line, one.entry, one.field) for one in found.broken]
    assert (line, entry) == (8, 2)
    assert field.partition("[")[0] in where or field == "title"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "begins with {"),
        ('{"tasks": []}', "format"),
        ('{"format": "todo", "version": 2, "tasks": []}', "version 2"),
        ('{"format": "todo", "version": 1, "tasks": [{"title": "a"},', "ends too early"),
        ('{"format": "todo", "version": 1}', ""),
    ],
)
def test_a_document_of_something_else_or_half_of_one_is_told(text: str, problem: str) -> None:
    end = read(own_json.read, text).end
    assert (end is None) == (not problem)
    assert problem in str(end)
