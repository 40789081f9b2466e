"""A schema is migrated under traffic: by one replica, in short locks, from where it stands."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.waiting import until
from todo.messaging import migrations
from todo.messaging.migrations import MigrationError, migrate, revisions
from todo.messaging.postgres import Connection

SCHEMA = "shop"
ENV = "from todo.messaging.migrations import run_environment\n\nrun_environment()\n"
FIRST = 'execute(op, ("CREATE TABLE goods (id int PRIMARY KEY, name text)",))'
ADD = 'execute(op, ("ALTER TABLE goods ADD COLUMN price int NOT NULL DEFAULT 0",))'
INDEX = 'create_index(op, "goods_name", "goods (name)", unique=True)'
REVISION = """
from alembic import op
from todo.messaging.migrations import create_index, execute

revision = "{number:04}"
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    {body}
"""


REPLICA = """
import pathlib, sys
from todo.messaging.migrations import migrate

migrate(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
"""


class Shop:
    """A service's migrations, in a folder of their own, and a way into its database."""

    def __init__(self, url: str, folder: Path, connection: Connection) -> None:
        self.url = url
        self.folder = folder
        self.connection = connection

    def release(self, *bodies: str) -> None:
        """What the next release's revisions do."""
        for body in bodies:
            number = len(list((self.folder / "versions").glob("*.py"))) + 1
            before = f"{number - 1:04}" if number > 1 else None
            place = self.folder / "versions" / f"{number:04}_made.py"
            place.write_text(REVISION.format(number=number, before=before, body=body))

    async def migrate(self, patience: float = 60.0) -> None:
        await asyncio.to_thread(migrate, self.url, SCHEMA, self.folder, patience=patience)

    async def revision(self) -> str:
        found: str = await self.connection.fetchval(f"SELECT version_num FROM {SCHEMA}.alembic_version")  # noqa: S608 - a constant
        return found


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "300ms")
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    connection: Connection = await asyncpg.connect(database_url)
    shop = Shop(database_url, folder, connection)
    shop.release(FIRST)
    yield shop
    await connection.close()


async def test_replicas_that_start_together_migrate_once_each_in_its_turn(shop: Shop) -> None:
    """While one is at it the others ask, and hold nothing; whoever comes next finds nothing left to do."""
    shop.release(ADD, INDEX)
    mine = "hashtext('migrate'), hashtext($1)"
    await shop.connection.execute(f"SELECT pg_advisory_lock({mine})", SCHEMA)
    replicas = asyncio.gather(*(_replica(shop) for _ in range(2)))
    await until(lambda: _ask(shop.connection, 2), 30)
    assert await shop.connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None
    await shop.connection.execute(f"SELECT pg_advisory_unlock({mine})", SCHEMA)
    assert await replicas == [0, 0]
    assert await shop.revision() == revisions(shop.folder)[-1] == "0003"


async def test_a_lock_that_is_held_makes_nobody_queue_up_and_is_tried_for_again(shop: Shop) -> None:
    """Behind a waiting ALTER TABLE every reader waits: it gives up first, each time, until the table is free."""
    await shop.migrate()
    shop.release(ADD)
    reader: Connection = await asyncpg.connect(shop.url)
    async with shop.connection.transaction():
        await shop.connection.execute(f"LOCK TABLE {SCHEMA}.goods IN ACCESS SHARE MODE")
        migration = asyncio.create_task(shop.migrate())
        for _ in range(2):
            await until(lambda: _waits(reader), 30)
            assert await reader.fetchval(f"SELECT count(*) FROM {SCHEMA}.goods", timeout=30) == 0  # noqa: S608 - a constant
        assert not migration.done()
    await migration
    await reader.close()
    assert await shop.revision() == "0002"


async def test_a_lock_that_is_never_let_go_is_told(shop: Shop) -> None:
    await shop.migrate()
    shop.release(ADD)
    async with shop.connection.transaction():
        await shop.connection.execute(f"LOCK TABLE {SCHEMA}.goods IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match="a lock that migrating shop needs is held all the time"):
            await shop.migrate(patience=0.5)
    assert await shop.revision() == "0001"


async def test_an_index_is_built_beside_writers_and_again_when_it_was_cut_short(shop: Shop) -> None:
    """A writer with an open transaction does not stop others; an index that is not valid is replaced."""
    await shop.migrate()
    await shop.connection.execute(f"INSERT INTO {SCHEMA}.goods VALUES (1, 'same'), (2, 'same')")  # noqa: S608 - a constant
    shop.release(INDEX)
    with pytest.raises(Exception, match="could not create unique index"):
        await shop.migrate()
    assert await shop.revision() == "0001"
    await shop.connection.execute(f"DELETE FROM {SCHEMA}.goods WHERE id = 2")  # noqa: S608 - a constant
    writer: Connection = await asyncpg.connect(shop.url)
    transaction = shop.connection.transaction()
    await transaction.start()
    await shop.connection.execute(f"INSERT INTO {SCHEMA}.goods VALUES (3, 'three')")  # noqa: S608 - a constant
    migration = asyncio.create_task(shop.migrate())
    await until(lambda: _waits(writer), 30)
    await writer.execute(f"INSERT INTO {SCHEMA}.goods VALUES (4, 'four')", timeout=5)  # noqa: S608 - a constant
    await transaction.commit()
    await migration
    await writer.close()
    assert await shop.connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.goods_name'::regclass"
    )


async def test_each_revision_is_kept_that_was_done(shop: Shop) -> None:
    """One that fails takes none before it along, and the next start goes on from there."""
    shop.release(ADD, 'execute(op, ("SELECT 1 / 0",))')
    with pytest.raises(Exception, match="division by zero"):
        await shop.migrate()
    assert await shop.revision() == "0002"
    shutil.rmtree(shop.folder / "versions" / "__pycache__", ignore_errors=True)
    (shop.folder / "versions" / "0003_made.py").unlink()
    shop.release(INDEX)
    await shop.migrate()
    assert await shop.revision() == "0003"


async def _replica(shop: Shop) -> int:
    """Migrate in a process of its own, as init containers do: Alembic knows one migration a process."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", REPLICA, shop.url, SCHEMA, shop.folder)
    return await process.wait()


async def _ask(connection: Connection, sessions: int) -> bool:
    """Whether so many sessions asked for the lock, and hold no snapshot."""
    found = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND query LIKE '%pg_try_advisory_lock%' AND state = 'idle'"
    )
    return bool(found == sessions)


async def _waits(connection: Connection) -> bool:
    """Whether somebody waits for a lock."""
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
