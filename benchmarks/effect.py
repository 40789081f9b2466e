"""From the commit of a task to the commit of its reminder in the schedule, one task every 200 ms, otherwise idle."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.measure import Row, Target, paced, spread
from benchmarks.stage import YEAR, Stage

RATE: Final = 5.0
TASKS: Final = 60
WARM_UP: Final = 5
CHANNEL: Final = "benchmark"

# Both commits are heard of on one connection, so what NOTIFY takes is in both.
_LISTEN_IN: Final = f"""
CREATE FUNCTION public.benchmark_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', TG_TABLE_SCHEMA || ' ' || coalesce(to_jsonb(NEW)->>'task_id', to_jsonb(NEW)->>'id'));
    RETURN NULL;
END $$;
CREATE TRIGGER benchmark AFTER INSERT ON backend.tasks FOR EACH ROW EXECUTE FUNCTION public.benchmark_tell();
CREATE TRIGGER benchmark AFTER INSERT ON notification.reminders FOR EACH ROW EXECUTE FUNCTION public.benchmark_tell();
"""
_STOP: Final = "DROP FUNCTION public.benchmark_tell() CASCADE"


async def run(stage: Stage) -> Sequence[Row]:
    committed: dict[str, float] = {}
    taken: dict[str, float] = {}

    def heard(_connection: object, _pid: int, _channel: str, payload: Any) -> None:  # noqa: ANN401 - asyncpg's own type
        schema, task_id = payload.split()
        if schema == "backend":
            committed[task_id] = time.perf_counter()
        else:
            taken[task_id] = time.perf_counter() - committed[task_id]

    count = WARM_UP + stage.sized(TASKS)
    await stage.database.execute(_LISTEN_IN)
    await stage.database.add_listener(CHANNEL, heard)
    try:
        await paced(RATE, count, lambda _: stage.create("Water the plants", datetime.now(UTC) + YEAR))
        await stage.quiet()
    finally:
        await stage.database.remove_listener(CHANNEL, heard)
        await stage.database.execute(_STOP)
    assert len(taken) == count
    numbers = spread(list(taken.values())[WARM_UP:], 50, 95, maximum=True)
    return [Row("task commit -> its reminder in the schedule, idle", "ms", numbers, (Target("p95", 10, "ms"),))]
