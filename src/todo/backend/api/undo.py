"""Taking changes back."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from todo.backend import undoing
from todo.backend.api import models, requests
from todo.backend.api.models import UndoIn
from todo.backend.api.problems import answers
from todo.backend.api.requests import IdempotencyKey, Reader, TheBackend, Writer
from todo.backend.steps import Kind
from todo.backend.store import steps
from todo.messaging.unit import Transaction

router = APIRouter(tags=["undo"])

Limit = Annotated[int, Query(ge=1, le=steps.KEPT)]


@router.get("/undo", response_model=models.StepsOut)
async def read(backend: TheBackend, user: Reader, limit: Limit = 20) -> Response:
    """The last changes that can be taken back, the last first; what is older than a week cannot."""
    since = backend.database.clock() - steps.KEPT_FOR
    found = await steps.latest(backend.database.pool, user.id, since, limit)
    return requests.answer({"steps": [dict(row) for row in found]})


@router.post("/undo", response_model=models.UndoneOut, responses=answers(404, 409, 413))
async def undo(
    request: Request,
    backend: TheBackend,
    user: Writer,
    body: UndoIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take a change back, or the last one that is no undo itself. Refused if anything it concerns was changed since."""

    async def act(unit: Transaction) -> Response:
        undone = await undoing.undo(unit, backend.context(request), user.id, body.id if body else None)
        changed = [
            {"kind": one.kind, "id": one.id, "version": one.version, "deleted": one.deleted}
            for one in undone.items
            if one.kind is not Kind.SERIES
        ]
        answer = {"what": undone.what, "title": undone.title, "changed": changed}
        return requests.answer(answer, undo=undone.undo)

    return await requests.act_once(backend, request, user.id, idempotency_key, act)
