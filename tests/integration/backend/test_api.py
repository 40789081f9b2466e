import asyncio
import base64
import re
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from tests.integration.backend.scenario import prepare
from tests.integration.backend.service import APP_TOKEN, Api, Running, client, running_backend
from tests.support.waiting import until
from todo.backend.api import requests
from todo.contracts import names
from todo.operations.postgres import PostgresServer

SOON = {"due_at": "2031-05-06T12:00:00Z"}
BEFORE_ALL_TIME = base64.urlsafe_b64encode(msgspec.json.encode(["0001-01-01T00:00:00+14:00", uuid4()])).decode()
WEEKLY = SOON | {"recurrence": {"rule": "FREQ=WEEKLY"}}


def etag(task: dict[str, Any]) -> str:
    return f'"{task["version"]}"'


async def status_of(http: aiohttp.ClientSession, method: str, path: str, **parts: Any) -> int:  # noqa: ANN401 - JSON, or whatever the tested code takes
    async with http.request(method, path, **parts) as answer:
        if answer.status in {401, 403}:
            assert answer.content_type == "application/problem+json"
        return answer.status


async def json_of(http: aiohttp.ClientSession, method: str, path: str, **parts: Any) -> Any:  # noqa: ANN401 - JSON, or whatever the tested code takes
    async with http.request(method, path, **parts) as answer:
        return await answer.json()


