"""What operators ask notification-service about its schedule: invocation only, behind the app token, POST with JSON."""

import datetime as dt
from typing import Final
from uuid import UUID

import msgspec

from todo.contracts.events import ReminderKey
from todo.contracts.pause import Pause

REMINDERS: Final = "internal/schedule/reminders"
SUMMARY: Final = "internal/schedule/summary"
PAGE: Final = "internal/schedule/page"
TASKS: Final = "internal/schedule/tasks"

MAX_TASKS: Final = 500
MAX_PAGE: Final = 1000


class RemindersQuery(msgspec.Struct, frozen=True):
    """Every reminder instance of these tasks, at most `MAX_TASKS`."""

    task_ids: tuple[UUID, ...]


class ScheduledReminder(msgspec.Struct, frozen=True):
    """One reminder instance as the schedule knows it."""

    task_id: UUID
    reminder: str
    fire_at: dt.datetime
    state: str  # waiting | dispatched | withdrawn | delivered | suppressed | failed | skipped
    wanted: bool  # for a dispatched one: whether the newest snapshot still wants it
    attempt: int
    possibly_sent: int
    next_at: dt.datetime | None  # waiting: dispatched then; dispatched: dispatched again then, without an answer
    first_dispatched_at: dt.datetime | None
    dispatched_at: dt.datetime | None
    reason: str
    traceparent: str
    updated_at: dt.datetime

    @property
    def key(self) -> ReminderKey:
        return ReminderKey(self.task_id, self.reminder, self.fire_at)


class Reminders(msgspec.Struct, frozen=True):
    reminders: tuple[ScheduledReminder, ...]


class Restore(msgspec.Struct, frozen=True):
    """The schedule was restored from a backup: what happened between these two instants it does not know."""

    taken_at: dt.datetime
    restored_at: dt.datetime


class Summary(msgspec.Struct, frozen=True):
    """The whole schedule in numbers, at `now` of the service's clock."""

    now: dt.datetime
    states: dict[str, int]  # reminder instances per state; states without any are absent
    next_fire: dt.datetime | None
    oldest_overdue: dt.datetime | None  # waiting since then although its time has come
    outbox_depth: int
    outbox_oldest: dt.datetime | None
    relay_paused: Pause | None = None
    restores: tuple[Restore, ...] = ()


class PageQuery(msgspec.Struct, frozen=True):
    """A page of all reminder instances, in the order of their keys, after a given one. A short page is the last."""

    after: ReminderKey | None = None
    limit: int = MAX_PAGE


class TasksQuery(msgspec.Struct, frozen=True):
    """A page of all tasks ever seen, in the order of their ids, after a given one. A short page is the last."""

    after: UUID | None = None
    limit: int = MAX_PAGE


class KnownTask(msgspec.Struct, frozen=True):
    """The newest version of a task that arrived, and when it did."""

    task_id: UUID
    epoch: int
    version: int
    seen_at: dt.datetime
    deleted: bool = False


class KnownTasks(msgspec.Struct, frozen=True):
    tasks: tuple[KnownTask, ...]
