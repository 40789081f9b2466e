"""The sidecar is away, and then it has forgotten everything."""

import os
import shutil
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.faults.bench import Bench, bench, due_in, now, until
from tests.faults.ledger import Blow
from tests.faults.verdicts import Show, conclude
from tests.faults.workload import DAILY
from todo.contracts import names

JOBS: Final = (
    (names.NOTIFICATION, names.CHECK_DUE_TASKS),
    (names.NOTIFICATION, names.RECONCILE_REMINDERS),
    (names.NOTIFICATION, names.RECONCILE_TASKS),
    (names.BACKEND, names.RECONCILE_SERIES),
)
RECONCILE: Final = ((names.NOTIFICATION, names.RECONCILE_TASKS), (names.BACKEND, names.RECONCILE_SERIES))
REGISTERED_WITHIN: Final = 70.0  # they are asserted every minute


@pytest.mark.timeout(180)
async def test_the_api_keeps_accepting_while_the_sidecar_is_away(tmp_path: Path, seed: int, show: Show) -> None:
    """Every request is answered with 201 at once, the outbox grows, and when the sidecar is back it drains."""
    async with bench(tmp_path, chaos=seed) as running:
        client = running.client
        await client.create("before", due_in(2))
        await running.destroy("daprlet")
        for number in range(60):
            await client.create(f"meanwhile {number}", due_in(1 + number / 20))
        depth = await running.outbox(names.BACKEND)
        assert depth >= 60
        assert set(running.ledger.answers) == {"201"}
        await running.system.start("daprlet")
        await running.quiet(120)
        await conclude(running, "Sidecar away", show, excused=(), seen={"outbox meanwhile": depth})


@pytest.mark.timeout(360)
async def test_the_loss_of_the_whole_log_and_state_loses_no_reminder_and_no_occurrence(
    tmp_path: Path, seed: int, show: Show
) -> None:
    """Whatever was on the log, reconciliation finds it; jobs register themselves again within a minute; mails repeat
    only where their outcome was destroyed too."""
    async with bench(tmp_path, chaos=seed, email="slow+0.5@example.org") as running:
        exposed = await _lose_everything(running)
        await running.system.start("daprlet")
        await until(lambda: _registered(running), REGISTERED_WITHIN, "all jobs are registered again")
        await until(lambda: _followed(running), 120, "every completed occurrence has a successor", 2.0)
        await running.quiet(300, *RECONCILE)
        seen = {"exposed": len(exposed), "jobs registered again": len(JOBS)}
        await conclude(running, "Log and state lost", show, excused=("daprlet",), exposed=exposed, seen=seen)


async def _lose_everything(running: Bench) -> set[str]:
    """Fill the log with what nobody has taken, and destroy it; the titles mailed without anybody knowing."""
    client = running.client
    recurring = [await client.create(f"series {number}", due_in(3600), DAILY) for number in range(15)]
    await running.quiet(60)
    burst = due_in(4)
    for number in range(60):
        await client.create(f"burst {number}", burst)

    async def under_way() -> bool:
        return len(await running.mails()) >= 8

    await until(under_way, 30, "the burst is on its way", 0.05)
    deaf = [running.system.pid(name) for name in ("notification-service", "recurring-service")]
    for pid in deaf:
        os.kill(pid or 0, signal.SIGSTOP)
    began = now()
    for task in recurring:
        await client.complete(task.id)
    for number in range(20):
        await client.create(f"unheard {number}", due_in(5))
    await until(lambda: _published(running), 30, "all of it is on the log", 0.05)
    await running.destroy("daprlet")
    await running.kill("email-delivery")  # alive, it would tell the outcomes once more
    running.ledger.blows.append(Blow("daprlet", began, now()))
    held = await running.backlog()
    assert {"task-events>notification-service", "task-events>recurring-service"} <= set(held), held
    shutil.rmtree(running.system.data.path / "daprlet")
    for pid in deaf:
        os.kill(pid or 0, signal.SIGCONT)
    return await _exposed(running)


async def _published(running: Bench) -> bool:
    return await running.outbox(names.BACKEND) == 0


async def _followed(running: Bench) -> bool | str:
    """Whether each completed occurrence has its successor; the job that sees to it is woken each time."""
    for app, job in RECONCILE:
        await running.job(app, job)
    done = {task.title for task in running.ledger.tasks.values() if task.status == "done"}
    missing = done - {task.title async for task in running.client.tasks(status="open", q="series")}
    return f"{len(missing)} have none" if missing else True


async def _exposed(running: Bench) -> set[str]:
    """Mails taken, or being taken, of which backend has no outcome."""
    unknown = set()
    for task_id, task in running.ledger.tasks.items():
        history = await running.client.task(task_id)
        if not any(one.outcome == "delivered" for row in history.reminder_history for one in row.attempts):
            unknown.add(task.title)
    mailed = {mail.Subject.removeprefix("Reminder: ") for mail in await running.mails()}
    return unknown & mailed


async def _registered(running: Bench) -> bool | str:
    token = {"dapr-api-token": running.system.data.api_token}
    missing = []
    for app, job in JOBS:
        port = running.system.ports[f"{app.app_id}-dapr"]
        async with running.http.get(f"http://127.0.0.1:{port}/v1.0/jobs/{job}", headers=token) as response:
            if response.status != 200:
                missing.append(f"{job}: {response.status}")
    return ", ".join(missing) or True
