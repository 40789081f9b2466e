import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.backend.callers import Guarded, guarded_backend
from tests.integration.backend.scenario import MovableClock, Scenario, first_user, prepare
from tests.integration.backend.service import Api, Running, client, running_backend
from tests.support.emptying import empty
from tests.support.postgres import Databases
from todo.backend.app import SCHEMA
from todo.messaging.database import open_database
from todo.messaging.unit import Database
from todo.operations.postgres import PostgresServer


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(scope="session")
def shared_url(pg_server: PostgresServer) -> str:
    """One migrated database for all tests without a service; each finds it empty."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _migrated(pg_server)).result()


@pytest.fixture
async def migrated_url(shared_url: str) -> str:
    await empty(shared_url, SCHEMA)
    return shared_url


@pytest.fixture
async def database(migrated_url: str, clock: MovableClock) -> AsyncIterator[Database]:
    database = await open_database(migrated_url, SCHEMA, clock)
    yield database
    await database.pool.close()


@pytest.fixture
async def scenario(database: Database, clock: MovableClock) -> Scenario:
    return Scenario(database, clock, await first_user(database))


@pytest.fixture(scope="session")
def service(pg_server: PostgresServer) -> Iterator[Running]:
    """backend as it is served, one for the run: tests are users of their own and do not see each other."""
    with ThreadPoolExecutor(1) as thread:
        url = thread.submit(asyncio.run, _migrated(pg_server)).result()
    with running_backend(url) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(pg_server: PostgresServer) -> Iterator[Guarded]:
    """The same under TODO_AUTH=required, with a provider; nobody is limited."""
    with guarded_backend(pg_server) as guarded:
        yield guarded


async def _migrated(server: PostgresServer) -> str:
    databases = Databases(server)
    return await databases.create(await databases.template("backend", prepare))


@pytest.fixture
async def api(service: Running) -> AsyncIterator[Api]:
    async with client(service) as api:
        yield api
