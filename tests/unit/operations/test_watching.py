"""The stream of changes is followed over connections that break, each time from where the last one ended."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from todo.operations import client, watching
from todo.operations.client import Api, RefusedError, UnreachableError
from todo.operations.watching import Told

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def refusal(status: int) -> bytes:
    body = b'{"title":"no","status":%d}' % status
    return b"HTTP/1.1 %d No\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)


AWAY = refusal(503)
ID = "00000000-0000-0000-0000-00000000000"


def change(number: int, cursor: str) -> bytes:
    data = f'{{"kind":"task","id":"{ID}{number}","version":1,"deleted":false,"value":{{"title":"t"}}}}'
    return f"event: change\nid: {cursor}\ndata: {data}\n\n".encode()


@asynccontextmanager
async def server(replies: Sequence[bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server whose n-th connection gets the n-th reply, and then no more."""
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(replies[min(len(requests), len(replies)) - 1])
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", requests


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE", 0.001)


async def follow(replies: Sequence[bytes], count: int, cursor: str | None) -> tuple[list[Told], list[bytes]]:
    """The first events, and what was asked for them."""
    seen: list[Told] = []
    async with (
        server(replies) as (url, requests),
        client.session() as http,
        aclosing(watching.follow(Api(http, url), 7, cursor)) as events,
    ):
        async for event in events:
            seen.append(event)
            if len(seen) == count:
                break
    return seen, requests


def resumed(request: bytes) -> str:
    found = re.search(rb"^last-event-id: (.*?)\r$", request, re.MULTILINE | re.IGNORECASE)
    return found[1].decode() if found else ""


async def test_a_broken_connection_goes_on_after_the_last_id() -> None:
    replies = [
        HEAD + b"retry: 1000\n\nid: a\n\n" + change(1, "b") + b": nothing new\n\n",
        HEAD + change(2, "c") + change(3, "d")[:20],
        AWAY,
        HEAD + b"id: e\n\n",
        HEAD + change(4, "f"),
    ]
    seen, requests = await follow(replies, 3, watching.NOW)
    assert [(str(one.change.id)[-1], one.cursor) for one in seen if one.change] == [("1", "b"), ("2", "c"), ("4", "f")]
    assert [resumed(one) for one in requests] == ["", "b", "c", "c", "e"]
    assert b"GET /changes/stream?user_id=7&cursor=now " in requests[0]
    assert b"cursor=" not in requests[1].splitlines()[0]


async def test_a_reset_is_told() -> None:
    seen, requests = await follow([HEAD + b"event: reset\ndata: {}\n\n" + change(1, "b")], 2, "old")
    assert [(one.event, one.change is None) for one in seen] == [("reset", True), ("change", False)]
    assert seen[1].line.startswith(b'{"event":"change","cursor":"b","kind":"task","id":"')
    assert resumed(requests[0]) == "old"


async def test_without_a_cursor_everything_is_asked_for() -> None:
    _, requests = await follow([HEAD + change(1, "b")], 1, None)
    assert b"GET /changes/stream?user_id=7 " in requests[0]
    assert resumed(requests[0]) == ""


async def test_a_line_may_be_longer_than_any_buffer() -> None:
    long = change(1, "b").replace(b'"t"', b'"' + b"x" * 1_000_000 + b'"')
    (seen,), _ = await follow([HEAD + long], 1, None)
    assert seen.change is not None
    assert len((seen.change.value or {})["title"]) == 1_000_000


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", HEAD + b"event: change\ndata: {}\n\n"],
    ids=["nothing", "another site", "another stream"],
)
async def test_who_never_answered_is_not_asked_again(reply: bytes) -> None:
    with pytest.raises(UnreachableError):
        await follow([reply], 1, None)


async def test_a_refusal_ends_it_unless_it_passes() -> None:
    with pytest.raises(RefusedError):
        await follow([AWAY], 1, None)
    with pytest.raises(RefusedError):
        await follow([HEAD + change(1, "b"), refusal(401)], 2, None)
