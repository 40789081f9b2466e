"""PostgreSQL takes connections away, restarts and dies under load."""

import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.faults.bench import Bench, bench, in_turn, pace
from tests.faults.verdicts import Show, conclude
from tests.faults.workload import plans, work
from todo.messaging.postgres import Connection

TASKS: Final = 250
SPAN: Final = 35.0
STORM: Final = tuple(2.0 + 0.2 * number for number in range(100))  # 5 a second for 20 s
FAST, IMMEDIATE = 25.0, 30.0
VICTIMS: Final = """
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid
"""


@pytest.mark.timeout(240)
async def test_lost_connections_and_restarts_of_the_database_cost_nothing_but_time(
    tmp_path: Path, seed: int, show: Show
) -> None:
    """Every 5th of a second a connection is terminated for 20 s, then the server restarts fast, then at once: all that
    was acknowledged holds, each reminder is mailed once, and no service dies of it."""
    async with bench(tmp_path, chaos=seed) as running:
        before = running.starts()
        ended: list[int] = []
        await in_turn([work(running.client, plans(seed, TASKS, span=SPAN)), _torment(running, seed, ended)])
        await running.recovered()
        await running.quiet(120)
        after = {name: count for name, count in running.starts().items() if count != before[name]}
        await conclude(
            running, "PostgreSQL", show, excused=(), seen={"connections terminated": len(ended), "restarted": after}
        )
        assert set(after) == {"postgres"}


async def _torment(running: Bench, seed: int, ended: list[int]) -> None:
    await _storm(running, seed, ended)
    clock = pace()
    await clock(FAST - STORM[-1])
    await running.kill("postgres", signal.SIGINT)
    await running.recovered()
    await clock(IMMEDIATE - STORM[-1])
    await running.kill("postgres", signal.SIGQUIT)


async def _storm(running: Bench, seed: int, ended: list[int]) -> None:
    dice = random.Random(f"storm {seed}")  # noqa: S311 - reproducible on purpose
    connection: Connection = await asyncpg.connect(running.system.database_url)
    clock = pace()
    try:
        for at in STORM:
            await clock(at)
            victims: Sequence[int] = [row["pid"] for row in await connection.fetch(VICTIMS)]
            if victims and await connection.fetchval("SELECT pg_terminate_backend($1)", dice.choice(victims)):
                ended.append(1)
    finally:
        await connection.close()
