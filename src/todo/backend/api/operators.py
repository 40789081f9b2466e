"""Users, dead letters and the pipeline: what the person who runs this looks at."""

import base64
from dataclasses import asdict
from typing import Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from todo.backend import commands, views
from todo.backend.api import models, requests
from todo.backend.api.models import UserIn, UserPatch
from todo.backend.api.problems import answers
from todo.backend.api.requests import IdempotencyKey, TheBackend
from todo.backend.auth.scopes import Scope
from todo.backend.commands import ConflictError, NotFoundError
from todo.backend.store import letters, people
from todo.backend.store.letters import Letter
from todo.backend.store.people import User
from todo.domain.due import zone_info
from todo.domain.errors import RuleError
from todo.messaging.unit import Transaction

router = APIRouter(dependencies=[requests.needs(Scope.OPERATOR)])

Number = Annotated[int, Path(ge=1, le=requests.MAX_NUMBER)]


@router.get("/users", response_model=list[models.UserOut], tags=["users"])
async def list_users(backend: TheBackend) -> Response:
    """Every user."""
    return requests.answer([asdict(user) for user in (await people.find_all(backend.database.pool)).values()])


@router.post("/users", status_code=201, response_model=models.UserOut, tags=["users"], responses=answers(409, 413))
async def add_user(
    body: UserIn, request: Request, backend: TheBackend, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add a user; reminders go to the address."""
    zone_info(body.zone)
    email, name = _clean("email", body.email), _clean("name", body.name)

    async def act(unit: Transaction) -> Response:
        user = await commands.add_user(unit, email, name or email.partition("@")[0], body.zone)
        return requests.answer(asdict(user), status=201, location=f"/users/{user.id}")

    return await requests.act_once(backend, request, 0, idempotency_key, act)


@router.get("/users/{user_id}", response_model=models.UserOut, tags=["users"], responses=answers(404))
async def read_user(user_id: Number, backend: TheBackend) -> Response:
    """One user."""
    return requests.answer(asdict(_found(await people.find(backend.database.pool, user_id))))


@router.patch("/users/{user_id}", response_model=models.UserOut, tags=["users"], responses=answers(404, 409, 413))
async def change_user(user_id: Number, body: UserPatch, backend: TheBackend) -> Response:
    """Change a user's address: what is sent from now on goes there."""
    email = _clean("email", body.email)
    try:
        return requests.answer(asdict(_found(await people.change_email(backend.database.pool, user_id, email))))
    except asyncpg.UniqueViolationError:
        raise ConflictError("a user with this address exists") from None


@router.get("/dead-letters", response_model=models.LetterList, tags=["dead letters"])
async def list_letters(
    backend: TheBackend,
    status: Annotated[Literal["open", "replayed", "discarded", "all"], Query()] = "open",
    cursor: Annotated[int | None, Query(ge=1, le=requests.MAX_NUMBER)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Events that could not be processed, newest first."""
    found = await letters.page(backend.database.pool, None if status == "all" else status, cursor, limit)
    following = str(found[-1].id) if len(found) == limit else None
    return requests.answer({"dead_letters": [_letter_out(one) for one in found], "next_cursor": following})


@router.get(
    "/dead-letters/{letter_id}", response_model=models.LetterDetail, tags=["dead letters"], responses=answers(404)
)
async def read_letter(letter_id: Number, backend: TheBackend) -> Response:
    """One dead letter with its event."""
    letter = await letters.find(backend.database.pool, letter_id)
    if letter is None:
        raise NotFoundError("there is no such dead letter")
    return requests.answer(_letter_out(letter) | _body_out(letter.body))


@router.post(
    "/dead-letters/{letter_id}/replay",
    response_model=models.LetterOut,
    tags=["dead letters"],
    responses=answers(404, 409),
)
async def replay(letter_id: Number, backend: TheBackend) -> Response:
    """Send the event again. If it fails again, the letter opens again with the new error."""
    async with backend.database.transaction() as unit:
        return requests.answer(_letter_out(await commands.replay(unit, letter_id)))


@router.post(
    "/dead-letters/{letter_id}/discard", response_model=models.LetterOut, tags=["dead letters"], responses=answers(404)
)
async def discard(letter_id: Number, backend: TheBackend) -> Response:
    """Close a letter without replaying it."""
    async with backend.database.transaction() as unit:
        return requests.answer(_letter_out(await commands.discard(unit, letter_id)))


@router.get("/pipeline", response_model=models.PipelineOut, tags=["pipeline"])
async def pipeline(backend: TheBackend) -> Response:
    """Where events are right now."""
    return requests.answer(await views.pipeline(backend.database.pool, backend.dapr, backend.database.clock()))


def _letter_out(letter: Letter) -> dict[str, Any]:
    fields = asdict(letter)
    del fields["body"]
    return fields


def _body_out(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode(), "body_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "body_encoding": "base64"}


def _found(user: User | None) -> User:
    if user is None:
        raise NotFoundError("there is no such user")
    return user


def _clean(field: str, text: str) -> str:
    if any(ord(character) < ord(" ") for character in text):
        raise RuleError(field, "it contains control characters", "remove them")
    return text.strip()
