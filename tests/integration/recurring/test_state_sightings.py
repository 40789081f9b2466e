"""Sightings in the state store: what an unclean end leaves, and what an event that kills the process collects."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from tests.integration.notification.sidecar import Sidecar, client_of, running_sidecar
from todo.contracts import names
from todo.dapr.client import Dapr
from todo.dapr.subscriber import UnavailableError
from todo.messaging.state_sightings import StateSightings

NOON = dt.datetime(2031, 5, 6, 12, 0, tzinfo=dt.UTC)


class MovableClock:
    now = NOON

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running_sidecar() as sidecar:
        yield sidecar


@pytest.fixture
async def dapr(sidecar: Sidecar) -> AsyncIterator[Dapr]:
    async with client_of(sidecar) as dapr:
        yield dapr


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def sightings(dapr: Dapr, clock: MovableClock, instance: str = "host:8003") -> StateSightings:
    return StateSightings(dapr, names.STATE_STORE, instance, clock)


async def test_the_first_start_is_not_cautious_even_when_batches_come_together(dapr: Dapr, clock: MovableClock) -> None:
    first = sightings(dapr, clock)

    assert await asyncio.gather(*(first.is_cautious() for _ in range(5))) == [False] * 5


async def test_a_batch_that_comes_while_the_mark_is_written_is_not_cautious_for_it(
    dapr: Dapr, clock: MovableClock, sidecar: Sidecar
) -> None:
    sidecar.answering = asyncio.Event()
    running = sightings(dapr, clock)
    first = asyncio.create_task(running.is_cautious())
    async with asyncio.timeout(10):
        while not sidecar.state:  # noqa: ASYNC110 - the event is the store's
            await asyncio.sleep(0.005)
    second = asyncio.create_task(running.is_cautious())
    await asyncio.wait({second}, timeout=0.2)

    sidecar.answering.set()

    assert [await first, await second] == [False, False]


async def test_a_start_after_an_unclean_end_is_cautious_for_a_minute(dapr: Dapr, clock: MovableClock) -> None:
    await sightings(dapr, clock).is_cautious()

    again = sightings(dapr, clock)

    assert await again.is_cautious()
    clock.now += dt.timedelta(seconds=61)
    assert not await again.is_cautious()


async def test_a_start_after_a_clean_end_is_not_cautious(dapr: Dapr, clock: MovableClock) -> None:
    first = sightings(dapr, clock)
    await first.is_cautious()
    await first.stop()

    assert not await sightings(dapr, clock).is_cautious()


async def test_an_end_before_the_first_delivery_keeps_the_mark_of_the_run_before(
    dapr: Dapr, clock: MovableClock
) -> None:
    await sightings(dapr, clock).is_cautious()
    await sightings(dapr, clock).stop()

    assert await sightings(dapr, clock).is_cautious()


async def test_another_replica_is_not_cautious_for_it(dapr: Dapr, clock: MovableClock) -> None:
    await sightings(dapr, clock).is_cautious()

    assert not await sightings(dapr, clock, "other:8003").is_cautious()


async def test_sightings_count_up_across_starts_until_the_event_is_finished(dapr: Dapr, clock: MovableClock) -> None:
    counts = [await sightings(dapr, clock).begin("a||odd id") for _ in range(3)]
    await sightings(dapr, clock).finish("a||odd id")

    assert counts == [1, 2, 3]
    assert await sightings(dapr, clock).begin("a||odd id") == 1


async def test_a_sighting_that_is_taken_back_was_none(dapr: Dapr, clock: MovableClock) -> None:
    running = sightings(dapr, clock)
    await running.begin("event")
    await running.begin("event")
    await running.take_back("event")

    assert await running.begin("event") == 2


async def test_everything_expires_after_a_week_and_a_long_run_renews_its_mark(
    dapr: Dapr, clock: MovableClock, sidecar: Sidecar
) -> None:
    running = sightings(dapr, clock)
    await running.is_cautious()
    await running.begin("event")
    assert {metadata["ttlInSeconds"] for _, _, metadata in sidecar.state.values()} == {"604800"}
    (mark,) = [key for key in sidecar.state if key.startswith("running:")]
    written = sidecar.state[mark][1]

    clock.now += dt.timedelta(days=2)
    await running.is_cautious()

    assert sidecar.state[mark][1] != written


async def test_with_the_store_away_nothing_is_taken_and_the_end_is_quiet(
    dapr: Dapr, clock: MovableClock, sidecar: Sidecar
) -> None:
    running = sightings(dapr, clock)
    await running.is_cautious()
    sidecar.broken.add("state")

    for call in (sightings(dapr, clock).is_cautious(), running.begin("event"), running.finish("event")):
        with pytest.raises(UnavailableError, match="state store"):
            await call
    await running.stop()
