"""Lists, subtasks, starts and the manual order, through exports and imports."""

from typing import Any

import pytest

from tests.integration.backend.porting import Report, export, import_all, import_file, tasks_of
from tests.integration.backend.service import Api, Running, client
from todo.domain.task import MAX_SUBTASKS
from todo.domain.tasklist import MAX_LISTS

DAILY = {"recurrence": {"rule": "FREQ=DAILY;COUNT=5"}, "due_date": "2031-05-09"}


async def lists_of(api: Api) -> dict[str, Any]:
    """Their ids by their names."""
    return {one["name"]: one["id"] for one in (await api.get("/lists")).body["lists"]}


async def furnish(api: Api) -> None:
    home = (await api.post("/lists", {"name": "Home, sweet", "color": "#1f6feb"})).body["id"]
    work = (await api.post("/lists", {"name": "Work"})).body["id"]
    parent = await api.task(title="Move", list_id=home, due_at="2031-05-06T12:00:00Z", start_date="2031-05-01")
    await api.task(title="Boxes", parent_id=parent["id"], start_at="2031-05-02T09:30:00+02:00", zone="Europe/Berlin")
    van = await api.task(title="Van", parent_id=parent["id"], due_date="2031-05-05", start_date="2031-05-03")
    await api.post(f"/tasks/{van['id']}/complete")
    repeats = await api.task(title="Water", list_id=work, start_date="2031-05-08", **DAILY)
    await api.task(title="Can", parent_id=repeats["id"])
    await api.task(title="Alone", due_date="2031-05-05", start_date="2031-05-05")
    await api.post(f"/tasks/{van['id']}/move", {"after": None})


async def order_of(api: Api) -> list[str]:
    return [one["title"] for one in (await api.get("/tasks", status="all", sort="position")).body["tasks"]]


def places(tasks: list[dict[str, Any]], lists: dict[str, str]) -> dict[str, Any]:
    """Where each task is, in names."""
    titles = {one["id"]: one["title"] for one in tasks}
    names = {own: name for name, own in lists.items()}
    return {
        one["title"]: (
            *(names.get(one["list_id"]), titles.get(one["parent_id"]), one["start_at"], one["start_date"]),
            *(one["position"], one["zone"]),
        )
        for one in tasks
    }


@pytest.mark.parametrize("kind", ["json", "csv", "ics"])
async def test_lists_subtasks_starts_and_order_come_back_as_they_were(api: Api, service: Running, kind: str) -> None:
    await furnish(api)
    file = await export(api, kind)
    async with client(service) as other:
        report = await import_all(other, kind, file)
        assert (report.losses, report.broken, report.done["imported"]) == ([], [], 6)
        assert places(await tasks_of(other), await lists_of(other)) == places(await tasks_of(api), await lists_of(api))
        assert await order_of(other) == await order_of(api)
        assert [one["color"] for one in (await other.get("/lists")).body["lists"] if one["color"]] == ["#1f6feb"]
        again = await import_all(other, kind, await export(other, kind))
        assert (again.losses, again.done["imported"], again.done["already_there"]) == ([], 0, 6)
        assert (await import_all(other, kind, file)).done["imported"] == 0
        assert len(await lists_of(other)) == 2


async def test_a_repeating_task_keeps_its_series_and_its_start_in_icalendar(api: Api, service: Running) -> None:
    await api.task(title="Water", start_date="2031-05-08", **DAILY)
    file = await export(api, "ics")
    assert "DTSTART;VALUE=DATE;X-TODO-ZONE=UTC:20310509" in file.replace("\r\n ", "")
    async with client(service) as other:
        await import_all(other, "ics", file)
        (task,) = await tasks_of(other)
        assert (task["due_date"], task["start_date"]) == ("2031-05-09", "2031-05-08")
        assert task["recurrence"]["rule"] == "FREQ=DAILY;COUNT=5"


async def test_a_list_is_found_by_its_name_whatever_the_case(api: Api) -> None:
    own = (await api.post("/lists", {"name": "Straße"})).body["id"]
    await import_all(api, "csv", "title,list\na,straße\nb,STRAßE\nc,New\nd,nEW\n")
    lists = await lists_of(api)
    assert sorted(lists) == ["New", "Straße"]
    found = {one["title"]: one["list_id"] for one in await tasks_of(api)}
    assert found == {"a": own, "b": own, "c": lists["New"], "d": lists["New"]}


async def test_a_list_that_was_deleted_or_renamed_is_made_anew_for_new_tasks_only(api: Api) -> None:
    await import_all(api, "csv", "title,list\na,Home\n")
    first = (await lists_of(api))["Home"]
    await api.call("DELETE", f"/lists/{first}", if_match="*")
    assert (await import_all(api, "csv", "title,list\na,Home\n")).done["imported"] == 0
    assert await lists_of(api) == {}
    await import_all(api, "csv", "title,list\nb,Home\n")
    assert (await lists_of(api))["Home"] != first


