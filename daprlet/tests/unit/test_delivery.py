"""One attempt over a real connection, and what answers mean."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from daprlet.app_channel import AppChannel, Reply, new_session
from daprlet.delivery import SUCCESS, Outcome, _judge_bulk, attempt
from daprlet.log import Message
from daprlet.settings import AppSettings, HealthCheck
from daprlet.subscriptions import Subscription

SINGLE = Subscription("bus", "t", (), "/t")


def messages(count: int) -> list[Message]:
    return [Message(number, 0, None, None, b"{}") for number in range(count)]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as opened:
        yield opened


async def serving(application: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def taken() -> list[str]:
    """The paths that were asked for."""
    return []


@pytest.fixture
async def port(taken: list[str]) -> AsyncIterator[int]:
    """An app that accepts everything and says on /moved that it is elsewhere."""

    async def take(request: web.Request) -> web.Response:
        taken.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"} if request.path != "/elsewhere" else {})

    async def accept(request: web.Request) -> web.Response:
        taken.append(request.path)
        return web.Response()

    application = web.Application()
    application.router.add_post("/t", accept)
    application.router.add_get("/{path:.*}", take)
    async for number in serving(application):
        yield number


async def test_a_batch_can_be_delivered_one_by_one(port: int, taken: list[str], session: aiohttp.ClientSession) -> None:
    """What was taken for a bulk subscription meets an app that subscribes singly by now."""
    channel = AppChannel(AppSettings("app", port), session, lambda: None)
    verdicts = await attempt(channel, SINGLE, messages(3), 10)
    assert verdicts == dict.fromkeys(range(3), SUCCESS)
    assert taken == ["/t"] * 3


async def test_the_apps_token_goes_nowhere_else(port: int, taken: list[str], session: aiohttp.ClientSession) -> None:
    """A redirect is neither healthy nor a list of subscriptions, and is not followed."""
    channel = AppChannel(AppSettings("app", port, app_token="secret"), session, lambda: None)
    assert not await channel._probe(HealthCheck())
    asking = asyncio.create_task(channel._ask_subscriptions())
    async with asyncio.timeout(10):
        while "/dapr/subscribe" not in taken:  # noqa: ASYNC110 - the app tells nobody
            await asyncio.sleep(0.005)
    channel._refused.set()
    assert await asking == []
    assert "/elsewhere" not in taken


def test_one_unreadable_status_is_only_its_own() -> None:
    """null, a number or nothing at all is RETRY for the entry."""
    answer = (
        b'{"statuses":[{"entryId":"0","status":"SUCCESS"},{"entryId":"1","status":null},{"entryId":"2","status":7}]}'
    )
    verdicts = _judge_bulk(messages(4), Reply(200, answer))
    assert [verdicts[one].outcome for one in range(4)] == [Outcome.SUCCESS, *[Outcome.RETRY] * 3]
