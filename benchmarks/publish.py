"""Publishing while the real subscribers of the topic take the events: at a steady rate, and one after the other."""

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Row, Target, paced, spread, timed
from benchmarks.stage import Stage, task_events

RATE: Final = 500
SECONDS: Final = 10
WARM_UP: Final = 500
ALONE: Final = 500
GUIDE: Final = Target("p95", 100, "ms", guide=True)
GUIDE_REDIS: Final = Target("p95", 10, "ms", guide=True)


async def run(stage: Stage) -> Sequence[Row]:
    """Open loop, at 500 events/s."""
    warm_up, events = task_events(WARM_UP), task_events(stage.sized(RATE * SECONDS))
    await paced(RATE, len(warm_up), lambda number: stage.publish(warm_up[number]))
    taken = await paced(RATE, len(events), lambda number: stage.publish(events[number]))
    own = () if stage.system.engine else (Target("p95", 2, "ms"),)
    return [Row("publish, answered once it is stored, at 500/s", "ms", spread(taken, 50, 95, 99), (GUIDE, *own))]


async def one_by_one(stage: Stage) -> Sequence[Row]:
    """Each begins when the one before was answered: what a publish costs on a broker that has nothing else to do."""
    events = task_events(WARM_UP // 5 + stage.sized(ALONE))
    taken = [await timed(stage.publish(event)) for event in events][WARM_UP // 5 :]
    redis = stage.system.engine is not None and stage.system.engine.environment == "redis"
    targets = (GUIDE, *((GUIDE_REDIS,) if redis else ()))
    return [Row("publish, answered once it is stored, one by one", "ms", spread(taken, 50, 95, 99), targets)]
