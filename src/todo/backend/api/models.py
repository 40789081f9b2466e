"""The public API's shapes. Input is strict: no unknown fields, no silent conversions; null means null."""

import datetime as dt
import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from todo.backend.auth.scopes import Scope
from todo.backend.places import PLACES
from todo.backend.steps import Kind
from todo.backend.store.orders import Sort
from todo.backend.store.people import ADDRESS, LONGEST_ADDRESS, LONGEST_NAME, Owner
from todo.domain import reminder, tasklist
from todo.domain.due import Due, parse_due
from todo.domain.recurrence import Mode, Policy
from todo.domain.series import Repetition, TaskSeries
from todo.domain.task import Status, Task, check_labels, check_notes, check_title
from todo.domain.views import View
from todo.messaging.postgres import Row

Priority = Annotated[int, Field(ge=1, le=4, description="1 is the most urgent, 4 is none")]
Text = Annotated[str, Field(max_length=100_000)]
LONGEST_PASSWORD: Final = 256


def _written_as(pattern: str, example: str) -> BeforeValidator:
    """JSON has no dates: they are text of one form. Pydantic alone would take 2026 for seconds since 1970."""

    def check(value: object) -> object:
        if not isinstance(value, str) or re.match(pattern, value) is None:
            raise PydanticCustomError("not_iso_8601", "it is not ISO 8601 text", {"example": example})
        return value

    return BeforeValidator(check, json_schema_input_type=str)


Instant = Annotated[
    dt.datetime,
    _written_as(r"[0-9]{4,}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:", "2026-03-01T09:00:00+01:00"),
    Field(strict=False, json_schema_extra={"format": "date-time"}),
]
Day = Annotated[
    dt.date,
    _written_as(r"[0-9]{4,}-[0-9]{2}-[0-9]{2}$", "2026-03-01"),
    Field(strict=False, json_schema_extra={"format": "date"}),
]

Id = Annotated[UUID, Field(strict=False)]

DUE_FIELDS: Final = frozenset({"due_at", "due_date", "zone"})
START_FIELDS: Final = frozenset({"start_at", "start_date", "zone"})


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RecurrenceIn(_Input):
    """How a task repeats (RFC 5545)."""

    rule: str = Field(max_length=2000, examples=["FREQ=WEEKLY;BYDAY=MO"])
    mode: Annotated[Mode, Field(strict=False)] = Field(Mode.DUE, description="count from due dates or from completion")
    policy: Annotated[Policy, Field(strict=False)] = Field(
        Policy.SKIP, description="when closed late: skip to the next future date, or take each"
    )

    @property
    def repetition(self) -> Repetition:
        return Repetition(self.rule, self.mode, self.policy)


class TaskIn(_Input):
    """A new task."""

    title: Text = Field(examples=["Pay rent"])
    user_id: int | None = Field(
        None,
        description="whose task: the caller's; under TODO_AUTH=local believed as given, 1 if it is not",
        examples=[1],
    )
    notes: Text = ""
    due_at: Instant | None = Field(None, description="an instant; without offset, a wall time in `zone`")
    due_date: Day | None = Field(None, description="a whole day")
    zone: str | None = Field(None, max_length=64, description="IANA time zone; the user's, if not given")
    priority: Priority = 4
    labels: list[Text] = []
    reminders: list[Text] = Field([], description="ISO 8601 durations relative to due (-PT1H), or instants")
    recurrence: RecurrenceIn | None = None
    start_at: Instant | None = Field(None, description="when it can begin; like due_at, and in the same zone")
    start_date: Day | None = None
    list_id: Id | None = None
    parent_id: Id | None = Field(None, description="the task it is a subtask of: one level, in the same list")

    def fields(self, user: Owner) -> dict[str, Any]:
        """The checked fields of a `Task`, title excepted. Raises `RuleError`."""
        return {
            "notes": check_notes(self.notes),
            "due": parse_due(self.due_at, self.due_date, self.zone or user.zone),
            "priority": self.priority,
            "labels": check_labels(self.labels),
            "reminders": reminder.parse_reminders(self.reminders),
            "start": parse_due(self.start_at, self.start_date, self.zone or user.zone, "start"),
        } | {name: value for name in PLACES if (value := getattr(self, name)) is not None}


