import asyncio
import sqlite3
from pathlib import Path

import pytest

from daprlet.database import Database, Operation, Savepoint
from daprlet.errors import Rejected, StorageError

SCHEMA = "CREATE TABLE IF NOT EXISTS number (value INTEGER PRIMARY KEY)"


def insert(value: object) -> Operation[int | None]:
    return lambda connection: connection.execute("INSERT INTO number VALUES (?)", (value,)).lastrowid


async def test_what_was_answered_is_there_for_another_connection(tmp_path: Path) -> None:
    """A write returns only after its commit."""
    database = Database(tmp_path / "one.db", SCHEMA)
    database.start()
    await database.write(insert(7))
    with sqlite3.connect(tmp_path / "one.db") as other:
        assert other.execute("SELECT value FROM number").fetchall() == [(7,)]
    other.close()
    await database.close()


async def test_a_failing_operation_does_not_take_its_group_along(tmp_path: Path) -> None:
    """Operations that share a commit with a failing one are stored, once."""
    database = Database(tmp_path / "one.db", SCHEMA)
    database.start()
    writes = [database.write(insert(value)) for value in (1, 2, 2, 3, "not a number")]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [int, int, StorageError, int, StorageError]
    assert database.read("SELECT value FROM number") == [(1,), (2,), (3,)]
    await database.close()


async def test_a_rejection_is_only_its_own(tmp_path: Path) -> None:
    """A precondition that does not hold is told to its caller, and the others are committed."""

    def refuse(_: sqlite3.Connection) -> None:
        raise Rejected("no")

    database = Database(tmp_path / "one.db", SCHEMA)
    database.start()
    results = await asyncio.gather(database.write(insert(1)), database.write(refuse), return_exceptions=True)
    assert isinstance(results[1], Rejected)
    assert database.read("SELECT value FROM number") == [(1,)]
    await database.close()


async def test_a_savepoint_undoes_its_block_alone(tmp_path: Path) -> None:
    """What a transaction wrote before its precondition failed is gone; the rest of the group stays."""

    def half(connection: sqlite3.Connection) -> None:
        with Savepoint(connection):
            connection.execute("INSERT INTO number VALUES (5)")
            raise Rejected("the second half does not fit")

    database = Database(tmp_path / "one.db", SCHEMA)
    database.start()
    results = await asyncio.gather(database.write(insert(1)), database.write(half), return_exceptions=True)
    assert isinstance(results[1], Rejected)
    assert database.read("SELECT value FROM number") == [(1,)]
    await database.close()


async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """A write that was submitted before close is durable after it; one after it is refused."""
    database = Database(tmp_path / "one.db", SCHEMA)
    database.start()
    writes = [asyncio.ensure_future(database.write(insert(value))) for value in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    with pytest.raises(StorageError, match="closed"):
        await database.write(insert(1))
    again = Database(tmp_path / "one.db", SCHEMA)
    assert again.read("SELECT count(*) FROM number") == [(100,)]
    await again.close()


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """Rather than misread."""
    with sqlite3.connect(tmp_path / "one.db") as other:
        other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(sqlite3.NotSupportedError, match="its format is 99"):
        Database(tmp_path / "one.db", SCHEMA)


async def test_a_commit_waits_for_the_disk(database: Database) -> None:
    """FULL, on the connection that writes: with less, power loss takes answered writes along."""
    assert await database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
