"""iCalendar as real programs write it, and as it is written here."""

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import BERLIN, NOW, Read, read
from todo.backend.porting import ics, zones
from todo.domain import position as positions
from todo.domain import series as series_rules
from todo.domain import task as task_rules
from todo.domain.due import Due
from todo.domain.recurrence import parse_rule
from todo.domain.series import Repetition
from todo.domain.task import Status, Task

# As tasks.org, Nextcloud Tasks and Apple's Reminders write it, after their public sources and samples.
TASKS_ORG = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:+//IDN tasks.org//android-130102//EN
BEGIN:VTODO
DTSTAMP:20230402T074158Z
UID:4290517349243274514
CREATED:20230402T060451Z
LAST-MODIFIED:20230402T074154Z
SUMMARY:Water the plants
PRIORITY:9
CATEGORIES:home\\,garden
CATEGORIES:weekly
X-APPLE-SORT-ORDER:697384109
DUE;TZID=Europe/Berlin:20230402T170001
DTSTART;TZID=Europe/Berlin:20230401T090000
RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO
BEGIN:VALARM
TRIGGER;RELATED=END:PT0S
ACTION:DISPLAY
DESCRIPTION:Default Tasks.org description
END:VALARM
BEGIN:VALARM
TRIGGER;VALUE=DATE-TIME:20230402T100000Z
ACTION:DISPLAY
DESCRIPTION:Default Tasks.org description
END:VALARM
END:VTODO
BEGIN:VTIMEZONE
TZID:Europe/Berlin
LAST-MODIFIED:20220816T024022Z
BEGIN:DAYLIGHT
TZNAME:CEST
DTSTART:19810329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE
END:VCALENDAR
"""
NEXTCLOUD = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Nextcloud Tasks v0.16.1
X-WR-CALNAME:Household
BEGIN:VTODO
CATEGORIES:tag1,tag2
CREATED:20250404T143018
DTSTAMP:20250405T054613
DUE:20250407T180000
LAST-MODIFIED:20250405T054613
SUMMARY:a test task
STATUS:IN-PROCESS
PERCENT-COMPLETE:25
RELATED-TO:parent-uid
LOCATION:Cellar
URL:https://example.org/1
UID:93cf66e2-9a70-4a7b-b350-0feddb9cf37c
END:VTODO
END:VCALENDAR
"""
APPLE = """BEGIN:VCALENDAR
CALSCALE:GREGORIAN
PRODID:-//Apple Inc.//iOS 18.0.1//EN
VERSION:2.0
BEGIN:VTODO
COMPLETED:20241016T020342Z
CREATED:20241014T211812Z
DTSTAMP:20241027T214435Z
DTSTART;TZID=Europe/Berlin:20241015T100000
DUE;TZID=Europe/Berlin:20241015T100000
LAST-MODIFIED:20241016T020342Z
PERCENT-COMPLETE:100
STATUS:COMPLETED
SUMMARY:Chop Saw
UID:F87D9736-8ADE-47E4-AC46-638B5C86E7D0
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:Reminder
TRIGGER;VALUE=DATE-TIME:20241015T080000Z
UID:4A0D
X-WR-ALARMUID:4A0D
END:VALARM
BEGIN:VALARM
ACTION:NONE
TRIGGER;VALUE=DATE-TIME:19760401T005545Z
END:VALARM
END:VTODO
END:VCALENDAR
"""


def todo(*lines: str) -> str:
    return "\r\n".join(
        ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VTODO", "UID:u", *lines, "END:VTODO", "END:VCALENDAR", ""]
    )


def test_a_task_of_tasks_org() -> None:
    found = read(ics.read, TASKS_ORG)
    task, series = found.task, found.checked[0].series
    assert (task.title, task.priority, task.labels) == ("Water the plants", 3, ("home,garden", "weekly"))
    assert task.due == Due("Europe/Berlin", at=dt.datetime(2023, 4, 2, 15, 0, 1, tzinfo=dt.UTC))
    assert task.reminders == ("PT0S", "2023-04-02T10:00:00Z")
    assert all(one.past for one in task.instances)
    assert series is not None
    assert (series.rule, series.start) == ("FREQ=WEEKLY;BYDAY=MO", task.due)
    assert task.start == Due("Europe/Berlin", at=dt.datetime(2023, 4, 1, 7, tzinfo=dt.UTC))
    sorted_at = dt.datetime(2001, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=697384109)
    assert task.position == positions.at(sorted_at, task.id)
    assert found.lost == [(16, "RRULE")]


