"""Vikunja's export, in the shape of its own test data."""

import datetime as dt
import io
import json
import struct
import zipfile
from typing import Any

import pytest

from tests.unit.backend.porting.files import Read, read
from todo.backend.porting import archive, markdown, vikunja
from todo.domain.due import Due
from todo.domain.task import Status

NONE = "0001-01-01T00:00:00Z"
PLAIN = {
    "id": 1, "title": "test project", "description": "", "done": False, "done_at": NONE, "due_date": NONE,
    "reminders": None, "project_id": 1, "repeat_after": 0, "repeat_mode": 0, "priority": 0, "start_date": NONE,
    "end_date": NONE, "assignees": None, "labels": [{"id": 1, "title": "test", "created_by": {"id": 1}}],
    "hex_color": "", "percent_done": 0, "identifier": "-1", "index": 1, "related_tasks": {}, "attachments": None,
    "is_favorite": False, "created": "2023-01-13T14:59:49Z", "updated": "2023-01-13T14:59:49Z", "bucket_id": 1,
    "position": 65536, "created_by": {"id": 1, "username": "test"}, "comments": [],
}  # fmt: skip


def export(*tasks: dict[str, Any], compression: int = zipfile.ZIP_DEFLATED, name: str = "data.json") -> bytes:
    projects = [
        {
            "id": 1,
            "title": "Inbox",
            "owner": None,
            "tasks": [PLAIN | task for task in tasks],
            "buckets": [{"tasks": None}],
        },
        {"id": 2, "title": "Empty", "tasks": None, "positions": [{"task_id": 1}] * 3},
    ]
    return packed({name: json.dumps(projects).encode(), "VERSION": b"v0.24.6", "filters.json": b"[]"}, compression)


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return target.getvalue()


def imported(*tasks: dict[str, Any]) -> Read:
    return read(vikunja.read, export(*tasks))


def test_a_plain_task_loses_nothing_and_is_in_the_list_of_its_project() -> None:
    found = imported({})
    task = found.task
    assert (task.title, task.labels, task.due, task.priority) == ("test project", ("test",), None, 4)
    assert task.created_at.isoformat() == "2023-01-13T14:59:49+00:00"
    assert (found.lost, found.broken, found.end) == ([], [], None)
    assert found.checked[0].entry.list_name == "Inbox"


def test_a_task_with_everything() -> None:
    found = imported(
        {
            "description": '<p>Buy <strong>this</strong>:</p><ul><li><p>milk</p></li><li data-checked="true">'
            'bread</li></ul><p><a href="https://example.org">shop</a> <img src="x"></p>',
            "done": True, "done_at": "2023-02-01T10:00:00+01:00", "due_date": "2023-02-01T09:00:00Z",
            "reminders": [
                {"reminder": "2023-02-01T08:00:00Z", "relative_period": -3600, "relative_to": "due_date"},
                {"reminder": "2023-01-01T08:00:00Z", "relative_period": 0, "relative_to": ""},
                {"reminder": "2023-01-02T08:00:00Z", "relative_period": -60, "relative_to": "start_date"},
            ],
            "priority": 3, "start_date": "2023-01-20T00:00:00Z", "percent_done": 0.5, "assignees": [{"id": 2}],
            "attachments": [{"id": 1}], "is_favorite": True, "comments": [{"comment": "<p>yes</p>"}],
            "related_tasks": {"parenttask": [{"title": "Shopping"}], "subtask": [{"title": "x"}], "blocked": [{}]},
        }
    )  # fmt: skip
    task, entry = found.task, found.checked[0].entry
    assert (entry.list_name, entry.parent_source) == ("Inbox", "vikunja/0/None")
    assert task.start == Due("Europe/Berlin", at=dt.datetime(2023, 1, 20, tzinfo=dt.UTC))
    assert task.notes == "Buy **this**:\n\n- milk\n- [x] bread\n\n[shop](https://example.org)\n\nyes"
    assert (task.status, task.priority) == (Status.DONE, 2)
    assert task.reminders == ("-PT1H", "2023-01-01T08:00:00Z", "2023-01-02T08:00:00Z")
    assert sorted(field for _, field in found.lost) == [
        *("assignees", "attachments", "comments", "description", "is_favorite", "percent_done"),
        *("related_tasks", "reminders"),
    ]


