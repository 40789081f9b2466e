"""How long a claim has been ours, judged by this machine alone: it may sleep, be frozen, or have its clock set."""

import datetime as dt
import sys
import time
from collections.abc import Callable
from typing import Final

from todo.contracts.clock import Clock

LEASE: Final = dt.timedelta(seconds=90)  # longer than a send may take, shorter than the time until the next dispatch
SMTP_DEADLINE: Final = dt.timedelta(seconds=30)
PATIENCE: Final = dt.timedelta(seconds=25)  # what a batch has not begun by then is left: sidecars wait for 60 s
DRAIN: Final = 60  # seconds a graceful stop waits: longer than patience and SMTP deadline together
LAST_START: Final = LEASE - SMTP_DEADLINE  # a message handed over by then is accepted or refused within its lease


def boot_time() -> float:
    """Seconds that pass while the machine sleeps too, where the platform can tell (elsewhere wall time does)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Stopwatch:
    """Runs from its making. The age is the larger of boot time and wall time: neither alone sees every freeze."""

    def __init__(self, wall: Clock, boot: Callable[[], float] = boot_time) -> None:
        self._wall = wall
        self._boot = boot
        self._started_at = wall()
        self._booted = boot()

    def age(self) -> dt.timedelta:
        return max(self._wall() - self._started_at, dt.timedelta(seconds=self._boot() - self._booted))