def test_a_task_of_nextcloud() -> None:
    found = read(ics.read, NEXTCLOUD)
    task = found.task
    assert (task.title, task.labels, task.status) == ("a test task", ("tag1", "tag2"), Status.OPEN)
    assert (found.checked[0].entry.list_name, found.checked[0].entry.parent_source) == ("Household", "ics/parent-uid")
    assert task.due == Due("Europe/Berlin", at=dt.datetime(2025, 4, 7, 16, tzinfo=dt.UTC))
    assert task.notes == "Location: Cellar\n\nURL: https://example.org/1"
    assert [field for _, field in found.lost] == ["STATUS", "PERCENT-COMPLETE", "LOCATION", "URL"]


def test_what_goes_into_the_notes_comes_after_them_wherever_it_stands() -> None:
    found = read(ics.read, todo("URL:https://example.org", "SUMMARY:a", "DESCRIPTION:one\\ntwo", "LOCATION:here"))
    assert found.task.notes == "one\ntwo\n\nURL: https://example.org\n\nLocation: here"


def test_a_reminder_of_apples() -> None:
    found = read(ics.read, APPLE)
    task = found.task
    assert (task.title, task.status, task.reminders) == ("Chop Saw", Status.DONE, ("2024-10-15T08:00:00Z",))
    assert task.closed_at == dt.datetime(2024, 10, 16, 2, 3, 42, tzinfo=dt.UTC)
    assert (task.wanted, found.losses) == ((), [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DUE;VALUE=DATE:20310506", Due("Europe/Berlin", date=dt.date(2031, 5, 6))),
        ("DUE:20310506", Due("Europe/Berlin", date=dt.date(2031, 5, 6))),
        ("DUE:20310506T120000Z", Due("Europe/Berlin", at=dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC))),
        ("DUE:20310506T120000", Due("Europe/Berlin", at=dt.datetime(2031, 5, 6, 10, tzinfo=dt.UTC))),
        ("DUE;TZID=Asia/Tokyo:20310506T120000", Due("Asia/Tokyo", at=dt.datetime(2031, 5, 6, 3, tzinfo=dt.UTC))),
        (
            'DUE;TZID="/freeassociation.sourceforge.net/Asia/Tokyo":20310506T120000',
            Due("Asia/Tokyo", at=dt.datetime(2031, 5, 6, 3, tzinfo=dt.UTC)),
        ),
    ],
)
def test_each_form_of_a_date(line: str, expected: Due) -> None:
    found = read(ics.read, todo("SUMMARY:a", line))
    assert (found.task.due, found.losses) == (expected, [])


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (["DUE;TZID=W. Europe Standard Time:20310506T120000"], "DUE"),
        (["DUE:tomorrow"], "DUE"),
        (["PRIORITY:3"], "PRIORITY"),
        (["PRIORITY:high"], "PRIORITY"),
        (["STATUS:CANCELLED"], "STATUS"),
        (["DUE:20310506", "RRULE:FREQ=MINUTELY"], "recurrence"),
        (["RRULE:FREQ=DAILY"], "recurrence"),
        (["DTSTART:20310506", "RRULE:FREQ=DAILY"], "DTSTART"),
        (["DUE:20310506", "RRULE:FREQ=DAILY", "EXDATE:20310507"], "EXDATE"),
        (["STATUS:COMPLETED", "DUE:20210506", "RRULE:FREQ=DAILY"], "recurrence"),
        (["ATTACH:https://example.org/a.pdf"], "ATTACH"),
        (["X-SOMETHING:else"], "X-SOMETHING"),
        (["BEGIN:VALARM", "ACTION:DISPLAY", "END:VALARM"], "VALARM"),
        (["BEGIN:VALARM", "TRIGGER:-PT1H", "END:VALARM"], "TRIGGER"),
        (["DUE:20310506T120000Z", "BEGIN:VALARM", "TRIGGER:-PT1H", "REPEAT:3", "END:VALARM"], "REPEAT"),
        (["SUMMARY:"], "title"),
    ],
)
def test_nothing_is_lost_without_a_word(lines: list[str], field: str) -> None:
    found = read(ics.read, todo("SUMMARY:a", *lines) if lines != ["SUMMARY:"] else todo(*lines))
    assert field in [name for _, name in found.lost]
    assert len(found.tasks) == 1


