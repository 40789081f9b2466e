"""What a person can do to tasks. Each command is one transaction: the new version, its history, its event.

Locks are taken in one order, series before tasks and a predecessor before its successor, so that commands and events
wait for each other and never in a circle.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any
from uuid import UUID, uuid4

from todo.backend import telling
from todo.backend.store import letters, people, tasks
from todo.backend.store.people import Owner, User
from todo.contracts import events
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


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as a person describes it; already checked and normalised."""

    title: str
    fields: dict[str, Any]
    repetition: Repetition | None = None


async def create(db: Executor, context: Context, user: Owner | User, draft: Draft) -> tuple[Task, TaskSeries | None]:
    """Make a task, with a series of its own if it repeats. Raises `RuleError`."""
    task = Task(
        id=uuid4(),
        user_id=user.id,
        title=draft.title,
        created_at=context.now,
        updated_at=context.now,
        **draft.fields,
    )
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
) -> tuple[Task, TaskSeries | None]:
    """Change fields, and the series from this occurrence on if `repetition` is given (None ends it).

    Changes that depend on the task are a function of it, called once it is locked.
    """
    series, task = await _lock(unit, user_id, task_id, expected)
    edited = task_rules.edit(task, context.now, **(changes(task) if callable(changes) else changes))
    if repetition is not ...:
        changed = await _edit_series(unit, series, edited, repetition)
        if changed is not series:
            renewed = edited if edited is not task else task_rules.renew(task, context.now)
            series, edited = changed, _join(renewed, changed)
    await _store(unit, context, events.TASK_UPDATED, task, edited, series)
    return edited, series


async def complete(
    unit: Transaction, context: Context, user_id: int, task_id: UUID, expected: int | None
) -> tuple[Task, TaskSeries | None]:
    """Close a task as done; again changes nothing."""
    series, task = await _lock(unit, user_id, task_id, expected)
    done = task_rules.complete(task, context.now)
    await _store(unit, context, events.TASK_COMPLETED, task, done, series)
    return done, series


async def reopen(
    unit: Transaction, context: Context, user_id: int, task_id: UUID, expected: int | None
) -> tuple[Task, TaskSeries | None]:
    """Undo closing. An untouched successor is withdrawn; closing again brings it back with the new date."""
    series, task = await _lock(unit, user_id, task_id, expected)
    opened = task_rules.reopen(task, context.now)
    if opened is not task and series is not None and task.seq is not None:
        if series.ended_seq == task.seq + 1:
            series = replace(series, ended_seq=None)
            await tasks.update_series(unit.connection, series)
        if not series.deleted:  # of an ended series none would come back
            await _withdraw_successor(unit, context, series, task.seq)
    await _store(unit, context, events.TASK_REOPENED, task, opened, series)
    return opened, series


async def snooze(  # noqa: PLR0913 - whose reminder, which, until when
    unit: Transaction, context: Context, user_id: int, task_id: UUID, *, until: dt.datetime, instead_of: str | None
) -> tuple[Task, TaskSeries | None]:
    """Remind once more at `until`. Raises `RuleError`."""
    series, task = await _lock(unit, user_id, task_id, None)
    snoozed = task_rules.snooze(task, context.now, until, instead_of)
    await _store(unit, context, events.TASK_UPDATED, task, snoozed, series)
    return snoozed, series


async def delete(  # noqa: PLR0913 - whose task, from which version, how much of it
    unit: Transaction, context: Context, user_id: int, task_id: UUID, *, expected: int | None, whole_series: bool | None
) -> None:
    """Delete a task: one occurrence (its successor comes), or the series with every open one.

    Raises `RuleError` if that is not said.
    """
    series, task = await _lock(unit, user_id, task_id, expected)
    if series is not None and series.is_alive and whole_series is None:
        raise RuleError(
            "scope", "the task repeats", "say scope=occurrence (the next one comes) or scope=series (none does)"
        )
    if series is not None and series.is_alive and not whole_series:
        await _store(unit, context, events.TASK_DELETED, task, task_rules.skip(task, context.now), series)
        return
    if series is not None and not series.deleted and whole_series:  # one that has run out may have been opened again
        series = replace(series, deleted=True)
        await tasks.update_series(unit.connection, series)
        others = await tasks.open_occurrences(unit.connection, series.id)
        gone = [(task_rules.delete(one, context.now), series) for one in others if one.id != task.id]
        await store_all(unit, context, events.TASK_DELETED, gone)
    await _store(unit, context, events.TASK_DELETED, task, task_rules.delete(task, context.now), series)


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


async def _store(  # noqa: PLR0913 - before, after and what goes with it
    unit: Transaction, context: Context, event_type: str, before: Task, after: Task, series: TaskSeries | None
) -> None:
    if after != before:
        unit.tells = True
        await tasks.update(unit.connection, after, _change(event_type, after, series, context), context.now)


async def _edit_series(
    unit: Transaction, series: TaskSeries | None, task: Task, repetition: Repetition | None
) -> TaskSeries | None:
    """The series as it is from now on; the same object when nothing differs."""
    if repetition is None:
        if series is None or series.deleted:
            return series
        edited = replace(series, deleted=True)
    elif series is None or task.seq is None:
        fresh = series_rules.start_series(uuid4(), task.user_id, repetition, task.due)
        await tasks.insert_series(unit.connection, fresh)
        return fresh
    else:
        edited = series_rules.edit_series(series, task.seq, repetition, task.due)
    if edited is not series:
        await tasks.update_series(unit.connection, edited)
    return edited


def _join(task: Task, series: TaskSeries | None) -> Task:
    """The task as an occurrence of the series it is in now: its first, or the one the rule was edited at."""
    if series is None or series.deleted:
        return task
    return replace(task, series_id=series.id, seq=task.seq or 1, scheduled=task.due)


async def _withdraw_successor(unit: Transaction, context: Context, series: TaskSeries, seq: int) -> None:
    following = await tasks.occurrence(unit.connection, series.id, seq + 1)
    if following is not None and following.is_open and not following.touched:
        gone = task_rules.delete(following, context.now, withdrawn=True)
        await store_all(unit, context, events.TASK_DELETED, [(gone, series)])


async def _letter(unit: Transaction, letter_id: int) -> letters.Letter:
    letter = await letters.find(unit.connection, letter_id, lock=True)
    if letter is None:
        raise NotFoundError("there is no such dead letter")
    return letter


def _change(event_type: str, task: Task, series: TaskSeries | None, context: Context) -> tasks.Change:
    return telling.change(event_type, task, series, epoch=context.epoch, now=context.now, cause=context.cause)
