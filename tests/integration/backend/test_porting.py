"""Import and export, each format there and back, on a real database."""

import asyncio
import csv
import io
import json
import re
from typing import Any

import pytest

from tests.integration.backend.porting import export, import_all, import_file, tasks_of
from tests.integration.backend.service import Api, Running, client
from tests.support.waiting import until
from todo.backend.api import porting, requests

DUE = {"due_at": "2031-05-06T14:00:00+02:00", "zone": "Europe/Berlin"}
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STAMPS = re.compile(r"DTSTAMP:\w+")
NASTY = '=HYPERLINK("http://evil")'


async def furnish(api: Api) -> None:
    """A task of every kind."""
    await api.task(title="Plain")
    await api.task(title=NASTY, notes='+1\r\n\'=2\ttab, comma; semicolon \\ backslash "quote"\n- item 🌱', priority=2)
    await api.task(title="@home", labels=["a, b", "c\\d", "=e", "ü"], priority=1, reminders=["-PT1H", "PT0S"], **DUE)
    await api.task(title="A day", due_date="2031-05-06", zone="Asia/Tokyo", reminders=["-P1D", "-PT30M"], priority=3)
    await api.task(title="In UTC", due_at="2031-05-06T12:00:00Z", zone="UTC", reminders=["2031-05-01T08:00:00Z"])
    await api.task(title="No due", reminders=["-PT15M"])
    done = await api.task(title="Done", notes="n" * 3000, **DUE)
    await api.post(f"/tasks/{done['id']}/complete")
    rule = {"rule": "FREQ=MONTHLY;COUNT=7;BYDAY=-1FR", "mode": "due", "policy": "each"}
    await api.task(title="Repeats", recurrence=rule, **DUE)
    later = await api.task(
        title="Later", recurrence={"rule": "FREQ=DAILY", "mode": "completion"}, due_date="2031-05-06"
    )
    await api.call("PATCH", f"/tasks/{later['id']}", {"due_date": "2031-05-09"}, if_match="*")
    gone = await api.task(title="Gone")
    await api.call("DELETE", f"/tasks/{gone['id']}")


def modulo_ids(kind: str, text: str) -> Any:  # noqa: ANN401 - to be compared
    """An export without what differs from one account to the next."""
    plain = STAMPS.sub("DTSTAMP", UUIDS.sub("ID", text.replace("\r\n ", "")))
    if kind == "json":
        return sorted(json.dumps(one) for one in json.loads(plain)["tasks"])
    if kind == "csv":
        return sorted(plain.replace("\r\n", "\n").split("\n"))
    return sorted(plain.removesuffix("END:VCALENDAR\r\n").split("BEGIN:VTODO"))


@pytest.mark.parametrize("kind", ["json", "csv", "ics"])
async def test_what_was_exported_imports_into_an_empty_account_as_it_was(api: Api, service: Running, kind: str) -> None:
    await furnish(api)
    before = await export(api, kind)
    async with client(service) as other:
        report = await import_all(other, kind, before)
        assert (report.losses, report.broken) == ([], [])
        assert (report.done["tasks"], report.done["imported"]) == (9, 9)
        assert modulo_ids(kind, await export(other, kind)) == modulo_ids(kind, before)
        assert len(await tasks_of(other)) == 9


@pytest.mark.parametrize("kind", ["json", "csv", "ics"])
async def test_nothing_is_imported_twice(api: Api, service: Running, kind: str) -> None:
    await furnish(api)
    file = await export(api, kind)
    own = await import_all(api, kind, file)
    assert (own.done["imported"], own.done["already_there"]) == (0, 9)
    async with client(service) as other:
        await import_all(other, kind, file)
        before = await export(other, "json")
        dry = await import_file(other, kind, file)
        assert (dry.done["already_there"], dry.done["imported"]) == (9, 0)
        again = await import_all(other, kind, file)
        assert (again.done["imported"], again.done["already_there"]) == (0, 9)
        assert modulo_ids("json", await export(other, "json")) == modulo_ids("json", before)


async def test_looking_writes_nothing_and_is_what_happens_unless_asked_otherwise(api: Api) -> None:
    report = await import_file(api, "csv", "title\nMilk\nBread\n")
    assert (report.done["dry_run"], report.done["tasks"], report.done["imported"]) == (True, 2, 0)
    assert "dry_run=false" in report.done["result"]
    assert await tasks_of(api) == []


async def test_of_a_file_with_something_broken_nothing_is_imported_unless_the_rest_is_asked_for(api: Api) -> None:
    file = "title,priority\nMilk,1\nBread,x\nButter,2\n"
    refused = await import_all(api, "csv", file)
    assert refused.broken == [(3, "priority: 'x' is no whole number")]
    assert (refused.done["imported"], refused.done["broken"]) == (0, 1)
    assert "nothing is imported" in refused.done["result"]
    assert await tasks_of(api) == []
    taken = await import_all(api, "csv", file, partial="true")
    assert (taken.done["imported"], taken.done["broken"]) == (2, 1)
    assert sorted(task["title"] for task in await tasks_of(api)) == ["Butter", "Milk"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", b"\x00"),
        ("json", b'{"format": "todo", "version": 1, "tasks": [{"title": "a"}'),
        ("csv", b"\xff\xfe"),
        ("ics", b"BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nSUMMARY:a\r\n"),
        ("todoist", b"what"),
        ("vikunja", b"PK no zip"),
        *((kind, b"") for kind in ("json", "csv", "ics", "todoist", "vikunja")),
    ],
)
async def test_a_file_that_is_none_is_told_with_its_reason(api: Api, kind: str, content: bytes) -> None:
    report = await import_all(api, kind, content)
    assert (len(report.broken), report.done["imported"]) == (1, 0)
    assert report.broken[0][1]
    assert await tasks_of(api) == []


