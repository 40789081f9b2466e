"""Look-ups that are still good."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

GOOD_FOR: Final = 1.0  # seconds; whoever takes something back waits as long, and then no replica believes in it
MOST_KEYS: Final = 10_000

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Asks again after `GOOD_FOR`, counted from before the question, so that an answer is never older than that.

    Whoever comes while a question is younger than that waits for its answer, instead of asking too: so a database that
    is slow is not asked the more for it. Only what was found is kept: what is not there may be there the next instant.
    """

    def __init__(
        self,
        look_up: Callable[[K], Awaitable[V | None]],
        *,
        most: int = MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._most = most
        self._clock = clock
        self._found: dict[K, tuple[float, V]] = {}
        self._asking: dict[K, tuple[float, asyncio.Task[V | None]]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether it was there when it was last asked for, however long ago."""
        return key in self._found

    def forget(self, key: K) -> None:
        """Ask again the next time."""
        self._found.pop(key, None)

    async def get(self, key: K) -> V | None:
        now = self._clock()
        known = self._found.get(key)
        if known and now - known[0] < GOOD_FOR:
            return known[1]
        asking = self._asking.get(key)
        if asking is None or now - asking[0] >= GOOD_FOR:
            asking = self._asking[key] = (now, asyncio.create_task(self._ask(key, now)))
        return await asyncio.shield(asking[1])  # others wait for it too: one who goes away does not end it

    async def _ask(self, key: K, began: float) -> V | None:
        try:
            value = await self._look_up(key)
        finally:
            newest = self._asking.get(key)
            if newest and newest[1] is asyncio.current_task():  # else a younger question took its place
                del self._asking[key]
        self._keep(key, began, value)
        return value

    def _keep(self, key: K, began: float, value: V | None) -> None:
        if value is None:
            self._found.pop(key, None)
            return
        if len(self._found) >= self._most:
            self._found.clear()
        self._found[key] = (began, value)
