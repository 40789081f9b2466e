"""Whose tasks are exported, and into whose account a file is imported."""

import pytest

from tests.integration.backend.callers import Guarded
from tests.integration.backend.porting import export, import_all, tasks_of
from todo.backend.auth.scopes import Scope

FILE = b"title\nMallory was here\n"


async def test_an_export_has_the_callers_tasks_alone(guarded: Guarded) -> None:
    async with guarded.calling() as mallory, guarded.calling() as bob:
        await bob.task(title="Bob's secret")
        await mallory.task(title="Mallory's own")
        for kind in ("json", "csv", "ics"):
            assert "secret" not in await export(mallory, kind)
            assert "own" in await export(mallory, kind)
        answer = await mallory.call("GET", "/exports", query={"user_id": str(bob.user_id)})
        assert answer.status == 403


async def test_an_import_goes_into_the_callers_account(guarded: Guarded) -> None:
    async with guarded.calling() as mallory, guarded.calling() as bob:
        query = {"format": "csv", "dry_run": "false", "user_id": str(bob.user_id)}
        assert (await mallory.call("POST", "/imports", data=FILE, query=query)).status == 403
        assert await tasks_of(bob) == []


async def test_a_file_that_names_tasks_of_others_tells_nothing_of_them_and_takes_none_away(guarded: Guarded) -> None:
    async with guarded.calling() as mallory, guarded.calling() as bob:
        await bob.task(title="Bob's secret", due_date="2031-05-06", recurrence={"rule": "FREQ=DAILY"})
        before = await tasks_of(bob)
        stolen = (await export(bob, "json")).replace("Bob's secret", "Mallory's now")
        report = await import_all(mallory, "json", stolen)
        assert (report.done["imported"], report.done["already_there"]) == (1, 0)
        assert await tasks_of(bob) == before
        (copy,) = await tasks_of(mallory)
        assert copy["id"] != before[0]["id"]
        assert copy["recurrence"]["series_id"] != before[0]["recurrence"]["series_id"]


@pytest.mark.parametrize(
    ("scope", "exports", "imports"), [(Scope.READ, 200, 403), (Scope.WRITE, 403, 200), (Scope.OPERATOR, 403, 403)]
)
async def test_each_wants_its_scope(guarded: Guarded, scope: Scope, exports: int, imports: int) -> None:
    async with guarded.calling([scope]) as api:
        assert (await api.get("/exports")).status == exports
        assert (await api.call("POST", "/imports", data=FILE, query={"format": "csv"})).status == imports
