"""Between rows and the domain."""

import datetime as dt
from typing import Any, Final

import msgspec

from todo.domain.due import Due
from todo.domain.recurrence import Mode, Policy
from todo.domain.reminder import Instance
from todo.domain.series import TaskSeries
from todo.domain.task import Status, Task
from todo.domain.tasklist import TaskList
from todo.messaging.postgres import Row

NEVER: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)  # where tasks without a due sort

TASK_COLUMNS: Final = (
    "id", "user_id", "version", "title", "notes", "status", "deleted", "zone", "due_at", "due_date", "due_sort",
    "priority", "labels", "reminders", "instances", "series_id", "seq", "scheduled_at", "scheduled_date", "closed_at",
    "closed_version", "touched", "withdrawn", "created_at", "updated_at", "start_at", "start_date", "list_id",
    "parent_id", "position", "deleted_with",
)  # fmt: skip
SERIES_COLUMNS: Final = (
    "id", "user_id", "rule", "zone", "start_at", "start_date", "mode", "policy", "generation", "first_seq", "deleted",
    "ended_seq",
)  # fmt: skip
LIST_COLUMNS: Final = (
    "id", "user_id", "version", "name", "color", "position", "deleted", "created_at", "updated_at",
)  # fmt: skip

_instances: Final = msgspec.json.Decoder(tuple[Instance, ...])


def task_values(task: Task) -> list[Any]:
    """A task as arguments, in the order of `TASK_COLUMNS`."""
    due, scheduled, start = task.due, task.scheduled, task.start
    return [
        task.id, task.user_id, task.version, task.title, task.notes, task.status, task.deleted,
        task.zone, due.at if due else None, due.date if due else None, due.sort_key if due else NEVER,
        task.priority, list(task.labels), list(task.reminders), msgspec.json.encode(task.instances).decode(),
        task.series_id, task.seq, scheduled.at if scheduled else None, scheduled.date if scheduled else None,
        task.closed_at, task.closed_version, task.touched, task.withdrawn, task.created_at, task.updated_at,
        start.at if start else None, start.date if start else None, task.list_id, task.parent_id, task.position,
        task.deleted_with,
    ]  # fmt: skip


def task_from(row: Row) -> Task:
    return Task(
        id=row["id"],
        user_id=row["user_id"],
        version=row["version"],
        title=row["title"],
        notes=row["notes"],
        status=Status(row["status"]),
        deleted=row["deleted"],
        due=_due(row["zone"], row["due_at"], row["due_date"]),
        priority=row["priority"],
        labels=tuple(row["labels"]),
        reminders=tuple(row["reminders"]),
        instances=_instances.decode(row["instances"]),
        series_id=row["series_id"],
        seq=row["seq"],
        scheduled=_due(row["zone"], row["scheduled_at"], row["scheduled_date"]),
        closed_at=row["closed_at"],
        closed_version=row["closed_version"],
        touched=row["touched"],
        withdrawn=row["withdrawn"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        start=_due(row["zone"], row["start_at"], row["start_date"]),
        list_id=row["list_id"],
        parent_id=row["parent_id"],
        position=row["position"],
        deleted_with=row["deleted_with"],
    )


def series_values(series: TaskSeries) -> list[Any]:
    """A series as arguments, in the order of `SERIES_COLUMNS`."""
    return [
        series.id, series.user_id, series.rule, series.start.zone, series.start.at, series.start.date, series.mode,
        series.policy, series.generation, series.first_seq, series.deleted, series.ended_seq,
    ]  # fmt: skip


def series_from(row: Row) -> TaskSeries:
    return TaskSeries(
        id=row["id"],
        user_id=row["user_id"],
        rule=row["rule"],
        start=Due(row["zone"], at=row["start_at"], date=row["start_date"]),
        mode=Mode(row["mode"]),
        policy=Policy(row["policy"]),
        generation=row["generation"],
        first_seq=row["first_seq"],
        deleted=row["deleted"],
        ended_seq=row["ended_seq"],
    )


def list_values(one: TaskList) -> list[Any]:
    """A list as arguments, in the order of `LIST_COLUMNS`."""
    return [getattr(one, column) for column in LIST_COLUMNS]


def list_from(row: Row) -> TaskList:
    return TaskList(**{column: row[column] for column in LIST_COLUMNS})


def _due(zone: str | None, at: dt.datetime | None, date: dt.date | None) -> Due | None:
    return Due(zone or "UTC", at=at, date=date) if at or date else None
