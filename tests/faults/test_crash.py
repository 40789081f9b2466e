"""Every process of the system dies by `kill -9`, again and again, while a client works against a hostile broker."""

import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.bench import SLOW, bench, in_turn
from tests.faults.verdicts import Show, conclude, replay_bystanders
from tests.faults.workload import plans, strike, strikes, work

TARGETS: Final = (
    "postgres",
    "daprlet",
    "backend",
    "notification-service",
    "email-delivery",
    "recurring-service",
    "mailbox",
)
TASKS: Final = 500
ROUNDS: Final = 3
SPAN: Final = 60.0
REST: Final = 300.0  # a reminder whose sender died is dispatched again after two minutes, a deferred one after one


@pytest.mark.timeout(480)
async def test_nothing_is_lost_and_nothing_happens_twice_when_everything_dies_in_turn(
    tmp_path: Path, seed: int, show: Show
) -> None:
    """What was acknowledged holds, each due reminder is mailed once, each completion has one successor; a mail is
    repeated only by the death of its sender or of the mail server, at most one per open connection."""
    blows = strikes(seed, TARGETS, rounds=ROUNDS, first=5.0, span=SPAN - 5.0)
    bursts = [blow.at for blow in blows if blow.target in {"email-delivery", "mailbox", "daprlet"}]
    planned = plans(seed, TASKS, span=SPAN, bursts=bursts)
    began = time.monotonic()
    async with bench(tmp_path, chaos=seed, email=SLOW) as running:
        await in_turn([work(running.client, planned), strike(running, blows)])
        worked = time.monotonic() - began
        await running.recovered()
        await running.quiet(REST)
        replayed = await replay_bystanders(running)
        await running.quiet(REST)
        rested = time.monotonic() - began - worked
        await conclude(
            running,
            f"Crash test, seed {seed}",
            show,
            seen={
                "seconds": f"{worked:.0f} under fire, {rested:.0f} until rest",
                "bystanders parked and replayed": replayed,
            },
        )
