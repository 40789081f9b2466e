"""`make bench-tuning`: what each knob does, on stock Dapr with Kafka and with Valkey, as a ratio to what is set here.

Every knob is measured in one run, its values in order and then in reverse, each twice, so that what drifts on the
machine meets all of them. Prints Markdown, as docs/guide/performance.md has it; progress goes to the standard error.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import uvloop

from benchmarks import drain, effect, publish
from benchmarks.__main__ import machine, title
from benchmarks.measure import closed_loop, cpu_seconds, paced, rss_mb
from benchmarks.retuned import Change, Retuned
from benchmarks.stage import YEAR, Stage, mailbox_stage, task_events

Figures = Mapping[str, float]
Measure = Callable[[Stage], Awaitable[Figures]]

BROKERS: Final = {"kafka": "Kafka", "redis": "Redis"}
CONNECTIONS: Final = 16
CREATES: Final = 600
PUBLISHES: Final = 20
PUBLISH_RATE: Final = 4.0
ANSWERED_WITHIN: Final = 8.0  # seconds; a pool that is used up says so after four
IDLE: Final = 3.0  # seconds


async def drained(stage: Stage) -> Figures:
    """A backlog through relay, broker, sidecars and both subscribers."""
    rate, cpu = await drain.run(stage)
    return {"events/s": rate.numbers["rate"], "CPU an event, us": cpu.numbers["own"] * 1000}


async def drained_in_memory(stage: Stage) -> Figures:
    figures = await drained(stage)
    return {**figures, "memory of a sidecar, MiB": rss_mb(stage.pids("daprd-")) / len(stage.pids("daprd-"))}


async def waited(stage: Stage) -> Figures:
    """What an event takes when nothing else is under way, and what the sidecars use while there is none."""
    (row,) = await effect.run(stage)
    used = cpu_seconds(stage.pids("daprd-"))
    await asyncio.sleep(IDLE)
    used = cpu_seconds(stage.pids("daprd-")) - used
    return {"commit to effect p50, ms": row.numbers["p50"], "idle sidecars, % of a CPU": used / IDLE * 100}


async def published(stage: Stage) -> Figures:
    """At 500/s, both subscribers taking them."""
    (row,) = await publish.run(stage)
    return {f"publish {share}, ms": row.numbers[share] for share in ("p50", "p95")}


async def answered(stage: Stage) -> Figures:
    """How many of a few publishes backend's sidecar takes. Not at once: its subscriptions are to be waiting by then."""
    events = task_events(PUBLISHES)

    taken: list[bool] = []

    async def publish_one(number: int) -> None:
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                await stage.publish(events[number])
        except (AssertionError, TimeoutError):
            taken.append(False)
        else:
            taken.append(True)

    await paced(PUBLISH_RATE, PUBLISHES, publish_one)

    return {f"of {PUBLISHES} publishes taken": sum(taken)}


async def created(stage: Stage) -> Figures:
    """Tasks by 16 connections of the API, with all that follows from them."""
    due = datetime.now(UTC) + YEAR
    seconds = await closed_loop(CONNECTIONS, CREATES, lambda _: stage.create("Water the plants", due))
    return {"tasks created/s": CREATES / seconds}


@dataclass(frozen=True, slots=True)
class Knob:
    """The first of `values` is what is set here. `section` is the part of the page that has its table."""

    name: str
    section: str
    broker: str
    values: Mapping[str, Change]
    measures: Sequence[Measure]


def _services(variable: str, here: str, *others: str) -> Mapping[str, Change]:
    return {here: Change()} | {one: Change(services={variable: one}) for one in others}


