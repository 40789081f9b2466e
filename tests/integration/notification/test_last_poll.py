"""`last_poll_timestamp` goes forward only, and is never in the way."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from tests.integration.notification.scenario import HOUR, NOON
from tests.integration.notification.sidecar import Sidecar, client_of, running_sidecar
from todo.contracts import names
from todo.notification.polling import LastPoll


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running_sidecar() as sidecar:
        yield sidecar


async def record(last_poll: LastPoll, now: dt.datetime) -> None:
    last_poll.record(now)
    assert last_poll._writing is not None
    await last_poll._writing


def stored(sidecar: Sidecar) -> str:
    value: str = sidecar.state[names.LAST_POLL][0]
    return value


async def test_each_poll_is_told_and_an_earlier_one_never_replaces_a_later_one(sidecar: Sidecar) -> None:
    async with client_of(sidecar) as dapr:
        for now in (NOON, NOON + HOUR, NOON):
            await record(LastPoll(dapr), now)

    assert stored(sidecar) == "2031-05-06T13:00:00Z"


async def test_of_replicas_that_poll_at_once_none_puts_the_time_back(sidecar: Sidecar) -> None:
    async with client_of(sidecar) as dapr:
        for step in range(0, 60, 3):
            sidecar.reading = asyncio.Barrier(3)
            await asyncio.gather(*(record(LastPoll(dapr), NOON + (step + ahead) * HOUR) for ahead in range(3)))

    assert len(sidecar.written) >= 20
    assert sidecar.written == sorted(sidecar.written)


async def test_what_is_no_time_is_replaced(sidecar: Sidecar) -> None:
    sidecar.state[names.LAST_POLL] = ({"odd": 1}, "0", {})

    async with client_of(sidecar) as dapr:
        await record(LastPoll(dapr), NOON)

    assert stored(sidecar) == "2031-05-06T12:00:00Z"


async def test_a_failing_state_store_is_no_error(sidecar: Sidecar) -> None:
    sidecar.broken.add("state")
    async with client_of(sidecar) as dapr:
        await record(LastPoll(dapr), NOON)

    assert sidecar.state == {}


async def test_one_write_at_a_time(sidecar: Sidecar) -> None:
    async with client_of(sidecar) as dapr:
        last_poll = LastPoll(dapr)
        last_poll.record(NOON)
        await record(last_poll, NOON + HOUR)
        assert sidecar.written == ["2031-05-06T12:00:00Z"]
        await record(last_poll, NOON + HOUR)
        await last_poll.close()

    assert len(sidecar.calls) == 4