class TestTasks:
    async def test_the_guides_own_task_is_one(self, api: Api) -> None:
        answer = await api.post("/tasks", {"title": "Buy milk", "user_id": api.user_id})
        assert (answer.status, answer.body["status"], answer.body["version"]) == (201, "open", 1)
        assert answer.headers["etag"] == '"1"'
        read = await api.get(answer.headers["location"])
        assert read.body == answer.body | {"reminder_history": []}

    async def test_a_task_says_everything_it_was_given(self, api: Api) -> None:
        task = await api.task(
            title=" Pay\nrent <b>now</b> ", notes="cash\n\x09only", due_at="2031-05-06T14:00:00+02:00",
            zone="Asia/Tokyo", priority=1, labels=["home"], reminders=["-PT60M", "2031-05-01T08:00:00Z"],
            recurrence={"rule": "freq=weekly;byday=TU", "mode": "completion", "policy": "each"},
        )  # fmt: skip
        assert task["title"] == "Pay rent <b>now</b>"
        assert (task["due_at"], task["due_date"], task["zone"]) == ("2031-05-06T12:00:00Z", None, "Asia/Tokyo")
        assert task["reminders"] == ["-PT1H", "2031-05-01T08:00:00Z"]
        assert task["recurrence"]["rule"] == "FREQ=WEEKLY;BYDAY=TU"
        assert (task["recurrence"]["seq"], task["recurrence"]["ended"]) == (1, False)
        (read,) = (await api.get("/tasks")).body["tasks"]
        assert read == task
        history = (await api.get(f"/tasks/{task['id']}")).body["reminder_history"]
        assert [(one["fire_at"], one["state"]) for one in history] == [
            ("2031-05-01T08:00:00Z", "scheduled"),
            ("2031-05-06T11:00:00Z", "scheduled"),
        ]

    async def test_a_wall_time_is_read_in_the_zone_given_or_the_users(self, api: Api) -> None:
        first = await api.of(1).task(due_at="2031-07-01T09:00:00")  # user 1 is in Berlin
        assert first["due_at"] == "2031-07-01T07:00:00Z"
        assert (await api.task(due_at="2031-07-01T09:00:00", zone="Asia/Tokyo"))["due_at"] == "2031-07-01T00:00:00Z"

    async def test_a_patch_changes_what_it_names_and_null_clears(self, api: Api) -> None:
        task = await api.task(notes="n", priority=1, labels=["a"], reminders=["PT0S"], **SOON)
        path = f"/tasks/{task['id']}"
        answer = await api.call("PATCH", path, {"title": "New", "notes": None, "priority": None}, if_match=etag(task))
        assert (answer.status, answer.headers["etag"]) == (200, '"2"')
        assert (answer.body["title"], answer.body["notes"], answer.body["priority"]) == ("New", "", 4)
        assert (answer.body["labels"], answer.body["due_at"]) == (["a"], task["due_at"])
        cleared = await api.call("PATCH", path, {"due_at": None, "labels": None}, if_match="*")
        assert (cleared.body["due_at"], cleared.body["labels"], cleared.body["reminders"]) == (None, [], ["PT0S"])
        same = await api.call("PATCH", path, {"title": "New"}, if_match='W/"3"')
        assert (same.status, same.body["version"]) == (200, 3)

    async def test_a_day_replaces_an_instant_and_null_clears_its_own_kind_only(self, api: Api) -> None:
        task = await api.task(**SOON)
        path = f"/tasks/{task['id']}"
        day = await api.call("PATCH", path, {"due_date": "2031-05-07"}, if_match="*")
        assert (day.body["due_at"], day.body["due_date"]) == (None, "2031-05-07")
        kept = await api.call("PATCH", path, {"due_at": None}, if_match="*")
        assert kept.body["due_date"] == "2031-05-07"
        moved = await api.call("PATCH", path, {"zone": "Asia/Tokyo"}, if_match="*")
        assert (moved.body["due_date"], moved.body["zone"]) == ("2031-05-07", "Asia/Tokyo")
        assert (await api.call("PATCH", path, {"due_date": None}, if_match="*")).body["due_date"] is None

    async def test_a_change_needs_to_say_which_version_it_saw(self, api: Api) -> None:
        task = await api.task()
        path = f"/tasks/{task['id']}"
        assert (await api.call("PATCH", path, {"title": "x"})).status == 428
        await api.call("PATCH", path, {"title": "x"}, if_match=etag(task))
        stale = await api.call("PATCH", path, {"title": "y"}, if_match=etag(task))
        assert (stale.status, stale.headers["etag"]) == (412, '"2"')
        assert (await api.call("PATCH", path, {"title": "y"}, if_match='"0"')).status == 412
        for method, suffix in (("POST", "/complete"), ("POST", "/reopen"), ("DELETE", "")):
            assert (await api.call(method, path + suffix, if_match='"1"')).status == 412
        assert (await api.get(path)).body["title"] == "x"

    @pytest.mark.parametrize("value", ["", "abc", "²", "9" * 5000, '"1", "2"', "-1", '"1'])
    async def test_an_if_match_that_is_none_is_refused(self, api: Api, value: str) -> None:
        task = await api.task()
        answer = await api.call("PATCH", f"/tasks/{task['id']}", {"title": "y"}, if_match=value)
        assert (answer.status, answer.fields) == (422, ["If-Match"])

    async def test_concurrent_changes_of_one_version_are_one_change(self, api: Api) -> None:
        task = await api.task()
        answers = await asyncio.gather(
            *(api.call("PATCH", f"/tasks/{task['id']}", {"title": str(n)}, if_match=etag(task)) for n in range(8))
        )
        assert sorted(answer.status for answer in answers) == [200] + [412] * 7
        starred = await asyncio.gather(
            *(api.call("PATCH", f"/tasks/{task['id']}", {"title": str(n)}, if_match="*") for n in range(10, 18))
        )
        assert [answer.status for answer in starred] == [200] * 8

    async def test_completing_and_reopening(self, api: Api) -> None:
        task = await api.task(reminders=["PT0S"], **SOON)
        done = await api.post(f"/tasks/{task['id']}/complete")
        assert (done.status, done.body["status"], done.body["closed_at"] is None) == (200, "done", False)
        assert (await api.post(f"/tasks/{task['id']}/complete")).body == done.body
        opened = await api.post(f"/tasks/{task['id']}/reopen")
        assert (opened.body["status"], opened.body["closed_at"], opened.body["version"]) == ("open", None, 3)

    async def test_snoozing(self, api: Api) -> None:
        task = await api.task(reminders=["-PT1H"], **SOON)
        path = f"/tasks/{task['id']}"
        snoozed = await api.post(f"{path}/snooze", {"until": "2031-05-06T11:30:00Z", "reminder": "-PT1H"})
        assert snoozed.body["reminders"] == ["-PT1H", "2031-05-06T11:30:00Z"]
        assert [one["state"] for one in (await api.get(path)).body["reminder_history"]] == ["dismissed", "scheduled"]
        assert (await api.post(f"{path}/snooze", {"until": "2031-05-06T11:30:00"})).fields == ["until"]
        assert (await api.post(f"{path}/snooze", {"until": "2020-05-06T11:30:00Z"})).fields == ["until"]

    async def test_deleting_a_plain_task(self, api: Api) -> None:
        task = await api.task()
        assert (await api.call("DELETE", f"/tasks/{task['id']}")).status == 204
        assert (await api.call("DELETE", f"/tasks/{task['id']}")).status == 404
        assert (await api.get(f"/tasks/{task['id']}")).status == 404
        assert (await api.get("/tasks", status="all")).body["tasks"] == []

    async def test_deleting_a_recurring_task_asks_how_much_of_it(self, api: Api) -> None:
        task = await api.task(**WEEKLY)
        asked = await api.call("DELETE", f"/tasks/{task['id']}")
        assert (asked.status, asked.fields) == (422, ["scope"])
        assert (await api.call("DELETE", f"/tasks/{task['id']}", query={"scope": "occurrence"})).status == 204
        other = await api.task(**WEEKLY)
        assert (await api.call("DELETE", f"/tasks/{other['id']}", query={"scope": "series"})).status == 204

    async def test_the_dates_to_come(self, api: Api) -> None:
        task = await api.task(**WEEKLY)
        dates = (await api.get(f"/tasks/{task['id']}/occurrences", limit="2")).body["occurrences"]
        assert dates == ["2031-05-13T12:00:00Z", "2031-05-20T12:00:00Z"]
        plain = await api.task()
        assert (await api.get(f"/tasks/{plain['id']}/occurrences")).body["occurrences"] == []
        preview = await api.post(
            "/occurrences/preview", {"recurrence": {"rule": "FREQ=DAILY"}, "due_date": "2031-05-06", "limit": 2}
        )
        assert preview.body["occurrences"] == ["2031-05-06", "2031-05-07"]

    async def test_a_rule_can_be_given_changed_and_taken_away(self, api: Api) -> None:
        task = await api.task(**SOON)
        path = f"/tasks/{task['id']}"
        given = await api.call("PATCH", path, {"recurrence": {"rule": "FREQ=DAILY"}}, if_match="*")
        assert given.body["recurrence"]["rule"] == "FREQ=DAILY"
        changed = await api.call("PATCH", path, {"recurrence": {"rule": "FREQ=WEEKLY"}}, if_match="*")
        assert changed.body["recurrence"]["series_id"] == given.body["recurrence"]["series_id"]
        taken = await api.call("PATCH", path, {"recurrence": None}, if_match="*")
        assert taken.body["recurrence"] is None
        assert taken.body["version"] == 4

    async def test_why_tells_what_happened_and_who_did_not_answer(self, api: Api) -> None:
        task = await api.task(reminders=["PT0S"], **SOON)
        await api.post(f"/tasks/{task['id']}/complete")
        why = (await api.get(f"/tasks/{task['id']}/why")).body
        happened = [step["what"] for step in why["timeline"] if step["where"] == "backend"]
        assert happened == ["todo.task.created.v1", "todo.task.completed.v1"]
        assert why["did_not_answer"] == ["notification-service", "email-delivery"]
        await api.call("DELETE", f"/tasks/{task['id']}")
        assert (await api.get(f"/tasks/{task['id']}/why")).body["task"]["deleted"] is True


