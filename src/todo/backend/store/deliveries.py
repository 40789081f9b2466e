"""Delivery history: a row per attempt at a reminder. No foreign key: a task may be gone when its outcome comes."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from todo.contracts.envelope import Event
from todo.contracts.events import ReminderKey
from todo.messaging.postgres import Connection, Executor, Row

# Of several words about one attempt the weightiest stands, of those the first to be said: the order, a total one, is
# what makes the end the same whichever arrives first. `delivered` beats every other, and any end a mere delay.
_WEIGHT: Final = (
    "array_position('{{delivered,failed,suppressed,skipped,deferred}}'::text[], {0}.outcome), {0}.at, {0}.reason"
)
_RECORD: Final = f"""
INSERT INTO deliveries AS d
    (task_id, reminder, fire_at, attempt, outcome, reason, at, possibly_sent, message_id, recipient, trace)
SELECT DISTINCT ON (task_id, reminder, fire_at, attempt) *
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::timestamptz[],
            $8::boolean[], $9::text[], $10::text[], $11::text[])
     AS told (task_id, reminder, fire_at, attempt, outcome, reason, at, possibly_sent, message_id, recipient, trace)
ORDER BY task_id, reminder, fire_at, attempt, {_WEIGHT.format("told")}
ON CONFLICT (task_id, reminder, fire_at, attempt) DO UPDATE
SET outcome = excluded.outcome, reason = excluded.reason, at = excluded.at, possibly_sent = excluded.possibly_sent,
    message_id = excluded.message_id, recipient = excluded.recipient, trace = excluded.trace
WHERE ({_WEIGHT.format("excluded")}) < ({_WEIGHT.format("d")})
"""
_OF_REMINDERS: Final = """
SELECT DISTINCT task_id, reminder, fire_at, attempt, outcome, at, reason
FROM deliveries
JOIN unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS k (task_id, reminder, fire_at)
  USING (task_id, reminder, fire_at)
"""


async def record(db: Connection, events: Sequence[Event]) -> None:
    """Keep the outcomes of a batch; the same again, in any order, changes nothing."""
    told = [event.data for event in events]
    await db.execute(
        _RECORD,
        [one.task_id for one in told], [one.reminder for one in told], [one.fire_at for one in told],
        [one.attempt for one in told], [str(one.outcome) for one in told], [one.reason for one in told],
        [one.at for one in told], [one.possibly_sent for one in told], [one.message_id for one in told],
        [one.recipient for one in told], [event.traceparent for event in events],
    )  # fmt: skip


async def of_reminders(db: Executor, keys: Sequence[ReminderKey]) -> dict[ReminderKey, list[Row]]:
    """Every attempt at these reminders whose outcome is known, in no order."""
    found: dict[ReminderKey, list[Row]] = {key: [] for key in keys}
    rows = await db.fetch(
        _OF_REMINDERS, [key.task_id for key in keys], [key.reminder for key in keys], [key.fire_at for key in keys]
    )
    for row in rows:
        found[ReminderKey(row["task_id"], row["reminder"], row["fire_at"])].append(row)
    return found


async def of_task(db: Executor, task_id: UUID) -> list[Row]:
    """Every attempt at every reminder of a task, in their order."""
    rows: list[Row] = await db.fetch(
        "SELECT * FROM deliveries WHERE task_id = $1 ORDER BY fire_at, reminder, attempt", task_id
    )
    return rows


async def page(db: Executor, after: tuple[UUID, str, Any, int] | None, limit: int) -> list[Row]:
    """A page of all attempts in the order of their key."""
    task_id, reminder, fire_at, attempt = after or (None, None, None, None)
    rows: list[Row] = await db.fetch(
        "SELECT * FROM deliveries WHERE $1::uuid IS NULL OR (task_id, reminder, fire_at, attempt) > ($1, $2, $3, $4)"
        " ORDER BY task_id, reminder, fire_at, attempt LIMIT $5",
        task_id, reminder, fire_at, attempt, limit,
    )  # fmt: skip
    return rows
