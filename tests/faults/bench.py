"""A whole real system for one test, with a client and a ledger outside of it and hands to hurt it."""

import asyncio
import datetime as dt
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.client import Client
from tests.faults.ledger import Blow, Ledger
from todo.contracts import names
from todo.messaging.postgres import Connection
from todo.operations import client, verify
from todo.operations.client import Api, Mail, Mailbox, Pipeline
from todo.operations.demo import place_of
from todo.operations.supervisor import ChildFailedError
from todo.operations.system import HANDED_OUT, System, UpOptions, running_system

FAR: Final = dt.timedelta(minutes=30)  # reminders beyond that are none of this run's
POLL: Final = 0.25
POKE: Final = 2.0  # seconds between two looks at what waits for an answer
SLOW: Final = "slow+0.3@example.org"  # mails to it are taken at once and acknowledged 0.3 s later: a window to die in
GRACE: Final = 5.0  # seconds that `verify` lets things be late
ENVIRON: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}
_BACKLOG: Final = """
SELECT topic.name, subscription.consumer, count(*) FROM subscription
JOIN topic ON topic.id = subscription.topic
JOIN message ON message.topic = subscription.topic AND message.id > subscription.mark
WHERE NOT EXISTS (SELECT 1 FROM ack WHERE ack.subscription = subscription.id AND ack.message = message.id)
GROUP BY 1, 2
"""

Pace = Callable[[float], Awaitable[None]]


class Lines:
    """The logs of all children in one file, for whoever looks at a failure."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def line(self, name: str, text: str) -> None:
        self._file.write(f"{name} {text}\n")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def until(holds: Callable[[], Awaitable[Any] | Any], seconds: float, what: str, every: float = POLL) -> None:
    """Return once `holds` does; fail with `what` and what it said last after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        said = holds()
        said = await said if isinstance(said, Awaitable) else said
        if said is True:
            return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what} ({said})"
        await asyncio.sleep(every)


@dataclass(slots=True)
class Bench:
    system: System
    http: aiohttp.ClientSession
    ledger: Ledger

    @property
    def client(self) -> Client:
        return Client(self.http, self.system.backend_url, self.ledger)

    @property
    def api(self) -> Api:
        return Api(self.http, self.system.backend_url)

    async def mails(self) -> list[Mail]:
        """Every mail in the mailbox's own log, oldest first."""
        return await mails_at(self.http, self.system.mailbox_url or "")

    async def kill(self, name: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """`kill -9` or another end, noted in the ledger; a child that is between two lives is waited for."""
        await until(lambda: self.system.pid(name) is not None, 30, f"{name} lives", 0.01)
        began = now()
        with suppress(ProcessLookupError):
            await self.system.kill(name, sent)
        self.ledger.blows.append(Blow(name, began, now()))

    @contextmanager
    def frozen(self, name: str) -> Iterator[int]:
        """SIGSTOP, and SIGCONT at the end."""
        pid = self.system.pid(name)
        assert pid is not None
        began = now()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGCONT)
            self.ledger.blows.append(Blow(name, began, now()))

    async def destroy(self, name: str) -> None:
        """`kill -9` for good, until `system.start`."""
        pid = self.system.pid(name)
        assert pid is not None
        began = now()
        os.kill(pid, signal.SIGKILL)
        await self.system.stop(name)
        self.ledger.blows.append(Blow(name, began, now()))

    async def recovered(self, seconds: float = 60.0) -> None:
        """Wait until every child is up again, whatever it says on the way."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(ChildFailedError):
                await self.system.wait_ready(seconds=seconds)
                return
            assert time.monotonic() < deadline, "the supervisor could not bring everything up again"
            await asyncio.sleep(POLL)

    def starts(self) -> dict[str, int]:
        """How often each child has been started."""
        return {name: child.starts for name, child in self.system.children.items()}

    async def job(self, app: names.App, job: str, replica: str = "") -> None:
        """Do what the Scheduler does: wake a job of one replica, and wait for its look to end."""
        url = f"{self.system.addresses[replica or app.app_id]}/job/{job}"
        headers = {"dapr-api-token": self.system.data.app_token(app.app_id)}
        async with self.http.post(url, data=b"{}", headers=headers) as response:
            assert response.status < 500 or response.status == 503, (job, response.status, await response.text())

    async def metrics(self, replica: str) -> dict[str, float]:
        """The sums of a replica's counters and gauges over all labels, by sample name."""
        async with self.http.get(f"{self.system.addresses[replica]}/metrics") as response:
            text = await response.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    async def outbox(self, app: names.App) -> int:
        """How many events an app's outbox holds; asked of the database, which answers whoever is frozen."""
        connection: Connection = await asyncpg.connect(self.system.database_url)
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {app.schema}.outbox"))  # noqa: S608 - a constant
        finally:
            await connection.close()

    async def backlog(self) -> dict[str, int]:
        """What the log holds and its subscribers have not acknowledged yet, by topic and app."""
        place = self.system.data.path / "daprlet" / "daprlet.db"
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True, timeout=10)) as log:
            return {f"{topic}>{consumer}": count for topic, consumer, count in log.execute(_BACKLOG)}

    async def quiet(self, seconds: float, *more: tuple[names.App, str]) -> None:
        """Wait until nothing is under way: outboxes and log empty, every reminder of this run at its end.

        What waits for an answer is looked at every other second instead of every minute, which only saves time; so
        are `more` jobs of apps.
        """
        poked = 0.0

        async def is_quiet() -> bool | str:
            nonlocal poked
            if time.monotonic() - poked > POKE:
                poked = time.monotonic()
                for app, job in ((names.NOTIFICATION, names.RECONCILE_REMINDERS), *more):
                    await self.job(app, job)
            return await self._under_way((await self.api.pipeline()).value) or True

        await until(self._patiently(is_quiet), seconds, "everything comes to rest")

    async def _under_way(self, pipeline: Pipeline) -> str:
        """What is under way, in words."""
        schedule = pipeline.schedule
        if schedule is None:
            return "notification-service is away"
        if pipeline.outbox.depth or schedule.outbox_depth:
            return f"outboxes hold {pipeline.outbox.depth} and {schedule.outbox_depth} events"
        if schedule.states.get("dispatched") or schedule.oldest_overdue:
            return f"reminders: {schedule.states}, overdue since {schedule.oldest_overdue}"
        if schedule.next_fire and schedule.next_fire < now() + FAR:
            return f"a reminder is due at {schedule.next_fire:%H:%M:%S}"
        return f"the log holds {backlog}" if (backlog := await self.backlog()) else ""

    def _patiently(self, ask: Callable[[], Awaitable[bool | str]]) -> Callable[[], Awaitable[bool | str]]:
        async def asked() -> bool | str:
            try:
                return await ask()
            except (client.UnreachableError, client.RefusedError, aiohttp.ClientError, sqlite3.Error) as error:
                return f"{type(error).__name__}: {error}"

        return asked

    async def verify(self) -> verify.Report:
        """What `todo verify` says."""
        return await verify.verify(place_of(self.system), wait=15, grace=GRACE)


