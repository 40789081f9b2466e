"""Runs named child processes: in order, restarted when they die, stopped in reverse, and never outliving it."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from todo.operations import processes
from todo.operations.logs import SUPERVISOR, LogSink

FIRST_DELAY: Final = 0.2
LAST_DELAY: Final = 5.0
STEADY_SECONDS: Final = 1.0  # ready for so long, a child has earned a fresh back-off
FAST_FAILURES: Final = 3  # deaths in a row before it was ready: worth showing
PROBE_SECONDS: Final = 0.05
PROBE_TIMEOUT: Final = 2.0
KEPT_LINES: Final = 20
MAX_LINE: Final = 64 * 1024
CHUNK: Final = 64 * 1024

Probe = Callable[[int], Awaitable[bool]]
StopSteps = Sequence[tuple[signal.Signals, float]]


class State(StrEnum):
    WAITING = "waiting"  # for what it needs
    STARTING = "starting"
    READY = "ready"
    DONE = "done"  # a one-shot child that succeeded
    RESTARTING = "restarting"  # died, backing off
    FAILED = "failed"  # a one-shot child that did not
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and when it counts as up.

    `after` names children that must be ready, or done, before its first start; they are stopped after it. Without
    `ready` it is up once started. A `once` child runs to its end; every other is restarted whenever it dies.
    `before_start` runs in a thread before each start. `death_signal` is what it gets when the supervisor is killed.
    Lines of a child that is not `heard` are kept for when it fails, and not shown.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    after: Sequence[str] = ()
    ready: Probe | None = None
    once: bool = False
    before_start: Callable[[], None] | None = None
    stop_steps: StopSteps = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
    death_signal: signal.Signals = signal.SIGKILL
    user: tuple[int, int] | None = None
    cwd: Path | None = None
    address: str = ""
    heard: bool = True


class ChildFailedError(RuntimeError):
    """A child cannot get up; says which, and its last lines."""

    def __init__(self, name: str, reason: str, last_lines: Iterable[str]) -> None:
        self.name = name
        self.last_lines = list(last_lines)
        shown = "".join(f"\n  {line}" for line in self.last_lines)
        super().__init__(f"{name} {reason}{':' if shown else ''}{shown}")


@dataclass(slots=True)
class Child:
    """One child and its lives; its fields are for reading."""

    spec: ChildSpec
    sink: LogSink
    changed: Callable[[], None]
    state: State = State.STOPPED
    pid: int | None = None
    starts: int = 0
    fast_failures: int = 0
    start_seconds: float | None = None
    last_exit: str = ""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _lives: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self.state in {State.READY, State.DONE}

    @property
    def failing(self) -> bool:
        return self.state is State.FAILED or self.fast_failures >= FAST_FAILURES

    def begin(self, needs_met: Callable[[], Awaitable[None]]) -> None:
        if self._lives is None or self._lives.done():
            self._stopping.clear()
            self.fast_failures = 0
            self._lives = asyncio.create_task(self._run(needs_met), name=f"child {self.spec.name}")

    async def end(self) -> None:
        self._stopping.set()
        if self._lives is not None:
            await self._lives

    def signal(self, sent: signal.Signals) -> int:
        """Send a signal to the process itself and return its pid; ProcessLookupError when it is not running."""
        if self.pid is None:
            raise ProcessLookupError(f"{self.spec.name} is not running")
        os.kill(self.pid, sent)
        return self.pid

    async def _run(self, needs_met: Callable[[], Awaitable[None]]) -> None:
        self._enter(State.WAITING)
        await self._unless_stopped(needs_met())
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            code, steady = await self._live()
            if self.spec.once and code is not None:
                self._enter(State.DONE if code == 0 else State.FAILED)
                return
            if not self._stopping.is_set():
                delay = FIRST_DELAY if steady else delay
                await self._back_off(delay)
                delay = min(delay * 2, LAST_DELAY)
        self._enter(State.STOPPED)

    async def _back_off(self, delay: float) -> None:
        self._say(f"{self.last_exit}; starting again in {delay:.1f} s")
        if self.fast_failures == FAST_FAILURES:
            self._say(f"{self.fast_failures} starts failed, the last lines were:")
            for line in self.last_lines:
                self._say(f"  {line}")
        self._enter(State.RESTARTING)
        await self._unless_stopped(asyncio.sleep(delay))

    async def _unless_stopped(self, waiting: Awaitable[None]) -> None:
        tasks = [asyncio.ensure_future(waiting), asyncio.create_task(self._stopping.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self) -> tuple[int | None, bool]:
        """Run the program once; return its exit code (None when stopped or not started) and whether it was steady."""
        started = time.monotonic()
        self.last_lines.clear()
        self._enter(State.STARTING)
        try:
            process, output, pipe = await self._spawn()
        except (OSError, RuntimeError) as error:
            self.last_exit = f"could not be started: {error}"
            self.last_lines.append(str(error))
            self.fast_failures += 1
            return (1 if self.spec.once else None), False
        self.pid = process.pid
        self.starts += 1
        self.changed()
        helpers = [
            asyncio.create_task(self._pump(output)),
            asyncio.create_task(self._watch_ready(process.pid, started)),
        ]
        try:
            stopped = await self._exit_of(process)
        finally:
            was_ready = self.state is State.READY
            await self._bury(process, helpers)
            pipe.close()
        code = process.returncode if process.returncode is not None else 1
        self.last_exit = _exit_words(code)
        if not stopped and not was_ready:
            self.fast_failures += 1
        lived = time.monotonic() - started - (self.start_seconds or 0.0)
        return None if stopped else code, was_ready and lived >= STEADY_SECONDS

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.ReadTransport]:
        """Start the program with a pipe of ours, so that its end is seen even while a grandchild holds the pipe."""
        if self.spec.before_start is not None:
            await asyncio.to_thread(self.spec.before_start)
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader(limit=CHUNK)
        try:
            process = await asyncio.create_subprocess_exec(
                *processes.launched(self.spec.command, death_signal=self.spec.death_signal, user=self.spec.user),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=dict(self.spec.env),
                cwd=self.spec.cwd,
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        return process, reader, pipe

    async def _exit_of(self, process: asyncio.subprocess.Process) -> bool:
        """Wait for the end of the process, bringing it about when the child is to stop; tell whether it was."""
        exited = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopped = stopping.done() and not exited.done()
        stopping.cancel()
        for sent, seconds in self.spec.stop_steps if stopped else ():
            if not exited.done():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(sent)
                await asyncio.wait({exited}, timeout=seconds)
        await exited
        return stopped

    async def _bury(self, process: asyncio.subprocess.Process, helpers: Sequence[asyncio.Task[None]]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind in its session
        pump, ready = helpers
        ready.cancel()
        await asyncio.wait({pump}, timeout=1.0)
        pump.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        self.pid = None

    async def _watch_ready(self, pid: int, started: float) -> None:
        if self.spec.once:
            return
        while self.spec.ready is not None and not await answers(self.spec.ready, pid):  # noqa: ASYNC110 - another process
            await asyncio.sleep(PROBE_SECONDS)
        self.start_seconds = time.monotonic() - started
        self.fast_failures = 0
        self._enter(State.READY)

    async def _pump(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._line(line)
        if rest:
            self._line(rest)

    def _line(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").rstrip()
        self.last_lines.append(text)
        if self.spec.heard:
            self.sink.line(self.spec.name, text)

    def _say(self, text: str) -> None:
        self.sink.line(SUPERVISOR, f"{self.spec.name} {text}")

    def _enter(self, state: State) -> None:
        self.state = state
        self.changed()


class Supervisor:
    """Owns the children from `start()` to `stop()`; use from one event loop, in the main thread."""

    def __init__(self, specs: Iterable[ChildSpec], sink: LogSink, watch: Callable[[], None] | None = None) -> None:
        """`watch` is called after every change of a child's state; it must be quick. Its `OSError` is only logged."""
        self.children = {spec.name: Child(spec, sink, self._pulse) for spec in specs}
        self._sink = sink
        self._changed = asyncio.Event()
        self._watch = watch or (lambda: None)

    def begin(self) -> None:
        """Start everything, each child once what it needs is up; returns at once."""
        for child in self.children.values():
            self._begin(child)

    async def start(self, *, seconds: float = 60.0) -> None:
        """Start everything and wait until it is up; ChildFailedError names the first that cannot."""
        self.begin()
        await self.wait_ready(seconds=seconds)

    async def wait_ready(self, names: Iterable[str] | None = None, *, seconds: float = 60.0) -> None:
        """Wait until the named children (all by default) are up; ChildFailedError when one cannot in time."""
        wanted = [self.children[name] for name in names] if names is not None else list(self.children.values())
        try:
            async with asyncio.timeout(seconds):
                await self._until(lambda: all(child.up for child in wanted) or any(c.failing for c in wanted))
        except TimeoutError:
            late = next(child for child in wanted if not child.up)
            raise ChildFailedError(late.spec.name, f"was not ready within {seconds:.0f} s", late.last_lines) from None
        for child in wanted:
            if child.failing:
                raise ChildFailedError(child.spec.name, child.last_exit, child.last_lines)

    @property
    def all_up(self) -> bool:
        return all(child.up for child in self.children.values())

    async def stop(self) -> None:
        """Stop everything, dependents first; each child gets its own deadline before it is killed."""
        for level in reversed(self._levels()):
            await asyncio.gather(*(child.end() for child in level))

    def kill_all(self) -> None:
        """End everything at once, without draining: for the second Ctrl-C, with `stop()` under way."""
        for child in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                child.signal(signal.SIGKILL)

    async def kill(self, name: str, sent: signal.Signals = signal.SIGKILL) -> int:
        """Kill one child, wait until its death was noticed, and return the dead pid; it will be started again."""
        child = self.children[name]
        pid = child.signal(sent)
        await self._until(lambda: child.pid != pid)
        return pid

    async def stop_child(self, name: str) -> None:
        """Stop one child, gracefully, for as long as it is not started again; its dependents stay."""
        await self.children[name].end()

    def start_child(self, name: str) -> None:
        self._begin(self.children[name])

    def _begin(self, child: Child) -> None:
        needs = [self.children[name] for name in child.spec.after]
        child.begin(lambda: self._until(lambda: all(need.up for need in needs)))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _pulse(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        try:
            self._watch()
        except OSError as error:  # a full disk, say: no reason to stop looking after the children
            self._sink.line(SUPERVISOR, f"what runs could not be noted: {error}")

    def _levels(self) -> list[list[Child]]:
        """Group the children so that each stands in a later group than everything it needs."""
        depths: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in depths:
                depths[name] = 1 + max(map(depth, self.children[name].spec.after), default=-1)
            return depths[name]

        levels: list[list[Child]] = [[] for _ in range(1 + max(map(depth, self.children), default=-1))]
        for name, child in self.children.items():
            levels[depths[name]].append(child)
        return levels


def http_probe(port: int, path: str, host: str = "127.0.0.1") -> Probe:
    """Make a probe that holds when `GET path` is answered with a 2xx."""

    async def probe(_pid: int) -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
        finally:
            writer.close()
        return status[9:10] == b"2"

    return probe


def all_of(*probes: Probe) -> Probe:
    async def probe(pid: int) -> bool:
        return all(await asyncio.gather(*(one(pid) for one in probes)))

    return probe


async def answers(probe: Probe, pid: int) -> bool:
    """Tell whether the probe holds, within its time; what cannot be reached does not."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await probe(pid)
    except (OSError, TimeoutError):
        return False


def _exit_words(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