class TaskPatch(_Input):
    """Changes to a task: fields that are absent stay, null clears."""

    title: Text | None = None
    notes: Text | None = None
    due_at: Instant | None = None
    due_date: Day | None = None
    zone: str | None = Field(None, max_length=64)
    priority: Priority | None = None
    labels: list[Text] | None = None
    reminders: list[Text] | None = None
    recurrence: RecurrenceIn | None = None
    start_at: Instant | None = None
    start_date: Day | None = None
    list_id: Id | None = None
    parent_id: Id | None = None

    @property
    def places_it(self) -> bool:
        return bool(self.model_fields_set & PLACES)

    def changes(self, before: Task, user: Owner) -> dict[str, Any]:
        """The checked changes to a `Task`. Raises `RuleError`."""
        given = self.model_fields_set
        changes: dict[str, Any] = {}
        if "title" in given:
            changes["title"] = check_title(self.title or "")
        if "notes" in given:
            changes["notes"] = check_notes(self.notes or "")
        if "priority" in given:
            changes["priority"] = self.priority or 4
        if "labels" in given:
            changes["labels"] = check_labels(self.labels or [])
        if "reminders" in given:
            changes["reminders"] = reminder.parse_reminders(self.reminders or [])
        zone = self.zone or before.zone or user.zone
        if given & DUE_FIELDS:
            changes["due"] = self._dated("due", before.due, zone)
        if given & START_FIELDS:
            changes["start"] = self._dated("start", before.start, zone)
        return changes | {name: getattr(self, name) for name in given & PLACES}

    def _dated(self, field: str, before: Due | None, zone: str) -> Due | None:
        """The date that results: giving an instant replaces a day and the other way round; null clears its own kind."""
        at, date = getattr(self, f"{field}_at"), getattr(self, f"{field}_date")
        if at is None and date is None and before is not None:
            at = None if f"{field}_at" in self.model_fields_set else before.at
            date = None if f"{field}_date" in self.model_fields_set else before.date
        return parse_due(at, date, zone, field)


class SnoozeIn(_Input):
    """Remind once more."""

    until: Instant = Field(description="an instant with an offset")
    reminder: Text | None = Field(None, description="the reminder this replaces, if it is still to come")


class MoveIn(_Input):
    """Where a task goes; its list and its parent stay if they are not given."""

    after: Id | None = Field(None, description="the task it comes after in the manual order; null: before all others")
    list_id: Id | None = None
    parent_id: Id | None = None

    @property
    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set & PLACES}


class DismissIn(_Input):
    """Which reminder."""

    reminder: Text = Field(description="one of the task's `reminders`", examples=["-PT1H"])


class Action(StrEnum):
    EDIT = "edit"
    COMPLETE = "complete"
    REOPEN = "reopen"
    DELETE = "delete"
    MOVE = "move"


class BulkIn(_Input):
    """One action on many tasks."""

    ids: list[Id] = Field(
        min_length=1, max_length=500, description="done in this order; what is named twice counts once"
    )
    action: Annotated[Action, Field(strict=False)]
    change: dict[str, Any] | None = Field(
        None, description="of edit: as PATCH /tasks/{id} takes it; of move: as POST /tasks/{id}/move does"
    )
    scope: Literal["occurrence", "series"] | None = Field(None, description="of delete, for tasks that repeat")

    @property
    def edited(self) -> TaskPatch:
        """Raises `ValidationError`."""
        return TaskPatch.model_validate_json(json.dumps(self.change or {}))

    @property
    def moved(self) -> MoveIn:
        """Raises `ValidationError`."""
        return MoveIn.model_validate_json(json.dumps(self.change or {}))


class UndoIn(_Input):
    """Which change."""

    id: str | None = Field(None, max_length=64, description="the header `undo` of its answer; null: the last one")


class ListIn(_Input):
    """A new list."""

    name: Text = Field(examples=["Work"])
    color: str | None = Field(None, max_length=20, examples=["#1f6feb"])


class ListPatch(_Input):
    """Changes to a list: fields that are absent stay."""

    name: Text | None = None
    color: str | None = Field(None, max_length=20)
    after: Id | None = Field(None, description="the list it comes after; null: before all others")

    @property
    def changes(self) -> dict[str, Any]:
        """The checked changes to a `TaskList`. Raises `RuleError`."""
        changes: dict[str, Any] = {}
        if "name" in self.model_fields_set:
            changes["name"] = tasklist.check_name(self.name or "")
        if "color" in self.model_fields_set:
            changes["color"] = tasklist.check_color(self.color)
        if "after" in self.model_fields_set:
            changes["after"] = self.after
        return changes


Language = Annotated[Literal["en", "de"], Field(description="of what is typed, and of the answer")]


class PreviewIn(_Input):
    """A series that may be, to be looked at before it is saved."""

    recurrence: RecurrenceIn
    due_at: Instant | None = None
    due_date: Day | None = None
    zone: str = Field("UTC", max_length=64)
    limit: int = Field(5, ge=1, le=100)
    language: Language = "en"


class UserIn(_Input):
    email: str = Field(max_length=LONGEST_ADDRESS, pattern=ADDRESS)
    name: str = Field("", max_length=LONGEST_NAME)
    zone: str = Field("UTC", max_length=64, description="IANA time zone")


