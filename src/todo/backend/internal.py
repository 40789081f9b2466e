"""What other services ask backend through the sidecars: behind the app token, never through an ingress."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from todo.backend import telling
from todo.backend.store import deliveries, people, tasks
from todo.backend.store.people import User
from todo.contracts.events import Outcome, ReminderKey, ReminderOutcome, TaskSnapshot
from todo.contracts.invocation import (
    DELIVERIES,
    RESOLVE_REMINDERS,
    TASK_SNAPSHOTS,
    TASK_VERSIONS,
    UNFOLLOWED,
    AttemptKey,
    Deliveries,
    DeliveriesQuery,
    ResolvedReminder,
    ResolvedReminders,
    ResolveReminders,
    Snapshots,
    SnapshotsQuery,
    TaskVersions,
    TaskVersionsQuery,
    Unfollowed,
    UnfollowedQuery,
)
from todo.domain.errors import RuleError
from todo.domain.task import Task
from todo.messaging.postgres import Executor, Row
from todo.messaging.unit import Database

S = TypeVar("S", bound=msgspec.Struct)


def routes(database: Database, epoch: Callable[[], int], public_url: str) -> list[Route]:
    """The invocation-only routes."""

    async def resolve(request: Request) -> Response:
        asked = _asked(await request.body(), ResolveReminders)
        return _json(ResolvedReminders(tuple(await resolve_reminders(database.pool, asked.reminders, public_url))))

    async def versions(request: Request) -> Response:
        asked = _asked(await request.body(), TaskVersionsQuery)
        found = await tasks.versions(database.pool, asked.after, _page_size(asked.limit))
        return _json(TaskVersions(epoch(), tuple(found)))

    async def snapshots(request: Request) -> Response:
        asked = _asked(await request.body(), SnapshotsQuery)
        return _json(Snapshots(tuple(await read_snapshots(database.pool, asked.task_ids[:500], epoch()))))

    async def unfollowed(request: Request) -> Response:
        asked = _asked(await request.body(), UnfollowedQuery)
        found = await tasks.orphans(database.pool, asked.closed_before, asked.after, _page_size(asked.limit))
        return _json(Unfollowed(tuple(task.id for task in found)))

    async def history(request: Request) -> Response:
        asked = _asked(await request.body(), DeliveriesQuery)
        return _json(Deliveries(tuple(await read_deliveries(database.pool, asked.after, _page_size(asked.limit)))))

    return [
        Route(f"/{RESOLVE_REMINDERS}", resolve, methods=["POST"]),
        Route(f"/{TASK_VERSIONS}", versions, methods=["POST"]),
        Route(f"/{TASK_SNAPSHOTS}", snapshots, methods=["POST"]),
        Route(f"/{UNFOLLOWED}", unfollowed, methods=["POST"]),
        Route(f"/{DELIVERIES}", history, methods=["POST"]),
    ]


async def resolve_reminders(db: Executor, keys: tuple[ReminderKey, ...], public_url: str) -> list[ResolvedReminder]:
    """Decide for each reminder, at the last moment, whether it is mailed and to whom."""
    found = {task.id: task for task in await tasks.by_ids(db, list({key.task_id for key in keys}))}
    users = await people.find_all(db, [task.user_id for task in found.values()])
    attempts = await deliveries.of_reminders(db, keys)
    return [
        _ended(key, attempts[key]) or _resolve(key, attempts[key], *_task_and_user(key, found, users), public_url)
        for key in keys
    ]


async def read_snapshots(db: Executor, task_ids: tuple[UUID, ...], epoch: int) -> list[TaskSnapshot]:
    """The present versions of tasks, tombstones included."""
    found = await tasks.by_ids(db, task_ids)
    series = await tasks.series_of(db, [task.series_id for task in found if task.series_id])
    return [telling.snapshot(task, series.get(task.series_id) if task.series_id else None, epoch) for task in found]


async def read_deliveries(db: Executor, after: AttemptKey | None, limit: int) -> list[ReminderOutcome]:
    """A page of the delivery history, recipients left out."""
    place = (after.task_id, after.reminder, after.fire_at, after.attempt) if after else None
    return [
        ReminderOutcome(
            row["task_id"],
            row["reminder"],
            row["fire_at"],
            row["attempt"],
            Outcome(row["outcome"]),
            row["at"],
            row["reason"],
            possibly_sent=row["possibly_sent"],
            message_id=row["message_id"],
        )
        for row in await deliveries.page(db, place, limit)
    ]


def _task_and_user(
    key: ReminderKey, found: dict[UUID, Task], users: dict[int, User]
) -> tuple[Task | None, User | None]:
    task = found.get(key.task_id)
    return task, users.get(task.user_id) if task else None


def _ended(key: ReminderKey, attempts: Sequence[Row]) -> ResolvedReminder | None:
    """The answer for a reminder that was accepted or given up: told again, never mailed again."""
    answered = _answered(attempts)
    for end in sorted(attempts, key=lambda row: row["attempt"]):
        if end["outcome"] == Outcome.DELIVERED:
            return ResolvedReminder(key, delivered_at=end["at"], ended_attempt=end["attempt"], answered=answered)
    for end in attempts:
        if end["outcome"] == Outcome.FAILED:
            return ResolvedReminder(key, failed=end["reason"] or "it was given up", answered=answered)
    return None


def _resolve(
    key: ReminderKey, attempts: Sequence[Row], task: Task | None, user: User | None, public_url: str
) -> ResolvedReminder:
    answered = _answered(attempts)
    if reason := _unwanted(key, task, user):
        return ResolvedReminder(key, suppressed=reason, answered=answered)
    if task is None or user is None:
        raise AssertionError("there was a reason")
    due = task.due
    return ResolvedReminder(
        key,
        answered=answered,
        recipient=user.email,
        recipient_name=user.name,
        title=task.title,
        notes=task.notes,
        due_at=due.at if due else None,
        due_date=due.date.isoformat() if due and due.date else None,
        zone=user.zone,
        url=f"{public_url}/tasks/{task.id}?user_id={user.id}",
    )


def _answered(attempts: Sequence[Row]) -> tuple[int, ...]:
    return tuple(row["attempt"] for row in attempts)


def _unwanted(key: ReminderKey, task: Task | None, user: User | None) -> str:
    """Why this reminder is not mailed any more, or nothing."""
    if task is None or task.deleted:
        return "the task was deleted"
    if not task.is_open:
        return f"the task was {'completed' if task.status == 'done' else 'skipped'}"
    if user is None:
        return "its user is gone"
    instance = next((one for one in task.wanted if (one.reminder, one.fire_at) == (key.reminder, key.fire_at)), None)
    if instance is None:
        return "the reminder was moved, dismissed or removed"
    return "its time had passed when it was set again" if instance.past else ""


def _asked(body: bytes, question: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=question)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RuleError("body", str(error), f"send a {question.__name__} as JSON") from error


def _page_size(limit: int) -> int:
    return max(1, min(limit, 1000))


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
