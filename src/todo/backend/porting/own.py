"""The fields of a task in our own formats, the same in JSON and CSV."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from todo.backend.porting.entries import Broken, Entry, Repeating, shown
from todo.domain.due import Due
from todo.domain.recurrence import Mode, Policy
from todo.domain.reminder import Instance
from todo.domain.series import TaskSeries
from todo.domain.task import Status, Task
from todo.domain.tasklist import TaskList

VERSION: Final = 1
Moment = dt.datetime | dt.date
Lists: TypeAlias = Mapping[UUID, TaskList]


class OwnInstance(msgspec.Struct, forbid_unknown_fields=True):
    """A firing that its owner does not want."""

    reminder: str
    fire_at: dt.datetime


class OwnRecurrence(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """`start` and `scheduled` are instants or days; `seq` is the number of the occurrence in its series."""

    rule: str
    mode: Mode = Mode.DUE
    policy: Policy = Policy.SKIP
    series: str | None = None
    seq: int = 1
    first_seq: int = 1
    start: str | None = None
    zone: str | None = None
    scheduled: str | None = None
    ended_seq: int | None = None


class OwnTask(msgspec.Struct, omit_defaults=True):
    title: str
    id: UUID | None = None
    notes: str = ""
    status: Literal["open", "done"] = "open"
    due: str | None = None
    start: str | None = None
    zone: str | None = None
    priority: int = 4
    labels: list[str] = []
    reminders: list[str] = []
    dismissed: list[OwnInstance] = []
    recurrence: OwnRecurrence | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    list: str = ""
    list_color: str = ""
    parent: UUID | None = None
    position: str = ""


_KNOWN: Final = frozenset(OwnTask.__struct_fields__)


def told(task: Task, series: TaskSeries | None, lists: Lists) -> OwnTask:
    """A task as it is written."""
    its_list = lists.get(task.list_id) if task.list_id else None
    return OwnTask(
        task.title,
        task.id,
        task.notes,
        "open" if task.status is Status.OPEN else "done",
        moment_text(task.due),
        moment_text(task.start),
        task.zone,
        task.priority,
        list(task.labels),
        list(task.reminders),
        [OwnInstance(one.reminder, one.fire_at) for one in _dismissed(task)],
        _recurrence(task, series) if series else None,
        task.created_at,
        task.updated_at,
        task.closed_at,
        its_list.name if its_list else "",
        (its_list.color or "") if its_list else "",
        task.parent_id,
        task.position or "",
    )


def read_task(fields: dict[str, Any], number: int, line: int, sha256: str) -> Entry | Broken:
    """A task as somebody wrote it."""
    try:
        return _entry(msgspec.convert(fields, OwnTask), fields, number, line, sha256)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        return Broken(line, number, shown(place.rstrip("`") or "task"), problem[:1].lower() + problem[1:])
    except ValueError as error:
        return Broken(line, number, "due", str(error))


def moment_text(due: Due | None) -> str | None:
    """An instant as the clock of its zone shows it, with its offset, or a day."""
    if due is None or due.at is None:
        return due.date.isoformat() if due and due.date else None
    return due.at.isoformat().replace("+00:00", "Z")


def read_moment(text: str) -> Moment:
    """Raises `ValueError`."""
    try:
        return dt.date.fromisoformat(text) if len(text) <= len("2026-03-01") else dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{shown(text)!r} is neither a day (2026-03-01) nor a time (2026-03-01T09:00)") from None


def _entry(own: OwnTask, fields: dict[str, Any], number: int, line: int, sha256: str) -> Entry:
    entry = Entry(
        number=number,
        line=line,
        source=f"todo/{own.id}" if own.id else f"{sha256}/{number}",
        origin=own.id,
        title=own.title,
        notes=own.notes,
        done=own.status == "done",
        due=read_moment(own.due) if own.due else None,
        start=read_moment(own.start) if own.start else None,
        zone=own.zone,
        priority=own.priority,
        labels=own.labels,
        reminders=own.reminders,
        dismissed=[(one.reminder, one.fire_at) for one in own.dismissed if one.fire_at.tzinfo],
        repeating=_repeating(own.recurrence) if own.recurrence else None,
        created_at=_aware(own.created_at),
        updated_at=_aware(own.updated_at),
        closed_at=_aware(own.closed_at),
        list_name=own.list,
        list_color=own.list_color,
        parent=str(own.parent or ""),
        parent_source=f"todo/{own.parent}" if own.parent else "",
        position=own.position.strip(),
    )
    for name in fields.keys() - _KNOWN:
        entry.lose(name, "it is not a field of a task here", "left out")
    return entry


def _repeating(own: OwnRecurrence) -> Repeating:
    return Repeating(
        rule=own.rule,
        mode=own.mode,
        policy=own.policy,
        series=f"todo/{own.series}" if own.series else None,
        seq=own.seq,
        first_seq=own.first_seq,
        start=read_moment(own.start) if own.start else None,
        zone=own.zone,
        ended_seq=own.ended_seq,
        scheduled=read_moment(own.scheduled) if own.scheduled else None,
    )


def _recurrence(task: Task, series: TaskSeries) -> OwnRecurrence:
    return OwnRecurrence(
        series.rule,
        series.mode,
        series.policy,
        str(series.id),
        task.seq or 1,
        series.first_seq,
        moment_text(series.start),
        series.start.zone,
        moment_text(task.scheduled),
        series.ended_seq,
    )


def _dismissed(task: Task) -> list[Instance]:
    return [one for one in task.instances if one.dismissed]


def _aware(moment: dt.datetime | None) -> dt.datetime | None:
    return moment.replace(tzinfo=dt.UTC) if moment and moment.tzinfo is None else moment
