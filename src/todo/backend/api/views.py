"""Saved views of a user: a filter and an order under a name."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from todo.backend import saved_views as commands
from todo.backend.api import models, requests
from todo.backend.api.problems import answers
from todo.backend.api.requests import Expected, IdempotencyKey, Reader, TheBackend, Writer
from todo.backend.store import saved_views as store
from todo.backend.store.orders import Sort
from todo.domain.errors import RuleError
from todo.domain.filters import parse
from todo.domain.views import check_name
from todo.messaging.unit import Transaction

router = APIRouter(tags=["views"])

_Text = Annotated[str, Field(max_length=10_000)]
_SortBy = Annotated[Sort, Field(strict=False)]


class ViewIn(BaseModel):
    """A new view. It comes after the others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Text = Field(examples=["At home"])
    filter: _Text = Field("", description="see docs/filters.md", examples=["#home & (overdue | due before: +7d)"])
    sort: _SortBy = Sort.DUE


class ViewPatch(BaseModel):
    """Changes to a view: fields that are absent stay."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Text | None = None
    filter: _Text | None = None
    sort: _SortBy | None = None
    after: Annotated[UUID, Field(strict=False)] | None = Field(
        None, description="the view it shall stand after; null: before all"
    )

    def changes(self) -> dict[str, Any]:
        """The checked changes to a `View`, `after` excepted. Raises `RuleError`."""
        checked: dict[str, Any] = {}
        for name, check in (("name", check_name), ("filter", _check_filter), ("sort", Sort)):
            if name in self.model_fields_set:
                value = getattr(self, name)
                if value is None:
                    raise RuleError(name, "it is null", "give a value, or leave it out")
                checked[name] = check(value)
        return checked


class ViewList(BaseModel):
    views: list[models.ViewOut]


@router.get("/views", response_model=ViewList)
async def list_views(backend: TheBackend, user: Reader) -> Response:
    """Every view of the user, in their order."""
    found = await store.of_user(backend.database.pool, user.id)
    return requests.answer({"views": [models.view_out(view) for view in found]})


@router.post("/views", status_code=201, response_model=models.ViewOut, responses=answers(409, 413))
async def add(
    body: ViewIn, request: Request, backend: TheBackend, user: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Save a filter under a name that none of the user's other views has."""
    name, filter_ = check_name(body.name), _check_filter(body.filter)

    async def act(unit: Transaction) -> Response:
        view = await commands.add(unit, user.id, name, filter_, body.sort)
        return requests.answer(models.view_out(view), status=201, version=view.version, location=f"/views/{view.id}")

    return await requests.act_once(backend, request, user.id, idempotency_key, act)


@router.patch("/views/{view_id}", response_model=models.ViewOut, responses=answers(404, 409, 412, 413, 428))
async def change(view_id: UUID, body: ViewPatch, backend: TheBackend, user: Writer, expected: Expected) -> Response:
    """Change a view, or its place. If-Match is required."""
    version, changes = requests.demanded(expected), body.changes()
    after = body.after if "after" in body.model_fields_set else ...
    async with backend.database.transaction() as unit:
        view = await commands.change(unit, user.id, view_id, version, changes, after)
    return requests.answer(models.view_out(view), version=view.version)


@router.delete("/views/{view_id}", status_code=204, responses=answers(404, 412))
async def remove(view_id: UUID, backend: TheBackend, user: Writer, expected: Expected) -> Response:
    """Delete a view; its tasks stay."""
    async with backend.database.transaction() as unit:
        await commands.remove(unit, user.id, view_id, requests.optional(expected))
    return Response(status_code=204)


def _check_filter(text: str) -> str:
    """The filter as it was written. Raises `FilterError`."""
    parse(text)
    return text.strip()
