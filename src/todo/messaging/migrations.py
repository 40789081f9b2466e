"""Alembic over the service's own driver: revisions are lists of plain SQL, run once, by one replica at a time.

They run under traffic, beside code of the release before: `docs/upgrade.md` has the rules, which a test applies to
every revision. A statement that waits for a lock makes everybody queue up behind it, so it waits for `LOCK_TIMEOUT`
only, and is tried again.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import asyncpg
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from todo.messaging.database import Where, connect

LOCK_TIMEOUT: Final = "2s"
PATIENCE: Final = 600.0  # seconds for the locks of one schema, and for another replica that migrates it
PAUSE: Final = 0.5
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('migrate'), hashtext($1))"


class MigrationError(RuntimeError):
    """The schema cannot be brought to its revision; the message says why and what to do."""


def migrate(url: Where, schema: str, folder: Path, revision: str = "head", *, patience: float = PATIENCE) -> None:
    """Bring the schema to a revision. Of replicas that start together one migrates, the others wait.

    Raises `MigrationError` when a lock is not to be had for `patience` seconds.
    """
    config = _config(folder)
    config.attributes.update(url=url, schema=schema, patience=patience)
    command.upgrade(config, revision)


def revisions(folder: Path) -> list[str]:
    """Every revision of a folder, oldest first."""
    scripts = ScriptDirectory.from_config(_config(folder)).walk_revisions()
    return [script.revision for script in reversed(list(scripts))]


def run_environment() -> None:
    """What every service's `migrations/env.py` does."""
    attributes = context.config.attributes
    deadline = time.monotonic() + attributes.get("patience", PATIENCE)
    asyncio.run(_run(attributes["url"], attributes["schema"], deadline))


def execute(op: ModuleType, statements: Sequence[str]) -> None:
    """Run plain SQL, one statement at a time: PostgreSQL's extended protocol takes no more."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def create_index(op: ModuleType, name: str, on: str, *, unique: bool = False) -> None:
    """Index a table that is in use: nobody waits. `on` is what follows ON. To be the only thing a revision does."""
    create_indexes(op, {name: on}, unique=unique)


def create_indexes(op: ModuleType, indexes: Mapping[str, str], *, unique: bool = False) -> None:
    """Several at once, by name.

    A revision that was cut short begins anew: what it leaves may be an index that is not valid, so each goes first.
    """
    kind = "UNIQUE INDEX" if unique else "INDEX"
    built = (
        (f"DROP INDEX CONCURRENTLY IF EXISTS {name}", f"CREATE {kind} CONCURRENTLY {name} ON {on}")
        for name, on in indexes.items()
    )
    with op.get_context().autocommit_block():
        execute(op, ["SET lock_timeout = 0"])  # it waits for older transactions, and nobody waits for it meanwhile
        for statements in built:
            execute(op, statements)
        execute(op, [f"SET lock_timeout = '{LOCK_TIMEOUT}'"])


def _config(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


async def _run(url: Where, schema: str, deadline: float) -> None:
    async def creator() -> Any:  # noqa: ANN401 - SQLAlchemy's type for a driver connection
        return await connect(url, schema, command_timeout=None, lock_timeout=LOCK_TIMEOUT)  # a revision takes its time

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    try:
        async with _alone(url, schema, deadline):
            await _until_locked(engine, schema, deadline)
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def _alone(url: Where, schema: str, deadline: float) -> AsyncIterator[None]:
    """Hold what only one migration of a schema can, on a connection of its own; the schema is there by then.

    It is asked for, not waited for: who waits holds a snapshot, and an index that is built beside traffic waits for
    every snapshot.
    """
    connection = await connect(url, schema)
    try:
        while not await connection.fetchval(_TRY_LOCK, schema):
            _check(deadline, f"another replica has been migrating {schema} for too long: see its log")
            await asyncio.sleep(PAUSE)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        yield
    finally:
        await connection.close()


async def _until_locked(engine: AsyncEngine, schema: str, deadline: float) -> None:
    """Upgrade, from where it stands, as often as a lock was not to be had at once; each revision is a transaction."""
    while True:
        try:
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade, schema)
        except DBAPIError as error:
            if not _is_lock_timeout(error):
                raise
            _check(deadline, f"a lock that migrating {schema} needs is held all the time: end what holds it ({error})")
            sys.stderr.write(f"migrating {schema}: a table is in use, trying again\n")
            await asyncio.sleep(PAUSE)
        else:
            return


def _upgrade(connection: Connection, schema: str) -> None:
    context.configure(connection=connection, version_table_schema=schema, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _is_lock_timeout(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, asyncpg.LockNotAvailableError):
        error = error.__cause__ or error.__context__
    return error is not None


def _check(deadline: float, message: str) -> None:
    if time.monotonic() > deadline:
        raise MigrationError(message)
