"""What a person can do to the order of things: lists, the manual order, the trash.

Each command holds the owner's lock, so that two of them never find the same gap, name or parent.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from todo.backend import commands
from todo.backend.commands import ConflictError, Context, NotFoundError, StaleError
from todo.backend.store import lists, people, tasks
from todo.contracts import events
from todo.domain import position as positions
from todo.domain import task as task_rules
from todo.domain import tasklist
from todo.domain.errors import RuleError
from todo.domain.series import TaskSeries
from todo.domain.task import Status, Task
from todo.domain.tasklist import MAX_LISTS, TaskList
from todo.messaging.unit import Transaction


async def move(  # noqa: PLR0913 - whose task, from which version, where to
    unit: Transaction,
    context: Context,
    user_id: int,
    task_id: UUID,
    *,
    expected: int | None,
    after: UUID | None,
    changes: Mapping[str, Any],
) -> tuple[Task, TaskSeries | None]:
    """Put a task behind another one, or before all; and into a list or under a parent. Raises `RuleError`."""
    await people.lock(unit.connection, user_id)
    gap = await _gap(unit, context, user_id, task_id, after)
    return await commands.edit(
        unit,
        context,
        user_id,
        task_id,
        expected=expected,
        changes=lambda task: {**changes, "position": task.position if gap is None else gap.position(task)},
        places_it=True,
    )


async def restore(
    unit: Transaction, context: Context, user_id: int, task_id: UUID, expected: int | None
) -> tuple[Task, TaskSeries | None]:
    """Take a task out of the trash, and what went with it: its subtasks, or the series and its open occurrences.

    An occurrence that was deleted alone is open again; its successor, if nobody touched it, is withdrawn.
    """
    await people.lock(unit.connection, user_id)
    seen = await tasks.owned(unit.connection, task_id, user_id, deleted=True)
    if seen is None or seen.withdrawn:
        raise NotFoundError("there is no such task")
    series = await tasks.series(unit.connection, seen.series_id, lock=True) if seen.series_id else None
    task = await _locked(unit, user_id, task_id)
    if expected is not None and task.version != expected:
        raise StaleError(task.version)
    if not task.deleted:
        return task, series
    if series is not None and task.deleted_with == series.id:
        series = await _revived(unit, context, series)
        for other in await tasks.deleted_with(unit.connection, series.id, user_id):
            if other != task_id:
                await _restore(unit, context, series, await _locked(unit, user_id, other))
    return await _restore(unit, context, series, task)


async def add_list(unit: Transaction, context: Context, user_id: int, name: str, color: str | None) -> TaskList:
    """Make a list, behind the others. Raises `ConflictError` and `RuleError`."""
    await people.lock(unit.connection, user_id)
    await check_name(unit, user_id, name, None)
    if await lists.count(unit.connection, user_id) >= MAX_LISTS:
        raise ConflictError(f"there are {MAX_LISTS} lists: delete one first")
    list_id, now = uuid4(), context.now
    position = positions.at(now, list_id)
    made = TaskList(
        id=list_id, user_id=user_id, name=name, color=color, position=position, created_at=now, updated_at=now
    )
    unit.tells = True
    await lists.insert(unit.connection, made)
    context.step.note(None, made)
    return made


async def edit_list(  # noqa: PLR0913 - whose list, from which version, what
    unit: Transaction,
    context: Context,
    user_id: int,
    list_id: UUID,
    *,
    expected: int | None,
    changes: Mapping[str, Any],
) -> TaskList:
    """Change a list; its place too, if `after` is among the changes. Raises `ConflictError` and `RuleError`."""
    before = await _locked_list(unit, user_id, list_id, expected)
    changed = dict(changes)
    if "name" in changed:
        await check_name(unit, user_id, changed["name"], list_id)
    if "after" in changed:
        changed["position"] = await _list_place(unit, context, before, changed.pop("after"))
    return await store_list(unit, context, before, tasklist.edit(before, context.now, **changed))


async def delete_list(
    unit: Transaction, context: Context, user_id: int, list_id: UUID, expected: int | None
) -> TaskList:
    """Delete a list. Its tasks stay as they are, and belong to none."""
    before = await _locked_list(unit, user_id, list_id, expected)
    return await store_list(unit, context, before, tasklist.edit(before, context.now, deleted=True))


@dataclass(frozen=True, slots=True)
class _Gap:
    """Between two neighbours in a manual order, None being its ends."""

    before: str | None
    after: str | None
    now: dt.datetime

    def position(self, task: Task) -> str | None:
        """A position here; the task's own if it is here already. Raises `RuleError`."""
        if (self.before or "") < task.place and (self.after is None or task.place < self.after):
            return task.position
        return self.of(task.id)

    def of(self, own: UUID) -> str:
        """A position here; at the two ends one that follows from the instant, so that they never grow longer."""
        top, end = positions.top(self.now, own), positions.at(self.now, own)
        if self.before is None and (self.after is None or top < self.after):
            return top
        if self.before is not None and self.after is None and end > self.before:
            return end
        return positions.between(self.before, self.after)


