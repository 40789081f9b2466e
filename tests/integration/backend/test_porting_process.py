"""Imports in processes of their own: killed in the middle, side by side, and measured."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.backend.scenario import Scenario
from todo.contracts.events import TaskSnapshot

PROGRAM = Path(__file__).with_name("importer.py")
MANY = 3_000  # tasks
MOST_GROWTH = 64  # MB, whatever the size of the file


def tasks(count: int) -> Iterator[str]:
    """Lines of our JSON: every third of them repeats, all have a reminder and some notes."""
    yield '{"format":"todo","version":1,"tasks":['
    for number in range(count):
        task: dict[str, Any] = {
            "title": f"Task {number}",
            "notes": "some lines of text\n" * 10,
            "due": "2031-05-06T09:00",
            "labels": ["home", f"label {number % 50}"],
            "reminders": ["-PT1H"],
        }
        if number % 3 == 0:
            task["recurrence"] = {"rule": "FREQ=MONTHLY;BYMONTHDAY=-1"}
        yield json.dumps(task) + ("," if number < count - 1 else "")
    yield "]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text("\n".join(tasks(MANY)))
    return path


async def start(url: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), url, "1", *arguments, stdout=PIPE)


async def lines(process: Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield json.loads(line)


async def end(process: Process) -> dict[str, Any]:
    """The last line of a run that ends well."""
    said = [line async for line in lines(process)]
    assert await process.wait() == 0
    return said[-1]


async def counts(scenario: Scenario) -> dict[str, int]:
    tables = ("tasks", "series", "task_history", "outbox")
    pool = scenario.database.pool
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608 - of these


async def test_an_import_that_was_killed_goes_on_where_it_was(
    scenario: Scenario, migrated_url: str, file: Path
) -> None:
    process = await start(migrated_url, "import", "json", str(file))
    async for line in lines(process):
        if line.get("progress", {}).get("phase") == "write":
            process.kill()
            break
    await process.wait()
    before = await counts(scenario)
    assert 0 < before["tasks"] < MANY
    assert before["tasks"] == before["task_history"] == before["outbox"]

    done = (await end(await start(migrated_url, "import", "json", str(file))))["done"]
    assert (done["imported"], done["already_there"]) == (MANY - before["tasks"], before["tasks"])
    every = {"tasks": MANY, "task_history": MANY, "outbox": MANY, "series": MANY // 3}
    assert await counts(scenario) == every


async def test_the_same_file_in_two_processes_makes_each_task_once(
    scenario: Scenario, migrated_url: str, file: Path
) -> None:
    both = [await start(migrated_url, "import", "json", str(file)) for _ in range(2)]
    done = [(await end(process))["done"] for process in both]
    assert sum(one["imported"] for one in done) == MANY
    assert (await counts(scenario))["tasks"] == MANY


def nested(count: int) -> str:
    """Tasks in lists; every other one is a subtask of one that comes later."""
    parents = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(count // 2)]
    rows = ["title,id,parent,list"]
    for number, own in enumerate(parents):
        its_list = f"Place {number % 20}"
        rows += [f"Subtask {number},,{own},{its_list}", f"Task {number},{own},,{its_list}"]
    return "\n".join(rows)


@pytest.mark.parametrize("chunks", [1, 5, 9, 13])
async def test_lists_and_subtasks_are_made_once_whenever_an_import_is_killed_and_by_whomever(
    scenario: Scenario, migrated_url: str, tmp_path: Path, chunks: int
) -> None:
    path = tmp_path / "nested.csv"
    path.write_text(nested(1_600))
    process = await start(migrated_url, "import", "csv", str(path))
    async for line in lines(process):
        chunks -= line.get("progress", {}).get("phase") == "write"
        if chunks == 0:
            process.kill()
            break
    await process.wait()
    both = [await start(migrated_url, "import", "csv", str(path)) for _ in range(2)]
    for one in both:
        assert (await end(one))["done"]["losses"] == 0
    pool = scenario.database.pool
    assert (await counts(scenario))["tasks"] == 1_600
    assert await pool.fetchval("SELECT count(*) FROM lists") == 20
    assert (
        await pool.fetchval(
            "SELECT count(*) FROM tasks c JOIN tasks p ON p.id = c.parent_id JOIN lists l ON l.id = c.list_id"
            " WHERE p.list_id = c.list_id AND p.title = replace(c.title, 'Subtask', 'Task')"
        )
        == 800
    )


async def test_memory_does_not_grow_with_the_file(
    scenario: Scenario, migrated_url: str, file: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.json"
    large.write_text("\n".join(tasks(4 * MANY)))
    first = await end(await start(migrated_url, "import", "json", str(file)))
    second = await end(await start(migrated_url, "import", "json", str(large)))
    assert second["done"]["imported"] == 4 * MANY
    exported = await end(await start(migrated_url, "export", "json", str(tmp_path / "out.json")))
    assert (
        len(json.loads((tmp_path / "out.json").read_text())["tasks"]) == 5 * MANY == (await counts(scenario))["tasks"]
    )
    assert max(first["grown"], second["grown"], exported["grown"]) < MOST_GROWTH


async def test_what_an_import_tells_is_what_it_wrote(scenario: Scenario, migrated_url: str, tmp_path: Path) -> None:
    path = tmp_path / "few.json"
    path.write_text("\n".join(tasks(4)))
    await end(await start(migrated_url, "import", "json", str(path)))
    told: dict[str, TaskSnapshot] = {one.title: one for one in await scenario.snapshots()}
    assert set(told) == {f"Task {number}" for number in range(4)}
    for one in told.values():
        stored = await scenario.task(one.task_id)
        assert (one.version, one.user_id, one.due_at) == (1, 1, stored.due and stored.due.at)
        assert [(each.reminder, each.past) for each in one.reminders] == [("-PT1H", False)]
    assert {title for title, one in told.items() if one.occurrence} == {"Task 0", "Task 3"}
