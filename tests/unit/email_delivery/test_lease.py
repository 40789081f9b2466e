import datetime as dt

from tests.unit.email_delivery.world import Time
from todo.email_delivery.lease import LAST_START, LEASE, SMTP_DEADLINE, Stopwatch, boot_time

REDISPATCH = dt.timedelta(seconds=120)  # notification-service


class Boot:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def test_the_deadlines_nest() -> None:
    """A message handed over in time is answered within its lease, and a lease is over before the next dispatch."""
    assert LAST_START + SMTP_DEADLINE <= LEASE < REDISPATCH


def test_the_age_is_the_larger_of_two_clocks() -> None:
    """A clock set back hides nothing that boot time saw, and a sleep hides nothing from wall time."""
    wall, boot = Time(), Boot()
    watch = Stopwatch(wall, boot)
    wall.passes(-3600)
    boot.now += 40
    assert watch.age() == dt.timedelta(seconds=40)
    wall.passes(3600 + 70)
    assert watch.age() == dt.timedelta(seconds=70)


def test_boot_time_runs() -> None:
    assert boot_time() <= boot_time()
