"""Taking changes back.

An undo is a change like any other: a new version by the same rules, told by the same events, and a step that can be
taken back itself. It is refused when anything it concerns was changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from todo.backend import commands, organising, places
from todo.backend.commands import ConflictError, Context, NotFoundError
from todo.backend.places import PLACES
from todo.backend.steps import Item, Kind, Step
from todo.backend.store import lists, people, steps, tasks
from todo.contracts import events
from todo.domain import task as task_rules
from todo.domain import tasklist
from todo.domain.errors import RuleError
from todo.domain.series import TaskSeries
from todo.domain.task import Status, Task
from todo.messaging.unit import Transaction

_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back, and the id by which that can be taken back."""

    what: str
    title: str
    items: list[Item]
    undo: str | None


async def keep(unit: Transaction, context: Context, user_id: int, what: str, *, takes_back: bool = False) -> str | None:
    """Keep what the command of this context changed; the id to take it back by, None if it changed nothing."""
    step = context.step
    if not step.items:
        return None
    kept = await steps.keep(
        unit.connection, user_id, what, step.title, step.items, takes_back=takes_back, now=context.now
    )
    return str(kept)


async def undo(unit: Transaction, context: Context, user_id: int, step_id: str | None) -> Undone:
    """Take a step back, or the last one. Raises `NotFoundError` and `ConflictError`."""
    await people.lock(unit.connection, user_id)
    if step_id is None:
        found = await steps.last(unit.connection, user_id, context.now - steps.KEPT_FOR)
        if found is None:
            raise ConflictError("there is nothing to take back")
        step_id = found[0]
    if not step_id.isdecimal():
        return await _unmake(unit, context, user_id, step_id)
    kept = await steps.find(unit.connection, int(step_id), user_id) if int(step_id) <= _LARGEST else None
    if kept is None:
        raise NotFoundError("there is no such step: it was never there, or is too long ago")
    return await _undo(unit, context, user_id, kept)


async def _undo(unit: Transaction, context: Context, user_id: int, kept: steps.Kept) -> Undone:
    if kept.undone:
        raise ConflictError("it was taken back already")
    await _take_back(unit, context, user_id, kept.items)
    await steps.mark_undone(unit.connection, kept.id)
    await _uncover(unit, context, user_id, kept.items)
    undo_id = await keep(unit, context, user_id, kept.what, takes_back=not kept.takes_back)
    return Undone(kept.what, kept.title, context.step.items, undo_id)


async def _uncover(unit: Transaction, context: Context, user_id: int, items: Sequence[Item]) -> None:
    """Let what was done before be taken back next: things are as that left them, but for their version."""
    now = {item.id: item for item in context.step.items}
    again = [(item.id, item.from_version, now[item.id].version) for item in items if item.id in now]
    await steps.stand_again(unit.connection, user_id, again)
    for item in items:
        if item.kind is Kind.TASK and item.from_version == 1 and item.before.get("touched", True):  # a person made it
            await _keep_making(unit, user_id, item.id)


async def _keep_making(unit: Transaction, user_id: int, task_id: UUID) -> None:
    """A task that is again as a person made it: that is kept as a step, for the version tells it no more."""
    task = await tasks.owned(unit.connection, task_id, user_id)
    if task is None or await steps.made(unit.connection, task_id, user_id) is not None:
        return
    making = Step()
    making.note(None, task)
    series = await tasks.series(unit.connection, task.series_id) if task.series_id else None
    if series is not None and not series.deleted:
        making.note(None, series)
    await steps.keep(
        unit.connection, user_id, steps.CREATED, task.title, making.items, takes_back=False, now=task.created_at
    )


async def _unmake(unit: Transaction, context: Context, user_id: int, step_id: str) -> Undone:
    """Take the making of a task back: it is deleted, unless anything was done to it since."""
    try:
        task_id = UUID(step_id)
    except ValueError:
        raise NotFoundError("there is no such step: it was never there, or is too long ago") from None
    task = await tasks.owned(unit.connection, task_id, user_id, deleted=True)
    if task is None or not task.touched:
        raise NotFoundError("there is no such step: it was never there, or is too long ago")
    kept = await steps.made(unit.connection, task_id, user_id)
    if kept is not None:
        return await _undo(unit, context, user_id, kept)
    if task.version != 1 or places.living(await tasks.subtasks(unit.connection, task_id)):
        raise _changed(task.title)
    try:
        await commands.delete(unit, context, user_id, task_id, expected=1, whole_series=True)
    except (commands.StaleError, NotFoundError):  # changed since we looked
        raise _changed(task.title) from None
    undo_id = await keep(unit, context, user_id, steps.CREATED, takes_back=True)
    return Undone(steps.CREATED, task.title, context.step.items, undo_id)