class TestLists:
    async def test_pages_hold_every_task_once_whatever_is_added_meanwhile(self, api: Api) -> None:
        there = {(await api.task(title=str(number)))["id"] for number in range(7)}
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await api.get("/tasks", limit="2", **cursor)).body
            seen += [task["id"] for task in page["tasks"]]
            await api.task(title="added meanwhile")
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len(seen) == len(set(seen))
        assert set(seen) == there

    async def test_sorted_by_due_date_those_without_come_last_and_pages_go_on(self, api: Api) -> None:
        for due in ("2031-05-08T00:00:00Z", "2031-05-06T00:00:00Z"):
            await api.task(title=due, due_at=due)
        await api.task(title="day", due_date="2031-05-07")
        for _ in range(2):
            await api.task(title="none")
        titles: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await api.get("/tasks", sort="due", limit="2", **cursor)).body
            titles += [task["title"] for task in page["tasks"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert titles == ["2031-05-06T00:00:00Z", "day", "2031-05-08T00:00:00Z", "none", "none"]

    async def test_lists_are_filtered_by_status_label_and_text(self, api: Api) -> None:
        done = await api.task(title="100% done", labels=["home"])
        await api.post(f"/tasks/{done['id']}/complete")
        await api.task(title="open", notes="50 % off", labels=["work"])

        async def titles(**query: str) -> list[str]:
            return [task["title"] for task in (await api.get("/tasks", **query)).body["tasks"]]

        assert await titles() == ["open"]
        assert await titles(status="done") == ["100% done"]
        assert await titles(status="all", label="home") == ["100% done"]
        assert await titles(status="all", q="100%") == ["100% done"]
        assert await titles(status="all", q="OFF") == ["open"]
        assert await titles(status="all", q="_") == []

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"cursor": "nonsense"}, "cursor"),
            ({"cursor": "é"}, "cursor"),
            ({"cursor": BEFORE_ALL_TIME}, "cursor"),
            (
                {"cursor": "WyIyMDMxLTA1LTA2VDEyOjAwOjAwIiwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIl0"},
                "cursor",
            ),
            ({"limit": "0"}, "limit"),
            ({"limit": "501"}, "limit"),
            ({"limit": "9" * 5000}, "limit"),
            ({"status": "lost"}, "status"),
            ({"sort": "luck"}, "sort"),
            ({"q": "a\x00"}, "q"),
            ({"label": "\x00"}, "label"),
            ({"label": "x" * 51}, "label"),
            ({"user_id": "x"}, "user_id"),
            ({"user_id": "0"}, "user_id"),
            ({"user_id": "9" * 30}, "user_id"),
            ({"user_id": "999999"}, "user_id"),
        ],
    )
    async def test_what_is_no_filter_is_refused(self, api: Api, query: dict[str, str], field: str) -> None:
        answer = await api.get("/tasks", **query)
        assert (answer.status, answer.fields) == (422, [field])


class TestOwners:
    async def test_somebody_elses_task_is_not_there_on_any_route(self, api: Api) -> None:
        task = await api.task(reminders=["PT0S"], **WEEKLY)
        path = f"/tasks/{task['id']}"
        stranger = api.of(1)
        nobodys = f"/tasks/{uuid4()}"
        for method, suffix, body in (
            ("GET", "", None),
            ("PATCH", "", {"title": "mine"}),
            ("DELETE", "", None),
            ("POST", "/complete", None),
            ("POST", "/reopen", None),
            ("POST", "/snooze", {"until": "2031-05-06T11:30:00Z"}),
            ("GET", "/occurrences", None),
            ("GET", "/why", None),
        ):
            theirs = await stranger.call(method, path + suffix, body, if_match="*")
            none = await stranger.call(method, nobodys + suffix, body, if_match="*")
            assert theirs.status == 404, (method, suffix)
            assert theirs.body == none.body
        assert task["id"] not in str((await stranger.get("/tasks", status="all", limit="500")).body)
        assert (await api.get(path)).body["version"] == 1

    async def test_users_are_added_listed_and_moved(self, api: Api) -> None:
        email = f"{uuid4().hex}@example.test"
        made = await api.post("/users", {"email": email, "name": "Bob", "zone": "Asia/Tokyo"})
        assert (made.status, made.headers["location"]) == (201, f"/users/{made.body['id']}")
        assert (await api.get(f"/users/{made.body['id']}")).body == made.body
        assert made.body in (await api.get("/users")).body
        assert (await api.post("/users", {"email": email.upper()})).status == 409
        other = f"{uuid4().hex}@example.test"
        moved = await api.call("PATCH", f"/users/{made.body['id']}", {"email": other})
        assert moved.body["email"] == other
        taken = await api.call("PATCH", f"/users/{made.body['id']}", {"email": "ADA@example.test"})
        assert taken.status == 409

    async def test_the_first_user_is_there_from_the_start(self, api: Api) -> None:
        first = (await api.get("/users/1")).body
        assert first == {"id": 1, "email": "ada@example.test", "name": "ada", "zone": "Europe/Berlin"}

    async def test_there_is_no_other_user(self, api: Api) -> None:
        assert (await api.get("/users/999999")).status == 404
        assert (await api.call("PATCH", "/users/999999", {"email": "x@y.test"})).status == 404
        for strange in ("0", "x", "9" * 30):
            assert (await api.get(f"/users/{strange}")).status == 422

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "email"),
            ({"email": "nobody"}, "email"),
            ({"email": "a@b\x00.test"}, "email"),
            ({"email": "a@b.test\nBcc: c@d.test"}, "email"),
            ({"email": "x" * 260 + "@b.test"}, "email"),
            ({"email": "a@b.test", "zone": "Berlin"}, "zone"),
            ({"email": "a@b.test", "name": "a\nb"}, "name"),
            ({"email": "a@b.test", "admin": True}, "admin"),
        ],
    )
    async def test_what_is_no_user_is_refused(self, api: Api, fields: dict[str, object], field: str) -> None:
        answer = await api.post("/users", fields)
        assert (answer.status, answer.fields) == (422, [field])