async def test_lists_beyond_what_there_may_be_are_labels(api: Api) -> None:
    file = "title,list\n" + "".join(f"Task {n},List {n}\n" for n in range(MAX_LISTS + 2))
    report = await import_all(api, "csv", file)
    assert len(await lists_of(api)) == MAX_LISTS
    assert report.losses == [(n + 2, "list", f"kept as the label 'List {n}'") for n in (MAX_LISTS, MAX_LISTS + 1)]
    labels = [one["labels"] for one in await tasks_of(api) if one["list_id"] is None]
    assert sorted(labels) == [["List 200"], ["List 201"]]


def calendar(*todos: tuple[str, str]) -> str:
    """Tasks that are named by a UID, under others."""
    each = (
        f"BEGIN:VTODO\r\nUID:{own}\r\nSUMMARY:{own}\r\n"
        + (f"RELATED-TO:{parent}\r\n" if parent else "")
        + "END:VTODO\r\n"
        for own, parent in todos
    )
    return f"BEGIN:VCALENDAR\r\nX-WR-CALNAME:Home\r\n{''.join(each)}END:VCALENDAR\r\n"


async def parents(api: Api) -> dict[str, str | None]:
    tasks = await tasks_of(api)
    titles = {one["id"]: one["title"] for one in tasks}
    assert {one["list_id"] for one in tasks} == set((await lists_of(api)).values())
    return {one["title"]: titles.get(one["parent_id"]) for one in tasks}


def lost(report: Report) -> list[str]:
    return [instead for _, field, instead in report.losses if field == "parent"]


async def test_a_parent_comes_in_any_order_and_from_an_earlier_file(api: Api) -> None:
    await import_all(api, "ics", calendar(("old", "")))
    others = [(f"n{number}", "") for number in range(250)]
    report = await import_all(api, "ics", calendar(("a", "late"), ("b", "old"), ("c", "b"), *others, ("late", "")))
    assert report.done["imported"] == 254
    found = await parents(api)
    assert {title: found[title] for title in ("a", "b", "c", "late")} == {
        "a": "late",
        "b": "old",
        "c": "old",
        "late": None,
    }
    assert lost(report) == ["it is under the topmost of them"]


async def test_a_parent_that_is_nowhere_leaves_a_task_of_its_own_which_looking_says_too(api: Api) -> None:
    file = calendar(("a", "nowhere"), ("b", "b"))
    looked = await import_file(api, "ics", file)
    assert lost(looked) == ["imported as a task of its own"] * 2
    assert (await import_all(api, "ics", file)).losses == looked.losses
    assert await parents(api) == {"a": None, "b": None}


async def test_subtasks_beyond_what_there_may_be_are_tasks_of_their_own(api: Api) -> None:
    file = calendar(*((f"s{number}", "p") for number in range(MAX_SUBTASKS + 5)), ("p", ""))
    report = await import_all(api, "ics", file)
    assert lost(report) == ["imported as a task of its own"] * 5
    assert list((await parents(api)).values()).count("p") == MAX_SUBTASKS
    again = await import_all(api, "ics", file)
    assert (again.done["imported"], lost(again)) == (0, [])


async def test_a_deleted_subtask_comes_back_under_its_own_parent(api: Api) -> None:
    parent = await api.task(title="p")
    child = await api.task(title="c", parent_id=parent["id"])
    file = await export(api, "json")
    await api.call("DELETE", f"/tasks/{child['id']}")
    assert (await import_all(api, "json", file)).done["imported"] == 1
    assert {one["title"]: one["parent_id"] for one in await tasks_of(api)} == {"p": None, "c": parent["id"]}


async def test_what_has_no_order_but_that_of_the_file_keeps_it(api: Api) -> None:
    titles = [f"Task {number}" for number in range(450)]
    await import_all(api, "csv", "\n".join(["title", *titles]))
    page = (await api.get("/tasks", status="all", sort="position", limit="450")).body["tasks"]
    assert [one["title"] for one in page] == titles


async def test_a_new_list_is_told_to_whoever_follows(api: Api) -> None:
    _, cursor = await changes_from(api)
    await import_all(api, "csv", "title,list\na,Home\n")
    changes, _ = await changes_from(api, cursor=cursor)
    assert {(one["kind"], one["value"].get("name")) for one in changes} == {("task", None), ("list", "Home")}


async def changes_from(api: Api, **query: str) -> tuple[list[dict[str, Any]], str]:
    """Everything up to now, and from where on to read later."""
    found: list[dict[str, Any]] = []
    while True:
        answer = (await api.get("/changes", **query)).body
        found += answer["changes"]
        query = {"cursor": answer["cursor"]}
        if not answer["more"]:
            return found, answer["cursor"]
