"""One action on many tasks, and turning one reminder off."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.backend.service import Answer, Api

SOON = {"due_at": "2031-05-06T12:00:00Z"}
WEEKLY = SOON | {"recurrence": {"rule": "FREQ=WEEKLY"}}
NOWHERE = "0190b4f1-0000-7000-8000-000000000000"


async def bulk(api: Api, action: str, *tasks: dict[str, Any], **fields: object) -> Answer:
    return await api.post("/tasks/bulk", {"ids": [one["id"] for one in tasks], "action": action} | fields)


def done(answer: Answer) -> list[bool]:
    assert answer.status == 200, answer
    return [one["ok"] for one in answer.body["results"]]


async def titles(api: Api, **query: str) -> list[str]:
    found = (await api.get("/tasks", **query)).body["tasks"]
    return [one["title"] for one in sorted(found, key=lambda one: one["position"])]


class TestBulk:
    async def test_an_edit_of_many_is_one_step(self, api: Api) -> None:
        made = [await api.task(title=title) for title in "abc"]
        answer = await bulk(api, "edit", *made, change={"labels": ["x"], "priority": 1, "due_date": "2031-05-06"})
        assert [(one["id"], one["ok"], one["version"]) for one in answer.body["results"]] == [
            (one["id"], True, 2) for one in made
        ]
        assert len((await api.get("/tasks", label="x")).body["tasks"]) == 3
        undone = await api.post("/undo", {"id": answer.headers["undo"]})
        assert len(undone.body["changed"]) == 3
        assert (await api.get("/tasks", label="x")).body["tasks"] == []

    async def test_what_cannot_be_done_to_one_is_told_and_done_to_the_others(self, api: Api) -> None:
        fine, closed, foreign = await api.task(**SOON), await api.task(**SOON), await api.of(1).task()
        await api.post(f"/tasks/{closed['id']}/complete")
        answer = await bulk(api, "edit", closed, fine, foreign, {"id": NOWHERE}, change={"due_date": "2031-06-01"})
        assert done(answer) == [False, True, False, False]
        problems = [one["problem"] for one in answer.body["results"]]
        assert [one and one["status"] for one in problems] == [422, None, 404, 404]
        assert problems[0]["errors"][0]["field"] == "due_at"
        assert (await api.get("/undo")).body["steps"][0]["things"] == 1

    async def test_closing_opening_and_deleting_many(self, api: Api) -> None:
        plain, weekly = await api.task(title="plain"), await api.task(title="weekly", **WEEKLY)
        for action, status in (("complete", "done"), ("reopen", "open")):
            assert done(await bulk(api, action, plain, weekly)) == [True, True]
            assert await titles(api, status=status) == ["plain", "weekly"]
        assert done(await bulk(api, "delete", plain, weekly)) == [True, False]
        assert done(await bulk(api, "delete", weekly, scope="series")) == [True]
        assert await titles(api, status="trash") == ["plain", "weekly"]
        await api.post("/undo")
        await api.post("/undo")
        assert await titles(api) == ["plain", "weekly"]

    async def test_a_parent_and_its_subtasks_are_deleted_in_any_order(self, api: Api) -> None:
        for backwards in (False, True):
            parent = await api.task()
            family = [parent, *[await api.task(parent_id=parent["id"]) for _ in range(2)]]
            answer = await bulk(api, "delete", *(family[::-1] if backwards else family))
            assert done(answer) == [True, True, True]
            await api.post("/undo")
            assert len((await api.get("/tasks", parent_id=parent["id"])).body["tasks"]) == 2

    async def test_many_are_moved_in_the_order_they_are_named_in(self, api: Api) -> None:
        made = {title: await api.task(title=title) for title in "abcdef"}
        work = (await api.post("/lists", {"name": "Work"})).body
        change = {"after": made["a"]["id"], "list_id": work["id"]}
        assert done(await bulk(api, "move", *(made[title] for title in "fdb"), change=change)) == [True] * 3
        assert await titles(api) == ["a", "f", "d", "b", "c", "e"]
        assert await titles(api, list_id=work["id"]) == ["f", "d", "b"]
        await api.post("/undo")
        assert await titles(api) == list("abcdef")

    async def test_a_task_that_is_named_twice_counts_once(self, api: Api) -> None:
        task = await api.task()
        assert done(await bulk(api, "complete", task, task)) == [True]

    async def test_under_a_key_it_happens_once(self, api: Api) -> None:
        task, key = await api.task(), uuid4().hex
        body = {"ids": [task["id"]], "action": "edit", "change": {"priority": 1}}
        answers = [await api.post("/tasks/bulk", body, idempotency_key=key) for _ in range(2)]
        assert answers[0].body == answers[1].body
        assert answers[0].headers["undo"] == answers[1].headers["undo"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"ids": [], "action": "complete"}, "ids"),
            ({"ids": [NOWHERE] * 501, "action": "complete"}, "ids"),
            ({"ids": ["x"], "action": "complete"}, "ids.0"),
            ({"ids": [NOWHERE], "action": "explode"}, "action"),
            ({"ids": [NOWHERE], "action": "complete", "change": {}}, "change"),
            ({"ids": [NOWHERE], "action": "edit", "change": {"titel": "x"}}, "change.titel"),
            ({"ids": [NOWHERE], "action": "edit", "change": {"priority": 9}}, "change.priority"),
            ({"ids": [NOWHERE], "action": "move", "change": {"after": 1}}, "change.after"),
            ({"ids": [NOWHERE], "action": "delete", "scope": "all"}, "scope"),
        ],
    )
    async def test_a_request_that_is_none_is_refused_whole(self, api: Api, body: dict[str, object], field: str) -> None:
        answer = await api.post("/tasks/bulk", body)
        assert (answer.status, answer.fields) == (422, [field])

    async def test_many_at_once_over_the_same_tasks_neither_fail_nor_wait_in_a_circle(self, api: Api) -> None:
        parent = await api.task()
        below = [await api.task(parent_id=parent["id"]) for _ in range(3)]
        weekly = [await api.task(**WEEKLY) for _ in range(3)]
        everything = [parent, *below, *weekly]
        work = (await api.post("/lists", {"name": "Work"})).body
        answers = await asyncio.gather(
            bulk(api, "edit", *everything, change={"priority": 1}),
            bulk(api, "complete", *everything[::-1]),
            bulk(api, "reopen", *weekly, *below),
            bulk(api, "edit", parent, change={"list_id": work["id"]}),
            *(api.post(f"/tasks/{one['id']}/complete") for one in everything),
            *(api.post(f"/tasks/{one['id']}/reopen") for one in weekly),
            bulk(api, "delete", *below, parent),
            bulk(api, "delete", *weekly[::-1], scope="series"),
        )
        assert {answer.status for answer in answers} <= {200, 404}

    async def test_five_hundred_are_one_request(self, api: Api) -> None:
        made = [await api.task() for _ in range(500)]
        answer = await bulk(api, "edit", *made, change={"labels": ["many"]})
        assert done(answer) == [True] * 500
        undone = await api.post("/undo", {"id": answer.headers["undo"]})
        assert len(undone.body["changed"]) == 500


class TestDismissing:
    async def test_a_reminder_is_turned_off_and_on_again(self, api: Api) -> None:
        task = await api.task(reminders=["-PT1H", "PT0S"], **SOON)
        path = f"/tasks/{task['id']}"
        answer = await api.post(f"{path}/dismiss", {"reminder": "-PT60M"})
        assert (answer.status, answer.body["version"], answer.body["reminders"]) == (200, 2, ["-PT1H", "PT0S"])
        states = {one["reminder"]: one["state"] for one in (await api.get(path)).body["reminder_history"]}
        assert states == {"-PT1H": "dismissed", "PT0S": "scheduled"}
        again = await api.post(f"{path}/dismiss", {"reminder": "-PT1H"})
        assert (again.body["version"], "undo" in again.headers) == (2, False)
        await api.post("/undo")
        states = {one["reminder"]: one["state"] for one in (await api.get(path)).body["reminder_history"]}
        assert states == {"-PT1H": "scheduled", "PT0S": "scheduled"}

    async def test_what_is_no_reminder_of_the_task_is_refused(self, api: Api) -> None:
        task = await api.task(reminders=["PT0S"], **SOON)
        path = f"/tasks/{task['id']}/dismiss"
        for reminder in ("-PT1H", "soon", ""):
            answer = await api.post(path, {"reminder": reminder})
            assert (answer.status, answer.fields) == (422, ["reminder"])
        assert (await api.post(path, {"reminder": "PT0S"}, if_match='"9"')).status == 412
        assert (await api.post(f"/tasks/{NOWHERE}/dismiss", {"reminder": "PT0S"})).status == 404
