"""Token buckets: what each caller may ask of this process."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

MOST_KEYS: Final = 10_000


class Buckets:
    """A bucket per key: `rate` tokens a second flow in, `burst` fit.

    A bucket is kept as the instant at which it is full again. Beyond `most` keys the one used longest ago is
    forgotten, which fills it.
    """

    def __init__(
        self, rate: float, burst: float, *, most: int = MOST_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / rate
        self._depth = burst / rate
        self._most = most
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Take a token; 0 if there was one, else the seconds until there is."""
        if wait := self.wait(key):
            self._full_at.move_to_end(key)
            return wait
        self._full_at[key] = max(self._full_at.pop(key, 0.0), self._clock()) + self._interval
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0

    def wait(self, key: Hashable) -> float:
        """How long it takes until there is a token; 0 if there is one."""
        return max(0.0, self._full_at.get(key, 0.0) + self._interval - self._depth - self._clock())
