"""Alembic over the service's own driver: revisions are lists of plain SQL, run once, by one replica at a time."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from todo.messaging.database import Where, connect


def migrate(url: Where, schema: str, folder: Path, revision: str = "head") -> None:
    """Bring the schema to a revision. Of replicas that start together one migrates, the others wait."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes.update(url=url, schema=schema)
    command.upgrade(config, revision)


def run_environment() -> None:
    """What every service's `migrations/env.py` does."""
    attributes = context.config.attributes
    asyncio.run(_run(attributes["url"], attributes["schema"]))


def execute(op: ModuleType, statements: Sequence[str]) -> None:
    """Run plain SQL, one statement at a time: PostgreSQL's extended protocol takes no more."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


async def _run(url: Where, schema: str) -> None:
    async def creator() -> Any:  # noqa: ANN401 - SQLAlchemy's type for a driver connection
        return await connect(url, schema, command_timeout=None, lock_timeout="120s")  # a revision may take its time

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, schema)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock(hashtext('migrate'), hashtext('{schema}'))")
    connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()
