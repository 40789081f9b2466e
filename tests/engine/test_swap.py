"""A running system goes from broker to broker, and back, and to a fresh one behind TLS, while it works."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.engine.moving import Run, only_probes_left, standing, swap
from tests.engine.scenario import engine_bench, titled
from tests.faults.bench import in_turn
from tests.faults.verdicts import Show, conclude
from tests.faults.workload import plans, work

SPAN: Final = 30.0  # seconds of work
RATE: Final = 200  # tasks created in each second of four fifths of it
ROUTE: Final = ("redis", "kafka", "kafka-sasl-512")


@pytest.mark.timeout(240)
async def test_tasks_are_created_while_the_system_goes_from_broker_to_broker(
    tmp_path: Path, seed: int, show: Show
) -> None:
    """Nothing is lost, nothing happens twice, and the API never answers 5xx."""
    async with engine_bench(tmp_path, "kafka", standby=("redis", "kafka-sasl-512"), durable=False) as bench:
        runs: list[Run] = []

        async def travel() -> None:
            for broker in ROUTE:
                runs.append(await swap(bench, "--to", broker, "--measure", "1", "--wait", "0"))
                assert runs[-1].report, runs[-1].said
                assert standing(bench) == broker

        planned = titled("moving", plans(seed, int(RATE * SPAN * 0.8), span=SPAN))
        await in_turn([work(bench.client, planned), travel()])
        await bench.quiet(60)
        for run in runs:
            show(f"{run.report['origin']} to {run.report['to']}", _columns(run.report))
            assert only_probes_left(run)
        assert not {status for status in bench.ledger.answers if not status.startswith("2")}, bench.ledger.answers
        await conclude(bench, "moved three times", show, excused=())


def _columns(report: Mapping[str, Any]) -> dict[str, str]:
    """Before, drained, after."""
    figures = [report[name] or {} for name in ("before", "during", "after")]
    rows = {key: " | ".join(str(one.get(key, "")) for one in figures) for key in figures[0]}
    return rows | {"pause, seconds": str(report["pause_seconds"])}
