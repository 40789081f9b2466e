"""Draining: until nothing is left on a broker, and nothing that is under way can put something there.

Events make events: a handler may publish before it acknowledges. So one look at the lag proves nothing; but if nothing
was published on any topic from before the look until after it, and it found nothing, then whatever was ever published
is acknowledged, with all that its handlers published, and with quiet relays nobody is left who could publish.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from todo.operations import topics
from todo.operations.brokers import Broker, BrokerError, Lag
from todo.operations.swapping.target import SwapError

LOOKS: Final = 2  # in a row; one is enough by the argument above
POLL: Final = 0.1


async def drain(broker: Broker, seconds: float) -> None:
    """Wait until all topics of all apps, dead letters included, are empty. Raises `SwapError` with what is not."""
    deadline = time.monotonic() + seconds
    empty, ends = 0, await ends_of(broker)
    while empty < LOOKS:
        left = await left_on(broker)
        after = await ends_of(broker)
        empty = empty + 1 if not left and after == ends else 0
        ends = after
        if empty < LOOKS:
            if time.monotonic() > deadline:
                raise SwapError(f"after {seconds:.0f} s {broker.place} is not empty: {_told(left)}; look why, or wait")
            await asyncio.sleep(POLL)


async def left_on(broker: Broker) -> dict[tuple[str, str], Lag]:
    """What each app has not acknowledged, by (app, topic), where there is anything. Raises `SwapError`."""
    try:
        found = await broker.lag(topics.consumed())
    except BrokerError as error:
        raise SwapError(str(error)) from error
    return {key: lag for key, lag in found.items() if lag.total}


async def ends_of(broker: Broker) -> dict[str, int]:
    """How much was ever published on each topic. Raises `SwapError`."""
    try:
        return await broker.ends([one.name for one in topics.wanted()])
    except BrokerError as error:
        raise SwapError(str(error)) from error


def _told(left: Mapping[tuple[str, str], Lag]) -> str:
    parts = [f"{app} has {lag.total} events of {topic} left" for (app, topic), lag in sorted(left.items())]
    return ", ".join(parts) or "events are still being published"
