"""The system's own rate: a backlog in backend's outbox, relayed, delivered to both subscribers, applied; its CPU."""

import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from benchmarks.measure import Row, Target, cpu_seconds, until
from benchmarks.stage import Stage, task_events
from todo.contracts import names
from todo.messaging import outbox
from todo.messaging.unit import Outgoing

EVENTS: Final = 5_000
WARM_UP: Final = 500
_APPLIED: Final = "SELECT count(*) FROM notification.reminders WHERE task_id = ANY($1::uuid[])"
_LAST: Final = "SELECT max(updated_at) FROM notification.reminders WHERE task_id = ANY($1::uuid[])"


async def run(stage: Stage) -> Sequence[Row]:
    await _drain(stage, task_events(WARM_UP))
    await stage.quiet()
    own, postgres = cpu_seconds(stage.own_pids), cpu_seconds(stage.postgres_pids)
    events = task_events(stage.sized(EVENTS))
    rate = await _drain(stage, events)
    own, postgres = cpu_seconds(stage.own_pids) - own, cpu_seconds(stage.postgres_pids) - postgres
    cpu = {"own": own / len(events) * 1000, "PostgreSQL": postgres / len(events) * 1000}
    return [
        Row(
            f"{len(events):,} outbox rows -> reminders in the schedule",
            "events/s",
            {"rate": rate},
            (Target("rate", 5_000, "events/s", at_least=True),),
        ),
        Row(
            "CPU per event of it (two subscribers)",
            "ms",
            cpu,
            (Target("own", 0.4, "ms"),),
        ),
    ]


async def _drain(stage: Stage, events: Sequence[Outgoing]) -> float:
    """Events a second from the commit of the backlog to the transaction that applies its last."""
    ids = [UUID(event.key) for event in events]
    began = dt.datetime.now(dt.UTC)
    await stage.database.execute("SET search_path = backend")
    await stage.database.execute(
        outbox.INSERT,
        [event.topic for event in events],
        [event.key for event in events],
        [event.envelope for event in events],
        began,
    )
    committed = dt.datetime.now(dt.UTC)
    await stage.database.execute("SELECT pg_notify($1, '')", f"{outbox.CHANNEL_PREFIX}{names.BACKEND.schema}")

    async def applied() -> bool:
        return int(await stage.database.fetchval(_APPLIED, ids)) == len(ids)

    await until(applied, "every event is applied", every=0.2)
    last: dt.datetime = await stage.database.fetchval(_LAST, ids)
    return len(events) / (last - committed).total_seconds()
