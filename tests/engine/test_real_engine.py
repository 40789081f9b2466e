"""The starters themselves: the to-do system's resources load and work on stock Dapr."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.engine.engine import RealEngine, free_ports, postgres, valkey
from tests.engine.resources import todo_resources
from todo.contracts.names import BACKEND, CHECK_DUE_TASKS, NOTIFICATION, PUBSUB, SECRET_STORE, STATE_STORE, TASK_EVENTS

HEADERS = {"dapr-api-token": "api"}


class Listener:
    """Subscribes to task-events and keeps every path it is called on, with its token."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.port = 0

    async def serve(self, request: web.Request) -> web.Response:
        if request.path == "/dapr/subscribe":
            return web.json_response([{"pubsubname": PUBSUB, "topic": TASK_EVENTS, "route": "/events"}])
        if request.path != "/dapr/config":
            await self.calls.put((request.path, request.headers.get("dapr-api-token", "")))
        return web.Response()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", listener.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listener.port = runner.addresses[0][1]
    yield listener
    await runner.cleanup()


async def test_the_todo_systems_resources_work_on_stock_dapr(tmp_path: Path, listener: Listener) -> None:
    """Components load under their contract names; events, state, secrets and jobs work, with tokens on both sides."""
    first, second = free_ports(2)
    apps = [(BACKEND.app_id, listener.port, first), (NOTIFICATION.app_id, listener.port, second)]
    async with valkey(tmp_path / "valkey") as broker, postgres() as dsn:
        resources = todo_resources(tmp_path / "resources", broker_port=broker, database=dsn, secrets={"smtp": "hush"})
        engine = RealEngine(apps, resources, tmp_path / "daprd", api_token="api", app_token="app")
        async with engine, aiohttp.ClientSession(f"http://127.0.0.1:{first}", headers=HEADERS) as session:
            await engine.ready()
            await _check_components(session)
            await _check_state_and_secrets(session)
            await _check_events_and_jobs(session, listener)


async def _check_components(session: aiohttp.ClientSession) -> None:
    async with session.get("/v1.0/metadata") as answer:
        told = await answer.json()
    assert {PUBSUB, STATE_STORE, SECRET_STORE} <= {component["name"] for component in told["components"]}


async def _check_state_and_secrets(session: aiohttp.ClientSession) -> None:
    async with session.post(f"/v1.0/state/{STATE_STORE}", json=[{"key": "k", "value": 1}]) as answer:
        assert answer.status == 204
    async with session.get(f"/v1.0/secrets/{SECRET_STORE}/smtp") as answer:
        assert await answer.json() == {"smtp": "hush"}


async def _check_events_and_jobs(session: aiohttp.ClientSession, listener: Listener) -> None:
    async with session.post(f"/v1.0/publish/{PUBSUB}/{TASK_EVENTS}", json={}) as answer:
        assert answer.status == 204
    async with session.post(f"/v1.0/jobs/{CHECK_DUE_TASKS}", json={"dueTime": "0s", "data": {}}) as answer:
        assert answer.status == 204
    async with asyncio.timeout(20):
        calls = [await listener.calls.get() for _ in range(3)]  # two apps get the event, one gets the job
    assert sorted(calls) == [("/events", "app"), ("/events", "app"), (f"/job/{CHECK_DUE_TASKS}", "app")]
