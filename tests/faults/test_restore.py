"""An older copy is restored, of everything or of one service alone: what heals, what is gone, and no mail twice."""

import asyncio
import datetime as dt
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.faults.bench import Bench, bench, due_in, now, until
from tests.faults.verdicts import Show
from todo.contracts import names
from todo.messaging.postgres import Connection
from todo.operations.client import Task
from todo.operations.system import HANDED_OUT

FAR: Final = 3600.0
LOST: Final = 12.0  # seconds from the making of a reminder that is lost to its time, which comes after the restore
EACH: Final = 5
HEAL: Final = (names.NOTIFICATION, names.RECONCILE_TASKS)
TODO: Final = Path(sys.executable).with_name("todo")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("only", [(), ("backend",), ("notification",)], ids=lambda only: "".join(only) or "both")
async def test_an_older_copy_heals_and_mails_nothing_twice(tmp_path: Path, only: Sequence[str], show: Show) -> None:
    """Backed up under load, lived on, restored: what the copy has is there again, what came after it haunts nobody."""
    async with bench(tmp_path) as running:
        copied = await _live(running)
        await _back_up(running, tmp_path)
        ends = await _live_on(running)
        ledger = running.ledger
    replaced = [f"--only={one}" for one in only]
    await _todo("restore", tmp_path / "copy", "--data", tmp_path / "data", "--replace", *replaced)
    async with bench(tmp_path, ledger=ledger) as running:
        await running.job(*HEAL)
        await _age_ends(running)
        await until(lambda: now() > ends, 30, "the time of what was lost has come", 0.2)
        await running.quiet(60, HEAL)
        report = await running.verify()
        found = {task.title: task async for task in running.client.tasks(status="all")}
        mails = Counter(mail.Subject.removeprefix("Reminder: ") for mail in await running.mails())
        states = {title: await _state(running, found[title]) for title in mails.keys() & found.keys()}
    show(f"Restored: {' '.join(only) or 'both'}", {"tasks": len(found), "mails": mails.total(), "verify": report})
    assert [title for title, count in mails.items() if count > 1] == []
    assert report.findings == ()
    assert set(states.values()) == {"delivered"}
    if only == ("notification",):
        assert {task.title: task.version for task in ledger.tasks.values()}.items() <= {
            title: task.version for title, task in found.items()
        }.items()
        assert mails.keys() == _titles("mailed before", "mailed after", "made and mailed after", "lost")
    else:
        assert {title: found[title].status for title in copied} == dict.fromkeys(copied, "open")
        assert found.keys() & _titles("made and mailed after", "lost") == set()
        assert mails.keys() == _titles("mailed before", "mailed after", "made and mailed after")


async def _live(running: Bench) -> set[str]:
    """Make tasks, and have some of their reminders mailed; returns the titles."""
    await asyncio.gather(
        *(running.client.create(title, due_in(0.5)) for title in _titles("mailed before")),
        *(running.client.create(title, due_in(4.5)) for title in _titles("mailed after")),
        *(running.client.create(title, due_in(FAR)) for title in _titles("completed after", "kept")),
        running.client.create("series", due_in(FAR), "FREQ=DAILY"),
    )
    await until(lambda: _are_mailed(running, "mailed before"), 30, "the first mails are there")
    return {task.title for task in running.ledger.tasks.values()}


async def _back_up(running: Bench, folder: Path) -> None:
    """While others go on making tasks: some are in the copy, some are not."""
    backup = asyncio.create_task(_todo("backup", folder / "copy", "--data", folder / "data"))
    number = 0
    while not backup.done():
        await running.client.create(f"during {number}", due_in(FAR))
        number += 1
    await backup


async def _live_on(running: Bench) -> dt.datetime:
    """Complete, make and mail; returns the time by which everything that was asked for is due."""
    client, ends = running.client, due_in(LOST)
    for task in list(running.ledger.tasks.values()):
        if task.title in _titles("completed after") | {"series"}:
            await client.complete(task.id)
    await asyncio.gather(
        *(client.create(title, due_in(0.5)) for title in _titles("made and mailed after")),
        *(client.create(title, ends) for title in _titles("lost")),
    )
    await until(lambda: _are_mailed(running, "mailed after"), 30, "reminders of the copy's tasks were mailed")
    await until(lambda: _are_mailed(running, "made and mailed after"), 30, "and those of newer ones")
    return ends


async def _age_ends(running: Bench) -> None:
    """Let two minutes pass for what has ended: so long an outcome may take to backend, which is not asked before."""
    connection: Connection = await asyncpg.connect(running.system.database_url)
    await connection.execute(
        "UPDATE notification.reminders SET updated_at = updated_at - interval '2 minutes' WHERE NOT told"
    )
    await connection.close()


async def _are_mailed(running: Bench, kind: str) -> bool:
    return _titles(kind) <= {mail.Subject.removeprefix("Reminder: ") for mail in await running.mails()}


async def _state(running: Bench, task: Task) -> str:
    (reminder,) = (await running.client.task(task.id)).reminder_history
    return reminder.state


def _titles(*kinds: str) -> set[str]:
    return {f"{kind} {number}" for kind in kinds for number in range(EACH)}


async def _todo(*arguments: object) -> None:
    """Run the command; it succeeds."""
    environ = {name: value for name, value in os.environ.items() if name not in HANDED_OUT}
    process = await asyncio.create_subprocess_exec(
        TODO, *map(str, arguments), env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