@pytest.mark.parametrize(
    ("lines", "reminder"),
    [
        (["DUE:20310506T120000Z", "TRIGGER:-PT15M"], "-PT15M"),
        (["DUE:20310506T120000Z", "TRIGGER:-P1W"], "-P7D"),
        (["DUE;VALUE=DATE:20310506", "TRIGGER;RELATED=END:PT9H"], "PT0S"),
        (["DUE;VALUE=DATE:20310506", "TRIGGER;RELATED=END:-PT15H"], "-P1D"),
        (["DUE;VALUE=DATE:20310506", "TRIGGER;RELATED=END:-P1D"], "-P1DT9H"),
        (["DTSTART:20310506T100000Z", "DUE:20310506T120000Z", "TRIGGER:-PT15M"], "-PT2H15M"),
        (["DTSTART:20310506T100000Z", "DUE:20310506T120000Z", "TRIGGER;RELATED=END:-PT15M"], "-PT15M"),
        (["TRIGGER;VALUE=DATE-TIME:20310506T100000Z"], "2031-05-06T10:00:00Z"),
    ],
)
def test_an_alarm_fires_when_it_would_have_fired(lines: list[str], reminder: str) -> None:
    dates = [line for line in lines if not line.startswith("TRIGGER")]
    alarm = ["BEGIN:VALARM", "ACTION:DISPLAY", *lines[len(dates) :], "END:VALARM"]
    assert read(ics.read, todo("SUMMARY:a", *dates, *alarm)).task.reminders == (reminder,)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        ("SUMMARY:a\r\n", 1),
        ("BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\n", 2),
        ("BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nEND:VCALENDAR\r\n", 3),
        ("BEGIN:VCALENDAR\r\nnonsense\r\nEND:VCALENDAR\r\n", 2),
    ],
)
def test_a_file_that_is_none_is_told_with_its_line(text: str, line: int) -> None:
    end = read(ics.read, text).end
    assert end is not None
    assert end.line == line


def test_a_broken_line_breaks_its_task_alone() -> None:
    text = todo("SUMMARY:a", "nonsense") + todo("SUMMARY:b").replace("UID:u", "UID:v")
    found = read(ics.read, text)
    assert [(one.line, one.entry) for one in found.broken] == [(6, 1)]
    assert found.task.title == "b"


def test_events_are_no_tasks() -> None:
    event = "BEGIN:VEVENT\r\nSUMMARY:party\r\nnonsense\r\nBEGIN:VALARM\r\nEND:VALARM\r\nEND:VEVENT\r\n"
    found = read(ics.read, todo("SUMMARY:a").replace("BEGIN:VTODO", event + "BEGIN:VTODO"))
    assert (found.task.title, found.lost) == ("a", [(3, "VEVENT")])


RULES = [
    "FREQ=MONTHLY;COUNT=7;BYDAY=-1FR", "FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;WKST=SU",
    "FREQ=YEARLY;BYMONTH=1;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1", "FREQ=DAILY;UNTIL=20401231T225959Z",
    "FREQ=YEARLY;UNTIL=20401231;BYWEEKNO=20;BYDAY=MO",
]  # fmt: skip
ZONES = ["Europe/Berlin", "UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca"]
INSTANTS = st.datetimes(dt.datetime(1975, 1, 1), dt.datetime(2150, 1, 1)).map(  # noqa: DTZ001 - UTC is put on
    lambda at: at.replace(microsecond=0, tzinfo=dt.UTC)
)
LINE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)


@st.composite
def dues(draw: st.DrawFn) -> Due:
    zone, at = draw(st.sampled_from(ZONES)), draw(INSTANTS)
    return Due(zone, at=at) if draw(st.booleans()) else Due(zone, date=at.date())


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Task, Any]:
    """An open task with everything that a VTODO has a place for."""
    due = draw(st.none() | dues())
    reminders = st.sampled_from(["PT0S", "-PT1H", "-P1D", "P2DT3H", "-PT1M30S", "-PT1H1S", "2031-05-06T10:00:00Z"])
    notes = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=99)
    task = Task(
        id=uuid4(),
        user_id=BERLIN.id,
        title=draw(LINE),
        notes=draw(notes),
        due=due,
        start=_start(draw, due),
        position=positions.at(draw(INSTANTS), uuid4()),
        parent_id=draw(st.none() | st.uuids()),
        priority=draw(st.integers(1, 4)),
        labels=tuple(draw(st.lists(LINE, max_size=3, unique=True))),
        reminders=tuple(draw(st.lists(reminders, max_size=4, unique=True))),
        created_at=NOW,
        updated_at=NOW,
    )
    if due is None or task.parent_id or draw(st.booleans()):
        return task_rules.remind(task, NOW), None
    rule = Repetition(draw(st.sampled_from(RULES)))
    start = Due(due.zone, at=due.at and due.at.replace(year=1974), date=due.date and due.date.replace(year=1974, day=1))
    series = series_rules.start_series(uuid4(), BERLIN.id, rule, start)
    later = draw(st.integers(1, 7))
    return task_rules.remind(_occurrence(task, series.id, later), NOW), series


