"""What the client does and who is struck when: decided by a seed before anything runs, so that a failure replays."""

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.faults.bench import Bench, Pace, due_in, in_turn, pace, until
from tests.faults.client import Client

DAILY: Final = "FREQ=DAILY"
RECURRING: Final = 0.2
COMPLETED: Final = 0.15  # of those that do not recur
AGAIN: Final = 0.3  # of those that recur: the successor is completed too
BURST: Final = 0.5  # of all: due at the instant of a blow, so that mails are under way then
SOONEST: Final = 1.5  # seconds from creation to due
SUCCESSOR_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One task; instants in seconds from the start of the run."""

    title: str
    created: float
    due: float
    rule: str | None = None
    completed: float | None = None
    again: bool = False  # complete its successor as well


@dataclass(frozen=True, slots=True)
class Strike:
    at: float
    target: str


def strikes(seed: int, targets: Sequence[str], *, rounds: int, first: float, span: float) -> list[Strike]:
    """Each target once a round, in another order each time, at uneven distances."""
    dice = random.Random(f"strikes {seed}")  # noqa: S311 - reproducible on purpose
    order = [target for _ in range(rounds) for target in dice.sample(targets, len(targets))]
    step = span / len(order)
    return [Strike(first + index * step + dice.uniform(0, step), target) for index, target in enumerate(order)]


def plans(seed: int, count: int, *, span: float, bursts: Sequence[float] = ()) -> list[Plan]:
    """Tasks created over `span` seconds and due within it, many of them at the instants of `bursts`."""
    dice = random.Random(f"plans {seed}")  # noqa: S311 - reproducible on purpose
    return [_plan(dice, number, span, bursts) for number in range(count)]


def _plan(dice: random.Random, number: int, span: float, bursts: Sequence[float]) -> Plan:
    created = dice.uniform(0, span * 0.8)
    coming = [burst for burst in bursts if burst > created + SOONEST]
    burst = coming and dice.random() < BURST
    due = dice.choice(coming) - dice.uniform(0, 0.2) if burst else dice.uniform(created + SOONEST, span + SOONEST)
    recurs = dice.random() < RECURRING
    completed = dice.uniform(created + 0.5, span + SOONEST) if recurs or dice.random() < COMPLETED else None
    title = f"{'series' if recurs else 'task'} {number:04}"
    return Plan(title, created, due, DAILY if recurs else None, completed, recurs and dice.random() < AGAIN)


async def work(client: Client, planned: Sequence[Plan]) -> None:
    """Carry out all plans, each at its time; returns once every request is answered."""
    clock, start = pace(), due_in(0)
    await in_turn(_carry_out(client, plan, clock, start) for plan in planned)


async def strike(bench: Bench, planned: Sequence[Strike]) -> None:
    """Deal the blows, each at its time, whether or not the last victim is up again."""
    clock = pace()
    for blow in planned:
        await clock(blow.at)
        await bench.kill(blow.target)


async def _carry_out(client: Client, plan: Plan, clock: Pace, start: dt.datetime) -> None:
    await clock(plan.created)
    task = await client.create(plan.title, start + dt.timedelta(seconds=plan.due), plan.rule)
    if plan.completed is None:
        return
    await clock(plan.completed)
    await client.complete(task.id)
    if plan.again:

        async def has_successor() -> bool:
            return len(await client.open_titled(plan.title)) > 0

        await until(has_successor, SUCCESSOR_SECONDS, f"the next occurrence of {plan.title}", 1.0)
        (successor,) = await client.open_titled(plan.title)
        await client.complete(successor.id)
