"""Looking at a filter while it is written."""

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from todo.backend.api import requests
from todo.backend.api.problems import answers
from todo.backend.api.requests import Reader, TheBackend
from todo.backend.store import filters as store
from todo.domain.filters import Fault, FilterError, parse
from todo.domain.filters.completion import MOST, Completion, begun, completions
from todo.messaging.postgres import Executor

router = APIRouter(tags=["filters"])

_LONGEST: Final = 10_000  # what is longer than a filter is told so by its check, within reason


class FilterIn(BaseModel):
    """A filter as far as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filter: str = Field(max_length=_LONGEST, examples=["#home & (overdue | due before: +7d) & !1"])
    at: int | None = Field(None, ge=0, le=2 * _LONGEST, description="where the cursor is, to have it completed")


class FaultOut(BaseModel):
    """What is wrong from `start` to `end`, in UTF-16 code units."""

    start: int
    end: int
    problem: str
    fix: str


class CompletionOut(BaseModel):
    """What could take the place of what is from `start` to `end`, in UTF-16 code units."""

    insert: str
    label: str
    kind: str = Field(description="keyword, day, priority, label or list")
    start: int
    end: int


class CheckOut(BaseModel):
    ok: bool
    problems: list[FaultOut]
    completions: list[CompletionOut]


@router.post("/filters/check", response_model=CheckOut, responses=answers(413))
async def check(body: FilterIn, backend: TheBackend, user: Reader) -> Response:
    """What is wrong with a filter, and what could be written at the cursor."""
    faults = _faults(body.filter)
    found = [] if body.at is None else await _completed(backend.database.pool, user.id, body.filter, body.at)
    return requests.answer({"ok": not faults, "problems": faults, "completions": found})


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        parse(text)
    except FilterError as error:
        return error.faults
    return ()


async def _completed(db: Executor, user_id: int, text: str, at: int) -> list[Completion]:
    place = begun(text, at)
    names = await store.names(db, user_id, place.kind, place.prefix, MOST) if place.kind in {"label", "list"} else []
    return completions(place, names)
