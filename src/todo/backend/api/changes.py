"""What changes, as it changes: in pages, and as a stream of server-sent events."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from todo.backend.api import feed, models, requests
from todo.backend.api.feed import LONGEST_CURSOR, Cursor, Page
from todo.backend.api.problems import answers
from todo.backend.api.requests import Backend, Reader, TheBackend
from todo.backend.auth.callers import Caller
from todo.backend.auth.errors import ForbiddenError, TooManyError, UnauthenticatedError
from todo.backend.auth.scopes import Scope
from todo.backend.hub import Hub, Seat
from todo.messaging.failures import is_environment

log = structlog.get_logger()

router = APIRouter(tags=["changes"])

PAGE: Final = 100  # of a stream: what one reader may make this process hold
HEARTBEAT: Final = 15.0  # seconds
ADMITTED_FOR: Final = 20.0
PATIENCE: Final = 30.0  # with a reader who takes nothing
DATABASE_AWAY: Final = 1.0
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would wait for a full buffer

CursorText = Annotated[
    str | None,
    Query(
        max_length=LONGEST_CURSOR,
        description=f"how far you have read; `{feed.NOW}` to begin with the next change; none for all there is",
    ),
]


async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(_hub)]


@router.get("/changes", response_model=models.ChangeList)
async def list_changes(
    backend: TheBackend, user: Reader, cursor: CursorText = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> Response:
    """What changed since, each thing as it is now; without a cursor everything that is alive. Read on while `more`."""
    page = await feed.page(backend.database.pool, backend.epoch, user.id, feed.read_cursor(cursor), limit)
    changes = [entry.body for entry in page.entries]
    return requests.answer({"changes": changes, "cursor": page.cursor.write(), "more": page.more, "reset": page.reset})


@router.get(
    "/changes/stream",
    response_class=Response,
    responses=answers(429) | {200: {"content": {"text/event-stream": {}}, "description": "events, without an end"}},
)
async def stream_changes(  # noqa: PLR0913 - where to begin, and what with
    request: Request,
    backend: TheBackend,
    hub: TheHub,
    user: Reader,
    cursor: CursorText = None,
    last_event_id: Annotated[
        str | None, Header(max_length=LONGEST_CURSOR, description="the same, as browsers give it; it goes first")
    ] = None,
) -> Response:
    """The same as it happens: events `change`, and `reset` where all there is follows anew. Their ids are cursors."""
    given = feed.read_cursor(last_event_id, "Last-Event-ID") if last_event_id else feed.read_cursor(cursor)
    if given == feed.NOW:  # which is when this is answered, not when the stream is read
        given = (await feed.page(backend.database.pool, backend.epoch, user.id, given, PAGE)).cursor
    admit: Callable[[], Awaitable[Caller]] | None = getattr(request.state, "admit", None)
    return Stream(Follower(backend, hub, user.id, given, admit))


class Follower:
    """One reader of one user's changes."""

    def __init__(
        self,
        backend: Backend,
        hub: Hub,
        user_id: int,
        cursor: Cursor | str | None,
        admit: Callable[[], Awaitable[Caller]] | None,
    ) -> None:
        self.hub = hub
        self.user_id = user_id
        self._backend = backend
        self._cursor = cursor
        self._admit = admit
        self._admitted_at = time.monotonic()

    async def events(self, seat: Seat) -> AsyncGenerator[bytes, None]:
        """Until the process ends, or the reader is not let in any more."""
        yield b"retry: 1000\n\n"
        while not self.hub.is_closing and await self._is_admitted():
            page = await self._read()
            if page is None:
                yield b": the database is away\n\n"
                await seat.rest(DATABASE_AWAY)
                continue
            for event in _events(page, self._cursor):
                yield event
            self._cursor = page.cursor
            if not page.more and not await seat.rest(HEARTBEAT):
                yield b": nothing new\n\n"

    async def _read(self) -> Page | None:
        try:
            return await feed.page(self._backend.database.pool, self._backend.epoch, self.user_id, self._cursor, PAGE)
        except Exception as error:
            if not is_environment(error):
                raise
            log.info("a stream waits for the database", reason=f"{type(error).__name__}: {error}")
            return None

    async def _is_admitted(self) -> bool:
        """Ask now and then: a token may have been revoked, or have run out."""
        if self._admit is None or time.monotonic() - self._admitted_at < ADMITTED_FOR:
            return True
        self._admitted_at = time.monotonic()
        try:
            caller = await self._admit()
            caller.need(Scope.READ)
            caller.acts_for(self.user_id)
        except (UnauthenticatedError, ForbiddenError):
            return False
        except TooManyError:
            return True  # that says nothing about the token
        except Exception as error:
            if not is_environment(error):
                raise
        return True


class Stream(StreamingResponse):
    """Sends what a follower reads. Whoever takes nothing for `PATIENCE` is let go; their cursor brings them back."""

    media_type = "text/event-stream"

    def __init__(self, follower: Follower) -> None:
        super().__init__(_nothing(), headers=_HEADERS)
        self._follower = follower

    async def stream_response(self, send: Send) -> None:
        with self._follower.hub.seat(self._follower.user_id) as seat:
            async with aclosing(self._follower.events(seat)) as self.body_iterator:
                try:
                    await super().stream_response(_impatient(send))
                except TimeoutError:
                    log.info("a stream ends, its reader takes nothing", user_id=self._follower.user_id)


def _impatient(send: Send) -> Send:
    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(PATIENCE):
            await send(message)

    return send_in_time


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _events(page: Page, before: Cursor | str | None) -> list[bytes]:
    """A page as events; if its end is further on than its last one, that is told without an event."""
    known = before
    told = []
    if page.reset:
        told.append(b"event: reset\ndata: {}\n\n")
    for entry in page.entries:
        data = msgspec.json.encode(entry.body)
        told.append(b"event: change\nid: %b\ndata: %b\n\n" % (entry.cursor.write().encode(), data))
        known = entry.cursor
    if page.cursor != known:
        told.append(b"id: %b\n\n" % page.cursor.write().encode())
    return told
