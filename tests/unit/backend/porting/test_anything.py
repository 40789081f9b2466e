"""Whatever is in a file: nothing fails, and what comes of it can be stored."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import Read, read
from tests.unit.backend.porting.test_vikunja import PLAIN, packed
from todo.backend.porting import ics, own, own_csv, own_json, todoist, vikunja
from todo.backend.store.rows import series_values, task_values
from todo.domain.task import check_labels, check_notes, check_title

BIGINT = 2**31
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["", "2031-05-06", "2031-05-06T09:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1066-01-01",
     "2031-03-30T02:30", "Europe/Berlin", "../../etc/passwd", "-PT1H", "-P999D", "FREQ=DAILY", "FREQ=HOURLY;COUNT=3",
     "every day", "every mon at 9", "\x00", "5 may 0000", "P99999DT99999999M", "due", "each", "done"]
)  # fmt: skip
NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-3, 9)
VALUES: st.SearchStrategy[Any] = st.none() | st.booleans() | NUMBERS | TEXTS | st.lists(TEXTS, max_size=4)


def fields(names: Any, values: Any = VALUES) -> st.SearchStrategy[dict[str, Any]]:  # noqa: ANN401 - names and strategies
    return st.dictionaries(st.sampled_from(sorted(names)), values, max_size=8)


RECURRENCES = fields(own.OwnRecurrence.__struct_fields__).map(lambda one: {"rule": "FREQ=DAILY"} | one)


def check_storable(found: Read) -> None:
    for one in found.checked:
        task = one.task
        assert (check_title(task.title), check_notes(task.notes)) == (task.title, task.notes)
        assert check_labels(task.labels) == task.labels
        numbers = [value for value in task_values(task) if isinstance(value, int)]
        numbers += [value for value in series_values(one.series) if isinstance(value, int)] if one.series else []
        assert all(abs(number) < BIGINT for number in numbers)


@given(fields(own.OwnTask.__struct_fields__), st.none() | RECURRENCES, TEXTS)
def test_json(task: dict[str, Any], recurrence: dict[str, Any] | None, due: str) -> None:
    task = {"title": "t", "due": due} | task | ({"recurrence": recurrence} if recurrence else {})
    document = json.dumps({"format": "todo", "version": 1, "tasks": [task]})
    found = read(own_json.read, document)
    assert len(found.checked) + len(found.broken) == 1
    check_storable(found)


@given(st.lists(fields(own_csv.COLUMNS, TEXTS), max_size=3))
def test_csv(rows: list[dict[str, str]]) -> None:
    cells = [[row.get(name, "") for name in own_csv.COLUMNS] for row in rows]
    check_storable(read(own_csv.read, own_csv.head() + own_csv._written(cells)))


@given(st.lists(fields(todoist._COLUMNS, TEXTS), max_size=3))
def test_todoist(rows: list[dict[str, str]]) -> None:
    cells = [[({"type": "task"} | row).get(name, "") for name in todoist._COLUMNS] for row in rows]
    check_storable(read(todoist.read, own_csv._written([todoist._COLUMNS, *cells])))


@given(fields(vikunja._Task.__struct_fields__))
def test_vikunja(task: dict[str, Any]) -> None:
    found = read(vikunja.read, packed({"data.json": json.dumps([{"title": "p", "tasks": [PLAIN | task]}]).encode()}))
    assert len(found.checked) + len(found.broken) == 1
    check_storable(found)


@given(st.lists(st.tuples(st.sampled_from(["DUE", "DTSTART", "DURATION", "RRULE", "TRIGGER", "PRIORITY", "STATUS",
                                           "X-TODO-SERIES;SEQ=3;FIRST-SEQ=2", "X-TODO-REMINDER", "COMPLETED"]),
                          TEXTS | st.sampled_from(["20310506", "99991231T235959Z", "00010101", "P9999W", "-P1D"])),
                max_size=6))  # fmt: skip
def test_icalendar(properties: list[tuple[str, str]]) -> None:

    lines = [f"{name}:{value}" for name, value in properties]
    body = "\n".join(["BEGIN:VCALENDAR", "BEGIN:VTODO", "SUMMARY:a", *lines, "END:VTODO", "END:VCALENDAR"])
    check_storable(read(ics.read, body.encode(errors="ignore")))