B = TypeVar("B", bound=Bench)


def bench(folder: Path, **options: Any) -> AbstractAsyncContextManager[Bench]:  # noqa: ANN401 - of `bench_of`
    """A system on the embedded engine."""
    return bench_of(Bench, folder, **options)


@asynccontextmanager
async def bench_of(
    kind: type[B],
    folder: Path,
    *,
    email: str = "you@example.org",
    ledger: Ledger | None = None,
    **options: Any,  # noqa: ANN401 - `UpOptions`
) -> AsyncIterator[B]:
    """A system on a folder of its own, on free ports; user 1 is at `email`. The logs are in `folder`/log."""
    environ = ENVIRON | {"TODO_EMAIL": email}
    with (folder / "log").open("a") as file:
        wanted = UpOptions(data=folder / "data", free_ports=True, log_format="json", environ=environ, **options)
        async with running_system(wanted, Lines(file)) as system, client.session() as http:
            yield kind(system, http, ledger or Ledger())


async def mails_at(http: aiohttp.ClientSession, url: str) -> list[Mail]:
    found: dict[str, Mail] = {}
    while True:
        page = (await Mailbox(http, url).mails(limit=500, start=len(found))).value.messages
        fresh = {mail.ID: mail for mail in page if mail.ID not in found}
        found |= fresh
        if not fresh:
            return sorted(found.values(), key=lambda mail: mail.Created or now())


def received(mail: Mail) -> dt.datetime:
    """The instant the mailbox took it."""
    assert mail.Created is not None
    return mail.Created


def due_in(seconds: float) -> dt.datetime:
    return now() + dt.timedelta(seconds=seconds)


async def in_turn(work: Iterable[Awaitable[Any]]) -> None:
    """All of it at once; the first failure ends the rest."""
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(_awaited(one))


async def _awaited(one: Awaitable[Any]) -> None:
    await one


def pace() -> Pace:
    """A clock that starts now; it waits until so many seconds after its start."""
    began = time.monotonic()

    async def wait_until(seconds: float) -> None:
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    return wait_until
