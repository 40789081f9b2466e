"""Three replicas of every service, each with its daprd, on a real broker; one of all these processes dies every 5 s."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.engine.scenario import EngineBench, engine_bench
from tests.faults.bench import in_turn
from tests.faults.verdicts import Show, conclude, replay_bystanders
from tests.faults.workload import Strike, plans, strike, work
from todo.contracts import envelope, names
from todo.contracts.envelope import Event
from todo.contracts.events import ReminderKey
from todo.operations import ports

REPLICAS: Final = 3
EVERY: Final = 5.0  # seconds from one death to the next
TASKS_A_SECOND: Final = 8
REST: Final = 240.0  # a reminder whose sender died is dispatched again after two minutes
SAMPLED: Final = 0.5
CONSUMED: Final = "todo_events_consumed_total"
DISPATCHED: Final = "todo_reminders_dispatched_total"
SENDER: Final = (names.EMAIL_DELIVERY.app_id,)  # whose death alone may repeat the mails that it had on their way


class Shares:
    """What each replica has counted, summed over its lives; the last moments before a death are missing."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int | None], dict[str, float]] = {}  # by replica and process

    def of(self, counter: str, app_id: str) -> list[int]:
        replicas = [ports.replica(app_id, index) for index in range(REPLICAS)]
        lives = list(self._seen.items())
        return [int(sum(seen.get(counter, 0) for (name, _), seen in lives if name == replica)) for replica in replicas]

    async def sample(self, running: EngineBench) -> None:
        for app in names.APPS:
            for index in range(REPLICAS):
                replica = ports.replica(app.app_id, index)
                life = replica, running.system.pid(replica)
                with suppress(aiohttp.ClientError, asyncio.TimeoutError):
                    self._seen[life] = await running.metrics(replica)

    @asynccontextmanager
    async def watching(self, running: EngineBench) -> AsyncIterator[None]:
        async def watch() -> None:
            while True:
                await self.sample(running)
                await asyncio.sleep(SAMPLED)

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await self.sample(running)


@pytest.mark.timeout(480)
@pytest.mark.parametrize(("broker", "span"), [("kafka", 60.0), ("redis", 25.0)])
async def test_twelve_services_and_twelve_sidecars_share_the_work_while_they_die_in_turn(
    tmp_path: Path, broker: str, span: float, seed: int, show: Show
) -> None:
    """No instance is dispatched twice in one attempt, no reminder lost, none mailed twice but by its sender's death."""
    replicas = {app.app_id: REPLICAS for app in names.APPS}
    shares = Shares()
    async with engine_bench(tmp_path, broker, replicas=replicas) as running:
        if broker == "redis":
            await running.scale_policy()  # what a sidecar had in hand when it died comes back after 75 s
        async with shares.watching(running):
            planned = plans(seed, int(TASKS_A_SECOND * span), span=span)
            await in_turn([work(running.client, planned), strike(running, _strikes(seed, span))])
        await running.recovered()
        await running.system.wait_flowing()
        await running.quiet(REST)
        replayed = await replay_bystanders(running)
        await running.quiet(REST)
        taken = {f"events taken by {app.app_id}": shares.of(CONSUMED, app.app_id) for app in names.APPS}
        dispatched = {"dispatched by notification-service": shares.of(DISPATCHED, names.NOTIFICATION.app_id)}
        twice = await _dispatched_twice(running)
        seen = taken | dispatched | {"dispatched twice": len(twice), "bystanders parked and replayed": replayed}
        await conclude(running, f"Three replicas on {broker}", show, excused=SENDER, seen=seen)
        assert not twice
        assert all(all(share) for share in (taken | dispatched).values())


def _strikes(seed: int, span: float) -> list[Strike]:
    """Every app and every app's sidecar before any of them again; the sender first, so that rest comes sooner."""
    dice = random.Random(f"replicas {seed}")  # noqa: S311 - reproducible on purpose
    kinds = [f"{prefix}{app.app_id}" for app in names.APPS for prefix in ("", "daprd-")]
    dice.shuffle(kinds)
    kinds.sort(key=lambda kind: not kind.endswith(names.EMAIL_DELIVERY.app_id))
    count = int(span / EVERY)
    victims = [kinds[number % len(kinds)] for number in range(count)]
    return [
        Strike(EVERY * (number + 0.5), ports.replica(victim, dice.randrange(REPLICAS)))
        for number, victim in enumerate(victims)
    ]


async def _dispatched_twice(running: EngineBench) -> Sequence[tuple[ReminderKey, int]]:
    """The attempts of which the broker holds more than one event; a copy of the same event is none."""
    found: defaultdict[tuple[ReminderKey, int], set[str]] = defaultdict(set)
    for body in await running.outside.history(names.TASK_REMINDERS):
        event = envelope.decode(body, names.TASK_REMINDERS)
        assert isinstance(event, Event)
        found[event.data.key, event.data.attempt].add(event.id)
    assert found
    return [attempt for attempt, ids in found.items() if len(ids) > 1]