@dataclass(frozen=True, slots=True)
class _Locked:
    """All that a step concerns, as it is now."""

    series: dict[UUID, TaskSeries]
    tasks: dict[UUID, Task] = field(default_factory=dict)


async def _take_back(unit: Transaction, context: Context, user_id: int, items: Sequence[Item]) -> None:
    locked = await _lock(unit, user_id, items)
    for item in items:
        if item.kind is Kind.LIST:
            await _list_back(unit, context, user_id, item)
    for item in items:
        if item.kind is Kind.SERIES:
            locked.series[item.id] = await _series_back(unit, context, locked.series.get(item.id), item)
    concerned = [(item, locked.tasks.get(item.id)) for item in items if item.kind is Kind.TASK]
    checked = [(item, _checked(item, task)) for item, task in concerned]
    for item, task in sorted(checked, key=_order):
        await _task_back(unit, context, locked.series, item, task)
    for _, task in checked:
        now = await tasks.by_id(unit.connection, task.id)
        if now is not None and not now.deleted and now.list_id != task.list_id:
            await commands.follow(unit, context, now)


async def _lock(unit: Transaction, user_id: int, items: Sequence[Item]) -> _Locked:
    """Series before tasks, each in the order of ids."""
    ids = sorted(item.id for item in items if item.kind is Kind.TASK)
    seen = await tasks.by_ids(unit.connection, ids)
    of_tasks = {task.series_id for task in seen if task.series_id}
    locked = _Locked({})
    for series_id in sorted({item.id for item in items if item.kind is Kind.SERIES} | of_tasks):
        series = await tasks.series(unit.connection, series_id, lock=True)
        if series is not None:
            locked.series[series_id] = series
    for task_id in ids:
        task = await tasks.owned(unit.connection, task_id, user_id, lock=True, deleted=True)
        if task is not None:
            locked.tasks[task_id] = task
    return locked


def _order(one: tuple[Item, Task]) -> bool:
    """A parent comes back before its subtasks, and goes after them."""
    item, task = one
    goes = not task.deleted and bool(item.before.get("deleted"))
    return (task.parent_id is not None) != goes


def _checked(item: Item, task: Task | None) -> Task:
    if task is None or not item.fits(task):
        raise _changed(task.title if task else "a task")
    return task


async def _list_back(unit: Transaction, context: Context, user_id: int, item: Item) -> None:
    now = await lists.owned(unit.connection, item.id, user_id, lock=True, deleted=True)
    if now is None or not item.fits(now):
        raise _changed(now.name if now else "a list")
    before = item.of(now)
    if not before.deleted:
        await organising.check_name(unit, user_id, before.name, now.id)
    changed = {name: getattr(before, name) for name in item.before}
    await organising.store_list(unit, context, now, tasklist.edit(now, context.now, **changed))


async def _series_back(unit: Transaction, context: Context, now: TaskSeries | None, item: Item) -> TaskSeries:
    """The rule as it was, under a new generation: dates that were computed meanwhile do not count."""
    if now is None or not item.fits(now):
        raise _changed("the series")
    back = replace(item.of(now), generation=now.generation + 1)
    await commands.save_series(unit, context, now, back)
    return back


async def _task_back(
    unit: Transaction, context: Context, series_of: Mapping[UUID, TaskSeries], item: Item, task: Task
) -> None:
    back = task_rules.back(task, item.of(task), context.now)
    back = await _in_its_place(unit, task, back, item)
    series = series_of.get(back.series_id) if back.series_id else None
    if task.status is not Status.OPEN and back.status is Status.OPEN:
        series = await commands.without_successor(unit, context, series, task)
    await commands.store(unit, context, _event_type(task, back), task, back, series)


async def _in_its_place(unit: Transaction, task: Task, back: Task, item: Item) -> Task:
    """The task in the list that its parent is in now. Raises `ConflictError` if list or parent take it no more."""
    if back.deleted:
        if not task.deleted and places.living(await tasks.subtasks(unit.connection, task.id)):
            raise ConflictError(f"{task.title!r} has subtasks by now: delete it instead")
        return back
    given = {name: getattr(back, name) for name in PLACES & item.before.keys()}
    if task.deleted and back.parent_id is not None:
        given = {"parent_id": back.parent_id}
    try:
        settled = await places.settle(unit.connection, task.user_id, task, given, repeats=False)
    except RuleError as error:
        raise ConflictError(f"{task.title!r} cannot go back: {error}") from error
    return replace(back, list_id=settled.get("list_id", back.list_id))


def _event_type(task: Task, back: Task) -> str:
    if back.deleted and not task.deleted:
        return events.TASK_DELETED
    if task.deleted or back.status is task.status:
        return events.TASK_UPDATED
    return events.TASK_REOPENED if back.status is Status.OPEN else events.TASK_COMPLETED


def _changed(title: str) -> ConflictError:
    return ConflictError(f"{title!r} was changed since: nothing is taken back")
