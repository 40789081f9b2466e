"""A moment in which nothing is published and no event is in anybody's hands.

A sidecar that loads a component anew closes the old one first. What it is asked for in between is refused, and what it
had in hand may come again minutes later. So relays are paused and topics drained, as for a swap; the API goes on.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp

from todo.operations import brokers
from todo.operations.brokers import BrokerError
from todo.operations.swapping import draining, pauses
from todo.operations.swapping.following import Sidecars
from todo.operations.swapping.pauses import Pauses
from todo.operations.swapping.target import SwapError, SwapTarget

DRAINS: Final = 30.0  # seconds; a longer backlog is no reason to keep a login that may have leaked


class Calm:
    """Makes such moments for one system, whose broker is asked by the login in place."""

    def __init__(self, target: SwapTarget, http: aiohttp.ClientSession) -> None:
        self._target = target
        self._http = http

    @asynccontextmanager
    async def moment(self, why: str) -> AsyncIterator[str]:
        """Yields why there is no calm, empty when there is: a service that is down, or a backlog, ends no rotation."""
        async with AsyncExitStack() as stack:
            paused = Pauses(self._target, pauses.holder(), why)
            disturbed = ""
            try:
                await stack.enter_async_context(paused.held())
                await paused.until_quiet()
                await self._drain()
                disturbed = "; ".join(await self._sidecars().down())
            except (SwapError, BrokerError) as error:
                disturbed = str(error)
            yield disturbed

    async def events_flow(self, seconds: float, *, read: bool) -> str:
        """Whether each sidecar publishes to the broker, and if `read` each app gets events from there; else why not."""
        sidecars = self._sidecars()
        try:
            side = await self._target.current()
            async with brokers.connected(side.component, side.metadata) as broker:
                await (sidecars.follow if read else sidecars.publish)(side, broker, seconds)
        except (SwapError, BrokerError) as error:
            return str(error)
        return ""

    def _sidecars(self) -> Sidecars:
        return Sidecars(self._http, self._target.sidecars, self._target.place.token)

    async def _drain(self) -> None:
        side = await self._target.current()
        async with brokers.connected(side.component, side.metadata) as broker:
            await draining.drain(broker, DRAINS)
