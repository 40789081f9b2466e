import asyncio
import os
import sys

import asyncpg
from alembic import command
from alembic.config import Config

from tests.integration.backend.scenario import prepare
from todo.backend.app import MIGRATIONS, SCHEMA


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'backend'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def migrate(url: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "todo.backend", "migrate", env=os.environ | {"DATABASE_URL": url}
    )
    return await process.wait()


async def test_of_replicas_that_migrate_together_one_does_and_the_others_wait(database_url: str) -> None:
    assert set(await asyncio.gather(migrate(database_url), migrate(database_url))) == {0}
    assert {"tasks", "outbox", "alembic_version"} <= await tables(database_url)


async def test_the_way_back_leaves_nothing_and_the_way_forth_works_again(database_url: str) -> None:
    await asyncio.to_thread(prepare, database_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(url=database_url, schema=SCHEMA)
    await asyncio.to_thread(command.downgrade, config, "base")
    assert await tables(database_url) == {"alembic_version"}
    await asyncio.to_thread(prepare, database_url)
    assert "tasks" in await tables(database_url)
