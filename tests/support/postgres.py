"""Real PostgreSQL for tests: one server a run, one fresh database a test.

async def test_x(database_url: str) -> None:            # empty database
async def test_y(databases: Databases) -> None:
    template = await databases.template("backend", migrate)   # migrated once a run, `migrate(dsn)` sync or async
    url = await databases.create(template)                     # a copy of it, dropped after the test
"""

import asyncio
import inspect
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from todo.operations.postgres import PostgresServer

_numbers = itertools.count(1)
_templates: dict[tuple[str, str], str] = {}  # (server's socket folder, name) -> database


class Databases:
    """Makes databases on one server and drops those of a test after it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._made: list[str] = []

    async def create(self, template: str = "template0") -> str:
        """Return the DSN of a new database that is a copy of `template`; nobody may be connected to that one."""
        name = f"test_{next(_numbers)}"
        await self._execute(f'CREATE DATABASE {name} TEMPLATE "{template}" STRATEGY FILE_COPY')
        self._made.append(name)
        return self._server.dsn_of(name)

    async def template(self, name: str, prepare: Callable[[str], Awaitable[None] | None]) -> str:
        """Return the name of a database that `prepare(dsn)` was run on, once a run; a sync one runs in a thread."""
        key = (str(self._server.socket_folder), name)
        if key not in _templates:
            database = f"template_{name}_{next(_numbers)}"
            await self._execute(f'CREATE DATABASE "{database}" TEMPLATE template0 STRATEGY FILE_COPY')
            prepared = await asyncio.to_thread(prepare, self._server.dsn_of(database))
            if inspect.isawaitable(prepared):
                await prepared
            _templates[key] = database
        return _templates[key]

    async def drop_all(self) -> None:
        while self._made:
            await self._execute(f"DROP DATABASE {self._made.pop()} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server.dsn_of("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PostgresServer]:
    """A server for the whole run, without fsync: not for tests that kill it."""
    with (
        tempfile.TemporaryDirectory(prefix="todo-pg-") as folder,
        PostgresServer(Path(folder), durable=False) as server,
    ):
        yield server


@pytest.fixture
async def databases(pg_server: PostgresServer) -> AsyncIterator[Databases]:
    made = Databases(pg_server)
    yield made
    await made.drop_all()


@pytest.fixture
async def database_url(databases: Databases) -> str:
    """A fresh, empty database, dropped after the test."""
    return await databases.create()
