"""What other services ask backend through the sidecars: behind the app token, never through an ingress."""

from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from todo.backend import telling
from todo.backend.store import deliveries, people, tasks
from todo.backend.store.people import User
from todo.contracts.events import ReminderKey, TaskSnapshot
from todo.contracts.invocation import (
    RESOLVE_REMINDERS,
    TASK_SNAPSHOTS,
    TASK_VERSIONS,
    ResolvedReminder,
    ResolvedReminders,
    ResolveReminders,
    Snapshots,
    SnapshotsQuery,
    TaskVersions,
    TaskVersionsQuery,
)
from todo.domain.task import Task
from todo.messaging.postgres import Executor
from todo.messaging.unit import Database


def routes(database: Database, epoch: int, public_url: str) -> list[Route]:
    """The invocation-only routes."""

    async def resolve(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=ResolveReminders)
        return _json(ResolvedReminders(tuple(await resolve_reminders(database.pool, asked.reminders, public_url))))

    async def versions(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=TaskVersionsQuery)
        found = await tasks.versions(database.pool, asked.after, min(asked.limit, 1000))
        return _json(TaskVersions(epoch, tuple(found)))

    async def snapshots(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=SnapshotsQuery)
        return _json(Snapshots(tuple(await read_snapshots(database.pool, asked.task_ids[:500], epoch))))

    return [
        Route(f"/{RESOLVE_REMINDERS}", resolve, methods=["POST"]),
        Route(f"/{TASK_VERSIONS}", versions, methods=["POST"]),
        Route(f"/{TASK_SNAPSHOTS}", snapshots, methods=["POST"]),
    ]


async def resolve_reminders(db: Executor, keys: tuple[ReminderKey, ...], public_url: str) -> list[ResolvedReminder]:
    """Decide for each reminder, at the last moment, whether it is mailed and to whom."""
    found = {task.id: task for task in await tasks.by_ids(db, list({key.task_id for key in keys}))}
    users = await people.find_all(db, [task.user_id for task in found.values()])
    delivered = await deliveries.delivered(db, keys)
    answers = []
    for key in keys:
        if key in delivered:
            answers.append(ResolvedReminder(key, delivered_at=delivered[key]["at"]))
        else:
            task = found.get(key.task_id)
            answers.append(_resolve(key, task, users.get(task.user_id) if task else None, public_url))
    return answers


async def read_snapshots(db: Executor, task_ids: tuple[UUID, ...], epoch: int) -> list[TaskSnapshot]:
    """The present versions of tasks, tombstones included."""
    found = await tasks.by_ids(db, task_ids)
    series = await tasks.series_of(db, [task.series_id for task in found if task.series_id])
    return [telling.snapshot(task, series.get(task.series_id) if task.series_id else None, epoch) for task in found]


def _resolve(key: ReminderKey, task: Task | None, user: User | None, public_url: str) -> ResolvedReminder:
    if reason := _unwanted(key, task, user):
        return ResolvedReminder(key, suppressed=reason)
    if task is None or user is None:
        raise AssertionError("there was a reason")
    due = task.due
    return ResolvedReminder(
        key,
        recipient=user.email,
        recipient_name=user.name,
        title=task.title,
        notes=task.notes,
        due_at=due.at if due else None,
        due_date=due.date.isoformat() if due and due.date else None,
        zone=user.zone,
        url=f"{public_url}/tasks/{task.id}?user_id={user.id}",
    )


def _unwanted(key: ReminderKey, task: Task | None, user: User | None) -> str:
    """Why this reminder is not mailed any more, or nothing."""
    if task is None or task.deleted:
        return "the task was deleted"
    if not task.is_open:
        return f"the task was {'completed' if task.status == 'done' else 'skipped'}"
    if user is None:
        return "its user is gone"
    if not any(one.reminder == key.reminder and one.fire_at == key.fire_at for one in task.wanted):
        return "the reminder was moved, dismissed or removed"
    return ""


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
