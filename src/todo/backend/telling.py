"""How backend tells of its tasks: a snapshot per committed version, on `task-events`."""

import datetime as dt

import msgspec

from todo.backend.store.tasks import Change
from todo.contracts import names, spans
from todo.contracts.events import TASK_UPDATED, Occurrence, ReminderInstance, TaskSnapshot
from todo.contracts.spans import Kind
from todo.domain.due import Due
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging.unit import Outgoing, outgoing


def snapshot(task: Task, series: TaskSeries | None, epoch: int) -> TaskSnapshot:
    """A task, whole. A dead series is not told of: its occurrences are plain tasks from then on."""
    due = task.due
    return TaskSnapshot(
        task_id=task.id,
        user_id=task.user_id,
        epoch=epoch,
        version=task.version,
        title=task.title,
        status=task.status,
        deleted=task.deleted,
        reminders=tuple(ReminderInstance(one.reminder, one.fire_at, one.past) for one in task.wanted),
        due_at=due.at if due else None,
        due_date=due.date.isoformat() if due and due.date else None,
        zone=due.zone if due else None,
        closed_at=task.closed_at,
        closed_version=task.closed_version,
        occurrence=_occurrence(task, series) if series and not series.deleted else None,
    )


def change(  # noqa: PLR0913 - a change has this many parts
    event_type: str, task: Task, series: TaskSeries | None, *, epoch: int, now: dt.datetime, cause: str
) -> Change:
    """The event that tells of a new version, to be written in the version's own statement."""
    trace = cause or spans.mark("change task", Kind.INTERNAL, cause)
    event = outgoing(
        names.BACKEND.app_id,
        names.TASK_EVENTS,
        event_type,
        str(task.id),
        snapshot(task, series, epoch),
        now=now,
        cause=trace,
    )
    return Change(event_type, trace, event.topic, event.envelope)


def _occurrence(task: Task, series: TaskSeries) -> Occurrence | None:
    if task.seq is None or task.seq < series.first_seq:  # made under a rule that was edited at a later occurrence
        return None
    return Occurrence(
        series_id=series.id,
        seq=task.seq,
        position=task.seq - series.first_seq + 1,
        generation=series.generation,
        rule=series.rule,
        zone=series.start.zone,
        start=_moment(series.start),
        mode=series.mode,
        policy=series.policy,
        scheduled=_moment(task.scheduled) if task.scheduled else None,
    )


def _moment(due: Due) -> str:
    return due.value.isoformat().replace("+00:00", "Z")


def again(task: Task, series: TaskSeries | None, epoch: int, now: dt.datetime) -> Outgoing:
    """Tell of the present version once more: consumers that have it do nothing, the others heal."""
    told = snapshot(task, series, epoch)
    event_id = f"again:{epoch}:{task.id}:{task.version}"
    return outgoing(
        names.BACKEND.app_id, names.TASK_EVENTS, TASK_UPDATED, str(task.id), told, now=now, event_id=event_id
    )


def replayed(original: bytes, event_id: str, number: int) -> bytes | None:
    """A dead letter's envelope marked as replay `number`, otherwise as it came; None when it is no JSON object."""
    try:
        attributes = msgspec.json.decode(original, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    marks = {"id": event_id, "replay": number}
    return msgspec.json.encode(attributes | {name: msgspec.Raw(msgspec.json.encode(v)) for name, v in marks.items()})
