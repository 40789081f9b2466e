"""No call of one owner ever reads, changes or counts what is another's, whatever ids it names."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.backend.callers import Guarded
from tests.integration.backend.service import Answer, Api
from todo.contracts.envelope import new_trace

SECRET = "what only Bob may know"  # noqa: S105 - the text of a task
DUE = {"due_at": "2031-05-06T12:00:00Z", "reminders": ["-PT1H"]}
TABLES = {
    "tasks": "user_id = $1",
    "lists": "user_id = $1",
    "undo_steps": "user_id = $1",
    "undo_items": "step_id IN (SELECT id FROM backend.undo_steps WHERE user_id = $1)",
    "series": "user_id = $1",
    "task_history": "task_id IN (SELECT id FROM backend.tasks WHERE user_id = $1)",
    "users": "id = $1",
    "api_tokens": "user_id = $1",
    "answers": "user_id = $1",
    "password_logins": "user_id = $1",
    "sessions": "user_id = $1",
}
TASK_CALLS = (
    ("GET", ""),
    ("GET", "/why"),
    ("GET", "/occurrences"),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/complete"),
    ("POST", "/reopen"),
    ("POST", "/snooze"),
    ("POST", "/move"),
    ("POST", "/restore"),
    ("POST", "/dismiss"),
)
LIST_CALLS = (("GET", ""), ("PATCH", "/{0}"), ("DELETE", "/{0}"))
BODIES: list[Any] = [
    None, {"title": "Mallory's"}, {"until": "2031-05-06T11:30:00Z"}, {"recurrence": None}, {"after": None},
    {"reminder": "-PT1H"},
]  # fmt: skip


@dataclass
class Owners:
    """Two owners on one system: Mallory calls, Bob has something to lose."""

    url: str
    mallory: Api
    bob: Api
    tasks: list[dict[str, Any]]
    lists: list[dict[str, Any]]
    step: str  # a change of Bob's
    key: str  # an Idempotency-Key that Bob used

    async def bobs(self) -> dict[str, list[str]]:
        """Every row that is Bob's."""
        connection = await asyncpg.connect(self.url)
        try:
            return {
                table: [
                    row[0]
                    for row in await connection.fetch(
                        f"SELECT (to_jsonb(t) - 'last_used_at')::text FROM backend.{table} t WHERE {which} ORDER BY 1",  # noqa: S608 - of this table
                        self.bob.user_id,
                    )
                ]
                for table, which in TABLES.items()
            }
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def owners(guarded: Guarded, loop: asyncio.Runner) -> Iterator[Owners]:
    mallory: AbstractContextManager[Api] = _in(loop, guarded.calling())
    bob: AbstractContextManager[Api] = _in(loop, guarded.calling())
    with mallory as caller, bob as victim:
        yield loop.run(_furnished(guarded, caller, victim))


class _in(AbstractContextManager[Any]):  # noqa: N801 - reads as a word
    """An asynchronous context in somebody's loop."""

    def __init__(self, loop: asyncio.Runner, inner: Any) -> None:  # noqa: ANN401 - an asynchronous context manager
        self._loop, self._inner = loop, inner

    def __enter__(self) -> Any:  # noqa: ANN401 - what it yields
        return self._loop.run(self._inner.__aenter__())

    def __exit__(self, *raised: object) -> None:
        self._loop.run(self._inner.__aexit__(*raised))


