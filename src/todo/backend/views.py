"""Reads that put several tables, and several services, side by side."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from todo.backend.store import deliveries, letters, tasks
from todo.contracts import claims, names, schedule
from todo.contracts.events import Outcome, ReminderKey
from todo.dapr.client import Dapr
from todo.dapr.errors import DaprError
from todo.domain.task import Task
from todo.messaging import outbox, pause
from todo.messaging.postgres import Executor, Row

log = structlog.get_logger()

S = TypeVar("S", bound=msgspec.Struct)

_SERIES_NOTES: Final = """
SELECT seq, reason, at FROM declined_occurrences WHERE series_id = $1 AND seq = $2 + 1 ORDER BY at
"""
_LETTERS_OF: Final = "SELECT id, app, topic, error, status, parked_at FROM dead_letters WHERE subject = $1 ORDER BY id"
_OUTBOX_OF: Final = "SELECT id, topic, created_at FROM outbox WHERE key = $1 ORDER BY id"


async def reminder_history(db: Executor, task: Task, now: dt.datetime) -> list[dict[str, Any]]:
    """Every firing of a task's reminders that is set or was attempted, in their order, with its attempts."""
    attempts: dict[tuple[dt.datetime, str], list[Row]] = {}
    for row in await deliveries.of_task(db, task.id):
        attempts.setdefault((row["fire_at"], row["reminder"]), []).append(row)
    current = {(one.fire_at, one.reminder): one for one in task.instances}
    return [
        {
            "reminder": reminder,
            "fire_at": fire_at,
            "state": _state(task, current.get((fire_at, reminder)), attempts.get((fire_at, reminder), []), now),
            "attempts": [_attempt(row) for row in attempts.get((fire_at, reminder), [])],
        }
        for fire_at, reminder in sorted(current.keys() | attempts.keys())
    ]


async def pipeline(db: Executor, dapr: Dapr, now: dt.datetime) -> dict[str, Any]:
    """Depth and age of each stage."""
    depth = await db.fetchrow(outbox.DEPTH)
    oldest = depth["oldest"]
    summary = await ask(dapr, names.NOTIFICATION.app_id, schedule.SUMMARY, {}, schedule.Summary)
    return {
        "outbox": {
            "depth": depth["depth"],
            "oldest_seconds": (now - oldest).total_seconds() if oldest else 0,
            "paused": await pause.in_force(db),
        },
        "dead_letters": dict.fromkeys(("open", "replayed", "discarded"), 0) | await letters.counts(db),
        "schedule": summary,
        "sidecar_ready": await dapr.is_ready(),
    }


async def why(db: Executor, dapr: Dapr, task: Task, now: dt.datetime) -> dict[str, Any]:
    """What happened to a task and its reminders in the order of time, what is to come, and who did not answer."""
    scheduled = await ask(
        dapr,
        names.NOTIFICATION.app_id,
        schedule.REMINDERS,
        schedule.RemindersQuery((task.id,)),
        schedule.Reminders,
    )
    held = scheduled.reminders if scheduled else ()
    claimed = await _claims(dapr, [one.key for one in held])
    steps = [
        *await _versions(db, task),
        *await _waiting(db, task),
        *await _attempts(db, task),
        *_schedule_steps(held),
        *_claim_steps(claimed),
        *await _letters(db, task),
        *await _declined(db, task),
    ]
    silent = [
        app
        for app, answer in ((names.NOTIFICATION.app_id, scheduled), (names.EMAIL_DELIVERY.app_id, claimed))
        if answer is None
    ]
    return {
        "task": {"id": task.id, "title": task.title, "status": task.status, "deleted": task.deleted},
        "timeline": sorted(steps, key=lambda step: step["at"]),
        "reminders": await reminder_history(db, task, now),
        "did_not_answer": silent,
    }


