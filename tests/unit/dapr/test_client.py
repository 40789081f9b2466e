from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from todo.dapr.client import Dapr, JobSchedule, Message, connect, sidecar_url
from todo.dapr.errors import CallRefusedError, DaprError, SidecarAwayError

MESSAGE = Message("1", b'{"id":"e"}', "k")
Call = Callable[[Dapr], Awaitable[object]]

CALLS: dict[str, Call] = {
    "publish": lambda dapr: dapr.publish("p", "t", MESSAGE),
    "publish_all": lambda dapr: dapr.publish_all("p", "t", [MESSAGE]),
    "get_state": lambda dapr: dapr.get_state("s", ["k"]),
    "save_state": lambda dapr: dapr.save_state("s", [{"key": "k", "value": 1}]),
    "delete_state": lambda dapr: dapr.delete_state("s", "k/||?", "1"),
    "schedule_job": lambda dapr: dapr.schedule_job("j", JobSchedule("@every 1s")),
    "secret": lambda dapr: dapr.secret("s", "n"),
    "invoke": lambda dapr: dapr.invoke("a", "m", b"{}"),
    "metadata": lambda dapr: dapr.metadata(),
}


@asynccontextmanager
async def answering(status: int, body: bytes = b"") -> AsyncIterator[Dapr]:
    """A client of something that always answers the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with connect(f"http://127.0.0.1:{runner.addresses[0][1]}", "token") as dapr:
        yield dapr
    await runner.cleanup()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [500, 503, 408, 429])
async def test_what_may_pass_is_away(name: str, status: int) -> None:
    async with answering(status, b"oops") as dapr:
        with pytest.raises(SidecarAwayError):
            await CALLS[name](dapr)
        assert not await dapr.is_ready()


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_refused_says_how(name: str) -> None:
    async with answering(403, b'{"errorCode": "ERR_FORBIDDEN", "message": "scopes"}') as dapr:
        with pytest.raises(CallRefusedError, match="403 ERR_FORBIDDEN: scopes") as refused:
            await CALLS[name](dapr)
    assert (refused.value.status, refused.value.code) == (403, "ERR_FORBIDDEN")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [400, 404])
async def test_a_component_that_is_reloading_is_away(name: str, status: int) -> None:
    async with answering(status, b'{"errorCode": "ERR_PUBSUB_NOT_FOUND"}') as dapr:
        with pytest.raises(SidecarAwayError):
            await CALLS[name](dapr)


@pytest.mark.parametrize("name", CALLS)
async def test_nothing_but_its_own_errors_come_out_whatever_answers(name: str) -> None:
    for body in (b"", b"<html>", b"\xff", b"[1]", b'{"errorCode": 7}'):
        for status in (200, 400):
            async with answering(status, body) as dapr:
                try:
                    await CALLS[name](dapr)
                except DaprError:
                    continue


@pytest.mark.parametrize("name", CALLS)
async def test_nobody_there_is_away(name: str) -> None:
    async with connect("http://127.0.0.1:1", None) as dapr:
        with pytest.raises(SidecarAwayError):
            await CALLS[name](dapr)


@pytest.mark.parametrize(
    ("status", "body", "schedule"),
    [
        (200, b'{"name": "j", "schedule": "@every 1s", "data": {"@type": "x"}}', "@every 1s"),
        (500, b'{"errorCode": "ERR_GET_JOB"}', None),
        (404, b"", None),
        (200, b"garbage", None),
    ],
)
async def test_a_job_that_cannot_be_told_has_no_schedule(status: int, body: bytes, schedule: str | None) -> None:
    async with answering(status, body) as dapr:
        assert await dapr.job_schedule("j") == schedule


async def test_a_partial_failure_names_its_entries() -> None:
    body = b'{"failedEntries": [{"entryId": "1", "error": "no leader"}], "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"}'
    async with answering(500, body) as dapr:
        assert await dapr.publish_all("p", "t", [MESSAGE]) == {"1": "no leader"}


async def test_a_broken_state_entry_is_not_taken_for_an_absent_one() -> None:
    async with answering(200, b'[{"key": "k", "error": "connection lost"}]') as dapr:
        with pytest.raises(SidecarAwayError, match="connection lost"):
            await dapr.get_state("s", ["k"])


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:3500"),
        ({"DAPR_HTTP_PORT": "3501"}, "http://127.0.0.1:3501"),
        ({"DAPR_HTTP_PORT": "3501", "DAPR_HTTP_ENDPOINT": "https://dapr.test"}, "https://dapr.test"),
    ],
)
def test_the_sidecar_is_where_the_environment_says(environ: dict[str, str], url: str) -> None:
    assert sidecar_url(environ) == url
