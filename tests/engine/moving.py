"""`todo swap` in a process of its own, on a system of these tests."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.engine.scenario import EngineBench
from todo.operations.engine import resources, stock

TODO: Final = (sys.executable, "-c", "from todo.cli.main import main; main()")
LINE: Final = 60.0  # seconds for a step to begin


@dataclass(frozen=True, slots=True)
class Run:
    """One that ended."""

    code: int
    report: Mapping[str, Any]
    said: str


async def begin(bench: EngineBench, *words: str) -> asyncio.subprocess.Process:
    command = [*TODO, "swap", "--json", "--data", str(bench.system.data.path), *words]
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def swap(bench: EngineBench, *words: str) -> Run:
    return await ended(await begin(bench, *words))


def only_probes_left(run: Run) -> bool:
    """Whether what nobody has read on the broker before are but probes of the swap, as far as it can tell."""
    left: int = run.report["left_behind"]
    probes: int = run.report["probes_left"]
    return left <= probes


async def ended(process: asyncio.subprocess.Process) -> Run:
    out, said = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, json.loads(out) if out else {}, said.decode())


async def says(process: asyncio.subprocess.Process, step: str) -> None:
    """Wait until it begins a step."""
    assert process.stderr is not None
    async with asyncio.timeout(LINE):
        while line := (await process.stderr.readline()).decode():
            if line.startswith(f"{step} "):
                return
    raise AssertionError(f"it ended before {step}")


def standing(bench: EngineBench) -> str | None:
    """The environment whose component is in place."""
    return stock.environment_of(resources.current(Path(bench.engine.resources)))
