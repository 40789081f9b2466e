"""What the API's routes share: who asks, from which version, under which key, in which trace."""

import base64
import binascii
import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import Depends, Header, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo.backend.api.problems import problem
from todo.backend.commands import ConflictError, Context
from todo.backend.store import answers, people
from todo.backend.store.people import User
from todo.contracts.envelope import new_trace
from todo.dapr.client import Dapr
from todo.domain.errors import RuleError
from todo.messaging.unit import Database, Transaction

MAX_BODY: Final = 1024 * 1024  # bytes
MAX_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class Backend:
    """What a route works with."""

    database: Database
    dapr: Dapr
    epoch: int

    def context(self, request: Request) -> Context:
        return Context(self.epoch, self.database.clock(), request.headers.get("traceparent") or new_trace())


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _caller(
    request: Request, user_id: Annotated[int, Query(description="whose; believed under TODO_AUTH=local")] = 1
) -> User:
    """The user a request is for. The one place where that is decided."""
    return await find_user(_backend(request), user_id)


async def find_user(backend: Backend, user_id: int) -> User:
    """A user by id. Raises `RuleError`."""
    user = await people.find(backend.database.pool, user_id) if 0 < user_id < 2**63 else None
    if user is None:
        raise RuleError("user_id", f"there is no user {user_id}", "list them with `todo user list`")
    return user


def _expected_version(if_match: Annotated[str | None, Header(description='an ETag, such as "3", or *')] = None) -> int:
    """The version in If-Match: 0 when there is none, -1 for any."""
    if if_match is None:
        return 0
    text = if_match.strip().removeprefix("W/").strip('"')
    if text == "*":
        return -1
    if not text.isdigit():
        raise HTTPException(400, f"If-Match is {if_match[:40]!r}: give the ETag that reading the task returned")
    return int(text)


TheBackend = Annotated[Backend, Depends(_backend)]
Caller = Annotated[User, Depends(_caller)]
Expected = Annotated[int, Depends(_expected_version)]
IdempotencyKey = Annotated[
    str | None, Header(max_length=MAX_KEY, min_length=1, description="repeat a request safely when its answer was lost")
]


def optional(expected: int) -> int | None:
    """A version to check, or None for any."""
    return expected if expected > 0 else None


def demanded(expected: int) -> int | None:
    """Like `optional`, for changes that would otherwise overwrite what the caller never saw."""
    if expected == 0:
        raise HTTPException(428, 'If-Match is missing: give the ETag you read, or "*" to overwrite whatever is there')
    return optional(expected)


def answer(body: Any, *, status: int = 200, version: int | None = None, location: str | None = None) -> Response:  # noqa: ANN401
    """A JSON answer."""
    headers = {}
    if version is not None:
        headers["etag"] = f'"{version}"'
    if location is not None:
        headers["location"] = location
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


_KEPT: Final = ("content-type", "etag", "location")
Act = Callable[[Transaction], Awaitable[Response]]


async def act_once(backend: Backend, request: Request, user_id: int, key: str | None, act: Act) -> Response:
    """Run a command in its transaction; under a key, once: the same request again gets the same answer."""
    async with backend.database.transaction() as unit:
        if key is None:
            return await act(unit)
        fingerprint = await _fingerprint(request)
        kept = await answers.begin(unit.connection, user_id, key, request=fingerprint, now=unit.now)
        if kept is not None:
            if kept["request"] != fingerprint:
                raise ConflictError("this Idempotency-Key was used for another request; use a new one")
            headers = msgspec.json.decode(kept["headers"], type=dict[str, str])
            return Response(kept["body"], kept["status"], headers | {"idempotent-replayed": "true"})
        response = await act(unit)
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        await answers.keep(
            unit.connection,
            user_id,
            key,
            status=response.status_code,
            headers=msgspec.json.encode(headers).decode(),
            body=bytes(response.body),
        )
        return response


async def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    return digest.hexdigest()


def write_cursor(value: dt.datetime, task_id: UUID) -> str:
    """A place in a list, opaque to callers."""
    return base64.urlsafe_b64encode(msgspec.json.encode([value, task_id])).decode().rstrip("=")


def read_cursor(cursor: str | None) -> tuple[dt.datetime, UUID] | None:
    """Raises `RuleError`."""
    if cursor is None:
        return None
    try:
        padded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(padded, type=tuple[dt.datetime, UUID])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise RuleError("cursor", "it is not one of ours", "give back `next_cursor` as it came, or none") from None


class BodyLimit:
    """ASGI middleware: a body beyond `MAX_BODY` is refused before it is read whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PUBLIC):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            await _too_large(scope, receive, send)
            return
        await self.app(scope, _counted(receive), send)


_PUBLIC: Final = ("/tasks", "/users", "/dead-letters", "/occurrences")


def _counted(receive: Receive) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY:,} bytes")
        return message

    return counting


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    response = problem(413, "too-large", f"the body is larger than {MAX_BODY:,} bytes", {"connection": "close"})
    await response(scope, receive, send)
