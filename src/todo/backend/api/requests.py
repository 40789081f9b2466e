"""What the API's routes share: who asks, from which version, under which key, in which trace."""

import base64
import datetime as dt
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Header, Query, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope
from structlog.contextvars import bound_contextvars

from todo.backend import metrics
from todo.backend.api.problems import problem
from todo.backend.auth.callers import Caller
from todo.backend.auth.scopes import Scope
from todo.backend.commands import ConflictError, Context
from todo.backend.store import answers, people
from todo.backend.store.orders import Order, Place
from todo.backend.store.people import Owner
from todo.contracts import spans
from todo.contracts.envelope import trace_id
from todo.contracts.spans import Kind, Span
from todo.dapr.client import Dapr
from todo.dapr.subscriber import UnavailableError
from todo.domain.errors import RuleError
from todo.messaging.unit import Database, Transaction

MAX_BODY: Final = 1024 * 1024  # bytes
MAX_IMPORT: Final = 64 * 1024 * 1024  # bytes of a file to import: read as a stream, and kept on disk
MAX_KEY: Final = 200
MOST_OWNERS: Final = 10_000
MAX_NUMBER: Final = 2**63 - 1  # ids are PostgreSQL's bigint
ANY: Final = -1  # If-Match: *
_ETAG: Final = re.compile(r'(?P<any>\*|"\*")|(?:W/)?(?P<quote>"?)(?P<version>[0-9]{1,18})(?P=quote)')


@dataclass(frozen=True, slots=True)
class Backend:
    """What a route works with."""

    database: Database
    dapr: Dapr
    epoch: int
    owners: dict[int, Owner] = field(default_factory=dict)  # seen before: a round trip less for every request

    def context(self, request: Request) -> Context:
        return Context(self.epoch, self.database.clock(), request.state.traceparent)


async def _backend(request: Request) -> Backend:  # FastAPI runs dependencies that are not async in a thread
    return _of(request)


def _of(request: Request) -> Backend:
    backend: Backend | None = getattr(request.app.state, "backend", None)
    if backend is None:
        raise UnavailableError("the database was not reached yet")
    return backend


UserId = Annotated[
    int | None, Query(description="whose: the caller's; under TODO_AUTH=local believed as given, 1 if it is not")
]


async def owner(request: Request, user_id: int | None) -> Owner:
    """The user a request is for. The one place where that is decided. Raises `ForbiddenError` and `RuleError`."""
    return await _find_owner(_of(request), caller_of(request).acts_for(user_id))


def caller_of(request: Request) -> Caller:
    """Whom the gate let in."""
    caller: Caller = request.state.caller
    return caller


def needs(scope: Scope) -> Any:  # noqa: ANN401 - FastAPI's marker
    """A route that only tokens of this scope open. Others are refused before anything of the request is looked at."""

    async def check(request: Request) -> None:
        caller_of(request).need(scope)

    return Depends(check)


async def _anybody(request: Request, user_id: UserId = None) -> Owner:
    return await owner(request, user_id)


async def _reader(request: Request, user_id: UserId = None) -> Owner:
    caller_of(request).need(Scope.READ)
    return await owner(request, user_id)


async def _writer(request: Request, user_id: UserId = None) -> Owner:
    caller_of(request).need(Scope.WRITE)
    return await owner(request, user_id)


async def _find_owner(backend: Backend, user_id: int) -> Owner:
    """A user by id. Raises `RuleError`."""
    if user_id in backend.owners:
        return backend.owners[user_id]
    user = await people.find(backend.database.pool, user_id) if 0 < user_id <= MAX_NUMBER else None
    if user is None:
        raise RuleError("user_id", f"there is no user {user_id}", "list them with `todo user list`")
    if len(backend.owners) >= MOST_OWNERS:
        backend.owners.clear()
    return backend.owners.setdefault(user_id, Owner(user.id, user.zone))


async def _expected_version(
    if_match: Annotated[str | None, Header(description='an ETag, such as "3", or *')] = None,
) -> int | None:
    """The version in If-Match, `ANY` for a star, None when there is none. Raises `RuleError`."""
    if if_match is None:
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise RuleError("If-Match", f"{if_match[:40]!r} is no version", 'give one ETag as it came, such as "3", or *')
    return ANY if match["any"] else int(match["version"])


TheBackend = Annotated[Backend, Depends(_backend)]
Reader = Annotated[Owner, Depends(_reader)]  # the caller, who may read their tasks
Writer = Annotated[Owner, Depends(_writer)]  # the caller, who may change them
Anybody = Annotated[Owner, Depends(_anybody)]  # the caller, whatever their token is good for
Expected = Annotated[int | None, Depends(_expected_version)]
IdempotencyKey = Annotated[
    str | None, Header(max_length=MAX_KEY, min_length=1, description="repeat a request safely when its answer was lost")
]


