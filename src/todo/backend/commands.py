"""What a person can do to tasks. Each command is one transaction: the new version, its history, its event.

Locks are taken in one order: the owner (by what moves tasks between lists and parents, or changes several), series, a
predecessor before its successor, a task before its subtasks. So commands and events wait for each other and never in a
circle.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any
from uuid import UUID, uuid4

from todo.backend import places, telling
from todo.backend.steps import Step
from todo.backend.store import letters, people, tasks
from todo.backend.store.people import Owner, User
from todo.contracts import events
from todo.domain import position as positions
from todo.domain import series as series_rules
from todo.domain import task as task_rules
from todo.domain.errors import RuleError
from todo.domain.series import Repetition, TaskSeries
from todo.domain.task import Task
from todo.messaging.postgres import Executor
from todo.messaging.unit import Outgoing, Transaction


class NotFoundError(Exception):
    """There is no such thing, or it is not the caller's: the two look the same from outside."""


class StaleError(Exception):
    """The thing is not at the version that the caller saw."""

    def __init__(self, version: int) -> None:
        super().__init__(f"it is at version {version}")
        self.version = version


class ConflictError(Exception):
    """What was asked does not fit the state of the thing; the message says why."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every command needs to know: the database's epoch, the instant, and the trace of the request."""

    epoch: int
    now: dt.datetime
    cause: str = ""
    step: Step = field(default_factory=Step, compare=False)  # what the command changed, for whoever takes it back


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as a person describes it; already checked and normalised."""

    title: str
    fields: dict[str, Any]
    repetition: Repetition | None = None

    @property
    def is_placed(self) -> bool:
        """Whether it names a list or a parent, which must be the owner's: whoever creates it holds the owner's lock."""
        return any(self.fields.get(name) is not None for name in places.PLACES)


async def create(db: Executor, context: Context, user: Owner | User, draft: Draft) -> tuple[Task, TaskSeries | None]:
    """Make a task, with a series of its own if it repeats. Raises `RuleError`."""
    fields, task_id = draft.fields, uuid4()
    if draft.is_placed:
        fields = await places.settle(db, user.id, None, fields, repeats=draft.repetition is not None)
    task = Task(
        id=task_id,
        user_id=user.id,
        title=draft.title,
        created_at=context.now,
        updated_at=context.now,
        **{"position": positions.at(context.now, task_id)} | fields,
    )
    task_rules.check_start(task)
    series = None
    if draft.repetition:
        series = series_rules.start_series(uuid4(), user.id, draft.repetition, task.due)
        task = replace(task, series_id=series.id, seq=1, scheduled=task.due)
        await tasks.insert_series(db, series)
    task = task_rules.remind(task, context.now)
    await tasks.insert(db, task, _change(events.TASK_CREATED, task, series, context), context.now)
    return task, series


async def edit(  # noqa: PLR0913 - what is edited, by whom, from which version
    unit: Transaction,
    context: Context,
    user_id: int,
    task_id: UUID,
    *,
    expected: int | None,
    changes: dict[str, Any] | Callable[[Task], dict[str, Any]],
    repetition: Repetition | EllipsisType | None = ...,
    places_it: bool = False,
) -> tuple[Task, TaskSeries | None]:
    """Change fields, and the series from this occurrence on if `repetition` is given (None ends it).

    Changes that depend on the task are a function of it, called once it is locked. `places_it`: its list or its parent
    may be among them; its subtasks go with it.
    """
    if places_it:
        await people.lock(unit.connection, user_id)
    series, task = await _lock(unit, user_id, task_id, expected)
    repeats = series is not None and series.is_alive if repetition is ... else repetition is not None
    given = changes(task) if callable(changes) else changes
    given = await places.settle(unit.connection, user_id, task, given, repeats=repeats)
    edited = task_rules.edit(task, context.now, **given)
    if repetition is not ...:
        changed = await _edit_series(unit, context, series, edited, repetition)
        if changed is not series:
            renewed = edited if edited is not task else task_rules.renew(task, context.now)
            series, edited = changed, _join(renewed, changed)
    await store(unit, context, events.TASK_UPDATED, task, edited, series)
    if edited.list_id != task.list_id:
        await follow(unit, context, edited)
    return edited, series


async def complete(
    unit: Transaction, context: Context, user_id: int, task_id: UUID, expected: int | None
) -> tuple[Task, TaskSeries | None]:
    """Close a task as done; again changes nothing."""
    series, task = await _lock(unit, user_id, task_id, expected)
    done = task_rules.complete(task, context.now)
    await store(unit, context, events.TASK_COMPLETED, task, done, series)
    return done, series


async def reopen(
    unit: Transaction, context: Context, user_id: int, task_id: UUID, expected: int | None
) -> tuple[Task, TaskSeries | None]:
    """Undo closing. An untouched successor is withdrawn; closing again brings it back with the new date."""
    series, task = await _lock(unit, user_id, task_id, expected)
    opened = task_rules.reopen(task, context.now)
    if opened is not task:
        series = await without_successor(unit, context, series, task)
    await store(unit, context, events.TASK_REOPENED, task, opened, series)
    return opened, series


async def snooze(  # noqa: PLR0913 - whose reminder, which, until when
    unit: Transaction, context: Context, user_id: int, task_id: UUID, *, until: dt.datetime, instead_of: str | None
) -> tuple[Task, TaskSeries | None]:
    """Remind once more at `until`. Raises `RuleError`."""
    series, task = await _lock(unit, user_id, task_id, None)
    snoozed = task_rules.snooze(task, context.now, until, instead_of)
    await store(unit, context, events.TASK_UPDATED, task, snoozed, series)
    return snoozed, series


async def dismiss(  # noqa: PLR0913 - whose reminder, which, from which version
    unit: Transaction, context: Context, user_id: int, task_id: UUID, *, expected: int | None, text: str
) -> tuple[Task, TaskSeries | None]:
    """Turn one reminder off. Raises `RuleError`."""
    series, task = await _lock(unit, user_id, task_id, expected)
    dismissed = task_rules.dismiss(task, context.now, text)
    await store(unit, context, events.TASK_UPDATED, task, dismissed, series)
    return dismissed, series


async def delete(  # noqa: PLR0913 - whose task, from which version, how much of it
    unit: Transaction, context: Context, user_id: int, task_id: UUID, *, expected: int | None, whole_series: bool | None
) -> None:
    """Delete a task with its subtasks: one occurrence (its successor comes), or the series with every open one.

    Raises `RuleError` if that is not said.
    """
    await people.lock(unit.connection, user_id)
    series, task = await _lock(unit, user_id, task_id, expected)
    if series is not None and series.is_alive and whole_series is None:
        raise RuleError(
            "scope", "the task repeats", "say scope=occurrence (the next one comes) or scope=series (none does)"
        )
    if series is not None and series.is_alive and not whole_series:
        await _bury(unit, context, task, task_rules.skip(task, context.now), series)
        return
    along_with = None
    if series is not None and not series.deleted and whole_series:  # one that has run out may have been opened again
        ended = replace(series, deleted=True)
        await save_series(unit, context, series, ended)
        series = ended
        along_with = series.id
        for one in await tasks.open_occurrences(unit.connection, series.id):
            if one.id != task.id:
                await _bury(unit, context, one, task_rules.delete(one, context.now, along_with=along_with), series)
    await _bury(unit, context, task, task_rules.delete(task, context.now, along_with=along_with), series)


async def add_user(unit: Transaction, email: str, name: str, zone: str) -> User:
    """Add a user. Raises `ConflictError` when the address is taken."""
    user = await people.add(unit.connection, email, name, zone, unit.now)
    if user is None:
        raise ConflictError("a user with this address exists")
    return user


async def replay(unit: Transaction, letter_id: int) -> letters.Letter:
    """Send a dead letter's event again, as it came, marked with the number of this replay."""
    letter = await _letter(unit, letter_id)
    if letter.size > len(letter.body):
        raise ConflictError(f"only the first {len(letter.body):,} of {letter.size:,} bytes were kept")
    number = letter.replays + 1
    envelope = telling.replayed(letter.body, letter.event_id, number)
    if envelope is None:
        raise ConflictError("it is not a CloudEvent, so no handler could ever read it; discard it")
    unit.emit(Outgoing(letter.topic, letter.subject or letter.event_id, envelope))
    await letters.mark(unit.connection, letter_id, letters.REPLAYED, number, unit.now)
    return replace(letter, status=letters.REPLAYED, replays=number, changed_at=unit.now)


