"""Publishing at 500 events/s, open loop, while the real subscribers of the topic take them."""

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Row, Target, paced, spread
from benchmarks.stage import Stage, task_events

RATE: Final = 500
SECONDS: Final = 10
WARM_UP: Final = 500


async def run(stage: Stage) -> Sequence[Row]:
    warm_up, events = task_events(WARM_UP), task_events(stage.sized(RATE * SECONDS))
    await paced(RATE, len(warm_up), lambda number: stage.publish(warm_up[number]))
    taken = await paced(RATE, len(events), lambda number: stage.publish(events[number]))
    targets = (Target("p95", 100, "ms", guide=True), Target("p95", 2, "ms"))
    return [Row("publish, 204 after the durable append, at 500/s", "ms", spread(taken, 50, 95, 99), targets)]
