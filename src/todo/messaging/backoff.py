"""Who waits after failures: each for itself, and ever longer."""

import time
from typing import Final, Generic, TypeVar

K = TypeVar("K")

DELAYS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds, while the sidecar, its broker or one topic is away


class BackOff(Generic[K]):
    """Remembers what failed and until when it is left alone."""

    def __init__(self) -> None:
        self.failures: dict[K, int] = {}
        self._failed_at: dict[K, float] = {}
        self._until: dict[K, float] = {}

    def failed(self, key: K) -> None:
        failures = self.failures[key] = self.failures.get(key, 0) + 1
        now = self._failed_at[key] = time.monotonic()
        self._until[key] = now + DELAYS[min(failures, len(DELAYS)) - 1]

    def succeeded(self, key: K) -> None:
        if self.failures.pop(key, None):
            del self._failed_at[key], self._until[key]

    def waiting(self, began: float) -> list[K]:
        """What is to be left alone now: what waits, and what failed since `began` (monotonic)."""
        now = time.monotonic()
        return [key for key, until in self._until.items() if until > now or self._failed_at[key] >= began]

    def next_in(self, most: float) -> float:
        """Seconds until the first of those that wait may be tried again, `most` when none waits."""
        now = time.monotonic()
        return min((until - now for until in self._until.values() if until > now), default=most)
