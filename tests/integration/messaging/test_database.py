"""The database's login comes from a file, and changes while everything runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Databases
from tests.support.waiting import until
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.dapr.client import Dapr
from todo.dapr.subscriber import UnavailableError
from todo.messaging import database as databases_module
from todo.messaging import outbox, pause
from todo.messaging.database import connect, follow, open_database
from todo.messaging.postgres import Row
from todo.messaging.relay import Relay
from todo.messaging.unit import Database
from todo.operations import logins
from todo.operations.postgres import PostgresServer

SCHEMA = "shop"


class Operator:
    """Whoever changes logins: admits both roles, and writes into the file which is used."""

    def __init__(self, dsn: str, file: Path) -> None:
        self.dsn = dsn
        self.file = file

    async def change(self, role: str) -> str:
        """Let a role in with a new password and have it used; returns its DSN."""
        login = logins.fresh(role)
        await logins.admit(self.dsn, login)
        dsn = login.dsn(self.dsn)
        self.write(dsn)
        return dsn

    def write(self, dsn: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(dsn + "\n")
        fresh.replace(self.file)

    async def nobody_is(self, role: str) -> bool:
        return not await logins.sessions(self.dsn, role)


@pytest.fixture
async def operator(pg_server: PostgresServer, databases: Databases, tmp_path: Path) -> Operator:
    del pg_server
    operator = Operator(await databases.create(), tmp_path / "database-url")
    await operator.change("todo_a")
    connection = await connect(operator.file, SCHEMA)
    for statement in (f"CREATE SCHEMA {SCHEMA}", *outbox.CREATE, *pause.CREATE, "CREATE TABLE done (n int)"):
        await connection.execute(statement)
    await connection.close()
    return operator


@asynccontextmanager
async def following(operator: Operator, max_size: int = 8) -> AsyncIterator[Database]:
    database = await open_database(operator.file, SCHEMA, utc_now, max_size=max_size)
    task = asyncio.create_task(follow(operator.file, database.pool))
    try:
        yield database
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


async def test_roles_take_turns_under_load_and_no_request_fails(operator: Operator) -> None:
    """Twelve callers on eight connections, three changes, each old role refused as soon as nobody uses it."""
    stop = asyncio.Event()

    async def work(database: Database) -> int:
        done = 0
        while not stop.is_set():
            async with database.transaction() as tx:
                await tx.connection.execute("INSERT INTO done VALUES (1)")
            done += 1
        return done

    async with following(operator) as database:
        callers = [asyncio.create_task(work(database)) for _ in range(12)]
        old = "todo_a"
        for role in ("todo_b", "todo_a", "todo_b"):
            await operator.change(role)
            await until(partial(operator.nobody_is, old))
            await logins.keep_out(operator.dsn, old)
            old = role
        stop.set()
        counts = await asyncio.gather(*callers)
        assert await database.pool.fetchval("SELECT count(*) FROM done") == sum(counts) > 0
        assert await database.pool.fetchval("SELECT session_user::text") == "todo_b"


async def test_idle_connections_are_replaced_too(operator: Operator) -> None:
    """A service with nothing to do leaves the old role as well: all of its connections, not only the next it needs."""
    async with following(operator) as database:
        await asyncio.gather(*(database.pool.fetchval("SELECT pg_sleep(0.05)") for _ in range(5)))
        assert len(await logins.sessions(operator.dsn, "todo_a")) == 5
        await operator.change("todo_b")
        await until(lambda: operator.nobody_is("todo_a"))
        assert len(await logins.sessions(operator.dsn, "todo_b")) == 5


async def test_a_transaction_under_way_ends_on_its_old_connection(operator: Operator) -> None:
    async with following(operator) as database:
        async with database.transaction() as tx:
            assert await tx.connection.fetchval("SELECT session_user::text") == "todo_a"
            await operator.change("todo_b")
            await asyncio.gather(*(database.pool.fetchval("SELECT 1") for _ in range(3)))
            await until(lambda: _asks(database, "todo_b"))
            await tx.connection.execute("INSERT INTO done VALUES (1)")
        await until(lambda: operator.nobody_is("todo_a"))
        assert await database.pool.fetchval("SELECT count(*) FROM done") == 1


async def test_a_login_that_changed_while_it_was_refused_is_tried_once_more(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was read, the role was retired, then the server was asked: the file says more by now."""
    old = operator.file.read_text().strip()
    new = await operator.change("todo_b")
    await logins.keep_out(operator.dsn, "todo_a")
    reads = iter([old, new])
    monkeypatch.setattr(databases_module, "dsn_of", lambda _: next(reads))
    connection = await connect(operator.file, SCHEMA)
    assert await connection.fetchval("SELECT session_user::text") == "todo_b"
    await connection.close()


async def test_a_login_that_is_refused_for_good_says_so_and_is_the_environments_fault(operator: Operator) -> None:
    database = await open_database(operator.file, SCHEMA, utc_now)
    await logins.keep_out(operator.dsn, "todo_a")
    with pytest.raises(UnavailableError, match="todo_a"):
        async with database.transaction():
            pass
    operator.file.unlink()
    with pytest.raises(UnavailableError, match="database-url"):
        async with database.transaction():
            pass
    await database.close()


async def test_the_relay_moves_over_and_goes_on(operator: Operator) -> None:
    """Its connection holds a lock and listens; it is between two drains that it takes another."""

    async def park(row: Row, reason: str) -> None:
        pytest.fail(f"{row} parked: {reason}")

    relay = Relay(lambda: connect(operator.file, SCHEMA), _NoSidecar(), names.PUBSUB, SCHEMA, park=park, clock=utc_now)
    task = asyncio.create_task(relay.run())
    try:
        await until(lambda: _leads(operator, "todo_a"))
        await operator.change("todo_b")
        await until(lambda: _leads(operator, "todo_b"))
        assert await operator.nobody_is("todo_a")
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _NoSidecar(Dapr):
    """Nothing is published here."""

    def __init__(self) -> None:
        pass


async def _asks(database: Database, role: str) -> bool:
    return bool(await database.pool.fetchval("SELECT session_user::text") == role)


async def _leads(operator: Operator, role: str) -> bool:
    connection = await asyncpg.connect(operator.dsn)
    try:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND granted AND usename = $1 AND datname = current_database())",
                role,
            )
        )
    finally:
        await connection.close()