async def _gap(unit: Transaction, context: Context, user_id: int, task_id: UUID, after: UUID | None) -> _Gap | None:
    """Where a task comes behind another one, or before all; None behind itself."""
    if after == task_id:
        return None
    before = await tasks.owned(unit.connection, after, user_id) if after else None
    if before is None and after is not None:
        raise RuleError("after", "there is no such task", "give the id of a task that is not in the trash, or null")
    place = before.place if before else None
    return _Gap(place, await tasks.place_after(unit.connection, user_id, place or "", [task_id]), context.now)


async def _locked(unit: Transaction, user_id: int, task_id: UUID) -> Task:
    task = await tasks.owned(unit.connection, task_id, user_id, lock=True, deleted=True)
    if task is None:
        raise NotFoundError("there is no such task")
    return task


async def _restore(
    unit: Transaction, context: Context, series: TaskSeries | None, task: Task
) -> tuple[Task, TaskSeries | None]:
    back = task_rules.restore(task, context.now)
    if task.parent_id is not None:
        back = await _under_its_parent(unit, back, task.parent_id)
    if task.status is Status.SKIPPED:
        series = await commands.without_successor(unit, context, series, task)
    await commands.store(unit, context, events.TASK_UPDATED, task, back, series)
    for one in await tasks.subtasks(unit.connection, task.id, lock=True):
        if one.deleted_with == task.id:
            await commands.store(unit, context, events.TASK_UPDATED, one, task_rules.restore(one, context.now), None)
    return back, series


async def _under_its_parent(unit: Transaction, task: Task, parent_id: UUID) -> Task:
    """The task where it was, or on its own if its parent became a subtask meanwhile. Raises `ConflictError`."""
    parent = await tasks.owned(unit.connection, parent_id, task.user_id)
    if parent is None:
        raise ConflictError("its parent is in the trash: restore that")
    if parent.parent_id is not None:
        return replace(task, parent_id=None)
    return replace(task, list_id=parent.list_id)


async def _revived(unit: Transaction, context: Context, series: TaskSeries) -> TaskSeries:
    """A series that goes on; dates that were computed before it was deleted do not count."""
    if not series.deleted:
        return series
    alive = replace(series, deleted=False, generation=series.generation + 1)
    await commands.save_series(unit, context, series, alive)
    return alive


async def _locked_list(unit: Transaction, user_id: int, list_id: UUID, expected: int | None) -> TaskList:
    await people.lock(unit.connection, user_id)
    found = await lists.owned(unit.connection, list_id, user_id, lock=True)
    if found is None:
        raise NotFoundError("there is no such list")
    if expected is not None and found.version != expected:
        raise StaleError(found.version)
    return found


async def check_name(unit: Transaction, user_id: int, name: str, own: UUID | None) -> None:
    """Raises `ConflictError` if another list has the name."""
    if await lists.named(unit.connection, user_id, name) not in {own, None}:
        raise ConflictError("a list with this name exists")


async def _list_place(unit: Transaction, context: Context, own: TaskList, after: UUID | None) -> str:
    if after == own.id:
        return own.position
    ordered = [one for one in await lists.of_user(unit.connection, own.user_id) if one.id != own.id]
    before = next((one.position for one in ordered if one.id == after), None)
    if before is None and after is not None:
        raise RuleError("after", "there is no such list", "give the id of one of GET /lists, or null")
    following = next((one.position for one in ordered if before is None or one.position > before), None)
    return _Gap(before, following, context.now).of(own.id)


async def store_list(unit: Transaction, context: Context, before: TaskList, after: TaskList) -> TaskList:
    """Write a new version of a list that a caller has locked."""
    if after != before:
        unit.tells = True
        await lists.update(unit.connection, after)
        context.step.note(before, after)
    return after
