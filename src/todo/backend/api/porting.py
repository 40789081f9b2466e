"""Import and export of all tasks of a user."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import IO, Annotated, Any, BinaryIO, Final, cast

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from todo.backend.api.problems import answers
from todo.backend.api.requests import Reader, TheBackend, Writer
from todo.backend.auth.errors import TooManyError
from todo.backend.commands import ConflictError
from todo.backend.porting.exporting import export
from todo.backend.porting.formats import MEDIA_TYPES, READERS, ExportFormat, ImportFormat
from todo.backend.porting.importing import Import, Line, Upload, Wish

router = APIRouter(tags=["import and export"])

MOST_IMPORTS: Final = 4  # at a time, in one process: each may keep a file on disk
SENDING: Final = 300.0  # seconds that a file may take to arrive
_IN_MEMORY: Final = 1024 * 1024  # bytes of a file, before it goes to disk
_LINES: Final = "application/x-ndjson"
_FILE: Final = {
    "requestBody": {"required": True, "content": {"application/octet-stream": {}}, "description": "the file as it is"}
}

_PRIVATE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_importing: set[int] = set()  # users


@router.post(
    "/imports",
    response_class=StreamingResponse,
    responses=answers(400, 408, 409, 413)
    | {200: {"content": {_LINES: {}}, "description": "a JSON object a line, the last one `done` or `failed`"}},
    openapi_extra=_FILE,
)
async def import_tasks(  # noqa: PLR0913 - what is wanted of it
    request: Request,
    backend: TheBackend,
    user: Writer,
    *,
    kind: Annotated[ImportFormat, Query(alias="format", description="what the file is")],
    dry_run: Annotated[bool, Query(description="look and report only")] = True,
    partial: Annotated[bool, Query(description="import what can be read although some of it cannot")] = False,
) -> Response:
    """Look at a file of tasks, and import it with `dry_run=false`.

    The answer is a stream of lines while it goes: `{"loss": ...}` for what is not imported as it stands,
    `{"broken": ...}` for a task that cannot be read, `{"progress": ...}`, and last `{"done": ...}` with the counts. If
    any is broken, nothing is imported unless `partial=true`. The same file again makes nothing twice.
    """
    _take_turn(user.id)
    file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the answer closes it
    try:
        upload = await _received(request, file)
        work = Import(backend.database, backend.context(request), user, upload, READERS[kind])
        return _Lines(work.run(Wish(dry_run, partial)), file, user.id)
    except BaseException:
        _end(file, user.id)
        raise


@router.get(
    "/exports",
    response_class=StreamingResponse,
    responses={
        200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}, "description": "the file"}
    },
)
async def export_tasks(
    backend: TheBackend,
    user: Reader,
    kind: Annotated[ExportFormat, Query(alias="format", description="what to write")] = ExportFormat.JSON,
) -> Response:
    """Every task that is not deleted, as a file."""
    now = backend.database.clock()
    pieces = export(backend.database.pool, user, kind, now)
    first = await anext(pieces)
    headers = {"content-disposition": f'attachment; filename="todo-{now:%Y-%m-%d}.{kind}"'} | _PRIVATE
    return StreamingResponse(_with(first, pieces), headers=headers, media_type=MEDIA_TYPES[kind])


class _Lines(StreamingResponse):
    """The report of an import, which ends with its answer, however that ends."""

    def __init__(self, lines: AsyncIterator[Line], file: IO[bytes], user_id: int) -> None:
        super().__init__(_encoded(lines), media_type=_LINES, headers=_PRIVATE)
        self._file = file
        self._user_id = user_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(cast("Any", self.body_iterator)):
                await super().__call__(scope, receive, send)
        finally:
            _end(self._file, self._user_id)


def _take_turn(user_id: int) -> None:
    """Raises `ConflictError` and `TooManyError`."""
    if user_id in _importing:
        raise ConflictError("an import of yours is under way: wait for its end")
    if len(_importing) >= MOST_IMPORTS:
        raise TooManyError(f"{MOST_IMPORTS} imports are under way", 10)
    _importing.add(user_id)


def _end(file: IO[bytes], user_id: int) -> None:
    _importing.discard(user_id)
    file.close()


async def _received(request: Request, file: IO[bytes]) -> Upload:
    """The body, on disk unless it is small."""
    digest, size = hashlib.sha256(), 0
    try:
        async with asyncio.timeout(SENDING):
            async for octets in request.stream():
                digest.update(octets)
                size += len(octets)
                file.write(octets)
    except ClientDisconnect:
        raise HTTPException(400) from None
    except TimeoutError:
        raise HTTPException(408, f"the file did not arrive within {SENDING:.0f} seconds") from None
    return Upload(cast("BinaryIO", file), size, digest.hexdigest())


async def _encoded(lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    async with aclosing(cast("Any", lines)):
        async for line in lines:
            yield msgspec.json.encode(line) + b"\n"


async def _with(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(cast("Any", others)):
        yield first
        async for piece in others:
            yield piece
