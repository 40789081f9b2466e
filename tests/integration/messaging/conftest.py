import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from tests.support.emptying import empty
from tests.support.postgres import Databases
from tests.support.publishing import Broker, running_broker
from todo.dapr.client import Dapr, connect
from todo.messaging import outbox, pause, sightings
from todo.messaging.database import open_database
from todo.messaging.unit import Database
from todo.operations.postgres import PostgresServer

SCHEMA = "shop"


class MovableClock:
    def __init__(self) -> None:
        self.now = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += dt.timedelta(**by)


async def prepare(url: str) -> None:
    """A service's schema with what every service carries, and a table of its own."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}; SET search_path = {SCHEMA}")
    for statement in [*outbox.CREATE, *pause.CREATE, *sightings.CREATE, "CREATE TABLE effects (name text, seq int)"]:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(scope="session")
def shared_url(pg_server: PostgresServer) -> str:
    """One database for all tests; each finds it empty."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _prepared(pg_server)).result()


async def _prepared(server: PostgresServer) -> str:
    databases = Databases(server)
    return await databases.create(await databases.template("messaging", prepare))


@pytest.fixture
async def url(shared_url: str) -> str:
    await empty(shared_url, SCHEMA)
    return shared_url


@pytest.fixture
async def database(url: str, clock: MovableClock) -> AsyncIterator[Database]:
    database = await open_database(url, SCHEMA, clock)
    yield database
    await database.pool.close()


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with running_broker() as broker:
        yield broker


@pytest.fixture
async def dapr(broker: Broker) -> AsyncIterator[Dapr]:
    async with connect(broker.url, "token") as dapr:
        yield dapr
