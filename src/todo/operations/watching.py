"""The stream of changes as a program follows it: by its cursor, over restarts and lost connections."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec

from todo.operations.client import Api, RefusedError, UnreachableError

NOW: Final = "now"
SILENCE: Final = 45.0  # seconds; three heartbeats
PAUSE: Final = 1.0
_PASSES: Final = frozenset({429, 502, 503, 504})


class Change(msgspec.Struct, frozen=True):
    """A thing as it is now; `value` None: it was deleted."""

    kind: str
    id: UUID
    version: int
    deleted: bool
    value: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Told:
    """An event of the stream. Without a change: forget what you have, all there is follows."""

    event: str
    cursor: str
    data: bytes
    change: Change | None

    @property
    def line(self) -> bytes:
        """One line of JSON."""
        fields: dict[str, Any] = {"event": self.event, "cursor": self.cursor} | msgspec.json.decode(self.data)
        return msgspec.json.encode(fields)


async def follow(api: Api, user_id: int | None, cursor: str | None) -> AsyncGenerator[Told, None]:
    """Every change after the cursor, without an end.

    Raises `UnreachableError` and `RefusedError`; once it was answered, only for what does not pass by itself.
    """
    has_answered = False
    while True:
        try:
            async with aclosing(_once(api, user_id, cursor)) as events:
                async for event in events:
                    has_answered = True
                    cursor = event.cursor or cursor
                    if event.event:
                        yield event
        except (UnreachableError, RefusedError) as error:
            if not (has_answered and _passes(error)):
                raise
        await asyncio.sleep(PAUSE)


def _passes(error: UnreachableError | RefusedError) -> bool:
    return isinstance(error, UnreachableError) or error.problem.status in _PASSES


async def _once(api: Api, user_id: int | None, cursor: str | None) -> AsyncGenerator[Told, None]:
    """The events of one connection, until it ends. Those without a name only move the cursor on."""
    query = {} if user_id is None else {"user_id": str(user_id)}
    headers = {"accept": "text/event-stream"}
    if cursor == NOW:
        query["cursor"] = cursor
    elif cursor is not None:
        headers["last-event-id"] = cursor
    async with api.stream("/changes/stream", query, headers, SILENCE) as content:
        fields: dict[bytes, bytes] = {}
        async for line in _lines(content):
            name, _, value = line.partition(b":")
            fields[name] = value.removeprefix(b" ")
            if not line:
                told = _read(api, fields, cursor or "")
                yield told
                cursor, fields = told.cursor, {}


def _read(api: Api, fields: dict[bytes, bytes], cursor: str) -> Told:
    event, data = fields.get(b"event", b""), fields.get(b"data", b"{}")
    try:
        change = msgspec.json.decode(data, type=Change) if event == b"change" else None
        return Told(event.decode(), fields.get(b"id", cursor.encode()).decode(), data, change)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(api.base, f"what answers there is something else ({error})") from error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length, without their ends."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
