"""Look-ups that are still good."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

GOOD_FOR: Final = 1.0  # seconds; whoever takes something back waits as long, and then no replica believes in it
MOST_KEYS: Final = 10_000

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Asks again after `GOOD_FOR`, counted from before the question, so that an answer is never older than that.

    Only what was found is kept: what is not there may be there the next instant.
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

    def __contains__(self, key: K) -> bool:
        """Whether it was there when it was last asked for, however long ago."""
        return key in self._found

    async def get(self, key: K) -> V | None:
        began = self._clock()
        known = self._found.get(key)
        if known and began - known[0] < GOOD_FOR:
            return known[1]
        value = await self._look_up(key)
        if value is None:
            self._found.pop(key, None)
            return None
        if len(self._found) >= self._most:
            self._found.clear()
        self._found[key] = (began, value)
        return value