class UserPatch(_Input):
    email: str = Field(max_length=LONGEST_ADDRESS, pattern=ADDRESS)


class Fault(BaseModel):
    field: str
    problem: str
    fix: str


class Problem(BaseModel):
    """RFC 9457. `type` is stable; `errors` names each field at fault."""

    type: str = Field(examples=["urn:todo:problem:invalid-input"])
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


class UserOut(BaseModel):
    id: int
    email: str
    name: str
    zone: str


class MeOut(UserOut):
    """The caller, and what its token is good for."""

    scopes: list[Scope]


class SignInIn(_Input):
    """A local account."""

    email: str = Field(max_length=LONGEST_ADDRESS)
    password: str = Field(max_length=LONGEST_PASSWORD)


class SessionOut(BaseModel):
    """Who is signed in."""

    user: UserOut
    scopes: list[Scope]
    csrf: str | None = Field(description="send it as x-csrf-token with what changes something; null without a session")
    methods: list[str] = Field(description="ways to sign in here: password, oidc; none under TODO_AUTH=local")


class SignInNeeded(Problem):
    """Nobody is signed in."""

    methods: list[str]


class OneSession(BaseModel):
    """A browser that the user signed in with."""

    id: int
    method: str = Field(description="password or oidc")
    user_agent: str = Field(description="what it calls itself, shortened")
    created_at: dt.datetime
    seen_at: dt.datetime = Field(description="its last call, within ten minutes")
    expires_at: dt.datetime
    current: bool = Field(description="whether it is the one that asks")


class SessionList(BaseModel):
    sessions: list[OneSession]


class RecurrenceOut(BaseModel):
    series_id: UUID
    seq: int
    rule: str
    mode: Mode
    policy: Policy
    ended: bool


class AttemptOut(BaseModel):
    """One attempt at a reminder."""

    attempt: int
    outcome: str
    at: dt.datetime
    reason: str
    possibly_sent: bool
    recipient: str | None
    message_id: str | None


class ReminderOut(BaseModel):
    """One firing of a reminder and what became of it."""

    reminder: str
    fire_at: dt.datetime
    state: str = Field(
        description="scheduled, due, delivered, suppressed, deferred, failed, skipped, dismissed or withdrawn"
    )
    attempts: list[AttemptOut]


class TaskOut(BaseModel):
    """A task as it is now. `version` is also its ETag."""

    id: UUID
    user_id: int
    version: int
    title: str
    notes: str
    status: Status
    due_at: dt.datetime | None
    due_date: dt.date | None
    zone: str | None
    priority: int
    labels: list[str]
    reminders: list[str]
    recurrence: RecurrenceOut | None
    created_at: dt.datetime
    updated_at: dt.datetime
    closed_at: dt.datetime | None
    start_at: dt.datetime | None
    start_date: dt.date | None
    list_id: UUID | None
    parent_id: UUID | None
    position: str = Field(description="its place in the manual order; sorts bytewise")
    deleted_at: dt.datetime | None


class TaskDetail(TaskOut):
    """A task with the history of its reminders."""

    reminder_history: list[ReminderOut]


class TaskList(BaseModel):
    tasks: list[TaskOut]
    next_cursor: str | None = Field(description="give it back as `cursor` for the next page; null on the last")


class ListOut(BaseModel):
    """A list of tasks. `version` is also its ETag."""

    id: UUID
    name: str
    color: str | None
    position: str
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class ViewOut(BaseModel):
    """A view as it is now. `version` is also its ETag; `position` sorts bytewise."""

    id: UUID
    name: str
    filter: str
    sort: Sort
    position: str
    version: int


class ChangeOut(BaseModel):
    """A thing that changed, as it is now. Take it unless you have a higher version."""

    kind: Literal["task", "list", "view"]
    id: UUID
    version: int
    deleted: bool
    value: TaskOut | ListOut | ViewOut | None = Field(description="null once it is deleted")


class ChangeList(BaseModel):
    changes: list[ChangeOut]
    cursor: str = Field(description="give it back for what follows")
    more: bool = Field(description="whether there is more at once")
    reset: bool = Field(
        description="forget what you have: the cursor was of another database, and all there is follows"
    )


class ListsOut(BaseModel):
    lists: list[ListOut]


class BulkResult(BaseModel):
    """What became of one task."""

    id: UUID
    ok: bool
    version: int | None = Field(description="as it is now, null where it was not done")
    problem: Problem | None


class BulkOut(BaseModel):
    """In the order of `ids`. The header `undo` takes all of it back at once."""

    results: list[BulkResult]