@pytest.mark.parametrize(
    ("after", "mode", "rule"),
    [
        (86_400, 0, ("FREQ=DAILY", "due")),
        (3 * 86_400, 2, ("FREQ=DAILY;INTERVAL=3", "completion")),
        (14 * 86_400, 0, ("FREQ=WEEKLY;INTERVAL=2", "due")),
        (7200, 0, ("FREQ=HOURLY;INTERVAL=2", "due")),
        (0, 1, ("FREQ=MONTHLY", "due")),
        (90, 0, None),
        (-5, 0, None),
    ],
)
def test_each_way_to_repeat(after: int, mode: int, rule: tuple[str, str] | None) -> None:
    found = imported({"due_date": "2031-02-01T09:00:00Z", "repeat_after": after, "repeat_mode": mode})
    series = found.checked[0].series
    assert (series and (series.rule, series.mode.value)) == rule
    assert ("repeat_after" in [field for _, field in found.lost]) == (after == 90)


@pytest.mark.parametrize(
    ("theirs", "ours", "told"), [(5, 1, False), (4, 1, True), (3, 2, False), (2, 3, False), (1, 3, True), (9, 4, True)]
)
def test_each_priority(theirs: int, ours: int, *, told: bool) -> None:
    found = imported({"priority": theirs})
    assert found.task.priority == ours
    assert ("priority" in [field for _, field in found.lost]) == told


def test_a_task_that_cannot_be_read_is_told() -> None:
    found = imported({"title": 5}, {"title": "b"})
    assert [(one.entry, one.field) for one in found.broken] == [(1, "title")]
    assert found.task.title == "b"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "no zip"),
        (b"PK\x05\x06", "no zip"),
        (b"PK\x05\x06" + b"\xff" * 18, "ZIP64|more than|no zip"),
        (export({})[:-40], "no zip"),
        (export({}, name="other.json"), "no data.json"),
        (export({}, name="../data.json"), "no data.json"),
        (export({}, compression=zipfile.ZIP_LZMA), "packed in a way"),
        (export({}).replace(b"PK\x01\x02", b"PK\x01\x03", 1), "damaged"),
        (packed({"data.json": b"[1]"}), "expected"),
        (packed({"data.json": b"[{"}), "ends too early"),
        (packed({f"files/{n}": b"" for n in range(70)} | {"data.json": b"[]"}), ""),
    ],
)
def test_an_archive_that_is_none_is_told(file: bytes, problem: str) -> None:
    found = read(vikunja.read, file)
    assert (found.end is None) == (not problem)
    assert any(one in str(found.end) for one in problem.split("|"))


def test_a_bomb_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1_000_000)
    bomb = packed({"data.json": b"[" + b" " * 50_000_000 + b"]"})
    assert len(bomb) < 100_000
    assert "unpacks to more than 1,000,000 bytes" in str(read(vikunja.read, bomb).end)


def test_an_archive_of_very_many_files_is_refused_before_its_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 10)
    many = packed({f"files/{n}": b"" for n in range(11)} | {"data.json": b"[]"})
    assert "more than 10 files" in str(read(vikunja.read, many).end)
    monkeypatch.setattr(archive, "MAX_ENTRIES", 20)
    assert read(vikunja.read, many).end is None


def test_an_archive_that_lies_of_its_sizes_is_told() -> None:
    file = bytearray(export({"description": "x" * 5000}))
    local, directory = file.index(b"PK\x03\x04"), file.index(b"PK\x01\x02")
    struct.pack_into("<L", file, local + 22, 10)
    struct.pack_into("<L", file, directory + 24, 10)  # the unpacked size
    assert "damaged" in str(read(vikunja.read, bytes(file)).end) or read(vikunja.read, bytes(file)).end is not None


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain < text & more", "plain < text & more"),
        ("<p>a</p><p>b &amp; c</p>", "a\n\nb & c"),
        ("a<br>b", "a\nb"),
        ("<h2>Head</h2><p><em>x</em> <code>y</code></p>", "## Head\n\n*x* `y`"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ("<script>alert(1)</script><p>x</p>", "x"),
        ("<p>never closed", "never closed"),
        ("</p></a></script>x<b>", "x**"),
    ],
)
def test_html_becomes_markdown(html: str, text: str) -> None:
    assert markdown.from_html(html)[0] == text
