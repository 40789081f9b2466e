"""What becomes of a series that was imported: its next occurrence comes, once, from where it stood."""

import hashlib
import io
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.backend.scenario import DAY, NOON, Scenario
from todo.backend.porting.exporting import export
from todo.backend.porting.formats import READERS, ExportFormat, ImportFormat
from todo.backend.porting.importing import Import, Upload, Wish
from todo.backend.store import people
from todo.backend.store import porting as store
from todo.backend.store.people import Owner
from todo.dapr.subscriber import UnavailableError
from todo.domain.task import Status, Task


async def exported(scenario: Scenario) -> bytes:
    owner = Owner(scenario.user.id, scenario.user.zone)
    pieces = export(scenario.database.pool, owner, ExportFormat.JSON, scenario.clock())
    return b"".join([piece async for piece in pieces])


async def imported(scenario: Scenario, content: bytes, *, user_id: int) -> dict[str, Any]:
    """Import a file, while recurring-service answers everything at once."""
    upload = Upload(io.BytesIO(content), len(content), hashlib.sha256(content).hexdigest())
    owner = Owner(user_id, "Europe/Berlin")
    work = Import(scenario.database, scenario.context, owner, upload, READERS[ImportFormat.JSON])
    async for line in work.run(Wish(dry_run=False)):
        if "progress" in line:
            await scenario.follow()
    done: dict[str, Any] = line["done"]
    return done


async def other_user(scenario: Scenario) -> int:
    user = await people.add(scenario.database.pool, "bob@example.test", "Bob", "Europe/Berlin", NOON)
    assert user is not None
    return user.id


async def tasks_of(scenario: Scenario, user_id: int) -> list[Task]:
    rows = await scenario.database.pool.fetch("SELECT id FROM tasks WHERE user_id = $1 ORDER BY seq", user_id)
    return [await scenario.task(row["id"]) for row in rows]


async def test_a_series_goes_on_from_where_it_stood(scenario: Scenario) -> None:
    task = await scenario.create()
    for _ in range(2):
        await scenario.complete(task)
        await scenario.follow()
        following = await scenario.occurrence(task, (task.seq or 0) + 1)
        assert following is not None
        task = following
    bob = await other_user(scenario)
    assert (await imported(scenario, await exported(scenario), user_id=bob))["imported"] == 3
    await scenario.follow()
    copies = await tasks_of(scenario, bob)
    assert [(one.seq, one.status) for one in copies] == [(1, Status.DONE), (2, Status.DONE), (3, Status.OPEN)]
    await scenario.complete(copies[-1])
    await scenario.follow()
    after = await tasks_of(scenario, bob)
    assert [(one.seq, one.status) for one in after][2:] == [(3, Status.DONE), (4, Status.OPEN)]
    assert after[-1].due is not None
    assert after[-1].due.at == NOON + DAY * 22


async def test_a_file_sorted_otherwise_makes_no_occurrence_anew(scenario: Scenario) -> None:
    task = await scenario.create()
    await scenario.complete(task)
    await scenario.follow()
    document = json.loads(await exported(scenario))
    document["tasks"].sort(key=lambda task: task.get("status") != "done")  # the closed one first
    document["tasks"] += [{"title": f"Other {n}"} for n in range(300)]
    document["tasks"].append(document["tasks"].pop(1))  # its successor in another chunk
    bob = await other_user(scenario)
    done = await imported(scenario, json.dumps(document).encode(), user_id=bob)
    assert done["imported"] == 302
    await scenario.follow()
    copies = [one for one in await tasks_of(scenario, bob) if one.seq]
    assert [(one.seq, one.status) for one in copies] == [(1, Status.DONE), (2, Status.OPEN)]


async def test_a_series_exported_between_two_occurrences_gets_the_next_one(scenario: Scenario) -> None:
    task = await scenario.create()
    await scenario.complete(task)
    bob = await other_user(scenario)
    await imported(scenario, await exported(scenario), user_id=bob)
    await scenario.follow()
    copies = await tasks_of(scenario, bob)
    assert [(one.seq, one.status) for one in copies] == [(1, Status.DONE), (2, Status.OPEN)]


async def test_what_goes_on_meanwhile_does_not_wait_for_an_import(scenario: Scenario) -> None:
    content = ("title\n" + "".join(f"Task {n}\n" for n in range(600))).encode()
    upload = Upload(io.BytesIO(content), len(content), "hash")
    owner = Owner(scenario.user.id, "UTC")
    lines = _import(scenario, owner, upload)
    async for line in lines:
        assert scenario.database.pool.get_idle_size() == scenario.database.pool.get_size()  # nobody holds a connection
        if line.get("progress", {}).get("phase") == "write":
            break
    await scenario.create(None)
    await lines.aclose()  # type: ignore[attr-defined]  # it is a generator
    said = [line async for line in _import(scenario, owner, upload)]
    assert said[-1]["done"]["imported"] == 400


async def test_a_database_that_goes_away_in_the_middle_is_told_and_the_rest_comes_later(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ("title\n" + "".join(f"Task {n}\n" for n in range(600))).encode()
    upload = Upload(io.BytesIO(content), len(content), "hash")
    owner = Owner(scenario.user.id, "UTC")
    insert, calls = store.insert_all, itertools.count(1)

    async def fail(*arguments: Any) -> int:  # noqa: ANN401 - whatever it is given
        if next(calls) == 2:
            raise UnavailableError("of a test")
        return await insert(*arguments)

    monkeypatch.setattr(store, "insert_all", fail)
    said = [line async for line in _import(scenario, owner, upload)]
    assert said[-1]["failed"]["imported"] == 200
    assert "import the same file again" in said[-1]["failed"]["reason"]
    again = [line async for line in _import(scenario, owner, upload)]
    assert (again[-1]["done"]["imported"], again[-1]["done"]["already_there"]) == (400, 200)


def _import(scenario: Scenario, owner: Owner, upload: Upload) -> AsyncIterator[dict[str, Any]]:
    work = Import(scenario.database, scenario.context, owner, upload, READERS[ImportFormat.CSV])
    return work.run(Wish(dry_run=False))