def optional(expected: int | None) -> int | None:
    """A version to check, or None for any."""
    return None if expected == ANY else expected


def demanded(expected: int | None) -> int | None:
    """Like `optional`, for changes that would otherwise overwrite what the caller never saw."""
    if expected is None:
        raise HTTPException(428, 'If-Match is missing: give the ETag you read, or "*" to overwrite whatever is there')
    return optional(expected)


def answer(
    body: Any,  # noqa: ANN401 - what JSON can say
    *,
    status: int = 200,
    version: int | None = None,
    location: str | None = None,
    undo: str | None = None,
) -> Response:
    """A JSON answer. `undo` is the id by which a change is taken back."""
    headers = undo_header(undo)
    if version is not None:
        headers["etag"] = f'"{version}"'
    if location is not None:
        headers["location"] = location
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def undo_header(undo: str | None) -> dict[str, str]:
    return {} if undo is None else {"undo": undo}


_KEPT: Final = ("content-type", "etag", "location", "undo")
Act = Callable[[Transaction], Awaitable[Response]]


async def act_once(backend: Backend, request: Request, user_id: int, key: str | None, act: Act) -> Response:
    """Run a command in its transaction; under a key, once: the same request again gets the same answer."""
    # The body first: whoever never sends it must not hold a connection meanwhile.
    fingerprint = "" if key is None else await _fingerprint(request)
    async with backend.database.transaction() as unit:
        if key is None:
            return await act(unit)
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
    try:
        digest.update(await request.body())
    except ClientDisconnect:  # nobody's fault, and nobody reads the answer; so does FastAPI with the bodies it reads
        raise HTTPException(400) from None
    return digest.hexdigest()


def write_cursor(place: Place) -> str:
    """A place in a list, opaque to callers."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(cursor: str | None, order: Order) -> Place | None:
    """The place in a list of this order. Raises `RuleError`."""
    if cursor is None:
        return None
    try:
        padded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place: Place = msgspec.json.decode(padded, type=order.place)
        return tuple(value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value for value in place)
    except (ValueError, OverflowError, msgspec.DecodeError):
        raise RuleError("cursor", "it is not one of ours", "give back `next_cursor` as it came, or none") from None


class Traced:
    """ASGI middleware: continues the caller's trace or starts one; it is in every log line and in the answer.

    Being the outermost it measures requests too, up to the last byte of their answer: all but those without one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_public(scope["path"]) or scope["path"] in _ENDLESS:
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        began, status = time.perf_counter(), 500
        with spans.span("request", Kind.SERVER, given) as span:
            trace = span.traceparent
            scope.setdefault("state", {})["traceparent"] = trace

            async def answer_traced(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"traceparent", trace.encode())]
                    status = message["status"]
                await send(message)

            try:
                with bound_contextvars(trace_id=trace_id(trace)):
                    await self.app(scope, receive, answer_traced)
            finally:
                method, route = _method(scope), getattr(scope.get("route"), "path", "")
                metrics.requests.labels(method, route, str(status)).observe(time.perf_counter() - began)
                _describe(span, method, route, status)


def _method(scope: AsgiScope) -> str:
    """The method, if it is one: callers may send any word, and each would be a series of its own."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _describe(span: Span, method: str, route: str, status: int) -> None:
    """Name the span by its route: a path as it was asked for may hold anything."""
    span.name(f"{method} {route}".strip())
    span.note({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:  # noqa: PLR2004 - HTTP
        span.fail(str(status))


class BodyLimit:
    """ASGI middleware: a body beyond what its route takes is refused before it is read whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_public(scope["path"]):
            await self.app(scope, receive, send)
            return
        limit = MAX_IMPORT if scope["path"] == "/imports" else MAX_BODY
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            await _too_large(scope, receive, send, limit)
            return
        await self.app(scope, _counted(receive, limit), send)


_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_PUBLIC: Final = (
    "/changes",
    "/dead-letters",
    "/exports",
    "/filters",
    "/imports",
    "/lists",
    "/me",
    "/occurrences",
    "/pipeline",
    "/quick-add",
    "/sentences",
    "/session",
    "/sessions",
    "/tasks",
    "/undo",
    "/users",
    "/views",
)
_ENDLESS: Final = frozenset({"/changes/stream"})


def _is_public(path: str) -> bool:
    """Whether it is of the public API, by its first segment: /metrics is not /me."""
    return "/" + path.split("/", 2)[1] in _PUBLIC if path.startswith("/") else False


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"the body is larger than {limit:,} bytes")
        return message

    return counting


async def _too_large(scope: AsgiScope, receive: Receive, send: Send, limit: int) -> None:
    """The server drops what is still to come; closing on it would reset the connection and lose this answer."""
    response = problem(413, "too-large", f"the body is larger than {limit:,} bytes")
    await response(scope, receive, send)
