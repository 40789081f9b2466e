import datetime as dt
from uuid import uuid4

import asyncpg
import pytest

from todo.contracts import names
from todo.contracts.events import REMINDER_DUE, ReminderDue
from todo.dapr.subscriber import UnavailableError
from todo.messaging.database import open_database
from todo.messaging.unit import Database, Outgoing, Transaction, outgoing

NOW = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)


def event(key: str = "k") -> Outgoing:
    return outgoing("shop", names.TASK_REMINDERS, REMINDER_DUE, key, ReminderDue(uuid4(), "PT0S", NOW, 1), now=NOW)


async def keys(database: Database) -> list[str]:
    return [row["key"] for row in await database.pool.fetch("SELECT key FROM outbox ORDER BY id")]


async def effects(database: Database) -> list[str]:
    return [row["name"] for row in await database.pool.fetch("SELECT name FROM effects ORDER BY seq, name")]


async def test_effect_and_events_are_one(database: Database) -> None:
    async with database.transaction() as unit:
        await unit.connection.execute("INSERT INTO effects VALUES ('paid')")
        unit.emit(event("a"), event("b"))
        assert await keys(database) == []
    assert (await effects(database), await keys(database)) == (["paid"], ["a", "b"])


async def test_a_rollback_leaves_neither(database: Database) -> None:
    async def pay() -> None:
        async with database.transaction() as unit:
            await unit.connection.execute("INSERT INTO effects VALUES ('paid')")
            unit.emit(event())
            raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await pay()
    assert (await effects(database), await keys(database)) == ([], [])


async def test_events_that_cannot_be_written_undo_the_effect(database: Database) -> None:
    async def pay() -> None:
        async with database.transaction() as unit:
            await unit.connection.execute("INSERT INTO effects VALUES ('paid')")
            unit.emit(event("a key with \x00"))

    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await pay()
    assert await effects(database) == []


async def test_an_isolated_part_fails_alone(database: Database) -> None:
    async def fail(unit: Transaction) -> None:
        async with unit.isolated():
            await unit.connection.execute("INSERT INTO effects VALUES ('poisoned')")
            unit.emit(event("poisoned"))
            raise ValueError("poison")

    async with database.transaction() as unit:
        unit.emit(event("before"))
        with pytest.raises(ValueError, match="poison"):
            await fail(unit)
        unit.emit(event("after"))
    assert (await effects(database), await keys(database)) == ([], ["before", "after"])


async def test_rows_written_at_once_have_their_ids_in_order(database: Database) -> None:
    async with database.transaction() as unit:
        ids = await unit.emit_now([event("a"), event("b"), event("c")])
    rows = await database.pool.fetch("SELECT id, key FROM outbox ORDER BY id")
    assert [(row["id"], row["key"]) for row in rows] == list(zip(ids, "abc", strict=True))


async def test_a_database_that_is_away_is_unavailable_and_not_a_fault() -> None:
    nowhere = await open_database("postgresql://nobody@127.0.0.1:1/nothing", "shop", lambda: NOW)
    with pytest.raises(UnavailableError):
        async with nowhere.transaction():
            pass
    await nowhere.pool.close()
