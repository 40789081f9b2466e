"""Who gets the mails of user 1: what was made up at the first start gives way to what a later start is told."""

import datetime as dt

import pytest

from tests.support.postgres import Databases
from todo.backend.app import MIGRATIONS, SCHEMA
from todo.backend.store import people
from todo.messaging.database import connect
from todo.messaging.migrations import migrate
from todo.operations.system import DEMO_ADDRESS

NOW = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)


def prepare(url: str) -> None:
    migrate(url, SCHEMA, MIGRATIONS)


@pytest.fixture
async def backend_url(databases: Databases) -> str:
    return await databases.create(await databases.template("backend", prepare))


@pytest.mark.parametrize(
    ("starts", "kept"),
    [
        ([DEMO_ADDRESS, "ada@example.test"], "ada@example.test"),
        (["me@localhost.test", "ada@example.test"], "ada@example.test"),
        ([DEMO_ADDRESS, "ada@example.test", "eve@example.test"], "ada@example.test"),
        (["ada@example.test", DEMO_ADDRESS], "ada@example.test"),
        ([DEMO_ADDRESS, "Taken@example.test"], DEMO_ADDRESS),
    ],
)
async def test_user_1_gets_the_first_address_that_was_not_made_up(
    backend_url: str, starts: list[str], kept: str
) -> None:
    connection = await connect(backend_url, SCHEMA)
    try:
        for email in starts:
            await people.ensure_first(connection, email, email.partition("@")[0], "UTC", NOW)
            await people.add(connection, "taken@example.test", "", "UTC", NOW)
        user = await people.find(connection, people.FIRST_USER)
        assert user is not None
        assert (user.email, user.name) == (kept, kept.partition("@")[0])
    finally:
        await connection.close()


async def test_a_name_that_somebody_chose_is_kept(backend_url: str) -> None:
    connection = await connect(backend_url, SCHEMA)
    try:
        await people.ensure_first(connection, DEMO_ADDRESS, "Ada", "UTC", NOW)
        await people.ensure_first(connection, "ada@example.test", "ada", "UTC", NOW)
        assert await people.find(connection, people.FIRST_USER) == people.User(1, "ada@example.test", "Ada", "UTC")
    finally:
        await connection.close()
