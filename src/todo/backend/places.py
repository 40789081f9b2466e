"""Where a task belongs: in a list, under a parent. Whoever changes that holds the lock of the owner (`people.lock`)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from todo.backend.store import lists, tasks
from todo.domain.errors import RuleError
from todo.domain.task import MAX_SUBTASKS, Task
from todo.messaging.postgres import Executor

PLACES = frozenset({"list_id", "parent_id"})


async def settle(
    db: Executor, user_id: int, task: Task | None, changes: Mapping[str, Any], *, repeats: bool
) -> dict[str, Any]:
    """The changes, or the fields of a new task, with the list that follows from the parent. Raises `RuleError`."""
    settled = dict(changes)
    parent_id: UUID | None = settled.get("parent_id", task.parent_id if task else None)
    if parent_id is not None and repeats:
        raise RuleError("recurrence", "a subtask does not repeat by itself", "let its parent repeat")
    if parent_id is None or not settled.keys() & PLACES:
        await _check_list(db, user_id, settled.get("list_id"))
        return settled
    parent = await _parent(db, user_id, task, parent_id)
    if settled.get("list_id", parent.list_id) != parent.list_id:
        raise RuleError("list_id", "a subtask is in the list of its parent", "leave it out, or move the parent")
    return settled | {"list_id": parent.list_id}


def living(found: Sequence[Task]) -> list[Task]:
    """Those that are not in the trash."""
    return [one for one in found if not one.deleted]


async def _check_list(db: Executor, user_id: int, list_id: UUID | None) -> None:
    if list_id is not None and await lists.owned(db, list_id, user_id) is None:
        raise RuleError("list_id", "there is no such list", "give the id of one of GET /lists, or null")


async def _parent(db: Executor, user_id: int, task: Task | None, parent_id: UUID) -> Task:
    parent = await tasks.owned(db, parent_id, user_id)
    if parent is None:
        raise RuleError("parent_id", "there is no such task", "give the id of a task that is not a subtask, or null")
    if parent.parent_id is not None or (task is not None and task.id == parent_id):
        raise RuleError("parent_id", "it is a subtask itself, or this task", "subtasks have one level: take its parent")
    if task is not None and task.parent_id == parent_id:
        return parent
    if task is not None and living(await tasks.subtasks(db, task.id)):
        raise RuleError("parent_id", "the task has subtasks", "subtasks have one level: move those first")
    if len(living(await tasks.subtasks(db, parent_id))) >= MAX_SUBTASKS:
        raise RuleError("parent_id", f"it has {MAX_SUBTASKS} subtasks", "take another parent")
    return parent
