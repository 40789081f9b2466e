"""Saved views: kept, changed and put in order, one change at a time, each of one user."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.integration.backend.callers import Guarded
from tests.integration.backend.scenario import Scenario
from tests.integration.backend.service import Answer, Api
from todo.backend import saved_views
from todo.backend.commands import ConflictError
from todo.backend.store import saved_views as store
from todo.domain.views import LONGEST_POSITION, MAX_VIEWS


async def view(api: Api, name: str, **fields: object) -> dict[str, Any]:
    answer = await api.post("/views", {"name": name} | fields)
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.body
    return made


async def change(api: Api, one: dict[str, Any], changes: dict[str, Any], if_match: str = "*") -> Answer:
    return await api.call("PATCH", f"/views/{one['id']}", changes, if_match=if_match)


async def names(api: Api) -> list[str]:
    answer = await api.get("/views")
    assert [one["position"] for one in answer.body["views"]] == sorted(one["position"] for one in answer.body["views"])
    return [one["name"] for one in answer.body["views"]]


async def test_a_view_is_kept_as_it_was_given(api: Api) -> None:
    """The filter keeps its words and its relative days; the version is the ETag."""
    answer = await api.post("/views", {"name": " At\nhome ", "filter": " #home  due before:+7d ", "sort": "priority"})
    assert (answer.status, answer.headers["etag"]) == (201, '"1"')
    made = answer.body
    assert answer.headers["location"] == f"/views/{made['id']}"
    assert (made["name"], made["filter"], made["sort"]) == ("At home", "#home  due before:+7d", "priority")
    assert made["version"] == 1
    assert (await api.get("/views")).body == {"views": [made]}


async def test_a_view_is_changed_from_the_version_that_was_seen(api: Api) -> None:
    """If-Match is asked for, and what changed meanwhile is not overwritten; the same again is no change."""
    made = await view(api, "Home", filter="#home")
    assert (await api.call("PATCH", f"/views/{made['id']}", {"name": "x"})).status == 428
    renamed = await change(api, made, {"name": "House"}, '"1"')
    assert (renamed.status, renamed.headers["etag"], renamed.body["filter"]) == (200, '"2"', "#home")
    stale = await change(api, made, {"name": "y"}, '"1"')
    assert (stale.status, stale.headers["etag"]) == (412, '"2"')
    assert stale.body["detail"].startswith("it is at version 2")
    same = await change(api, made, {"name": "House", "sort": "due"})
    assert (same.status, same.body["version"]) == (200, 2)


async def test_a_deleted_view_is_gone_and_its_name_is_free(api: Api) -> None:
    """Deleting checks the version if one is given; again there is nothing to delete."""
    made = await view(api, "Home")
    path = f"/views/{made['id']}"
    assert (await api.call("DELETE", path, if_match='"7"')).status == 412
    assert (await api.call("DELETE", path, if_match='"1"')).status == 204
    assert (await api.call("DELETE", path)).status == 404
    assert (await change(api, made, {"name": "x"})).status == 404
    await view(api, "home")
    assert await names(api) == ["home"]


async def test_no_two_views_have_one_name(api: Api) -> None:
    """Whatever its case, and at whatever moment."""
    await view(api, "Home")
    other = await view(api, "Other")
    assert (await api.post("/views", {"name": "HOME"})).status == 409
    assert (await change(api, other, {"name": "home"})).status == 409
    answers = await asyncio.gather(*(api.post("/views", {"name": "At once"}) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    renamed = await change(api, other, {"name": "OTHER"})
    assert renamed.status == 200


async def test_views_are_put_in_order(api: Api) -> None:
    """A new one is the last; each can go after another or before all, and only it becomes a new version."""
    a, b, c = [await view(api, name) for name in "abc"]
    assert await names(api) == ["a", "b", "c"]
    moved = await change(api, c, {"after": a["id"]})
    assert (moved.status, moved.body["version"]) == (200, 2)
    assert await names(api) == ["a", "c", "b"]
    await change(api, b, {"after": None})
    assert await names(api) == ["b", "a", "c"]
    assert [one["version"] for one in (await api.get("/views")).body["views"]] == [2, 1, 2]
    for after in (c["id"], str(uuid4())):
        assert (await change(api, c, {"after": after})).fields == ["after"]


async def test_views_can_be_moved_for_ever(scenario: Scenario) -> None:
    """Where places were divided too often all positions are written anew, and the order is the one that was wanted."""

    async def add(name: str) -> Any:  # noqa: ANN401 - a view
        async with scenario.database.transaction() as unit:
            return await saved_views.add(unit, 1, name, "", "due")

    first, one, two = [await add(name) for name in ("first", "one", "two")]
    for turn in range(400):
        moved, other = (one, two) if turn % 2 else (two, one)
        async with scenario.database.transaction() as unit:
            await saved_views.change(unit, 1, moved.id, None, {}, first.id)
        found = await store.of_user(scenario.database.pool, 1)
        assert [each.id for each in found] == [first.id, moved.id, other.id]
        assert max(len(each.position) for each in found) <= LONGEST_POSITION


async def test_there_are_only_so_many(scenario: Scenario) -> None:
    """However many are added at once."""

    async def add(number: int) -> bool:
        try:
            async with scenario.database.transaction() as unit:
                await saved_views.add(unit, 1, f"View {number}", "", "due")
        except ConflictError:
            return False
        return True

    made = await asyncio.gather(*(add(number) for number in range(MAX_VIEWS + 5)))
    assert sum(made) == MAX_VIEWS == len(await store.of_user(scenario.database.pool, 1))


async def test_a_lost_answer_can_be_asked_for_again(api: Api) -> None:
    """Under an Idempotency-Key a view is saved once."""
    first, again = [await api.post("/views", {"name": "Once"}, idempotency_key="k") for _ in range(2)]
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert again.headers["idempotent-replayed"] == "true"


async def test_every_change_has_the_transaction_that_made_it(scenario: Scenario) -> None:
    """Whoever tells of changes finds each write under its own transaction, deletions included."""
    pool = scenario.database.pool

    async def written() -> int:
        return int(await pool.fetchval("SELECT tx::text FROM views"))

    seen = []
    async with scenario.database.transaction() as unit:
        made = await saved_views.add(unit, 1, "a", "", "due")
    seen.append(await written())
    async with scenario.database.transaction() as unit:
        await saved_views.change(unit, 1, made.id, None, {"name": "b"})
    seen.append(await written())
    async with scenario.database.transaction() as unit:
        await saved_views.remove(unit, 1, made.id, None)
    seen.append(await written())
    assert seen == sorted(set(seen))
    assert await pool.fetchval("SELECT deleted AND version = 3 FROM views")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x" * 10_001}, "name"),
        ({"name": "a", "filter": "!9"}, "filter"),
        ({"name": "a", "filter": "x" * 501}, "filter"),
        ({"name": "a", "sort": "luck"}, "sort"),
        ({"name": "a", "position": "1"}, "position"),
    ],
)
async def test_what_is_no_view_is_refused(api: Api, body: dict[str, Any], field: str) -> None:
    """Each fault is told with its field."""
    answer = await api.post("/views", body)
    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize("changes", [{"name": None}, {"filter": None}, {"sort": None}, {"filter": "("}])
async def test_what_is_no_change_is_refused(api: Api, changes: dict[str, Any]) -> None:
    """Nothing of a view can be cleared, and a filter stays one that can be read."""
    made = await view(api, "a")
    assert (await change(api, made, changes)).fields == list(changes)


@pytest.fixture
async def strangers(guarded: Guarded) -> AsyncIterator[tuple[Api, Api]]:
    async with guarded.calling() as mallory, guarded.calling() as bob:
        yield mallory, bob


async def test_what_is_anothers_is_not_there(strangers: tuple[Api, Api], guarded: Guarded) -> None:
    """Nobody sees, changes, deletes or goes by a view of somebody else, and names do not get in each other's way."""
    mallory, bob = strangers
    bobs = await view(bob, "Home", filter="#secret")
    own = await view(mallory, "home")
    assert await names(mallory) == ["home"]
    assert (await change(mallory, bobs, {"name": "x"})).status == 404
    assert (await mallory.call("DELETE", f"/views/{bobs['id']}")).status == 404
    assert (await change(mallory, own, {"after": bobs["id"]})).fields == ["after"]
    assert (await bob.get("/views")).body == {"views": [bobs]}
    connection = await asyncpg.connect(guarded.url)
    assert await connection.fetchval("SELECT count(*) FROM backend.views WHERE user_id = $1", bob.user_id) == 1
    await connection.close()
