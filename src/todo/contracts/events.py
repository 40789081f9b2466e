"""What crosses the wire: the data of every event type, and the table that says which type belongs to which topic.

Instants are aware UTC datetimes in RFC 3339. Readers are tolerant: a field they do not know is skipped, so that a newer
producer can run beside an older consumer; a change that a reader must understand gets a new type (`.v2`).
"""

import datetime as dt
import enum
from typing import Annotated, Final
from uuid import UUID

import msgspec

from todo.contracts import names

SNAPSHOT_LIMIT: Final = 64 * 1024  # bytes: the API bounds its fields so that a snapshot always fits
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
PARKED_LIMIT: Final = 512 * 1024  # bytes of an original kept whole inside `EventParked`; base64 stays under 1 MB


class ReminderInstance(msgspec.Struct, frozen=True):
    """One firing of one reminder. With the task id it is the natural key of a mail: moving the time makes another."""

    reminder: str  # canonical text of the reminder: "-PT1H" (relative to due) or an RFC 3339 instant
    fire_at: Instant
    past: bool = False  # was already past when it was set (a minute's grace): skipped, never mailed


class Occurrence(msgspec.Struct, frozen=True):
    """What the next date of a series is computed from, complete: recurring-service asks nobody and has no clock."""

    series_id: UUID
    seq: int  # 1 for the task the series started with
    position: int  # 1 for the occurrence at which the rule was last edited: what COUNT counts from
    generation: int  # bumped when rule, zone or start is edited
    rule: str
    zone: str
    start: str  # an RFC 3339 instant, or "YYYY-MM-DD" for a series of whole days
    mode: str  # due | completion
    policy: str  # skip | each
    scheduled: str | None = None  # the date the series gave this occurrence; `due` may have been moved


class TaskSnapshot(msgspec.Struct, frozen=True):
    """A task, whole, as one committed version. A higher (epoch, version) replaces a lower one, whatever came first."""

    task_id: UUID
    user_id: int
    epoch: int
    version: int
    title: str
    status: str  # open | done | skipped
    deleted: bool
    reminders: tuple[ReminderInstance, ...]  # those still wanted: empty when closed or deleted
    due_at: Instant | None = None
    due_date: str | None = None  # "YYYY-MM-DD"
    zone: str | None = None
    closed_at: Instant | None = None
    closed_version: int | None = None  # the version at which it was completed or skipped
    occurrence: Occurrence | None = None


class ReminderKey(msgspec.Struct, frozen=True):
    """The natural key of one reminder mail."""

    task_id: UUID
    reminder: str
    fire_at: Instant

    @property
    def text(self) -> str:
        """The key as one string, for state entries and Message-IDs."""
        return f"{self.task_id}/{self.reminder}/{self.fire_at.astimezone(dt.UTC):%Y%m%dT%H%M%S.%fZ}"


class ReminderDue(msgspec.Struct, frozen=True):
    """Mail this reminder now. Who gets it and whether it is still wanted is asked at the last moment."""

    task_id: UUID
    reminder: str
    fire_at: Instant
    attempt: int

    @property
    def key(self) -> ReminderKey:
        return ReminderKey(self.task_id, self.reminder, self.fire_at)


class Outcome(enum.StrEnum):
    DELIVERED = "delivered"  # an SMTP server accepted it
    SUPPRESSED = "suppressed"  # no longer wanted when it was about to be sent
    DEFERRED = "deferred"  # refused for now; tried again
    FAILED = "failed"  # refused for good, or given up
    SKIPPED = "skipped"  # already past when it was set


class ReminderOutcome(msgspec.Struct, frozen=True):
    """What became of one attempt at one reminder."""

    task_id: UUID
    reminder: str
    fire_at: Instant
    attempt: int
    outcome: Outcome
    at: Instant
    reason: str = ""  # a sentence for the task's owner
    possibly_sent: bool = False  # the connection was lost after the mail was handed over
    message_id: str | None = None
    recipient: str | None = None

    @property
    def key(self) -> ReminderKey:
        return ReminderKey(self.task_id, self.reminder, self.fire_at)


class OccurrenceDue(msgspec.Struct, frozen=True):
    """The series goes on: occurrence `seq` is due then, provided `predecessor` is still closed by `closed_version`."""

    series_id: UUID
    seq: int
    generation: int
    predecessor: UUID
    closed_version: int
    due_at: Instant | None = None
    due_date: str | None = None


class SeriesEnded(msgspec.Struct, frozen=True):
    """The rule has no date after its predecessor. `seq` is the occurrence that will not come."""

    series_id: UUID
    seq: int
    generation: int
    predecessor: UUID
    closed_version: int


class EventParked(msgspec.Struct, frozen=True):
    """An event that an app could not process, with everything a person needs to judge and replay it."""

    app: str
    topic: str
    event_id: str
    event_type: str
    subject: str
    body: bytes  # the original envelope, base64 in JSON; only its head when `size` says it was longer
    size: int
    sha256: str
    error: str
    attempts: int
    parked_at: Instant
    replay: int = 0  # which replay failed; 0 is the first delivery


EventData = TaskSnapshot | ReminderDue | ReminderOutcome | OccurrenceDue | SeriesEnded | EventParked

TASK_CREATED: Final = "todo.task.created.v1"
TASK_UPDATED: Final = "todo.task.updated.v1"
TASK_COMPLETED: Final = "todo.task.completed.v1"
TASK_REOPENED: Final = "todo.task.reopened.v1"
TASK_DELETED: Final = "todo.task.deleted.v1"
TASK_TYPES: Final = (TASK_CREATED, TASK_UPDATED, TASK_COMPLETED, TASK_REOPENED, TASK_DELETED)
REMINDER_DUE: Final = "todo.reminder.due.v1"
OCCURRENCE_DUE: Final = "todo.occurrence.due.v1"
SERIES_ENDED: Final = "todo.series.ended.v1"
EVENT_PARKED: Final = "todo.event.parked.v1"
PROBE: Final = "com.dapr.event.sent"  # Dapr's default type: an operator's test event


def outcome_type(outcome: Outcome) -> str:
    return f"todo.reminder.{outcome}.v1"


TOPIC_TYPES: Final[dict[str, dict[str, type[msgspec.Struct]]]] = {
    names.TASK_EVENTS: dict.fromkeys(
        (TASK_CREATED, TASK_UPDATED, TASK_COMPLETED, TASK_REOPENED, TASK_DELETED), TaskSnapshot
    ),
    names.TASK_REMINDERS: {REMINDER_DUE: ReminderDue},
    names.REMINDER_DELIVERIES: {outcome_type(outcome): ReminderOutcome for outcome in Outcome},
    names.TASK_OCCURRENCES: {OCCURRENCE_DUE: OccurrenceDue, SERIES_ENDED: SeriesEnded},
    names.DEAD_LETTERS: {EVENT_PARKED: EventParked},
}
