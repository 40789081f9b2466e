"""Lists, subtasks, start dates, the manual order and the trash, over the API."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.backend.service import Answer, Api

SOON = {"due_at": "2031-05-06T12:00:00Z"}
WEEKLY = SOON | {"recurrence": {"rule": "FREQ=WEEKLY"}}
NOWHERE = "0190b4f1-0000-7000-8000-000000000000"


async def a_list(api: Api, name: str = "Work", **fields: object) -> dict[str, Any]:
    answer = await api.post("/lists", {"name": name} | fields)
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.body
    return made


async def lists(api: Api) -> list[str]:
    return [one["name"] for one in (await api.get("/lists")).body["lists"]]


async def tasks(api: Api, **query: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await api.get("/tasks", **query)).body["tasks"]
    return listed


async def ordered(api: Api) -> list[str]:
    """The titles in the manual order, as a client sorts them."""
    found = await tasks(api, status="all")
    return [one["title"] for one in sorted(found, key=lambda one: (one["position"].encode(), one["id"]))]


async def patch(api: Api, task: dict[str, Any], **changes: object) -> Answer:
    return await api.call("PATCH", f"/tasks/{task['id']}", changes, if_match="*")


async def move(api: Api, task: dict[str, Any], after: dict[str, Any] | None, **fields: object) -> Answer:
    return await api.post(f"/tasks/{task['id']}/move", {"after": after and after["id"]} | fields)


async def delete(api: Api, task: dict[str, Any], **query: str) -> Answer:
    return await api.call("DELETE", f"/tasks/{task['id']}", query=query)


class TestLists:
    async def test_a_list_is_made_changed_and_deleted(self, api: Api) -> None:
        made = await a_list(api, " Work ", color="#FF0000")
        assert (made["name"], made["color"], made["version"]) == ("Work", "#ff0000", 1)
        path = f"/lists/{made['id']}"
        changed = await api.call("PATCH", path, {"name": "Office", "color": None}, if_match='"1"')
        assert (changed.body["name"], changed.body["color"], changed.headers["etag"]) == ("Office", None, '"2"')
        assert (await api.call("PATCH", path, {"name": "Office"}, if_match="*")).body["version"] == 2
        assert (await api.call("DELETE", path, if_match='"1"')).status == 412
        assert (await api.call("DELETE", path, if_match='"2"')).status == 204
        assert await lists(api) == []
        assert (await api.call("DELETE", path, if_match="*")).status == 404

    async def test_a_change_needs_to_say_which_version_it_saw(self, api: Api) -> None:
        path = f"/lists/{(await a_list(api))['id']}"
        assert (await api.call("PATCH", path, {"name": "x"})).status == 428
        assert (await api.call("DELETE", path)).status == 428
        assert (await api.call("PATCH", path, {"name": "x"}, if_match='"7"')).status == 412

    async def test_names_differ_whatever_their_case_and_a_deleted_ones_is_free(self, api: Api) -> None:
        first = await a_list(api, "Work")
        assert (await api.post("/lists", {"name": "wORK"})).status == 409
        other = await a_list(api, "Home")
        taken = await api.call("PATCH", f"/lists/{other['id']}", {"name": "WORK"}, if_match="*")
        assert taken.status == 409
        same = await api.call("PATCH", f"/lists/{first['id']}", {"name": "WORK"}, if_match="*")
        assert same.body["name"] == "WORK"
        await api.call("DELETE", f"/lists/{first['id']}", if_match="*")
        assert (await api.post("/lists", {"name": "work"})).status == 201

    async def test_of_requests_for_one_name_at_once_one_gets_it(self, api: Api) -> None:
        answers = await asyncio.gather(*(api.post("/lists", {"name": "Work"}) for _ in range(6)))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 5

    async def test_under_a_key_a_list_is_made_once(self, api: Api) -> None:
        key = uuid4().hex
        first = await api.post("/lists", {"name": "Work"}, idempotency_key=key)
        again = await api.post("/lists", {"name": "Work"}, idempotency_key=key)
        assert (again.status, again.body) == (201, first.body)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "a\x00"}, "name"),
            ({"name": "a", "color": "red"}, "color"),
            ({"name": None}, "name"),
            ({}, "name"),
            ({"name": "a", "owner": 1}, "owner"),
        ],
    )
    async def test_a_list_that_is_none_is_refused(self, api: Api, body: dict[str, object], field: str) -> None:
        answer = await api.post("/lists", body)
        assert (answer.status, answer.fields) == (422, [field])

    async def test_lists_have_an_order_that_can_be_changed(self, api: Api) -> None:
        made = [await a_list(api, name) for name in "abc"]
        assert await lists(api) == ["a", "b", "c"]
        for one, after, expected in ((0, 1, "bac"), (2, None, "cba"), (2, 2, "cba"), (2, 0, "bac"), (1, 0, "abc")):
            body = {"after": made[after]["id"] if after is not None else None}
            await api.call("PATCH", f"/lists/{made[one]['id']}", body, if_match="*")
            assert "".join(await lists(api)) == expected
        nowhere = await api.call("PATCH", f"/lists/{made[0]['id']}", {"after": NOWHERE}, if_match="*")
        assert (nowhere.status, nowhere.fields) == (422, ["after"])

    async def test_tasks_of_a_deleted_list_stay(self, api: Api) -> None:
        made = await a_list(api)
        task = await api.task(list_id=made["id"])
        await api.call("DELETE", f"/lists/{made['id']}", if_match="*")
        assert (await api.get(f"/tasks/{task['id']}")).body["version"] == 1
        assert (await patch(api, task, title="still")).status == 200

    async def test_a_list_of_somebody_else_is_none(self, api: Api) -> None:
        foreign = await a_list(api.of(1), uuid4().hex)
        path = f"/lists/{foreign['id']}"
        assert (await api.call("PATCH", path, {"name": "x"}, if_match="*")).status == 404
        assert (await api.call("DELETE", path, if_match="*")).status == 404
        for answer in (
            await api.post("/tasks", {"title": "x", "user_id": api.user_id, "list_id": foreign["id"]}),
            await patch(api, await api.task(), list_id=foreign["id"]),
            await move(api, await api.task(), None, list_id=foreign["id"]),
        ):
            assert (answer.status, answer.fields) == (422, ["list_id"])
        assert foreign["name"] not in await lists(api)

    async def test_a_task_is_put_into_a_list_and_out_again(self, api: Api) -> None:
        work = await a_list(api)
        task = await api.task(list_id=work["id"])
        other = await api.task()
        assert [one["id"] for one in await tasks(api, list_id=work["id"])] == [task["id"]]
        assert (await patch(api, other, list_id=work["id"])).body["list_id"] == work["id"]
        assert (await patch(api, task, list_id=None)).body["list_id"] is None
        assert [one["id"] for one in await tasks(api, list_id=work["id"])] == [other["id"]]


class TestStart:
    async def test_a_task_starts_at_an_instant_or_on_a_day_in_the_zone_of_its_due(self, api: Api) -> None:
        task = await api.task(start_at="2031-05-06T09:00:00", zone="Asia/Tokyo", due_date="2031-05-07")
        assert (task["start_at"], task["start_date"], task["zone"]) == ("2031-05-06T00:00:00Z", None, "Asia/Tokyo")
        day = await patch(api, task, start_date="2031-05-05")
        assert (day.body["start_at"], day.body["start_date"], day.body["due_date"]) == (
            None,
            "2031-05-05",
            "2031-05-07",
        )
        alone = await patch(api, task, due_date=None)
        assert (alone.body["zone"], alone.body["start_date"]) == ("Asia/Tokyo", "2031-05-05")
        assert (await api.get(f"/tasks/{task['id']}")).body["start_date"] == "2031-05-05"
        assert (await tasks(api))[0] == alone.body
        moved = await patch(api, task, zone="Europe/Berlin")
        assert (moved.body["zone"], moved.body["start_date"]) == ("Europe/Berlin", "2031-05-05")
        assert (await patch(api, task, start_date=None)).body["zone"] is None

    async def test_a_start_after_the_due_is_refused(self, api: Api) -> None:
        task = await api.task(**SOON)
        late = await patch(api, task, start_at="2031-05-06T12:00:01Z")
        assert (late.status, late.fields) == (422, ["start_at"])
        both = await api.post("/tasks", {"title": "x", "start_date": "2031-05-08", "due_date": "2031-05-07"})
        assert (both.status, both.fields) == (422, ["start_date"])
        twice = await patch(api, task, start_at="2031-05-06T12:00:00Z", start_date="2031-05-06")
        assert (twice.status, twice.fields) == (422, ["start_date"])


class TestSubtasks:
    async def test_a_subtask_is_in_the_list_of_its_parent_and_goes_with_it(self, api: Api) -> None:
        work, home = await a_list(api, "Work"), await a_list(api, "Home")
        parent = await api.task(list_id=work["id"])
        below = await api.task(parent_id=parent["id"])
        assert (below["parent_id"], below["list_id"]) == (parent["id"], work["id"])
        assert [one["id"] for one in await tasks(api, parent_id=parent["id"])] == [below["id"]]
        await patch(api, parent, list_id=home["id"])
        followed = (await api.get(f"/tasks/{below['id']}")).body
        assert (followed["list_id"], followed["version"]) == (home["id"], 2)
        alone = await patch(api, below, parent_id=None)
        assert (alone.body["parent_id"], alone.body["list_id"]) == (None, home["id"])

    async def test_a_subtask_in_another_list_than_its_parent_is_refused(self, api: Api) -> None:
        work = await a_list(api)
        parent = await api.task()
        below = await api.task(parent_id=parent["id"])
        wrong = await api.post(
            "/tasks", {"title": "x", "user_id": api.user_id, "parent_id": parent["id"], "list_id": work["id"]}
        )
        assert (wrong.status, wrong.fields) == (422, ["list_id"])
        assert (await patch(api, below, list_id=work["id"])).fields == ["list_id"]
        both = await patch(api, below, list_id=work["id"], parent_id=None)
        assert (both.body["list_id"], both.body["parent_id"]) == (work["id"], None)

    async def test_there_is_one_level_of_them(self, api: Api) -> None:
        parent = await api.task()
        below = await api.task(parent_id=parent["id"])
        other = await api.task()
        for task, under in ((other, below), (parent, other), (other, other), (other, {"id": NOWHERE})):
            answer = await patch(api, task, parent_id=under["id"])
            assert (answer.status, answer.fields) == (422, ["parent_id"])
        await delete(api, below)
        assert (await patch(api, parent, parent_id=other["id"])).status == 200

    async def test_a_parent_of_somebody_else_or_in_the_trash_is_none(self, api: Api) -> None:
        foreign, gone = await api.of(1).task(), await api.task()
        await delete(api, gone)
        for parent in (foreign, gone):
            answer = await api.post("/tasks", {"title": "x", "user_id": api.user_id, "parent_id": parent["id"]})
            assert (answer.status, answer.fields) == (422, ["parent_id"])

    async def test_two_tasks_that_are_put_under_each_other_at_once_do_not_both_go(self, api: Api) -> None:
        one, other = await api.task(), await api.task()
        answers = await asyncio.gather(patch(api, one, parent_id=other["id"]), patch(api, other, parent_id=one["id"]))
        assert sorted(answer.status for answer in answers) == [200, 422]

    async def test_a_subtask_does_not_repeat_by_itself(self, api: Api) -> None:
        parent, weekly = await api.task(), await api.task(**WEEKLY)
        below = await api.task(parent_id=parent["id"], **SOON)
        for answer in (
            await api.post("/tasks", {"title": "x", "user_id": api.user_id, "parent_id": parent["id"]} | WEEKLY),
            await patch(api, below, recurrence=WEEKLY["recurrence"]),
            await patch(api, weekly, parent_id=parent["id"]),
        ):
            assert (answer.status, answer.fields) == (422, ["recurrence"])
        plain = await patch(api, weekly, parent_id=parent["id"], recurrence=None)
        assert plain.body["parent_id"] == parent["id"]

    async def test_closing_a_parent_leaves_its_subtasks_open(self, api: Api) -> None:
        parent = await api.task()
        below = await api.task(parent_id=parent["id"])
        await api.post(f"/tasks/{parent['id']}/complete")
        assert (await api.get(f"/tasks/{below['id']}")).body["version"] == 1

    async def test_a_task_has_a_hundred_of_them_at_most(self, api: Api) -> None:
        parent = await api.task()
        for _ in range(100):
            await api.task(parent_id=parent["id"])
        more = await api.post("/tasks", {"title": "x", "user_id": api.user_id, "parent_id": parent["id"]})
        assert (more.status, more.fields) == (422, ["parent_id"])


class TestOrder:
    async def test_new_tasks_come_last_and_moving_changes_the_order(self, api: Api) -> None:
        made = [await api.task(title=title) for title in "abcd"]
        assert await ordered(api) == ["a", "b", "c", "d"]
        for one, after, expected in (
            (0, 1, "bacd"), (3, None, "dbac"), (2, None, "cdba"), (2, 0, "dbac"), (1, 2, "dacb"), (3, 1, "acbd"),
        ):  # fmt: skip
            answer = await move(api, made[one], made[after] if after is not None else None)
            assert answer.status == 200
            assert "".join(await ordered(api)) == expected
        await api.task(title="e")
        assert "".join(await ordered(api)) == "acbde"

    async def test_moving_to_where_it_is_changes_nothing(self, api: Api) -> None:
        first, second = await api.task(), await api.task()
        for answer in (await move(api, first, None), await move(api, second, first), await move(api, second, second)):
            assert answer.body["version"] == 1

    async def test_the_place_is_told_alike_in_every_answer(self, api: Api) -> None:
        task = await api.task()
        (listed,) = await tasks(api)
        assert listed["position"] == task["position"] == (await api.get(f"/tasks/{task['id']}")).body["position"]

    async def test_tasks_that_are_moved_behind_one_at_once_have_places_of_their_own(self, api: Api) -> None:
        first, *others = [await api.task(title=title) for title in "abcdefgh"]
        answers = await asyncio.gather(*(move(api, one, first) for one in others))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body["position"] for answer in answers}) == len(others)
        assert (await ordered(api))[0] == "a"

    async def test_moves_to_the_top_do_not_make_places_longer(self, api: Api) -> None:
        made = [await api.task() for _ in range(2)]
        for number in range(50):
            last = await move(api, made[number % 2], None)
        assert len(last.body["position"]) == len((await move(api, made[0], None)).body["position"]) < 40

    async def test_a_move_takes_a_list_and_a_parent(self, api: Api) -> None:
        work = await a_list(api)
        parent, task, last = await api.task(title="p"), await api.task(title="t"), await api.task(title="l")
        moved = await move(api, task, last, list_id=work["id"])
        assert (moved.body["list_id"], await ordered(api)) == (work["id"], ["p", "l", "t"])
        below = await move(api, task, parent, parent_id=parent["id"])
        assert (below.body["parent_id"], below.body["list_id"]) == (parent["id"], None)
        out = await move(api, task, last, parent_id=None)
        assert (out.body["parent_id"], await ordered(api)) == (None, ["p", "l", "t"])

    async def test_a_place_behind_nothing_is_refused(self, api: Api) -> None:
        task, gone = await api.task(), await api.task()
        await delete(api, gone)
        for after in (gone, await api.of(1).task(), {"id": NOWHERE}):
            answer = await move(api, task, after)
            assert (answer.status, answer.fields) == (422, ["after"])
        stale = await api.post(f"/tasks/{task['id']}/move", {"after": None}, if_match='"9"')
        assert stale.status == 412
        assert (await api.post(f"/tasks/{NOWHERE}/move", {"after": None})).status == 404


class TestTrash:
    async def test_a_deleted_task_is_in_the_trash_until_it_is_restored(self, api: Api) -> None:
        first, second = await api.task(title="first"), await api.task(title="second")
        await delete(api, second)
        await delete(api, first)
        found = await tasks(api, status="trash")
        assert [one["title"] for one in found] == ["first", "second"]
        assert all(one["deleted_at"] == one["updated_at"] for one in found)
        back = await api.post(f"/tasks/{second['id']}/restore")
        assert (back.status, back.body["version"], back.body["deleted_at"]) == (200, 3, None)
        assert [one["title"] for one in await tasks(api, status="trash")] == ["first"]
        assert [one["title"] for one in await tasks(api)] == ["second"]
        assert (await api.post(f"/tasks/{second['id']}/restore")).body == back.body

    async def test_the_trash_comes_in_pages(self, api: Api) -> None:
        for title in "abcde":
            await delete(api, await api.task(title=title))
        seen: list[str] = []
        query = {"status": "trash", "limit": "2"}
        while True:
            page = (await api.get("/tasks", **query)).body
            seen += [one["title"] for one in page["tasks"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert "".join(seen) == "edcba"

    async def test_restoring_needs_the_version_that_was_seen_if_one_is_given(self, api: Api) -> None:
        task = await api.task()
        await delete(api, task)
        path = f"/tasks/{task['id']}/restore"
        assert (await api.post(path, if_match='"1"')).status == 412
        assert (await api.post(path, if_match='"2"')).status == 200
        assert (await api.post(f"/tasks/{NOWHERE}/restore")).status == 404
        foreign = await api.of(1).task()
        await delete(api.of(1), foreign)
        assert (await api.post(f"/tasks/{foreign['id']}/restore")).status == 404

    async def test_subtasks_go_with_their_parent_and_come_back_with_it(self, api: Api) -> None:
        parent = await api.task(title="parent")
        with_it, before = await api.task(parent_id=parent["id"]), await api.task(parent_id=parent["id"], title="before")
        await delete(api, before)
        await delete(api, parent)
        assert [one["title"] for one in await tasks(api, status="trash")] == ["parent", "before"]
        for one in (with_it, before):
            alone = await api.post(f"/tasks/{one['id']}/restore")
            assert (alone.status, alone.body["detail"]) == (409, "its parent is in the trash: restore that")
        await api.post(f"/tasks/{parent['id']}/restore")
        assert {one["id"] for one in await tasks(api)} == {parent["id"], with_it["id"]}
        assert (await api.post(f"/tasks/{before['id']}/restore")).body["parent_id"] == parent["id"]

    async def test_a_subtask_whose_parent_became_one_is_restored_on_its_own(self, api: Api) -> None:
        parent, above = await api.task(), await api.task()
        below = await api.task(parent_id=parent["id"])
        await delete(api, below)
        await patch(api, parent, parent_id=above["id"])
        assert (await api.post(f"/tasks/{below['id']}/restore")).body["parent_id"] is None

    async def test_a_deleted_series_comes_back_whole(self, api: Api) -> None:
        task = await api.task(**WEEKLY)
        await delete(api, task, scope="series")
        back = await api.post(f"/tasks/{task['id']}/restore")
        assert back.body["recurrence"]["rule"] == "FREQ=WEEKLY"
        assert back.body["recurrence"]["ended"] is False