async def test_a_task_that_is_in_the_file_twice_is_taken_once(api: Api) -> None:
    todo = "BEGIN:VTODO\r\nUID:same\r\nSUMMARY:a\r\nEND:VTODO\r\n"
    report = await import_all(api, "ics", f"BEGIN:VCALENDAR\r\n{todo}{todo}END:VCALENDAR\r\n")
    assert (report.done["tasks"], report.done["imported"]) == (1, 1)
    assert report.losses == [(6, "id", "taken once")]


async def test_the_same_task_of_two_people_is_two_tasks(api: Api, service: Running) -> None:
    file = "BEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nUID:same\r\nSUMMARY:a\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
    async with client(service) as other:
        assert (await import_all(api, "ics", file)).done["imported"] == 1
        assert (await import_all(other, "ics", file)).done["imported"] == 1
        assert (await import_all(api, "ics", file)).done["already_there"] == 1


async def test_what_was_deleted_after_its_import_does_not_come_back_and_a_deleted_original_does(api: Api) -> None:
    file = await export_of_one(api)
    (original,) = await tasks_of(api)
    await api.call("DELETE", f"/tasks/{original['id']}")
    assert (await import_all(api, "json", file)).done["imported"] == 1
    (restored,) = await tasks_of(api)
    assert (restored["title"], restored["id"] == original["id"]) == ("Pay rent", False)
    await api.call("DELETE", f"/tasks/{restored['id']}")
    assert (await import_all(api, "json", file)).done["already_there"] == 1
    assert await tasks_of(api) == []


async def export_of_one(api: Api) -> str:
    await api.task()
    return await export(api, "json")


async def test_two_imports_of_one_person_wait_for_each_other(api: Api) -> None:
    sending = asyncio.Event()

    async def slowly() -> Any:  # noqa: ANN401 - pieces of a body
        yield b"title\n"
        await sending.wait()
        yield b"Milk\n"

    query = {"format": "csv", "dry_run": "false"}
    first = asyncio.create_task(api.call("POST", "/imports", data=slowly(), query=query))
    try:
        await until(lambda: api.user_id in porting._importing)
        assert (await api.call("POST", "/imports", data=b"title\n", query=query)).status == 409
    finally:
        sending.set()
    assert (await first).status == 200
    assert (await import_all(api, "csv", "title\nBread\n")).done["imported"] == 1


async def test_a_file_larger_than_the_limit_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_IMPORT", 3_000_000)
    fits, too_large = b"title\nMilk\n" + b"\n" * 2_900_000, b"title\n" + b"\n" * 3_000_000
    assert (await import_all(api, "csv", fits)).done["imported"] == 1
    assert (await api.call("POST", "/imports", data=io.BytesIO(too_large), query={"format": "csv"})).status == 413

    async def pieces() -> Any:  # noqa: ANN401 - pieces of a body
        for _ in range(40):
            yield b"\n" * 100_000

    assert (await api.call("POST", "/imports", data=pieces(), query={"format": "csv"})).status == 413
    assert (await import_file(api, "csv", b"title\n")).done["tasks"] == 0  # whoever was refused is not in the way


@pytest.mark.parametrize("query", [{}, {"format": "xml"}, {"format": "csv", "dry_run": "perhaps"}])
async def test_what_is_not_a_format_or_a_truth_value_is_refused(api: Api, query: dict[str, str]) -> None:
    answer = await api.call("POST", "/imports", data=b"title\n", query=query)
    assert answer.status == 422
    assert (await api.get("/exports", format="pdf")).fields == ["format"]


async def test_what_spreadsheets_run_is_written_so_that_they_do_not(api: Api) -> None:
    await api.task(title=NASTY, notes="@SUM(1)")
    (row,) = csv.DictReader(io.StringIO(await export(api, "csv")))
    assert (row["title"], row["notes"]) == (f"'{NASTY}", "'@SUM(1)")


async def test_progress_is_told_and_grows(api: Api) -> None:
    report = await import_all(api, "csv", "title\n" + "".join(f"Task {n}\n" for n in range(450)))
    told = [line["progress"] for line in report.lines if "progress" in line]
    assert [(one["phase"], one["tasks"]) for one in told] == [
        *(("read", n) for n in (200, 400, 450)),
        *(("write", n) for n in (200, 400, 450)),
    ]
    assert [one["share"] for one in told] == [*sorted(told[i]["share"] for i in range(3)), 0.4444, 0.8889, 1.0]
    assert report.done["imported"] == 450
    titles = {task["title"] for task in json.loads(await export(api, "json"))["tasks"]}
    assert titles == {f"Task {n}" for n in range(450)}
