"""Careful clients who create tasks at a steady pace, and the verdict on what became of these."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import aiohttp
import msgspec

from tests.faults.bench import FAR, due_in, mails_at, now, until
from tests.faults.client import USER, Client
from tests.faults.judge import Evidence, agrees, judge
from tests.faults.ledger import Blow, Ledger
from tests.faults.workload import DAILY
from tests.kubernetes.systems import System
from todo.backend.auth.scopes import Scope
from todo.contracts import names
from todo.operations.client import Api, RefusedError, UnreachableError
from todo.operations.verify import Report

BETWEEN: Final = 0.06  # seconds between two tasks
SOON: Final = 4.0  # seconds until a task is due
RECURRING: Final = 5  # every fifth task recurs and is completed at once
AT_REST: Final = 240.0  # seconds; on Redis what a dead sidecar had in hand comes again after 75 to 90
PATIENCE: Final = aiohttp.ClientTimeout(total=30)
SCOPES: Final = tuple(f"--scope={scope}" for scope in Scope)  # its own tasks, and what operators see


class Load:
    """Somebody who creates tasks, and whose ledger is held against what the system has at the end."""

    def __init__(self, system: System, http: aiohttp.ClientSession, ledger: Ledger) -> None:
        self.system = system
        self.ledger = ledger
        self._http = http
        self._base = system.url("backend", names.BACKEND.port)
        self._numbers = count(len(ledger.tasks) + 1)
        self.client = Client(http, self._base, self.ledger)
        self.api = Api(http, self._base)

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Create tasks for as long as this is entered. Whoever still waits for an answer then is waited for."""
        leave, turns = asyncio.Event(), count()

        async def create() -> None:
            async with asyncio.TaskGroup() as group:
                while not leave.is_set():
                    turn = next(turns)
                    group.create_task(self.create(recurs=turn % RECURRING == 0))
                    await asyncio.sleep(BETWEEN)

        creating = asyncio.create_task(create())
        try:
            yield
        finally:
            leave.set()
            await creating

    async def create(self, *, recurs: bool = False) -> None:
        title = f"{'series' if recurs else 'task'} {next(self._numbers):04}"
        task = await self.client.create(title, due_in(SOON), DAILY if recurs else None)
        if recurs:
            await self.client.complete(task.id)

    async def kill(self, app: str) -> None:
        """Delete a pod of an app without any grace, and note when."""
        pod, began = self.system.pods(app)[0], now()
        gone = ("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        await asyncio.to_thread(self.system.kubectl, *gone)
        self.ledger.blows.append(Blow(app, began, now()))

    async def has_events_waiting(self) -> bool:
        return (await self.api.pipeline()).value.outbox.depth > 0

    async def has_mails_deferred(self) -> bool:
        """Whether the mail of the newest task was tried and put off."""
        task = await self.client.task([*self.ledger.tasks][-1])
        return any(one.outcome == "deferred" for each in task.reminder_history for one in each.attempts)

    async def at_rest(self) -> None:
        await until(self._is_at_rest, AT_REST, "everything comes to rest")

    async def _is_at_rest(self) -> bool | str:
        try:
            pipeline = (await self.api.pipeline()).value
        except (UnreachableError, RefusedError) as error:
            return str(error)
        schedule = pipeline.schedule
        if schedule is None or pipeline.outbox.depth or schedule.outbox_depth:
            return str(pipeline)
        soon = schedule.next_fire and schedule.next_fire < now() + FAR
        if soon or schedule.oldest_overdue or schedule.states.get("dispatched"):
            return str(schedule)
        return True

    async def evidence(self) -> Evidence:
        histories = await asyncio.gather(*(self.client.task(task_id) for task_id in self.ledger.tasks))
        return Evidence(
            {task.id: task async for task in self.client.tasks(status="all")},
            {task.id: task for task in histories},
            await mails_at(self._http, self.system.url("mailbox", names.MAILBOX_HTTP_PORT)),
            (await self.api.pipeline()).value,
        )

    async def conclude(self) -> None:
        """Once all is at rest, ledger, API, mailbox and `todo verify` agree. No mail is there twice, but for those that
        were in the hands of a killed sender: nobody can tell whether they were taken."""
        await self.at_rest()
        verdict = judge(self.ledger, await self.evidence(), excused=[names.EMAIL_DELIVERY.app_id])
        assert not verdict.findings, "\n".join(verdict.findings[:30])
        assert self.ledger.tasks
        report = await asyncio.to_thread(verified, self.system)
        assert not agrees(report, verdict), (agrees(report, verdict), verdict.repeats)


def verified(system: System) -> Report:
    """What `todo verify` in the toolbox says."""
    said = system.attempt("exec", "deploy/operations", "--", "todo", "verify", "--wait", "60", "--json")
    assert said.stdout, said.stderr
    return msgspec.json.decode(said.stdout, type=Report)


@asynccontextmanager
async def load(system: System, ledger: Ledger) -> AsyncIterator[Load]:
    """Go on from a ledger: it has to know everything that was ever made in the system."""
    command = ("todo", "token", "add", "--user", str(USER), *SCOPES, "--json")
    made = json.loads(await asyncio.to_thread(system.kubectl, "exec", "deploy/operations", "--", *command))
    async with aiohttp.ClientSession(
        headers={"authorization": f"Bearer {made['token']}"},
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=PATIENCE,
    ) as http:
        yield Load(system, http, ledger)