class StepOut(BaseModel):
    """A change that can be taken back."""

    id: str = Field(description="as the header `undo` said")
    at: dt.datetime
    what: str = Field(description="create, edit, complete, reopen, snooze, delete, restore, move, create list, ...")
    title: str = Field(description="of what was changed, or of the first of several")
    things: int = Field(description="how many tasks, series and lists were changed")
    takes_back: bool = Field(description="it is an undo itself: taking it back does the change again")


class StepsOut(BaseModel):
    steps: list[StepOut]


class ChangedOut(BaseModel):
    """A thing that an undo made a new version of."""

    kind: Kind
    id: UUID
    version: int
    deleted: bool


class UndoneOut(BaseModel):
    """What was taken back. The header `undo` takes that back again."""

    what: str
    title: str
    changed: list[ChangedOut]


class WhyOut(BaseModel):
    """What happened to a task and its reminders, in the order of time, and what comes next."""

    task: dict[str, Any]
    timeline: list[dict[str, Any]] = Field(description="steps with `at`, `where`, `what` and their details")
    reminders: list[ReminderOut]
    did_not_answer: list[str] = Field(description="services whose part is missing because they are away")


class OccurrencesOut(BaseModel):
    occurrences: list[dt.datetime | dt.date]
    sentence: str | None = Field(description="how it repeats, in words; null for what does not")
    remarks: list[str] = Field(description="what changes of the clocks do to these dates")


class LetterOut(BaseModel):
    """A dead letter: an event that an app could not process."""

    id: int
    app: str = Field(description="the app that failed")
    topic: str
    event_id: str
    event_type: str
    subject: str
    error: str
    attempts: int
    status: str = Field(description="open, replayed or discarded")
    replays: int
    size: int
    sha256: str
    parked_at: dt.datetime
    changed_at: dt.datetime


class LetterDetail(LetterOut):
    body: str = Field(description="the event as text, or base64 when it is not text")
    body_encoding: str = Field(description="utf-8 or base64")


class LetterList(BaseModel):
    dead_letters: list[LetterOut]
    next_cursor: str | None


class PipelineOut(BaseModel):
    """Where events are: each stage's depth and its oldest."""

    outbox: dict[str, Any]
    dead_letters: dict[str, int]
    schedule: dict[str, Any] | None = Field(description="notification-service's, null while it is away")
    sidecar_ready: bool


def task_out(task: Task, series: TaskSeries | None) -> dict[str, Any]:
    """A task in the shape of `TaskOut`."""
    due, start = task.due, task.start
    return {
        "id": task.id,
        "user_id": task.user_id,
        "version": task.version,
        "title": task.title,
        "notes": task.notes,
        "status": task.status,
        "due_at": due.at if due else None,
        "due_date": due.date if due else None,
        "zone": task.zone,
        "priority": task.priority,
        "labels": task.labels,
        "reminders": task.reminders,
        "recurrence": _recurrence_out(task, series),
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "closed_at": task.closed_at,
        "start_at": start.at if start else None,
        "start_date": start.date if start else None,
        "list_id": task.list_id,
        "parent_id": task.parent_id,
        "position": task.place,
        "deleted_at": task.deleted_at,
    }


def list_out(one: tasklist.TaskList) -> dict[str, Any]:
    """A list in the shape of `ListOut`."""
    return {name: getattr(one, name) for name in ListOut.model_fields}


def list_row_out(row: Row) -> dict[str, Any]:
    """A row of a list of tasks in the shape of `ListOut`."""
    return {name: row[name] for name in ListOut.model_fields}


def view_out(view: View) -> dict[str, Any]:
    """A view in the shape of `ViewOut`."""
    return {name: getattr(view, name) for name in ViewOut.model_fields}


def view_row_out(row: Row) -> dict[str, Any]:
    """A row of a view in the shape of `ViewOut`."""
    return {name: row[name] for name in ViewOut.model_fields}


_LISTED: Final = tuple(name for name in TaskOut.model_fields if name != "recurrence")


def listed_out(row: Row) -> dict[str, Any]:
    """A row of a list in the shape of `TaskOut`, without the detour over the rules: lists are long."""
    listed = {name: row[name] for name in _LISTED}
    listed["recurrence"] = row["series_id"] and {
        "series_id": row["series_id"],
        "seq": row["seq"],
        "rule": row["rule"],
        "mode": row["mode"],
        "policy": row["policy"],
        "ended": row["ended_seq"] is not None,
    }
    return listed


def _recurrence_out(task: Task, series: TaskSeries | None) -> dict[str, Any] | None:
    if series is None or series.deleted:
        return None
    return {
        "series_id": series.id,
        "seq": task.seq,
        "rule": series.rule,
        "mode": series.mode,
        "policy": series.policy,
        "ended": not series.is_alive,
    }