ONE_CPU: Final = {"GOMAXPROCS": "1"}
KNOBS: Final = (
    Knob("`TODO_DELIVERY_WAIT_MS`", "latency", "kafka", _services("TODO_DELIVERY_WAIT_MS", "10", "1", "50"), (waited,)),
    Knob(
        "sidecar CPU, `GOMAXPROCS`",
        "latency",
        "kafka",
        {"2 (all)": Change(), "1": Change(sidecars=ONE_CPU)},
        (published, drained),
    ),
    Knob(
        "sidecar memory, `GOMEMLIMIT`",
        "latency",
        "kafka",
        {"none": Change()} | {one: Change(sidecars={"GOMEMLIMIT": one}) for one in ("230MiB", "40MiB")},
        (drained_in_memory,),
    ),
    Knob("`TODO_RELAY_BATCH`", "latency", "kafka", _services("TODO_RELAY_BATCH", "200", "20", "1000"), (drained,)),
    Knob(
        "`poolSize`, sidecar with 1 CPU",
        "latency",
        "redis",
        {"40": Change(sidecars=ONE_CPU), "none (10)": Change(sidecars=ONE_CPU, component={"poolSize": None})},
        (answered,),
    ),
    Knob(
        "`TODO_DELIVERY_EVENTS`",
        "throughput",
        "kafka",
        _services("TODO_DELIVERY_EVENTS", "100", "10", "400"),
        (drained,),
    ),
    Knob(
        "partitions",
        "throughput",
        "kafka",
        {str(count): Change(partitions=count) for count in (3, 1, 6)},
        (drained,),
    ),
    Knob(
        "`--app-max-concurrency`",
        "throughput",
        "kafka",
        {"none": Change(), "1": Change(flags={"app-max-concurrency": "1"})},
        (drained,),
    ),
    Knob(
        "`TODO_DATABASE_POOL`",
        "throughput",
        "kafka",
        _services("TODO_DATABASE_POOL", "12 and 8", "2", "24"),
        (created,),
    ),
    Knob(
        "`concurrency`",
        "throughput",
        "redis",
        {"200": Change()} | {one: Change(component={"concurrency": one}) for one in ("100", "10")},
        (drained,),
    ),
)
Found = dict[str, list[Figures]]  # the passes of each value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--only", action="append", metavar="TEXT", help="knobs whose name has it; again for more")
    parser.add_argument("--scale", type=float, default=0.4, help="multiply the sizes of `make bench` (default 0.4)")
    options = parser.parse_args()
    knobs = [one for one in KNOBS if any(text in one.name for text in options.only or [""])]
    met = machine()
    found = uvloop.run(_measure(knobs, options.scale))
    print(f"{datetime.now(UTC):%d %B %Y}, {title(met)}\n")
    for section in dict.fromkeys(one.section for one in knobs):
        print("\n".join(_table([(one, found[one.name]) for one in knobs if one.section == section])), end="\n\n")


async def _measure(knobs: Sequence[Knob], scale: float) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for broker in BROKERS:
        of_broker = [one for one in knobs if one.broker == broker]
        if of_broker:
            async with mailbox_stage(scale, engine="dapr", broker=broker) as stage:
                retuned = Retuned(stage)
                for knob in of_broker:
                    found[knob.name] = await _turned(knob, stage, retuned)
    return found


async def _turned(knob: Knob, stage: Stage, retuned: Retuned) -> Found:
    passes: Found = {value: [] for value in knob.values}
    print(f"{BROKERS[knob.broker]}, {knob.name}:", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    for value in (*knob.values, *reversed(list(knob.values))):
        await retuned.to(knob.values[value])
        passes[value].append({key: figure for one in knob.measures for key, figure in (await one(stage)).items()})
        print(value, end=", ", file=sys.stderr, flush=True)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return passes


def _table(found: Sequence[tuple[Knob, Found]]) -> Iterator[str]:
    yield "| knob | on | measured | with what is set here | with another value, as a ratio (both passes) |"
    yield "|---|---|---|---|---|"
    for knob, passes in found:
        here, *others = passes
        for figure in passes[here][0]:
            ratios = "; ".join(f"**{other}**: {_ratio(figure, passes[here], passes[other])}" for other in others)
            own = statistics.fmean(one[figure] for one in passes[here])
            yield f"| {knob.name} | {BROKERS[knob.broker]} | {figure} | **{here}**: {_shown(own)} | {ratios} |"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(figure: str, here: Sequence[Figures], other: Sequence[Figures]) -> str:
    each = [theirs[figure] / ours[figure] for ours, theirs in zip(here, other, strict=True)]
    return f"{statistics.fmean(each):.2f} ({', '.join(f'{one:.2f}' for one in each)})"


if __name__ == "__main__":
    main()