def _start(draw: st.DrawFn, due: Due | None) -> Due | None:
    """None, or at most as late as due, in its zone."""
    own = draw(st.none() | dues())
    if own is None or due is None:
        return own
    start = replace(own, zone=due.zone)
    return due if start.begins > due.sort_key else start


def _occurrence(task: Task, series_id: Any, seq: int) -> Task:  # noqa: ANN401 - a UUID
    return replace(task, series_id=series_id, seq=seq, scheduled=task.due)


@given(st.lists(tasks(), max_size=3))
def test_what_is_written_reads_as_it_was(written: list[tuple[Task, Any]]) -> None:
    octets = ics.head([]) + ics.body(written, {}, NOW) + ics.foot()
    found = read(ics.read, octets)
    assert (found.losses, found.broken, found.end) == ([], [], None)
    for (task, series), one in zip(written, found.checked, strict=True):
        assert _content(one.task) == _content(task)
        assert one.entry.parent_source == (f"todo/{task.parent_id}" if task.parent_id else "")
        assert (one.series is None) == (series is None)
        if series and one.series:
            assert (one.series.rule, one.series.start) == (series.rule, series.start)
            assert (one.task.seq, one.task.scheduled) == (task.seq, task.scheduled)


def _content(task: Task) -> list[Any]:
    reminders = sorted(task.reminders), sorted(task.instances, key=lambda one: one.reminder)
    place = task.start, task.position
    return [task.title, task.notes, task.due, place, task.priority, task.labels, reminders, task.status]


def test_for_other_programs_a_rule_counts_what_is_left_of_it() -> None:
    start = Due("UTC", at=NOW)
    series = series_rules.start_series(uuid4(), 7, Repetition("FREQ=DAILY;COUNT=5"), start)
    task = Task(id=uuid4(), user_id=7, title="a", created_at=NOW, updated_at=NOW, due=start)
    octets = ics.head([]) + ics.body([(_occurrence(task, series.id, 3), series)], {}, NOW) + ics.foot()
    assert b"RRULE:FREQ=DAILY;COUNT=3\r\n" in octets
    edited = read(ics.read, octets.replace(b"COUNT=3\r\n", b"COUNT=9\r\n")).checked[0]
    assert edited.series is not None
    assert (edited.series.rule, edited.task.seq) == ("FREQ=DAILY;COUNT=9", 1)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Casablanca", "America/Caracas", "Asia/Tokyo"])
def test_a_zone_is_told_with_every_change_of_its_clocks(zone: str) -> None:
    lines = zones.vtimezone(zone, 2000, 2035).decode().replace("\r\n ", "").split("\r\n")
    changes = _changes(lines)
    for day in range(0, 35 * 365, 3):
        at = dt.datetime(2000, 1, 2, 12, tzinfo=dt.UTC) + dt.timedelta(days=day)
        expected = at.astimezone(ics_zone(zone)).utcoffset()
        assert [offset for since, offset in changes if since <= at][-1] == expected, at


def ics_zone(name: str) -> Any:  # noqa: ANN401 - a tzinfo
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - one use

    return ZoneInfo(name)


def _changes(lines: list[str]) -> list[tuple[dt.datetime, dt.timedelta]]:
    """(instant, offset from then on), as a reader of the component has it."""
    found, walls, before = [], [], dt.timedelta()
    for line in lines:
        name, _, value = line.partition(":")
        if name in {"DTSTART", "RDATE"}:
            walls += [dt.datetime.strptime(one, "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC) for one in value.split(",")]
        elif name == "TZOFFSETFROM":
            before = _offset(value)
        elif name == "TZOFFSETTO":
            found += [(wall - before, _offset(value)) for wall in walls]
            walls = []
    return sorted(found)


def _offset(text: str) -> dt.timedelta:
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return dt.timedelta(minutes=-minutes if text[0] == "-" else minutes, seconds=0)


@given(st.text(max_size=300))
def test_no_text_is_more_than_it_can_take(text: str) -> None:
    found: Read = read(ics.read, f"BEGIN:VCALENDAR\nBEGIN:VTODO\n{text}".encode(errors="ignore"))
    assert found.end is not None


def test_a_rule_that_was_read_is_the_rule_that_was_written() -> None:
    for rule in RULES:
        found = read(ics.read, todo("SUMMARY:a", "DUE;TZID=Europe/Berlin:20310506T120000", f"RRULE:{rule}")).checked[0]
        assert found.series is not None
        assert found.series.rule == parse_rule(rule).text
