"""The API's client against servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from todo.operations import client
from todo.operations.client import Api, ClearTextError, Mailbox, RefusedError, UnreachableError

TASK = (
    b'{"id":"00000000-0000-0000-0000-000000000001","user_id":1,"version":1,"title":"t","notes":"","status":"open",'
    b'"due_at":null,"due_date":null,"zone":null,"priority":4,"labels":[],"reminders":[],"recurrence":null,'
    b'"created_at":"2030-01-01T00:00:00Z","updated_at":"2030-01-01T00:00:00Z","closed_at":null}'
)


def answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


@asynccontextmanager
async def server(reply: Callable[[int], bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server whose n-th connection is answered by `reply(n)`; nothing closes it without a word."""
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(65536))
        writer.write(reply(len(requests)))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", requests


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE", 0.001)


async def test_a_task_whose_answer_was_lost_is_asked_for_again_under_the_same_key() -> None:
    async with (
        server(lambda number: b"" if number < 3 else answer("201 Created", TASK)) as (url, requests),
        client.session() as http,
    ):
        made = await Api(http, url).add_task({"title": "t"})
    keys = {line for one in requests for line in one.lower().splitlines() if line.startswith(b"idempotency-key")}
    assert (made.body, len(requests), len(keys)) == (TASK, 3, 1)


async def test_what_may_not_be_repeated_is_not() -> None:
    async with server(lambda _: b"") as (url, requests), client.session() as http:
        with pytest.raises(UnreachableError):
            await Api(http, url).replay(1)
    assert len(requests) == 1


async def test_a_problem_document_is_a_refusal() -> None:
    problem = b'{"type":"urn:x","title":"invalid","status":422,"errors":[{"field":"f","problem":"p","fix":"x"}]}'
    async with server(lambda _: answer("422 Unprocessable", problem)) as (url, _), client.session() as http:
        with pytest.raises(RefusedError) as refused:
            await Api(http, url).users()
    assert (refused.value.body, refused.value.problem.errors[0].fix) == (problem, "x")


@pytest.mark.parametrize(
    "reply", [answer("500 Oops", b"<html>"), answer("200 OK", b"<html>"), answer("200 OK", b"[1]")]
)
async def test_what_is_not_our_api_is_nobody(reply: bytes) -> None:
    async with server(lambda _: reply) as (url, _), client.session() as http:
        with pytest.raises(UnreachableError, match="something else"):
            await Api(http, url).users()


async def test_a_mail_that_is_not_there_is_a_refusal() -> None:
    async with server(lambda _: answer("404 Not Found", b'{"Error":"x"}')) as (url, _), client.session() as http:
        with pytest.raises(RefusedError):
            await Mailbox(http, url).mail("x")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://[::1"])
async def test_an_address_where_nobody_is_says_so(url: str) -> None:
    async with client.session() as http:
        with pytest.raises(UnreachableError):
            await Api(http, url).users()


@pytest.mark.parametrize("url", ["http://todo.example.org", "http://127.0.0.1.example.org", "HTTP://10.0.0.1:8000"])
async def test_a_token_goes_nowhere_in_clear_text(url: str) -> None:
    async with client.session() as http:
        with pytest.raises(ClearTextError, match=r"^TODO_TOKEN .*use https") as refused:
            Api(http, url, "todo_hush")
        assert "hush" not in str(refused.value)
        Api(http, url)  # there is nothing to lose


@pytest.mark.parametrize("url", ["https://todo.example.org", "http://127.0.0.1:8000", "http://[::1]:1"])
async def test_a_token_goes_to_this_machine_and_over_https(url: str) -> None:
    async with client.session() as http:
        Api(http, url, "todo_hush")