async def discard(unit: Transaction, letter_id: int) -> letters.Letter:
    """Close a dead letter for good."""
    letter = await _letter(unit, letter_id)
    await letters.mark(unit.connection, letter_id, letters.DISCARDED, letter.replays, unit.now)
    return replace(letter, status=letters.DISCARDED, changed_at=unit.now)


async def store_all(
    unit: Transaction, context: Context, event_type: str, changed: Sequence[tuple[Task, TaskSeries | None]]
) -> None:
    """Write new versions that a caller has made and locked."""
    for task, series in changed:
        unit.tells = True
        await tasks.update(unit.connection, task, _change(event_type, task, series, context), context.now)


async def follow(unit: Transaction, context: Context, parent: Task) -> None:
    """Move the subtasks to the list that their parent is in now."""
    for one in places.living(await tasks.subtasks(unit.connection, parent.id, lock=True)):
        moved = task_rules.edit(one, context.now, list_id=parent.list_id)
        await store(unit, context, events.TASK_UPDATED, one, moved, None)


async def without_successor(
    unit: Transaction, context: Context, series: TaskSeries | None, task: Task
) -> TaskSeries | None:
    """The series once an occurrence is open again: it has not ended there, and an untouched successor is withdrawn."""
    if series is None or task.seq is None:
        return series
    if series.ended_seq == task.seq + 1:
        series = replace(series, ended_seq=None)
        await tasks.update_series(unit.connection, series)
    if not series.deleted:  # of an ended series none would come back
        await _withdraw_successor(unit, context, series, task.seq)
    return series


