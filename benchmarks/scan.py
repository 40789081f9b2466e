"""A look of `check-due-tasks` at a schedule of a million reminders of which none is due."""

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import Row, Target, spread, timed
from benchmarks.stage import Stage
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.messaging.database import open_database
from todo.notification import handlers

REMINDERS: Final = 1_000_000
WARM_UP: Final = 50
LOOKS: Final = 500

# $1 how many
_FILL: Final = """
INSERT INTO notification.reminders
    (task_id, reminder, fire_at, state, wanted, renewed, attempt, deferrals, repeats, possibly_sent, next_at, reason,
     told, traceparent, updated_at)
SELECT gen_random_uuid(), 'PT0S', at, 'waiting', true, false, 0, 0, 0, 0, at, '', false, '', now()
FROM (SELECT now() + interval '1 day' + number * interval '1 second' AS at FROM generate_series(1, $1) AS number)
"""


async def run(stage: Stage) -> Sequence[Row]:
    count = stage.sized(REMINDERS)
    await stage.database.execute(_FILL, count, timeout=120)
    await stage.database.execute("VACUUM ANALYZE notification.reminders")
    schema = names.NOTIFICATION.schema or ""
    database = await open_database(stage.system.database_url, schema, utc_now, max_size=1)
    try:
        taken = [await timed(handlers.dispatch_due(database)) for _ in range(WARM_UP + LOOKS)][WARM_UP:]
    finally:
        await database.close()
    target = (Target("p50", 2, "ms"),)
    return [
        Row(f"empty due scan at {count:,} reminders, its transaction included", "ms", spread(taken, 50, 95), target)
    ]
