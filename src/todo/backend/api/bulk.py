"""One action on many tasks: one transaction, a result for each, one step to take back."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from todo.backend import commands, organising, undoing
from todo.backend.api import models, problems, requests
from todo.backend.api.models import Action, BulkIn, MoveIn, TaskPatch
from todo.backend.api.requests import IdempotencyKey, TheBackend, Writer
from todo.backend.commands import ConflictError, Context, NotFoundError, StaleError
from todo.backend.store import people, tasks
from todo.backend.store.people import Owner
from todo.domain.errors import RuleError
from todo.domain.task import Task
from todo.messaging.unit import Transaction

router = APIRouter(tags=["tasks"])

Act = Callable[[Transaction, Context, UUID], Awaitable[int]]  # on one task: its version afterwards
T = TypeVar("T", bound=BaseModel)


@router.post("/tasks/bulk", response_model=models.BulkOut, responses=problems.answers(409, 413))
async def bulk(
    body: BulkIn, request: Request, backend: TheBackend, user: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Do the same to up to 500 tasks. What cannot be done to one is told, and done to the others."""
    ids, act_on = list(dict.fromkeys(body.ids)), _act(body, user)

    async def act(unit: Transaction) -> Response:
        context = backend.context(request)
        await people.lock(unit.connection, user.id)
        await tasks.lock_all(unit.connection, ids, user.id)
        results = [await _one(unit, context, task_id, act_on) for task_id in ids]
        undo = await undoing.keep(unit, context, user.id, f"bulk {body.action}")
        return requests.answer({"results": results}, undo=undo)

    return await requests.act_once(backend, request, user.id, idempotency_key, act)


async def _one(unit: Transaction, context: Context, task_id: UUID, act: Act) -> dict[str, Any]:
    mark = context.step.mark()
    try:
        async with unit.isolated():
            version = await act(unit, context, task_id)
    except (RuleError, NotFoundError, StaleError, ConflictError) as error:
        context.step.back_to(mark)
        return {"id": task_id, "ok": False, "version": None, "problem": problems.told(error)}
    return {"id": task_id, "ok": True, "version": version, "problem": None}


def _act(body: BulkIn, user: Owner) -> Act:
    """What is done to each task. Raises `RequestValidationError` and `RuleError`."""
    if body.change is not None and body.action not in {Action.EDIT, Action.MOVE}:
        raise RuleError("change", f"{body.action} takes none", "leave it out")
    match body.action:
        case Action.EDIT:
            return _edit(_read(lambda: body.edited), user)
        case Action.MOVE:
            return _move(_read(lambda: body.moved), user)
        case Action.DELETE:
            return _delete(None if body.scope is None else body.scope == "series", user)
        case Action.COMPLETE:
            return lambda unit, context, task_id: _version(commands.complete(unit, context, user.id, task_id, None))
        case Action.REOPEN:
            return lambda unit, context, task_id: _version(commands.reopen(unit, context, user.id, task_id, None))


def _edit(patch: TaskPatch, user: Owner) -> Act:
    given = "recurrence" in patch.model_fields_set
    repetition = patch.recurrence.repetition if patch.recurrence else None

    async def act(unit: Transaction, context: Context, task_id: UUID) -> int:
        edited, _ = await commands.edit(
            unit,
            context,
            user.id,
            task_id,
            expected=None,
            changes=lambda before: patch.changes(before, user),
            repetition=repetition if given else ...,
            places_it=patch.places_it,
        )
        return edited.version

    return act


def _move(to: MoveIn, user: Owner) -> Act:
    """Each behind the one before, so that they end in the order they were named in."""
    after = to.after

    async def act(unit: Transaction, context: Context, task_id: UUID) -> int:
        nonlocal after
        moved, _ = await organising.move(
            unit, context, user.id, task_id, expected=None, after=after, changes=to.changes
        )
        after = task_id
        return moved.version

    return act


def _delete(whole_series: bool | None, user: Owner) -> Act:  # noqa: FBT001 - as `commands.delete` has it
    async def act(unit: Transaction, context: Context, task_id: UUID) -> int:
        if not context.step.deleted(task_id):  # by its parent, or its series, that was named before it
            await commands.delete(unit, context, user.id, task_id, expected=None, whole_series=whole_series)
        gone = await tasks.owned(unit.connection, task_id, user.id, deleted=True)
        return gone.version if gone else 0

    return act


async def _version(command: Awaitable[tuple[Task, Any]]) -> int:
    return (await command)[0].version


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValidationError as error:
        faults = [dict(one) | {"loc": ("body", "change", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(faults) from error
