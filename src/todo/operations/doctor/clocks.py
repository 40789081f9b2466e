"""Clocks that do not agree."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Final

from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Reading, Seen

MOST: Final = 2.0  # seconds
OURS: Final = "this machine"
DATABASE: Final = "the database"


def check(seen: Seen) -> Iterator[Finding]:
    """Whose clock is off from the middle one of all; ours is one of them."""
    readings = _readings(seen)
    if len(readings) < 2:  # noqa: PLR2004 - ours alone says nothing
        return
    middle = median(one.ahead for one in readings.values())
    for who, one in readings.items():
        off = one.ahead - middle
        if abs(off) - one.blur > MOST:
            told = f"{abs(off):.1f} s {'ahead' if off > 0 else 'behind'}"
            others = [f"{name}: {other.ahead:+.1f} s from ours" for name, other in readings.items() if name != OURS]
            yield found(Code.CLOCK_SKEW, who, f"the clock of {who} is {told} of the others", *others)


def _readings(seen: Seen) -> Mapping[str, Reading]:
    services = {one.name: one.service.clock for one in seen.replicas if one.service and one.service.clock}
    database = {DATABASE: seen.database.clock} if seen.database and seen.database.clock else {}
    return {OURS: Reading(0.0, 0.0), **database, **services}