async def ask(dapr: Dapr, app_id: str, method: str, question: object, answer: type[S]) -> S | None:
    """Ask another service through the sidecars; None when it is away, which a view says and survives."""
    try:
        return msgspec.json.decode(await dapr.invoke(app_id, method, msgspec.json.encode(question)), type=answer)
    except (DaprError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("no answer", app=app_id, method=method, reason=str(error))
        return None


def _state(task: Task, instance: Any, attempts: Sequence[Row], now: dt.datetime) -> str:  # noqa: ANN401
    """One word for what a person asks: was I mailed."""
    outcomes = [row["outcome"] for row in attempts]
    if "delivered" in outcomes:
        return "delivered"
    if instance is None or not task.is_open:
        return outcomes[-1] if outcomes and outcomes[-1] != Outcome.DEFERRED else "withdrawn"  # none is tried again
    if instance.dismissed:
        return "dismissed"
    if outcomes:
        return str(outcomes[-1])
    if instance.past:
        return "skipped"
    return "scheduled" if instance.fire_at > now else "due"


def _attempt(row: Row) -> dict[str, Any]:
    fields = ("attempt", "outcome", "at", "reason", "possibly_sent", "recipient", "message_id")
    return {field: row[field] for field in fields}


def _step(at: dt.datetime, where: str, what: str, **details: object) -> dict[str, Any]:
    return {"at": at, "where": where, "what": what} | details


async def _versions(db: Executor, task: Task) -> list[dict[str, Any]]:
    return [
        _step(row["at"], "backend", row["event_type"], version=row["version"], trace=row["trace"])
        for row in await tasks.history(db, task.id)
    ]


async def _waiting(db: Executor, task: Task) -> list[dict[str, Any]]:
    rows_ = await db.fetch(_OUTBOX_OF, str(task.id))
    return [_step(row["created_at"], "outbox", f"waits to be published to {row['topic']}") for row in rows_]


async def _attempts(db: Executor, task: Task) -> list[dict[str, Any]]:
    return [
        _step(
            row["at"],
            "email-delivery" if row["attempt"] else "notification-service",
            f"{row['outcome']}: {row['reason']}".removesuffix(": "),
            reminder=row["reminder"],
            fire_at=row["fire_at"],
            attempt=row["attempt"],
            recipient=row["recipient"],
            message_id=row["message_id"],
            trace=row["trace"],
        )
        for row in await deliveries.of_task(db, task.id)
    ]


def _schedule_steps(held: Sequence[schedule.ScheduledReminder]) -> list[dict[str, Any]]:
    steps = []
    for one in held:
        details = {"reminder": one.reminder, "fire_at": one.fire_at, "attempt": one.attempt}
        if one.first_dispatched_at:
            steps.append(_step(one.first_dispatched_at, "schedule", "dispatched", **details))
        if one.dispatched_at and one.dispatched_at != one.first_dispatched_at:
            steps.append(_step(one.dispatched_at, "schedule", "dispatched again", **details))
        if one.next_at:
            steps.append(_step(one.next_at, "schedule", f"{one.state}: looks at it next", **details))
        else:
            steps.append(_step(one.updated_at, "schedule", f"{one.state}: {one.reason}".removesuffix(": "), **details))
    return steps


async def _claims(dapr: Dapr, keys: list[ReminderKey]) -> claims.ClaimViews | None:
    return await ask(
        dapr, names.EMAIL_DELIVERY.app_id, claims.INSPECT_CLAIMS, claims.ClaimsQuery(tuple(keys)), claims.ClaimViews
    )


def _claim_steps(claimed: claims.ClaimViews | None) -> list[dict[str, Any]]:
    return [
        _step(
            at,
            "claim",
            f"{one.state}: {one.reason}".removesuffix(": "),
            reminder=one.key.reminder,
            fire_at=one.key.fire_at,
            attempt=one.attempt,
        )
        for one in (claimed.claims if claimed else ())
        if (at := one.at or one.claimed_at)
    ]


async def _letters(db: Executor, task: Task) -> list[dict[str, Any]]:
    return [
        _step(row["parked_at"], "dead letters", f"{row['app']} parked it: {row['error']}", dead_letter=row["id"])
        for row in await db.fetch(_LETTERS_OF, str(task.id))
    ]


async def _declined(db: Executor, task: Task) -> list[dict[str, Any]]:
    if task.series_id is None:
        return []
    found = await db.fetch(_SERIES_NOTES, task.series_id, task.seq)
    return [_step(row["at"], "backend", f"occurrence {row['seq']} declined: {row['reason']}") for row in found]
