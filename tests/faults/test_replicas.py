"""Several replicas of every service share one sidecar host and one database; some of them freeze."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.bench import Bench, bench, due_in, until
from tests.faults.client import Client
from tests.faults.verdicts import Show, conclude
from tests.faults.workload import plans, work
from todo.contracts import names

REPLICAS: Final = 3
CONSUMED: Final = "todo_events_consumed_total"
DISPATCHED: Final = "todo_reminders_dispatched_total"
LEADING: Final = "todo_relay_leading"
SENDING: Final = "todo_smtp_connections_in_use"
TAKEN_OVER_WITHIN: Final = 25.0  # 15 s of idle_session_timeout, a second between two tries for the lock, and slack


@pytest.mark.timeout(240)
async def test_three_replicas_of_everything_mail_each_reminder_once_and_share_the_work(
    tmp_path: Path, seed: int, show: Show
) -> None:
    """Every replica takes events, every replica of notification-service dispatches, and no effect happens twice."""
    replicas = {app.app_id: REPLICAS for app in names.APPS}
    async with bench(tmp_path, chaos=seed, replicas=replicas) as running:
        await work(running.client, plans(seed, 300, span=25))
        await running.quiet(120)
        shares = {app.app_id: await _shares(running, app.app_id, CONSUMED) for app in names.APPS}
        ticks = await _shares(running, names.NOTIFICATION.app_id, DISPATCHED)
        seen = {f"events taken by {app_id}": share for app_id, share in shares.items()}
        await conclude(running, "Three replicas", show, excused=(), seen=seen | {"dispatched": ticks})
        assert all(all(share) for share in (*shares.values(), ticks))


@pytest.mark.timeout(400)
async def test_the_frozen_neither_hold_up_nor_repeat_the_work(tmp_path: Path, show: Show) -> None:
    """A sender frozen for longer than its lease repeats no more than it had in DATA, and its claims pass to another; a
    frozen relay leader loses its lock to the other backend."""
    replicas = {names.EMAIL_DELIVERY.app_id: 2, names.BACKEND.app_id: 2}
    async with bench(tmp_path, replicas=replicas, email="slow+0.5@example.org") as running:
        burst = due_in(4)
        await asyncio.gather(*(running.client.create(f"burst {number}", burst) for number in range(60)))
        sender = await _first(running, names.EMAIL_DELIVERY.app_id, SENDING)
        with running.frozen(sender):
            taken_over = await _freeze_leader(running)
            await running.quiet(300)
        await until(lambda: _idle(running, sender), 60, "the sender that was frozen has nothing left to do")
        await running.quiet(60)
        await conclude(
            running, "Frozen", show, excused=("email-delivery",), seen=taken_over | {"sender frozen": sender}
        )


async def _freeze_leader(running: Bench) -> dict[str, object]:
    leader = await _first(running, names.BACKEND.app_id, LEADING)
    (other,) = {"backend", "backend-2"} - {leader}
    client = Client(running.http, running.system.addresses[other], running.ledger)
    began = time.monotonic()
    with running.frozen(leader):
        for number in range(10):
            await client.create(f"after the leader {number}", due_in(1))
        await until(lambda: _leads(running, other), TAKEN_OVER_WITHIN, f"{other} leads")
        seconds = time.monotonic() - began
        await until(lambda: _published(running, other), 10, "it publishes")
    await until(lambda: _follows(running, leader), 30, f"{leader} knows that it does not lead any more")
    return {"leader frozen": leader, "taken over after": f"{seconds:.1f} s"}


async def _first(running: Bench, app_id: str, gauge: str) -> str:
    """The replica whose gauge is up first."""
    found: list[str] = []

    async def is_up() -> bool:
        replicas = [name for name in running.system.children if name.startswith(app_id)]
        found[:] = [name for name in replicas if (await running.metrics(name)).get(gauge)]
        return bool(found)

    await until(is_up, 30, f"{gauge} is up on a replica of {app_id}", 0.02)
    return found[0]


async def _shares(running: Bench, app_id: str, counter: str) -> list[int]:
    replicas = [name for name in running.system.children if name.startswith(app_id)]
    return [int((await running.metrics(name)).get(counter, 0)) for name in replicas]


async def _leads(running: Bench, replica: str) -> bool:
    return (await running.metrics(replica))[LEADING] == 1


async def _follows(running: Bench, replica: str) -> bool:
    return not await _leads(running, replica)


async def _published(running: Bench, replica: str) -> bool:
    return (await running.metrics(replica))["todo_outbox_depth"] == 0


async def _idle(running: Bench, replica: str) -> bool:
    return (await running.metrics(replica))[SENDING] == 0
