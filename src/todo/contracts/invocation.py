"""What other services ask backend through the sidecars: invocation only, behind the app token, POST with JSON."""

import datetime as dt
from typing import Final
from uuid import UUID

import msgspec

from todo.contracts.events import ReminderKey, ReminderOutcome, TaskSnapshot

RESOLVE_REMINDERS: Final = "internal/reminders/resolve"
TASK_VERSIONS: Final = "internal/tasks/versions"
TASK_SNAPSHOTS: Final = "internal/tasks/snapshots"
UNFOLLOWED: Final = "internal/tasks/unfollowed"
DELIVERIES: Final = "internal/deliveries/page"


class ResolveReminders(msgspec.Struct, frozen=True):
    """Who gets these reminders, and are they still wanted? At most 1,000; the answer keeps their order."""

    reminders: tuple[ReminderKey, ...]


class ResolvedReminder(msgspec.Struct, frozen=True):
    """The answer for one reminder. `suppressed`, `delivered_at` or `failed` is set, or else it is to be mailed."""

    key: ReminderKey
    suppressed: str = ""  # why it is not wanted any more, a sentence for the task's owner
    delivered_at: dt.datetime | None = None  # an SMTP server has already accepted it
    answered: tuple[int, ...] = ()  # attempts whose outcome is known: events about them, and earlier ones, are old
    failed: str = ""  # why it was given up
    ended_attempt: int = 0  # the attempt that was accepted
    recipient: str = ""
    recipient_name: str = ""
    title: str = ""
    notes: str = ""
    due_at: dt.datetime | None = None
    due_date: str | None = None  # "YYYY-MM-DD"
    zone: str = "UTC"  # the reader's time zone
    url: str = ""  # of the task


class ResolvedReminders(msgspec.Struct, frozen=True):
    reminders: tuple[ResolvedReminder, ...]


class TaskVersionsQuery(msgspec.Struct, frozen=True):
    """A page of (id, version), tombstones included, in the order of ids, after a given one."""

    after: UUID | None = None
    limit: int = 1000


class TaskVersion(msgspec.Struct, frozen=True):
    task_id: UUID
    version: int


class TaskVersions(msgspec.Struct, frozen=True):
    """`epoch` grows when backend's database was restored from a backup: its versions then count from before."""

    epoch: int
    tasks: tuple[TaskVersion, ...]  # fewer than asked for: the last page


class SnapshotsQuery(msgspec.Struct, frozen=True):
    """The snapshots of these tasks, at most 500; unknown ids are absent from the answer."""

    task_ids: tuple[UUID, ...]


class Snapshots(msgspec.Struct, frozen=True):
    tasks: tuple[TaskSnapshot, ...]


class UnfollowedQuery(msgspec.Struct, frozen=True):
    """A page of the closed occurrences of living series without a successor, in the order of ids, after a given one."""

    closed_before: dt.datetime
    after: UUID | None = None
    limit: int = 1000


class Unfollowed(msgspec.Struct, frozen=True):
    task_ids: tuple[UUID, ...]  # fewer than asked for: the last page


class AttemptKey(msgspec.Struct, frozen=True):
    """The natural key of one attempt at one reminder."""

    task_id: UUID
    reminder: str
    fire_at: dt.datetime
    attempt: int


class DeliveriesQuery(msgspec.Struct, frozen=True):
    """A page of the whole delivery history, in the order of its keys, after a given one."""

    after: AttemptKey | None = None
    limit: int = 1000


class Deliveries(msgspec.Struct, frozen=True):
    """Outcomes as they were recorded, without their recipients. A short page is the last."""

    deliveries: tuple[ReminderOutcome, ...]
