"""The caller."""

from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from todo.backend.api import models, requests
from todo.backend.api.requests import Anybody, TheBackend
from todo.backend.commands import NotFoundError
from todo.backend.store import people

router = APIRouter()


@router.get("/me", response_model=models.MeOut, tags=["users"])
async def me(request: Request, backend: TheBackend, user: Anybody) -> Response:
    """Who you are here, and what your token is good for."""
    found = await people.find(backend.database.pool, user.id)
    if found is None:
        raise NotFoundError("there is no such user")
    return requests.answer(asdict(found) | {"scopes": sorted(requests.caller_of(request).scopes)})
