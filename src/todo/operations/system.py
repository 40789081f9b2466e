"""One system: a handle on its processes for the CLI, the demo and the tests."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from todo.contracts import names
from todo.operations.composition import (
    DEMO_ADDRESS,
    MAIL_DRAIN_STEPS,
    MAILBOX,
    POSTGRES,
    AddressNeededError,
    Composition,
    Engine,
    engine_of,
)
from todo.operations.datafolder import DataFolder, EngineRun, RunningSystem
from todo.operations.embedded import DAPRLET
from todo.operations.host import HANDED_OUT, UpOptions
from todo.operations.logs import SUPERVISOR, LogSink, Silence
from todo.operations.ports import UnknownNameError
from todo.operations.supervisor import Child, ChildFailedError, Probe, Supervisor, answers

__all__ = [
    "DAPRLET",
    "DEMO_ADDRESS",
    "HANDED_OUT",
    "MAILBOX",
    "MAIL_DRAIN_STEPS",
    "POSTGRES",
    "AddressNeededError",
    "System",
    "UnknownNameError",
    "UpOptions",
    "prepared_system",
    "running_system",
]

START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
FIRST_TENDED_SECONDS: Final = 5.0
TENDED_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class System:
    """A running system. Children are named as in the status table: `postgres`, `daprlet`, `mailbox`, `backend`, ...

    `engine` is None on daprlet. `database_url` is the operator's way in.
    """

    supervisor: Supervisor
    data: DataFolder
    ports: Mapping[str, int]
    addresses: Mapping[str, str]
    database_url: str
    engine: EngineRun | None
    flowing: Mapping[str, Probe]

    @property
    def backend_url(self) -> str:
        return self.addresses[names.BACKEND.app_id]

    @property
    def mailbox_url(self) -> str | None:
        """Where mails are read, or None with a real mail server."""
        return self.addresses.get(MAILBOX)

    @property
    def children(self) -> Mapping[str, Child]:
        return self.supervisor.children

    def pid(self, name: str) -> int | None:
        return self.supervisor.children[name].pid

    async def begin(self) -> None:
        """Start everything and wait until it is ready and events flow; ChildFailedError names what is not."""
        await self.supervisor.start(seconds=START_SECONDS)
        await self.wait_flowing()

    async def wait_flowing(self, seconds: float = START_SECONDS) -> None:
        """Wait until every sidecar has reached its app, and its subscriptions and jobs run; else ChildFailedError."""
        for name, probe in self.flowing.items():
            try:
                async with asyncio.timeout(seconds):
                    while not await answers(probe, self.pid(name) or 0):  # noqa: ASYNC110 - another process
                        await asyncio.sleep(POLL_SECONDS)
            except TimeoutError:
                reason = f"does not reach its service, the broker or the Scheduler after {seconds:.0f} s"
                raise ChildFailedError(name, reason, self.children[name].last_lines) from None

    async def wait_ready(self, *only: str, seconds: float = 60.0) -> None:
        """Wait until everything, or the named children, are ready; ChildFailedError when one cannot."""
        await self.supervisor.wait_ready(only or None, seconds=seconds)

    async def kill(self, name: str, sent: signal.Signals = signal.SIGKILL) -> int:
        """Kill one child and return the dead pid, its death noticed; the supervisor starts it again."""
        return await self.supervisor.kill(name, sent)

    async def stop(self, name: str) -> None:
        """Stop one child gracefully, until `start(name)`."""
        await self.supervisor.stop_child(name)

    async def start(self, name: str) -> None:
        self.supervisor.start_child(name)
        await self.supervisor.wait_ready([name])


@asynccontextmanager
async def running_system(options: UpOptions, sink: LogSink | None = None) -> AsyncIterator[System]:
    """Start a whole system, wait until it is ready, and stop it, draining, at the end."""
    async with prepared_system(options, sink) as system:
        try:
            await system.begin()
            yield system
        finally:
            await system.supervisor.stop()


@asynccontextmanager
async def prepared_system(options: UpOptions, sink: LogSink | None = None) -> AsyncIterator[System]:
    """Take the data folder and the ports and make every file ready; starting and stopping is the caller's."""
    with ExitStack() as stack:
        path = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="todo-")))
            if options.temporary
            else options.data
        )
        data = stack.enter_context(DataFolder(path))
        data.end_leftovers()
        engine = engine_of(options, data)
        composition = Composition(options, data, engine)
        specs = await composition.specs()
        addresses = {spec.name: spec.address for spec in specs if spec.address.startswith("http")}
        at, run = composition.host, engine.run(composition.host)
        data.announce(RunningSystem(os.getpid(), addresses, composition.database_url, run))
        sink = sink or Silence()
        _note_engine(data, options.engine, sink)
        supervisor = Supervisor(specs, sink, watch=lambda: data.note_children(_commands(supervisor)))
        async with _tended(engine, supervisor, sink):
            yield System(supervisor, data, at.ports, addresses, composition.database_url, run, engine.flowing(at))


@asynccontextmanager
async def _tended(engine: Engine, supervisor: Supervisor, sink: LogSink) -> AsyncIterator[None]:
    """Let the engine do what it needs now and then, soon after everything is up and rarely from then on."""
    ending = asyncio.Event()

    async def tend() -> None:
        pause = FIRST_TENDED_SECONDS
        while not await _comes(ending, pause):
            if supervisor.all_up:
                pause = TENDED_SECONDS
                await engine.tend(lambda text: sink.line(SUPERVISOR, text))

    tending = asyncio.create_task(tend(), name="tend the engine")
    try:
        yield
    finally:
        ending.set()
        await tending


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _note_engine(data: DataFolder, engine: str, sink: LogSink) -> None:
    """Say what it means that the last run was on another engine, and remember this one."""
    settings = data.settings()
    if settings.engine not in {None, engine}:
        sink.line(
            SUPERVISOR,
            f"the last run was on {settings.engine}: what its broker still held is made up for by the reconciliation "
            "jobs, within five minutes",
        )
    if settings.engine != engine:
        settings.engine = engine
        data.save(settings)


def _commands(supervisor: Supervisor) -> dict[int, str]:
    """What runs, by pid; PostgreSQL is not in it: it is stopped more gently, by itself."""
    running = (child for name, child in supervisor.children.items() if name != POSTGRES)
    return {child.pid: " ".join(child.spec.command[1:]) for child in running if child.pid is not None}