async def _furnished(guarded: Guarded, mallory: Api, bob: Api) -> Owners:
    await mallory.task(title="Mallory's own", **DUE)
    tasks = [
        await bob.task(title=f"{SECRET} 1", notes=SECRET, labels=["home"], **DUE),
        await bob.task(title=f"{SECRET} 2", recurrence={"rule": "FREQ=DAILY"}, **DUE),
        await bob.task(title=f"{SECRET} 3"),
        await bob.task(title=f"{SECRET} 4"),
    ]
    await bob.post(f"/tasks/{tasks[2]['id']}/complete", idempotency_key="bobs")
    deleted = await bob.call("DELETE", f"/tasks/{tasks[3]['id']}")
    lists = [(await bob.post("/lists", {"name": SECRET})).body]
    await mallory.post("/lists", {"name": "Mallory's own"})
    return Owners(guarded.url, mallory, bob, tasks, lists, deleted.headers["undo"], "bobs")


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, dict[str, str], Any, dict[str, str]]:
    """A call with ids of Bob's: method, path with a place for a task, query, body, headers."""
    kind = draw(st.sampled_from(("task", "task", "task", "list", "create", "lists", "undo")))
    query = draw(
        st.fixed_dictionaries({}, optional={"user_id": st.sampled_from(("bob", "mallory", "1", "0")),
                                            "scope": st.sampled_from(("occurrence", "series"))})
    )  # fmt: skip
    headers = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "if_match": st.sampled_from(("*", '"1"', '"2"')),
                "idempotency_key": st.just("bobs"),
                "traceparent": st.just(new_trace()),
            },
        )
    )
    if kind == "task":
        method, suffix = draw(st.sampled_from(TASK_CALLS))
        number = draw(st.integers(0, 3))
        return method, f"/tasks/{{{number}}}{suffix}", query, draw(st.sampled_from(BODIES)), headers
    if kind == "undo":
        return "POST", "/undo", query, {"id": draw(st.sampled_from(("bobs step", "bobs task")))}, headers
    if kind == "lists":
        method, suffix = draw(st.sampled_from(LIST_CALLS))
        return method, f"/lists{suffix}", query, draw(st.sampled_from((None, {"name": "x"}, {"after": None}))), headers
    if kind == "list":
        query["status"] = draw(st.sampled_from(("open", "all", "done", "skipped", "trash")))
        query |= draw(st.fixed_dictionaries({}, optional={"q": st.just(SECRET[:8]), "label": st.just("home"),
                                                          "sort": st.sampled_from(("created", "due"))}))  # fmt: skip
        return "GET", "/tasks", query, None, headers
    whose = draw(st.sampled_from(("bob", "mallory", None, 0)))
    return "POST", "/tasks", query, {"title": "planted", "user_id": whose}, headers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls(), min_size=1, max_size=8))
def test_what_is_anothers_is_not_there(
    owners: Owners, loop: asyncio.Runner, made: list[tuple[str, str, dict[str, str], Any, dict[str, str]]]
) -> None:
    async def run() -> None:
        before = await owners.bobs()
        assert len(before["tasks"]) == 4
        for call in made:
            await _harmless(owners, call)
        assert await owners.bobs() == before

    loop.run(run())


async def _harmless(owners: Owners, call: tuple[str, str, dict[str, str], Any, dict[str, str]]) -> None:
    method, path, query, body, headers = call
    people = {"bob": owners.bob.user_id, "mallory": owners.mallory.user_id}
    query = {name: str(people.get(value, value)) for name, value in query.items()}
    if body and "user_id" in body:
        body = body | {"user_id": people.get(body["user_id"], body["user_id"])}
    if path == "/undo":
        body = {"id": owners.step if body["id"] == "bobs step" else owners.tasks[0]["id"]}
    path = path.format(*(one["id"] for one in (owners.lists if path.startswith("/lists") else owners.tasks)))
    answer = await owners.mallory.call(method, path, body, query=query, **headers)
    _check(owners, call, answer)


def _check(owners: Owners, call: object, answer: Answer) -> None:
    said = json.dumps(answer.body)
    for bobs in (SECRET, *(one["id"] for one in owners.tasks + owners.lists), f'"user_id": {owners.bob.user_id},'):
        assert bobs not in said, (call, answer)
    if answer.status < 400 and "lists" not in answer.body:
        listed = answer.body.get("tasks", [answer.body])
        assert {one["user_id"] for one in listed} <= {owners.mallory.user_id}, (call, answer)


def test_what_is_not_ones_own_is_as_if_it_were_nowhere(owners: Owners, loop: asyncio.Runner) -> None:
    """Byte for byte the answer for an id that nobody has: there is nothing to tell the two apart by."""

    async def run() -> None:
        nowhere = "0190b4f1-0000-7000-8000-000000000000"
        for method, suffix in TASK_CALLS:
            bodies: dict[str, Any] = {
                "/snooze": {"until": "2031-05-06T11:30:00Z"},
                "/dismiss": {"reminder": "-PT1H"},
                "/move": {},
            }
            body = bodies.get(suffix, {} if method == "PATCH" else None)
            for task in owners.tasks:
                answers = [
                    await owners.mallory.call(method, f"/tasks/{one}{suffix}", body, if_match="*")
                    for one in (task["id"], nowhere)
                ]
                assert [answer.status for answer in answers] == [404, 404]
                assert answers[0].body == answers[1].body

    loop.run(run())