class TestIdempotencyKeys:
    async def test_the_same_request_again_gets_the_same_answer_and_is_not_done_again(self, api: Api) -> None:
        body = {"title": "once", "user_id": api.user_id}
        first = await api.post("/tasks", body, idempotency_key="k1")
        again = await api.post("/tasks", body, idempotency_key="k1")
        assert (again.status, again.body) == (201, first.body)
        for header in ("etag", "location", "content-type"):
            assert again.headers[header] == first.headers[header]
        assert again.headers["idempotent-replayed"] == "true"
        assert len((await api.get("/tasks")).body["tasks"]) == 1

    async def test_concurrent_twins_make_one_task(self, api: Api) -> None:
        body = {"title": "twin", "user_id": api.user_id}
        answers = await asyncio.gather(*(api.post("/tasks", body, idempotency_key="k2") for _ in range(6)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.body["id"] for answer in answers}) == 1
        assert len((await api.get("/tasks")).body["tasks"]) == 1

    async def test_another_request_under_the_same_key_is_a_conflict(self, api: Api) -> None:
        await api.post("/tasks", {"title": "one", "user_id": api.user_id}, idempotency_key="k3")
        other = await api.post("/tasks", {"title": "two", "user_id": api.user_id}, idempotency_key="k3")
        assert other.status == 409
        task = await api.task()
        assert (await api.post(f"/tasks/{task['id']}/complete", idempotency_key="k3")).status == 409

    async def test_the_key_of_another_user_is_another_key(self, api: Api) -> None:
        first = await api.post("/tasks", {"title": "mine", "user_id": api.user_id}, idempotency_key="shared")
        other = await api.of(1).post("/tasks", {"title": "theirs", "user_id": 1}, idempotency_key="shared")
        assert (first.status, other.status) == (201, 201)

    async def test_a_request_that_failed_leaves_its_key_free(self, api: Api) -> None:
        task = await api.task()
        path = f"/tasks/{task['id']}/complete"
        assert (await api.post(path, idempotency_key="k4", if_match='"9"')).status == 412
        assert (await api.post(path, idempotency_key="k4")).status == 200

    async def test_a_caller_who_leaves_before_its_body_came_is_no_fault_of_ours(self) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [], "server": ("a", 1)}
        with pytest.raises(HTTPException) as left:
            await requests.act_once(None, Request(scope, receive), 1, "k", None)  # type: ignore[arg-type]
        assert left.value.status_code == 400

    async def test_bodies_that_never_come_hold_no_connection_to_the_database(self, api: Api, service: Running) -> None:
        """As many as the pool has. That the server says `100 Continue` tells that it waits for the body."""
        host, port = service.base.removeprefix("http://").split(":")
        head = (
            f"POST /tasks/{uuid4()}/complete?user_id={api.user_id} HTTP/1.1\r\nhost: {host}:{port}\r\n"
            "content-length: 2\r\nexpect: 100-continue\r\nidempotency-key: never\r\n\r\n"
        )
        await api.get("/tasks")
        writers = []
        try:
            async with asyncio.timeout(20):
                for _ in range(12):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    writers.append(writer)
                    writer.write(head.encode())
                    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
                assert (await api.get("/tasks")).status == 200
        finally:
            for writer in writers:
                writer.close()

    async def test_a_key_is_bounded(self, api: Api) -> None:
        body = {"title": "x", "user_id": api.user_id}
        assert (await api.post("/tasks", body, idempotency_key="x" * 201)).fields == ["idempotency-key"]


