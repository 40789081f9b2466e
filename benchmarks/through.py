"""Events a second from one publisher to both subscribers of a topic: the real services, then bare ones in their place.

The bare ones take the services' ports, so the sidecars are the same processes, with the same broker behind them.
"""

import datetime as dt
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID

import msgspec

from benchmarks.measure import Row, Target, closed_loop, cpu_seconds, until
from benchmarks.sidecar import answers, process
from benchmarks.stage import Stage, task_events
from todo.contracts import names
from todo.dapr.client import Message
from todo.dapr.client import connect as connect_sidecar
from todo.messaging.unit import Outgoing
from todo.operations import ports

EVENTS: Final = 10_000
WARM_UP: Final = 1_000
PASSES: Final = 3  # the one in the middle counts
CALL: Final = 200  # events in one call, as the relay publishes
CALLS_AT_ONCE: Final = 4  # so that no subscriber waits for the publisher
TOPIC: Final = names.TASK_EVENTS
SUBSCRIBERS: Final = tuple(app for app in names.APPS if TOPIC in app.topics)
BATCH: Final = 100  # what the services ask for
RATIO: Final = 0.8
_APPLIED: Final = "SELECT count(*) FROM notification.reminders WHERE task_id = ANY($1::uuid[])"
_LAST: Final = "SELECT max(updated_at) FROM notification.reminders WHERE task_id = ANY($1::uuid[])"
_TAKEN: Final = f'todo_events_consumed_total{{topic="{TOPIC}"}}'
_CLOSE: Final = 0.05  # seconds between two looks
_SPARING: Final = 0.2  # the same where a look is dear; it takes its end from the data


async def run(stage: Stage) -> Sequence[Row]:
    count = stage.sized(EVENTS)
    await _real(stage, WARM_UP)
    groups = stage.pids("dapr"), [pid for app in SUBSCRIBERS for pid in stage.pids(app.app_id)]
    before = [cpu_seconds(pids) for pids in groups]
    real = statistics.median([await _real(stage, count) for _ in range(PASSES)])
    used = [cpu_seconds(pids) - cpu for pids, cpu in zip(groups, before, strict=True)]
    sidecars, services = (seconds / (PASSES * count) * 1e6 for seconds in used)
    async with _bare_subscribers(stage) as counters:
        await _bare(stage, counters, WARM_UP)
        bare = statistics.median([await _bare(stage, counters, count) for _ in range(PASSES)])
    also = {
        "a bare subscriber": f"{bare:,.0f} events/s",
        "CPU an event": f"sidecars {sidecars:.0f} us, the two services {services:.0f} us",
    }
    target = Target("ratio", RATIO, "of a bare subscriber", at_least=True)
    return [
        Row(
            f"{count:,} events, published and applied",
            "events/s",
            {"rate": real, "ratio": real / bare},
            (target,),
            also,
        )
    ]


async def _real(stage: Stage, count: int) -> float:
    """Events a second from the first publish to the last commit in the schedule and the last answer of the others."""
    events = task_events(count)
    ids = [UUID(event.key) for event in events]
    others = [app for app in SUBSCRIBERS if app is not names.NOTIFICATION]
    before = [await _taken(stage, app) for app in others]

    async def all_taken() -> bool:
        taken = [await _taken(stage, app) for app in others]
        return all(now >= then + count for now, then in zip(taken, before, strict=True))

    async def all_applied() -> bool:
        return int(await stage.database.fetchval(_APPLIED, ids)) == count

    began = time.time()
    await _publish(stage, events)
    await until(all_taken, "every event at the other services", every=_CLOSE)
    taken_at = time.time()
    await until(all_applied, "every event in the schedule", every=_SPARING)
    applied: dt.datetime = await stage.database.fetchval(_LAST, ids)
    return count / (max(taken_at, applied.timestamp()) - began)


async def _bare(stage: Stage, counters: Sequence[str], count: int) -> float:
    """Events a second from the first publish to the last one at the last of the bare subscribers."""
    before = [(await _counted(stage, url))[0] for url in counters]

    async def all_there() -> bool:
        found = [(await _counted(stage, url))[0] for url in counters]
        return all(now >= then + count for now, then in zip(found, before, strict=True))

    began = time.time()
    await _publish(stage, task_events(count))
    await until(all_there, "every event at the bare subscribers", every=_CLOSE)
    return count / (max([(await _counted(stage, url))[1] for url in counters]) - began)


async def _publish(stage: Stage, events: Sequence[Outgoing]) -> None:
    calls = [events[at : at + CALL] for at in range(0, len(events), CALL)]
    async with connect_sidecar(stage.sidecar_url, stage.system.data.api_token) as dapr:

        async def publish(number: int) -> None:
            messages = [Message(str(index), event.envelope, event.key) for index, event in enumerate(calls[number])]
            refused = await dapr.publish_all(names.PUBSUB, TOPIC, messages)
            assert not refused, refused

        await closed_loop(CALLS_AT_ONCE, len(calls), publish)


@asynccontextmanager
async def _bare_subscribers(stage: Stage) -> AsyncIterator[list[str]]:
    """In place of the services that read the topic; yields where each tells its counts."""
    async with AsyncExitStack() as stack:
        counters = []
        for app in SUBSCRIBERS:
            await stage.system.stop(app.app_id)
            stack.push_async_callback(stage.system.start, app.app_id)
            port = stage.system.ports[app.app_id]
            await stack.enter_async_context(
                process("benchmarks.subscriber", str(port), names.PUBSUB, f"{TOPIC}={BATCH}")
            )
            counters.append(f"http://{ports.LOOPBACK}:{port}/count")
        for url in counters:
            await until(lambda url=url: answers(stage.http, url), "a bare subscriber")  # type: ignore[misc]  # bound now
        await stage.system.wait_flowing()
        yield counters


async def _taken(stage: Stage, app: names.App) -> float:
    async with stage.http.get(f"{stage.system.addresses[app.app_id]}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(_TAKEN)), 0.0)


async def _counted(stage: Stage, url: str) -> tuple[int, float]:
    async with stage.http.get(url) as answer:
        found: tuple[int, float] = msgspec.json.decode(await answer.read())[TOPIC]
        return found
