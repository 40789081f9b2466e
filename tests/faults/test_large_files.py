"""Files of 50,000 tasks, in and out, by a process whose memory is measured."""

import json
from pathlib import Path

import asyncpg
import pytest

from tests.faults.verdicts import Show
from tests.integration.backend.scenario import NOON, prepare
from tests.integration.backend.test_porting_process import MOST_GROWTH, end, lines, start, tasks
from tests.support.postgres import Databases

COUNT = 50_000


@pytest.fixture
async def url(databases: Databases) -> str:
    """A database with user 1."""
    url = await databases.create(await databases.template("backend", prepare))
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO backend.users (id, email, name, zone, created_at) VALUES (1, 'a@b.test', 'A', 'UTC', $1)", NOON
    )
    await connection.close()
    return url


@pytest.mark.timeout(300)
async def test_fifty_thousand_tasks_go_in_and_out_in_bounded_memory(url: str, tmp_path: Path, show: Show) -> None:
    file = tmp_path / "tasks.json"
    file.write_text("\n".join(tasks(COUNT)))
    importing = await start(url, "import", "json", str(file))
    said = [line async for line in lines(importing)]
    assert await importing.wait() == 0
    assert said[-1]["done"]["imported"] == COUNT
    shares = [line["progress"]["share"] for line in said if line.get("progress", {}).get("phase") == "write"]
    assert shares == sorted(shares)
    assert (len(shares), shares[-1]) == (COUNT // 200, 1.0)
    grown = {"import of json": said[-1]["grown"]}
    for kind in ("json", "csv", "ics"):
        out = tmp_path / f"out.{kind}"
        grown[f"export of {kind}"] = (await end(await start(url, "export", kind, str(out))))["grown"]
    again = await end(await start(url, "import", "ics", str(tmp_path / "out.ics")))
    assert (again["done"]["already_there"], again["done"]["broken"]) == (COUNT, 0)
    grown["import of ics"] = again["grown"]
    assert len(json.loads((tmp_path / "out.json").read_text())["tasks"]) == COUNT
    show(f"{COUNT:,} tasks: memory grown by, in MB", grown)
    assert max(grown.values()) < MOST_GROWTH
