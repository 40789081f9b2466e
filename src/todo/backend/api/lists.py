"""The lists of a user."""

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from todo.backend import organising, undoing
from todo.backend.api import models, requests
from todo.backend.api.models import ListIn, ListPatch
from todo.backend.api.problems import answers
from todo.backend.api.requests import Expected, IdempotencyKey, Reader, TheBackend, Writer
from todo.backend.store import lists as store
from todo.domain.tasklist import check_color, check_name
from todo.messaging.unit import Transaction

router = APIRouter(tags=["lists"])


@router.get("/lists", response_model=models.ListsOut)
async def read(backend: TheBackend, user: Reader) -> Response:
    """All lists, in their order."""
    found = await store.of_user(backend.database.pool, user.id)
    return requests.answer({"lists": [models.list_out(one) for one in found]})


@router.post("/lists", status_code=201, response_model=models.ListOut, responses=answers(409, 413))
async def create(
    body: ListIn, request: Request, backend: TheBackend, user: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a list. Names of lists differ, whatever their case."""
    name, color = check_name(body.name), check_color(body.color)

    async def act(unit: Transaction) -> Response:
        context = backend.context(request)
        made = await organising.add_list(unit, context, user.id, name, color)
        return requests.answer(
            models.list_out(made),
            status=201,
            version=made.version,
            location=f"/lists/{made.id}",
            undo=await undoing.keep(unit, context, user.id, "create list"),
        )

    return await requests.act_once(backend, request, user.id, idempotency_key, act)


@router.patch("/lists/{list_id}", response_model=models.ListOut, responses=answers(404, 409, 412, 413, 428))
async def edit(  # noqa: PLR0913 - the list and the request
    list_id: UUID, body: ListPatch, request: Request, backend: TheBackend, user: Writer, expected: Expected
) -> Response:
    """Change a list, or move it behind another one. Absent fields stay; If-Match is required."""
    version, changes = requests.demanded(expected), body.changes
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        changed = await organising.edit_list(unit, context, user.id, list_id, expected=version, changes=changes)
        undo = await undoing.keep(unit, context, user.id, "edit list")
        return requests.answer(models.list_out(changed), version=changed.version, undo=undo)


@router.delete("/lists/{list_id}", status_code=204, responses=answers(404, 412, 428))
async def delete(list_id: UUID, request: Request, backend: TheBackend, user: Writer, expected: Expected) -> Response:
    """Delete a list; If-Match is required. Its tasks stay, and belong to no list."""
    version = requests.demanded(expected)
    async with backend.database.transaction() as unit:
        context = backend.context(request)
        await organising.delete_list(unit, context, user.id, list_id, version)
        undo = await undoing.keep(unit, context, user.id, "delete list")
    return Response(status_code=204, headers=requests.undo_header(undo))
