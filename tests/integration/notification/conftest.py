from collections.abc import AsyncIterator

import pytest

from tests.integration.notification.scenario import MovableClock, Scenario, prepare
from tests.support.postgres import Databases
from todo.messaging.database import open_database
from todo.messaging.unit import Database
from todo.notification.app import SCHEMA


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def migrated_url(databases: Databases) -> str:
    return await databases.create(await databases.template("notification", prepare))


@pytest.fixture
async def database(migrated_url: str, clock: MovableClock) -> AsyncIterator[Database]:
    database = await open_database(migrated_url, SCHEMA, clock)
    yield database
    await database.pool.close()


@pytest.fixture
def scenario(database: Database, clock: MovableClock) -> Scenario:
    return Scenario(database, clock)
