"""Todoist's CSV, in the columns that its help pages name."""

import datetime as dt

import pytest

from tests.unit.backend.porting.files import NOW, read
from todo.backend.porting import todoist, todoist_dates
from todo.domain.due import Due

HEAD = (
    "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE,DURATION,DURATION_UNIT,"
    "DEADLINE,DEADLINE_LANG\r\n"
)
PROJECT = (
    "meta,view_style=list,,,,,,,,,,,,\r\n"
    "task,Repot the basil @garden @weekend,Terracotta pot,1,1,Kai (1),,Oct 5 2027,en,Africa/Cairo,30,minute,,\r\n"
    "task,Buy compost,,4,2,Kai (1),Bob (2),,en,Africa/Cairo,,None,,\r\n"
    'note,"Get the peat-free one, please",,,,Kai (1),,,,,,,,\r\n'
    ",,,,,,,,,,,,,\r\n"
    "section,Weekly,,,,,,,,,,,,\r\n"
    "task,Water the ferns,,2,1,Kai (1),,every monday at 9am,en,Africa/Cairo,,None,,\r\n"
    "task,mail bob@example.org,,3,1,Kai (1),,when the moon is blue,en,,,,Oct 9 2027,en\r\n"
)


def test_a_project() -> None:
    found = read(todoist.read, "\ufeff" + HEAD + PROJECT)
    assert [one.title for one in found.tasks] == [
        *("Repot the basil", "Buy compost", "Water the ferns", "mail bob@example.org"),
    ]
    basil, compost, ferns, mail = found.tasks
    assert (basil.labels, basil.notes, basil.priority) == (("garden", "weekend"), "Terracotta pot", 1)
    assert basil.due == Due("Africa/Cairo", date=dt.date(2027, 10, 5))
    assert (compost.notes, compost.priority) == ("Get the peat-free one, please", 4)
    assert ferns.due == Due("Africa/Cairo", at=dt.datetime(2026, 11, 30, 7, tzinfo=dt.UTC))
    assert [one.entry.list_name for one in found.checked] == ["", "", "Weekly", "Weekly"]
    assert [one.entry.parent_source for one in found.checked] == ["", "hash of the file/1", "", ""]
    assert [one.place for one in found.tasks] == sorted(one.place for one in found.tasks)
    series = found.checked[2].series
    assert series is not None
    assert series.rule == "FREQ=WEEKLY;BYDAY=MO"
    assert mail.notes == "Date in Todoist: when the moon is blue\n\nDeadline: Oct 9 2027"
    assert found.lost == [
        *((3, "duration"), (4, "responsible"), (5, "note"), (9, "date"), (9, "deadline")),
    ]
    assert (found.broken, found.end) == ([], None)


def test_rows_of_the_same_file_are_the_same_tasks() -> None:
    first, second = read(todoist.read, HEAD + PROJECT), read(todoist.read, HEAD + PROJECT)
    assert [one.id for one in first.tasks] == [one.id for one in second.tasks]
    assert len({one.id for one in first.tasks}) == 4


def test_a_row_of_another_kind_is_told_with_its_line() -> None:
    found = read(todoist.read, HEAD + "task,a,,,,,,,,,,,,\r\nsong,b,,,,,,,,,,,,\r\n")
    assert [(one.line, one.entry, one.field) for one in found.broken] == [(3, 2, "type")]


WEDNESDAY = dt.date(2026, 11, 25)  # the day of NOW


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2027-03-01", "2027-03-01"),
        ("2027-03-01 15:30", "2027-03-01T15:30:00"),
        ("2027-03-01T15:30:00Z", "2027-03-01T15:30:00+00:00"),
        ("Oct 5 2027", "2027-10-05"),
        ("5 Oct 2027", "2027-10-05"),
        ("5th october", "2027-10-05"),
        ("Dec 24", "2026-12-24"),
        ("today", "2026-11-25"),
        ("tomorrow at 6pm", "2026-11-26T18:00:00"),
        ("tomorrow 18:00", "2026-11-26T18:00:00"),
        ("fri", "2026-11-27"),
        ("12am", "2026-11-25T00:00:00"),
        ("12:30 pm", "2026-11-25T12:30:00"),
    ],
)
def test_each_form_of_a_date(text: str, due: str) -> None:
    found = todoist_dates.read(text, "en", "Europe/Berlin", NOW)
    assert found is not None
    assert (found.due.isoformat(), found.rule) == (due, "")


@pytest.mark.parametrize(
    ("text", "due", "rule", "mode"),
    [
        ("every day", "2026-11-25", "FREQ=DAILY", "due"),
        ("daily", "2026-11-25", "FREQ=DAILY", "due"),
        ("every day at 9am", "2026-11-26T09:00:00", "FREQ=DAILY", "due"),
        ("every day at 18:00", "2026-11-25T18:00:00", "FREQ=DAILY", "due"),
        ("every! 2 weeks", "2026-11-25", "FREQ=WEEKLY;INTERVAL=2", "completion"),
        ("every other month", "2026-11-25", "FREQ=MONTHLY;INTERVAL=2", "due"),
        ("every mon, thu at 9:00", "2026-11-26T09:00:00", "FREQ=WEEKLY;BYDAY=MO,TH", "due"),
        ("every monday and friday", "2026-11-27", "FREQ=WEEKLY;BYDAY=MO,FR", "due"),
        ("every weekday", "2026-11-25", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "due"),
        ("every 15th", "2026-12-15", "FREQ=MONTHLY;BYMONTHDAY=15", "due"),
        ("every last day", "2026-11-30", "FREQ=MONTHLY;BYMONTHDAY=-1", "due"),
        ("every 3rd friday", "2026-12-18", "FREQ=MONTHLY;BYDAY=3FR", "due"),
        ("every last friday", "2026-11-27", "FREQ=MONTHLY;BYDAY=-1FR", "due"),
        ("every 24 dec", "2026-12-24", "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24", "due"),
        ("ev year", "2026-11-25", "FREQ=YEARLY", "due"),
    ],
)
def test_each_form_of_a_repetition(text: str, due: str, rule: str, mode: str) -> None:
    found = todoist_dates.read(text, "en", "Europe/Berlin", NOW)
    assert found is not None
    assert (found.due.isoformat(), found.rule, found.mode) == (due, rule, mode)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("when the moon is blue", "en"),
        ("every day starting 3 may", "en"),
        ("every", "en"),
        ("every 0 days", "en"),
        ("every 99th", "en"),
        ("Feb 30 2027", "en"),
        ("25:00", "en"),
        ("2027-02-30", "en"),
        ("jeden Tag", "de"),
        ("morgen", "de"),
        ("", "de"),
    ],
)
def test_what_is_not_understood_is_not_guessed_at(text: str, language: str) -> None:
    assert todoist_dates.read(text, language, "Europe/Berlin", NOW) is None


def test_a_day_is_understood_in_any_language() -> None:
    found = todoist_dates.read("2027-03-01 15:30", "de", "Europe/Berlin", NOW)
    assert found is not None
    assert found.due.isoformat() == "2027-03-01T15:30:00"
