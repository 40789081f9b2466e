"""The whole system is told to end under load, and started again on the same folder."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.bench import ENVIRON, bench, pace, until
from tests.faults.client import Client
from tests.faults.ledger import Ledger
from tests.faults.verdicts import Show, conclude
from tests.faults.workload import plans, work
from todo.operations import client, datafolder, ports

COMMAND: Final = [sys.executable, "-c", "from todo.cli.main import main; main()", "up"]
SPAN: Final = 20.0
STOPPED_AT: Final = 8.0
DRAINED_WITHIN: Final = 45.0


@pytest.mark.timeout(240)
async def test_sigterm_under_load_drains_and_a_new_start_goes_on(tmp_path: Path, seed: int, show: Show) -> None:
    """The supervisor exits with 0, nothing acknowledged is lost, and no mail is repeated: what was begun was ended."""
    (port,) = ports.free(1)
    ledger = Ledger()
    async with client.session() as http:
        process = await _up(tmp_path, port)
        user = Client(http, f"http://127.0.0.1:{port}", ledger)
        working = asyncio.create_task(work(user, plans(seed, 200, span=SPAN, bursts=[STOPPED_AT])))
        await pace()(STOPPED_AT)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, DRAINED_WITHIN) == 0, (tmp_path / "first").read_text()[-3000:]
        async with bench(tmp_path, ledger=ledger, ports={"backend": port}) as running:
            await working
            await running.quiet(180)
            await conclude(running, "SIGTERM under load", show, excused=())


async def _up(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """`todo up` as a person starts it, until it is ready."""
    flags = ["--free-ports", "--port", f"backend={port}", "--data", str(folder / "data"), "--log-format", "json"]
    with (folder / "first").open("wb") as log:
        process = subprocess.Popen([*COMMAND, *flags], env=ENVIRON, stdout=log, stderr=log)  # noqa: ASYNC220

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "first").read_text()[-3000:]
        running = datafolder.running_system(folder / "data")
        return running is not None and '"event": "ready"' in (folder / "first").read_text()

    await until(is_ready, 60, "`todo up` is ready")
    return process