class TestBadInput:
    """Each gets a problem document that names the field, what is wrong with it and the fix."""

    async def refused(self, api: Api, body: Any, field: str, status: int = 422) -> Any:  # noqa: ANN401 - JSON, or whatever the tested code takes
        sent = {"data": body} if isinstance(body, bytes) else {"json": {"title": "x", "user_id": api.user_id} | body}
        answer = await api.call("POST", "/tasks", **sent)
        assert answer.status == status, answer
        assert answer.body["status"] == status
        assert answer.body["type"].startswith("urn:todo:problem:")
        (fault,) = answer.body["errors"]
        assert fault["field"] == field, fault
        assert fault["problem"]
        assert fault["fix"]
        assert len(str(answer.body)) < 1500
        return answer.body

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"not json",
            b"[]",
            b'"text"',
            b"7",
            b"null",
            b"\xff\xfe",
            b'{"title": "x",}',
            b"[" * 100000,
            b'{"title": "x", "user_id": ' + b"9" * 5000 + b"}",
        ],
    )
    async def test_a_body_that_is_no_json_object(self, api: Api, body: bytes) -> None:
        await self.refused(api, body, "body")

    async def test_a_body_of_another_media_type(self, api: Api) -> None:
        answer = await api.call("POST", "/tasks", data=b'{"title": "x"}', content_type="text/plain")
        assert (answer.status, answer.fields) == (422, ["body"])
        assert "application/json" in answer.body["errors"][0]["fix"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"title": 7}, "title"),
            ({"title": None}, "title"),
            ({"title": ["x"]}, "title"),
            ({"user_id": "1"}, "user_id"),
            ({"user_id": 1.5}, "user_id"),
            ({"user_id": True}, "user_id"),
            ({"notes": {}}, "notes"),
            ({"priority": "1"}, "priority"),
            ({"priority": 0}, "priority"),
            ({"priority": 5}, "priority"),
            ({"priority": 2**80}, "priority"),
            ({"labels": "home"}, "labels"),
            ({"labels": [1]}, "labels.0"),
            ({"reminders": "-PT1H"}, "reminders"),
            ({"reminders": ["soon"]}, "reminders"),
            ({"reminders": ["2031-05-06T12:00:00"]}, "reminders"),
            ({"reminders": [f"-PT{n}M" for n in range(30)]}, "reminders"),
            ({"recurrence": "FREQ=DAILY"}, "recurrence"),
            ({"recurrence": {"rule": "FREQ=DAILY", "mode": "never"}}, "recurrence.mode"),
            ({"due_at": 1700000000}, "due_at"),
            ({"due_at": "1700000000"}, "due_at"),
            ({"due_at": "2026"}, "due_at"),
            ({"due_at": "tomorrow"}, "due_at"),
            ({"due_at": "2031-02-30T12:00:00Z"}, "due_at"),
            ({"due_date": "2031-02-30"}, "due_date"),
            ({"due_date": 7}, "due_date"),
            ({"due_date": "1700000000"}, "due_date"),
            ({"due_date": "2031-05-06", "due_at": "2031-05-06T12:00:00Z"}, "due_date"),
            ({"due_at": "2031-05-06T12:00:00", "zone": "Mars/Olympus"}, "zone"),
            ({"zone": "x" * 100}, "zone"),
        ],
    )
    async def test_wrong_types_and_values(self, api: Api, body: dict[str, object], field: str) -> None:
        await self.refused(api, body, field)

    @pytest.mark.parametrize("name", ["due", "Title", "id", "__class__", "x" * 50_000, "a\nb", "body"])
    async def test_unknown_fields(self, api: Api, name: str) -> None:
        await self.refused(api, {name: 1}, name[:200])

    async def test_very_many_unknown_fields_are_named_up_to_a_point(self, api: Api) -> None:
        answer = await api.post("/tasks", {str(number): 1 for number in range(10_000)})
        assert answer.status == 422
        assert len(answer.body["errors"]) == 20

    @pytest.mark.parametrize("title", ["", "  \n ", "x" * 10_000, "x" * 200_000, "a\x00b", "\ud800", "a\x1bb"])
    async def test_titles(self, api: Api, title: str) -> None:
        await self.refused(api, {"title": title}, "title")

    async def test_a_newline_and_html_in_a_title_are_text(self, api: Api) -> None:
        assert (await api.task(title="a\nb<script>alert(1)</script>"))["title"] == "a b<script>alert(1)</script>"

    @pytest.mark.parametrize("field", ["notes", "labels", "reminders", "zone", "rule"])
    @pytest.mark.parametrize("strange", ["\x00", "a\x00b", "\ud800", "\udfff\ud800"])
    async def test_nul_and_half_characters_anywhere(self, api: Api, field: str, strange: str) -> None:
        bodies: dict[str, dict[str, object]] = {
            "notes": {"notes": strange},
            "labels": {"labels": [strange]},
            "reminders": {"reminders": [strange]},
            "zone": {"zone": strange, "due_date": "2031-05-06"},
            "rule": SOON | {"recurrence": {"rule": strange}},
        }
        answer = await api.post("/tasks", {"title": "x", "user_id": api.user_id} | bodies[field])
        assert answer.status == 422
        assert answer.fields[0].split(".")[0] in {field, "recurrence"}

    @pytest.mark.parametrize(
        ("due_at", "problem"),
        [
            ("10000-01-01T00:00:00Z", "datetime"),
            ("9999-12-31T23:59:59Z", "the year 9999 is out of range"),
            ("1900-01-01T00:00:00Z", "the year 1900 is out of range"),
            ("0000-01-01T00:00:00Z", "datetime"),
            ("2031-03-30T02:30:00", "02:30 does not exist in Europe/Berlin on 2031-03-30"),
        ],
    )
    async def test_due_dates_out_of_this_world(self, api: Api, due_at: str, problem: str) -> None:
        body = await self.refused(api, {"due_at": due_at, "zone": "Europe/Berlin"}, "due_at")
        assert problem in body["errors"][0]["problem"]

    @pytest.mark.parametrize(
        "rule",
        [
            "",
            "Every Monday",
            "FREQ=SECONDLY",
            "FREQ=MINUTELY",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;COUNT=0",
            "FREQ=DAILY;UNTIL=19000101T000000Z",
            "FREQ=DAILY;INTERVAL=0",
            "x" * 1900,
            "x" * 3000,
        ],
    )
    async def test_rules_that_never_fire_or_all_the_time(self, api: Api, rule: str) -> None:
        body = SOON | {"recurrence": {"rule": rule}}
        answer = await api.post("/tasks", {"title": "x", "user_id": api.user_id} | body)
        assert answer.status == 422
        preview = await api.post("/occurrences/preview", body)
        assert preview.status == 422
        for one in (answer, preview):
            assert one.fields == ["recurrence.rule"]
            assert one.body["errors"][0]["fix"]

    async def test_a_rule_from_1900(self, api: Api) -> None:
        await self.refused(api, {"due_date": "1900-01-01", "recurrence": {"rule": "FREQ=DAILY"}}, "due_date")

    async def test_a_rule_without_a_due_date(self, api: Api) -> None:
        await self.refused(api, {"recurrence": {"rule": "FREQ=DAILY"}}, "recurrence")

    @pytest.mark.parametrize("user_id", [999_999, 0, -1, 2**63, 2**200])
    async def test_an_unknown_user(self, api: Api, user_id: int) -> None:
        await self.refused(api, {"user_id": user_id}, "user_id")

    async def test_an_id_that_is_none(self, api: Api) -> None:
        assert (await api.get("/tasks/17")).fields == ["task_id"]

    async def test_an_unknown_route_and_a_wrong_method(self, api: Api) -> None:
        assert (await api.get("/todos")).status == 404
        assert (await api.call("PUT", "/tasks", {})).status == 405

    async def test_a_body_of_5_mb_is_refused_before_it_is_sent(self, service: Running) -> None:
        """The answer comes although only the head of the request was sent."""
        host, port = service.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = ("POST /tasks HTTP/1.1", "host: localhost", "content-type: application/json", "content-length: 5000000")
        writer.write("\r\n".join([*head, "", '{"title": "']).encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in answer
        writer.close()
        await writer.wait_closed()

    async def test_a_body_of_5_mb_in_chunks_is_refused_at_the_first_megabyte(self, api: Api, service: Running) -> None:
        sent = 0

        async def chunks() -> Any:  # noqa: ANN401 - JSON, or whatever the tested code takes
            nonlocal sent
            yield b'{"title": "'
            for _ in range(50):
                sent += 1
                yield b"x" * 100_000

        try:
            answer = await api.call("POST", "/tasks", data=chunks())
        except aiohttp.ClientConnectionError:
            assert sent < 50  # it hung up on us, and is there for the next
        else:
            assert answer.status == 413
            assert "1,048,576 bytes" in answer.body["detail"]
        async with client(service) as other:
            await other.task()


class TestOperators:
    async def test_dead_letters_are_listed_shown_replayed_and_discarded(self, api: Api, service: Running) -> None:
        body = b'{"id": "' + uuid4().hex.encode() + b'", "type": "todo.strange.v1", "subject": "s", "data": {}}'
        async with aiohttp.ClientSession(service.base, headers={"dapr-api-token": APP_TOKEN}) as sidecar:
            for original in (body, b"\xff" + body):
                assert await status_of(sidecar, "POST", "/events/task-occurrences", data=original) == 200
        found = (await api.get("/dead-letters", limit="2")).body["dead_letters"]
        binary, text = [(await api.get(f"/dead-letters/{one['id']}")).body for one in found]
        assert (text["body"], text["body_encoding"]) == (body.decode(), "utf-8")
        assert binary["body_encoding"] == "base64"
        assert (text["app"], text["topic"], text["status"]) == ("backend", "task-occurrences", "open")
        replayed = await api.post(f"/dead-letters/{text['id']}/replay")
        assert (replayed.body["status"], replayed.body["replays"]) == ("replayed", 1)
        assert (await api.post(f"/dead-letters/{binary['id']}/replay")).status == 409
        assert (await api.post(f"/dead-letters/{binary['id']}/discard")).body["status"] == "discarded"
        for status, letter in (("replayed", text), ("discarded", binary)):
            listed = (await api.get("/dead-letters", status=status)).body["dead_letters"]
            assert letter["id"] in [one["id"] for one in listed]
        page = (await api.get("/dead-letters", status="all", limit="1")).body
        following = (await api.get("/dead-letters", status="all", limit="1", cursor=page["next_cursor"])).body
        assert following["dead_letters"][0]["id"] < page["dead_letters"][0]["id"]
        for path, method in (("", "GET"), ("/replay", "POST"), ("/discard", "POST")):
            assert (await api.call(method, f"/dead-letters/999999{path}")).status == 404
            assert (await api.call(method, f"/dead-letters/{'9' * 30}{path}")).status == 422
        assert (await api.get("/dead-letters", cursor="9" * 30)).fields == ["cursor"]

    async def test_the_pipeline_says_where_events_are(self, api: Api) -> None:
        pipeline = (await api.get("/pipeline")).body
        assert set(pipeline) == {"outbox", "dead_letters", "schedule", "sidecar_ready"}
        assert pipeline["schedule"] is None

    async def test_events_cross_with_the_trace_of_the_request(self, api: Api, service: Running) -> None:
        trace = f"00-{uuid4().hex}-b7ad6b7169203331-01"
        answer = await api.post("/tasks", {"title": "traced", "user_id": api.user_id}, traceparent=trace)
        key = answer.body["id"]
        await until(lambda: key in [one.key for one in service.broker.published])
        (event,) = [one for one in service.broker.published if one.key == key]
        assert trace[:36].encode() in event.envelope

    async def test_every_answer_names_its_trace_and_what_is_no_trace_starts_one(self, api: Api) -> None:
        task = {"title": "traced", "user_id": api.user_id}
        answer = await api.post("/tasks", task, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        assert answer.headers["traceparent"].startswith(f"00-{'a' * 32}-")
        answer = await api.post("/tasks", task, traceparent="nonsense")
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", answer.headers["traceparent"])


class TestSidecar:
    """What only the sidecar may call."""

    ROUTES = (
        "/events/task-occurrences",
        "/events/reminder-deliveries",
        "/events/dead-letters",
        "/job/reconcile-series",
    )
    INTERNAL = ("/internal/reminders/resolve", "/internal/tasks/versions", "/internal/tasks/snapshots")

    async def test_both_subscription_lists_are_open_and_the_same(self, service: Running) -> None:
        async with aiohttp.ClientSession(service.base) as http:
            lists = [await json_of(http, "GET", path) for path in ("/dapr/subscribe", "/events/dapr/subscribe")]
        assert lists[0] == lists[1]
        topics = {one["topic"] for one in lists[0]}
        assert topics == set(names.BACKEND.topics) | set(names.dead_letter_topics())
        assert all(one["deadLetterTopic"] and one["bulkSubscribe"]["enabled"] for one in lists[0])
        raw = {one["topic"] for one in lists[0] if one["metadata"] == {"rawPayload": "true"}}
        assert raw == set(names.dead_letter_topics())

    @pytest.mark.parametrize("path", [*ROUTES, *INTERNAL])
    async def test_without_the_app_token_nobody_gets_in(self, service: Running, path: str) -> None:
        async with aiohttp.ClientSession(service.base) as http:
            assert await status_of(http, "POST", path, data=b"{}") == 401
            wrong = {"dapr-api-token": "guessed"}
            assert await status_of(http, "POST", path, data=b"{}", headers=wrong) == 403

    @pytest.mark.parametrize("path", INTERNAL)
    @pytest.mark.parametrize("body", [b"", b"garbage", b"[]", b'{"reminders": 7, "task_ids": 7, "limit": "x"}'])
    async def test_a_question_that_is_none_is_the_askers_fault(self, service: Running, path: str, body: bytes) -> None:
        async with aiohttp.ClientSession(service.base, headers={"dapr-api-token": APP_TOKEN}) as http:
            assert await status_of(http, "POST", path, data=body) == 422

    async def test_versions_and_snapshots_are_paged(self, api: Api, service: Running) -> None:
        task = await api.task()
        async with aiohttp.ClientSession(service.base, headers={"dapr-api-token": APP_TOKEN}) as http:
            page = await json_of(http, "POST", self.INTERNAL[1], json={"limit": 1})
            assert (page["epoch"], len(page["tasks"])) == (1, 1)
            odd = await json_of(http, "POST", self.INTERNAL[1], json={"limit": -5})
            assert len(odd["tasks"]) == 1
            known = await json_of(http, "POST", self.INTERNAL[2], json={"task_ids": [task["id"], str(uuid4())]})
            assert [one["task_id"] for one in known["tasks"]] == [task["id"]]

    async def test_a_job_is_answered_whatever_its_body(self, service: Running) -> None:
        async with aiohttp.ClientSession(service.base, headers={"dapr-api-token": APP_TOKEN}) as http:
            for body in (b"", b"\xff garbage", b"{}"):
                assert await status_of(http, "POST", "/job/reconcile-series", data=body) == 204

    async def test_the_three_probes_and_the_metrics_are_open(self, service: Running) -> None:
        async with aiohttp.ClientSession(service.base) as http:
            for path in ("/healthz", "/healthz/consume", "/readyz"):
                assert await status_of(http, "GET", path) == 200
            async with http.get("/metrics") as metrics:
                assert "todo_events_published_total" in await metrics.text()


class TestLocalCallers:
    """TODO_AUTH=local believes every caller, so what a web page can send is kept out."""

    @pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8000", "127.0.0.1.example", "[::1", ""])
    @pytest.mark.parametrize("path", ["/tasks", "/readyz", "/internal/tasks/versions"])
    async def test_a_name_that_is_not_loopback_is_not_answered(self, service: Running, host: str, path: str) -> None:
        async with aiohttp.ClientSession(service.base) as http:
            assert await status_of(http, "GET", path, headers={"host": host}) == 403

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:9", "[::1]"])
    async def test_loopback_is_answered_under_every_name_and_port(self, service: Running, host: str) -> None:
        async with aiohttp.ClientSession(service.base) as http:
            assert await status_of(http, "GET", "/tasks", headers={"host": host}) == 200

    @pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null", ""])
    async def test_a_page_of_another_origin_changes_nothing(self, api: Api, service: Running, origin: str) -> None:
        task = await api.task()
        path = f"/tasks/{task['id']}/complete?user_id={api.user_id}"
        async with aiohttp.ClientSession(service.base, headers={"origin": origin}) as http:
            assert await status_of(http, "POST", path) == 403
            assert await status_of(http, "GET", f"/tasks?user_id={api.user_id}") == 200
        assert (await api.get(f"/tasks/{task['id']}")).body["status"] == "open"

    async def test_a_page_of_this_machine_may(self, api: Api) -> None:
        task = await api.task()
        answer = await api.post(f"/tasks/{task['id']}/complete", origin="http://localhost:3000")
        assert answer.body["status"] == "done"


ANSWERED_AS = {
    "/changes/stream": {"text/event-stream"},
    "/imports": {"application/x-ndjson"},
    "/exports": {"application/json", "text/csv", "text/calendar"},
}


class TestOpenApi:
    async def test_every_route_of_the_app_is_documented_and_every_reference_resolves(self, api: Api) -> None:
        document = api._document
        assert document["openapi"].startswith("3.1")
        schemas = document["components"]["schemas"]
        found = str(document).split("#/components/schemas/")[1:]
        assert {one.split("'")[0] for one in found} == set(schemas)
        assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
        operations = [one for path in document["paths"].values() for one in path.values()]
        assert len(operations) >= 20
        assert all(one["summary"] and one["description"] and one["tags"] for one in operations)
        assert len({one["operationId"] for one in operations}) == len(operations)

    async def test_problems_are_documented_as_problem_documents(self, api: Api) -> None:
        for path, operations in api._document["paths"].items():
            for operation in operations.values():
                assert {"422", "503"} <= set(operation["responses"])
                for status, response in operation["responses"].items():
                    usual = {"application/problem+json"} if int(status) >= 400 else {"application/json"}
                    expected = ANSWERED_AS.get(path, usual) if status == "200" else usual
                    assert status in {"204", "303"} or set(response["content"]) == expected, path


class TestOutages:
    async def test_the_api_keeps_accepting_while_the_sidecar_is_away(self, api: Api, service: Running) -> None:
        await service.run(service.broker.stop())
        try:
            tasks = [await api.task(title=str(number)) for number in range(5)]
            pipeline = (await api.get("/pipeline")).body
            assert pipeline["outbox"]["depth"] >= 5
            assert pipeline["sidecar_ready"] is False
            async with aiohttp.ClientSession(service.base) as http:
                assert await status_of(http, "GET", "/readyz") == 200
                assert "degraded" in await json_of(http, "GET", "/readyz")
        finally:
            await service.run(service.broker.start())
        await until(lambda: {task["id"] for task in tasks} <= {one.key for one in service.broker.published})

    async def test_without_its_database_it_says_so_and_recovers(self) -> None:
        with tempfile.TemporaryDirectory(prefix="todo-pg-") as folder:
            server = PostgresServer(Path(folder), durable=False)
            server.start()
            try:
                await asyncio.to_thread(prepare, server.dsn)
                with running_backend(server.dsn) as service:
                    async with client(service) as api:
                        task = await api.task()
                        server.stop()
                        await self._is_away(api, service, task)
                        server.start()
                        await until(lambda: self._serves(api))
                        assert (await api.get(f"/tasks/{task['id']}")).status == 200
            finally:
                server.stop()

    async def test_it_starts_and_stops_while_its_database_is_away_and_serves_once_it_is_there(self) -> None:
        with tempfile.TemporaryDirectory(prefix="todo-pg-") as folder:
            server = PostgresServer(Path(folder), durable=False)
            server.start()
            try:
                await asyncio.to_thread(prepare, server.dsn)
                server.stop()
                with running_backend(server.dsn):
                    pass  # stopped again before its database ever came
                with running_backend(server.dsn) as service:
                    await self._waits(service)
                    server.start()
                    async with aiohttp.ClientSession(service.base) as http:
                        await until(lambda: self._ready(http))
                    async with client(service) as api:
                        assert (await api.task())["version"] == 1
            finally:
                server.stop()

    async def _waits(self, service: Running) -> None:
        token = {"dapr-api-token": APP_TOKEN}
        async with aiohttp.ClientSession(service.base, headers=token) as http:
            assert await status_of(http, "GET", "/healthz") == 200
            for method, path in (
                ("GET", "/readyz"),
                ("GET", "/healthz/consume"),
                ("GET", "/tasks"),
                ("GET", "/users"),
                ("POST", "/internal/tasks/versions"),
                ("POST", "/job/reconcile-series"),
                ("POST", "/events/task-occurrences"),
            ):
                assert (path, await status_of(http, method, path, data=b"{}")) == (path, 503)

    async def _ready(self, http: aiohttp.ClientSession) -> bool:
        return await status_of(http, "GET", "/readyz") == 200

    async def _is_away(self, api: Api, service: Running, task: dict[str, Any]) -> None:
        body = {"title": "x", "user_id": api.user_id}
        for answer in (
            await api.post("/tasks", body),
            await api.post("/tasks", body, idempotency_key="k"),
            await api.get(f"/tasks/{task['id']}"),
            await api.call("PATCH", f"/tasks/{task['id']}", {"title": "y"}, if_match="*"),
        ):
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        async with aiohttp.ClientSession(service.base, headers={"dapr-api-token": APP_TOKEN}) as http:
            statuses = {
                path: await status_of(http, method, path, data=data)
                for method, path, data in (
                    ("GET", "/healthz", None),
                    ("GET", "/readyz", None),
                    ("GET", "/healthz/consume", None),
                    ("POST", "/job/reconcile-series", b""),
                    ("POST", "/events/reminder-deliveries", b"{}"),
                    ("POST", "/events/dead-letters.backend.dead-letters", b"{}"),
                )
            }
        assert statuses.pop("/healthz") == 200
        assert set(statuses.values()) == {503}

    async def _serves(self, api: Api) -> bool:
        return (await api.get("/users")).status == 200
