"""How things are measured here: figures with their targets, percentiles, load generators, and what processes used."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Act = Callable[[int], Awaitable[Any]]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PATIENCE: Final = 90.0  # seconds for what was caused to happen
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """What one number of a row should be: at most, or at least, `limit`."""

    number: str
    limit: float
    unit: str
    at_least: bool = False
    guide: bool = False  # the guide's own: shown on top

    def __str__(self) -> str:
        return f"{self.number} {'>=' if self.at_least else '<='} {_short(self.limit)} {self.unit}".strip()

    def met(self, numbers: dict[str, float]) -> bool:
        value = numbers[self.number]
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, its numbers in `unit`, and what they should be."""

    what: str
    unit: str
    numbers: dict[str, float]
    targets: tuple[Target, ...] = ()
    also: dict[str, str] = field(default_factory=dict)  # further numbers, each with its own unit

    @property
    def shown(self) -> str:
        own = ", ".join(f"{name} {_short(value)}" for name, value in self.numbers.items())
        also = [f"{name} {value}" for name, value in self.also.items()]
        return "; ".join([f"{own} {self.unit}".strip(), *also] if own else also)


def spread(seconds: Sequence[float], *shares: int, maximum: bool = False) -> dict[str, float]:
    """Percentiles in milliseconds, by nearest rank."""
    numbers = {f"p{share}": percentile(seconds, share) * 1000 for share in shares}
    return numbers | ({"max": max(seconds) * 1000} if maximum else {})


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


async def timed(work: Awaitable[Any]) -> float:
    """Seconds until it was done."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def paced(rate: float, count: int, act: Act) -> list[float]:
    """Open loop: begin `count` acts at a fixed rate whatever the answers do; returns how long each took, in seconds.

    An act is timed from when it begins, not from the instant of its turn: timers are a millisecond coarse. A generator
    that falls behind begins what it owes at once.
    """
    began = time.perf_counter()
    running: list[asyncio.Task[float]] = []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        running.append(asyncio.create_task(timed(act(number))))
    return list(await asyncio.gather(*running))


async def closed_loop(connections: int, count: int, act: Act) -> float:
    """`count` acts, always `connections` of them under way; returns the seconds for all."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await act(number)

    return await timed(asyncio.gather(*(lane() for _ in range(connections))))


async def until(holds: Callable[[], Awaitable[bool]], what: str, *, every: float = _POLL) -> None:
    """Return once it holds; `TimeoutError` says what did not come."""
    deadline = time.monotonic() + _PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE:.0f} s: {what}")
        await asyncio.sleep(every)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes, their ended children included (/proc/PID/stat, fields 14 to 17)."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in pids) / _TICKS


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory in MiB; pages that processes share count in each."""
    return sum(int(_stat(pid)[21]) for pid in pids) * os.sysconf("SC_PAGE_SIZE") / 2**20


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents = {int(entry.name): int(_stat(int(entry.name))[1]) for entry in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found


def fdatasync_ms(folder: Path, count: int = 100) -> float:
    """The median of `fdatasync` after an 8 KiB write, in milliseconds: what a durable answer costs on this disk."""
    place = folder / "fdatasync"
    descriptor = os.open(place, os.O_CREAT | os.O_WRONLY, 0o600)
    taken = []
    for number in range(count):
        os.pwrite(descriptor, b"x" * 8192, number * 8192)
        began = time.perf_counter()
        os.fdatasync(descriptor)
        taken.append(time.perf_counter() - began)
    os.close(descriptor)
    place.unlink()
    return percentile(taken, 50) * 1000


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name (the state is the first); zeros for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", *["0"] * 50]


def _short(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
