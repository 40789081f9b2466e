"""`make run` on a folder that has run before: seconds until everything is ready, and the memory of what runs then."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import Row, Target, family, rss_mb
from todo.operations import processes
from todo.operations.system import HANDED_OUT

TODO: Final = str(Path(sys.executable).with_name("todo"))
SETTLED: Final = 3.0  # seconds after which memory is read: the first jobs have run
ENVIRON: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}


async def run(_: float) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="todo-") as folder:
        async with _up(folder) as (_pid, cold):
            pass
        async with _up(folder) as (pid, warm):
            await asyncio.sleep(SETTLED)
            own, postgres = _memory(pid)
    start = Row(
        "`make run` ready, warm", "s", {"warm": warm}, (Target("warm", 5, "s"),), {"first start": f"{cold:.1f} s"}
    )
    also = {"PostgreSQL": f"{postgres:.0f} MiB, its shared memory counted in each process"}
    memory = {"together": own}
    return [start, Row("RSS of all own processes, idle", "MiB", memory, (Target("together", 400, "MiB"),), also)]


@asynccontextmanager
async def _up(folder: str) -> AsyncIterator[tuple[int, float]]:
    """`todo up` as a person starts it, on free ports: its pid, and after how many seconds it said it was ready."""
    began = asyncio.get_running_loop().time()
    process = await asyncio.create_subprocess_exec(
        *(TODO, "up", "--free-ports", "--data", folder, "--log-format", "json"),
        stdout=asyncio.subprocess.PIPE,
        env=ENVIRON,
    )
    assert process.stdout is not None
    reading = asyncio.create_task(_until_ready(process.stdout))
    try:
        await asyncio.wait_for(reading, 60)
        ready = asyncio.get_running_loop().time() - began
        rest = asyncio.create_task(process.stdout.read())
        yield process.pid, ready
    finally:
        process.terminate()
        await process.wait()
    await rest


async def _until_ready(output: asyncio.StreamReader) -> None:
    while line := await output.readline():
        if line.startswith(b"{") and json.loads(line).get("event") == "ready":
            return
    raise RuntimeError("`todo up` ended before it was ready")


def _memory(pid: int) -> tuple[float, float]:
    """MiB of the supervisor and its children, and of PostgreSQL's processes."""
    everything = family(pid)
    database = {one for one in everything if "postgres" in (processes.command_of(one) or "").split(" ")[0]}
    return rss_mb(set(everything) - database), rss_mb(database)