async def _bury(unit: Transaction, context: Context, task: Task, gone: Task, series: TaskSeries | None) -> None:
    """Store a tombstone, and one for each subtask: they come back with their parent."""
    await store(unit, context, events.TASK_DELETED, task, gone, series)
    for one in places.living(await tasks.subtasks(unit.connection, task.id, lock=True)):
        along = task_rules.delete(one, context.now, along_with=task.id)
        await store(unit, context, events.TASK_DELETED, one, along, None)


async def _lock(unit: Transaction, user_id: int, task_id: UUID, expected: int | None) -> tuple[TaskSeries | None, Task]:
    """Lock a user's task, its series first, and check the version the caller saw."""
    seen = await tasks.owned(unit.connection, task_id, user_id)
    if seen is None:
        raise NotFoundError("there is no such task")
    series = await tasks.series(unit.connection, seen.series_id, lock=True) if seen.series_id else None
    task = await tasks.owned(unit.connection, task_id, user_id, lock=True)
    if task is None:
        raise NotFoundError("there is no such task")
    if expected is not None and task.version != expected:
        raise StaleError(task.version)
    if task.series_id and series is None:  # it became a series between the two looks
        series = await tasks.series(unit.connection, task.series_id, lock=True)
    return series, task


async def store(  # noqa: PLR0913 - before, after and what goes with it
    unit: Transaction, context: Context, event_type: str, before: Task, after: Task, series: TaskSeries | None
) -> None:
    if after != before:
        unit.tells = True
        await tasks.update(unit.connection, after, _change(event_type, after, series, context), context.now)
        context.step.note(before, after)


async def save_series(unit: Transaction, context: Context, before: TaskSeries, after: TaskSeries) -> None:
    """Write what a person did to a series that a caller has locked."""
    await tasks.update_series(unit.connection, after)
    context.step.note(before, after)


async def _edit_series(
    unit: Transaction, context: Context, series: TaskSeries | None, task: Task, repetition: Repetition | None
) -> TaskSeries | None:
    """The series as it is from now on; the same object when nothing differs."""
    if repetition is None:
        if series is None or series.deleted:
            return series
        edited = replace(series, deleted=True)
    elif series is None or task.seq is None:
        fresh = series_rules.start_series(uuid4(), task.user_id, repetition, task.due)
        await tasks.insert_series(unit.connection, fresh)
        context.step.note(None, fresh)
        return fresh
    else:
        edited = series_rules.edit_series(series, task.seq, repetition, task.due)
    if edited is not series:
        await save_series(unit, context, series, edited)
    return edited


def _join(task: Task, series: TaskSeries | None) -> Task:
    """The task as an occurrence of the series it is in now: its first, or the one the rule was edited at."""
    if series is None or series.deleted:
        return task
    return replace(task, series_id=series.id, seq=task.seq or 1, scheduled=task.due)


async def _withdraw_successor(unit: Transaction, context: Context, series: TaskSeries, seq: int) -> None:
    """Withdraw an occurrence that is, with its subtasks, as the series made it."""
    following = await tasks.occurrence(unit.connection, series.id, seq + 1)
    if following is None or not following.is_open or following.touched:
        return
    below = places.living(await tasks.subtasks(unit.connection, following.id, lock=True))
    if not any(one.touched for one in below):
        gone = [(following, series), *((one, None) for one in below)]
        withdrawn = [(task_rules.delete(one, context.now, withdrawn=True), of) for one, of in gone]
        await store_all(unit, context, events.TASK_DELETED, withdrawn)


async def _letter(unit: Transaction, letter_id: int) -> letters.Letter:
    letter = await letters.find(unit.connection, letter_id, lock=True)
    if letter is None:
        raise NotFoundError("there is no such dead letter")
    return letter


def _change(event_type: str, task: Task, series: TaskSeries | None, context: Context) -> tasks.Change:
    return telling.change(event_type, task, series, epoch=context.epoch, now=context.now, cause=context.cause)
