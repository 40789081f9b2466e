import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from daprlet.database import Database
from daprlet.datafolder import DataFolder
from daprlet.errors import SetupError, StorageError
from daprlet.resources import Component, load
from daprlet.state import Delete, EtagMismatch, StateStore, Upsert
from daprlet.state_stores import StateStores


@pytest.fixture
def store(database: Database) -> StateStore:
    return StateStore(database, "store")


async def expire(database: Database) -> None:
    await database.write(
        lambda connection: connection.execute("UPDATE state SET expires = 1 WHERE expires IS NOT NULL")
    )


async def test_one_of_many_first_writes_wins(store: StateStore) -> None:
    """However many ask in the same commit, exactly one claims the key."""
    claims = [store.apply(Upsert("k", b"%d" % number, first_write=True)) for number in range(50)]
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert results.count(None) == 1
    assert all(isinstance(result, EtagMismatch) for result in results if result is not None)


async def test_an_expired_value_is_absent(store: StateStore, database: Database) -> None:
    """For reads, for first writes, and for an ETag that was its own."""
    await store.apply(Upsert("k", b"1", ttl=60))
    item = store.get("k")
    assert item is not None
    await expire(database)
    assert store.get("k") is None
    with pytest.raises(EtagMismatch):
        await store.apply(Upsert("k", b"2", etag=item.etag))
    await store.apply(Upsert("k", b"3", first_write=True))
    assert store.get("k") is not None


async def test_a_write_without_ttl_ends_an_earlier_one(store: StateStore) -> None:
    """The value stays for ever then."""
    await store.apply(Upsert("k", b"1", ttl=60))
    await store.apply(Upsert("k", b"2"))
    item = store.get("k")
    assert item is not None
    assert item.expires is None


async def test_a_deleted_and_rewritten_value_has_another_etag(store: StateStore) -> None:
    """An ETag of the first life does not fit the second."""
    await store.apply(Upsert("k", b"1"))
    first = store.get("k")
    await store.apply(Delete("k"))
    await store.apply(Upsert("k", b"1"))
    assert first is not None
    with pytest.raises(EtagMismatch):
        await store.apply(Delete("k", first.etag))


async def test_a_transaction_is_all_or_nothing(store: StateStore) -> None:
    """A precondition in the last operation undoes the first."""
    await store.apply(Upsert("taken", b"1"))
    with pytest.raises(EtagMismatch):
        await store.transact([Upsert("a", b"1"), Delete("taken"), Upsert("b", b"1", etag="wrong")])
    assert store.get("a") is None
    assert store.get("taken") is not None


async def test_many_keys_are_written_each_on_its_own(store: StateStore) -> None:
    """One conflict is reported and does not keep the others from being written: as weak as stores in general."""
    await store.apply(Upsert("b", b"1"))
    with pytest.raises(EtagMismatch):
        await store.apply_each([Upsert(key, b"2", first_write=True) for key in ("a", "b", "c")])
    assert [store.get(key) is not None for key in ("a", "b", "c")] == [True, True, True]
    item = store.get("b")
    assert item is not None
    assert item.value == b"1"


async def test_stores_do_not_see_each_other(store: StateStore, database: Database) -> None:
    """Two components in one table."""
    await store.apply(Upsert("k", b"1"))
    assert StateStore(database, "other").get("k") is None


async def test_expired_values_are_cleaned_up(database: Database, store: StateStore) -> None:
    """Their rows go; others stay."""
    await store.apply_each([Upsert(str(number), b"x", ttl=60) for number in range(600)])
    await store.apply(Upsert("stays", b"x"))
    await expire(database)
    cleaner = StateStore(database, "store", cleanup_interval=0.001)
    task = asyncio.create_task(cleaner.clean_up())
    async with asyncio.timeout(10):
        while database.read("SELECT count(*) FROM state") != [(1,)]:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.005)
    task.cancel()


async def test_a_failed_clean_up_is_not_the_last(
    database: Database, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full for a while costs nothing but time."""
    await store.apply(Upsert("k", b"1", ttl=60))
    await expire(database)
    writing, failed = database.write, 0

    async def full(_: object) -> None:
        nonlocal failed
        failed += 1
        raise StorageError("disk full")

    monkeypatch.setattr(database, "write", full)
    task = asyncio.create_task(StateStore(database, "store", cleanup_interval=0.001).clean_up())
    async with asyncio.timeout(10):
        while failed < 3:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        monkeypatch.setattr(database, "write", writing)
        while database.read("SELECT count(*) FROM state") != [(0,)]:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.005)
    task.cancel()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    taken = DataFolder(tmp_path / "data")
    yield taken
    taken.close()


@pytest.mark.parametrize("table", ["topic", "Job", "sqlite_x"])
def test_a_state_table_is_none_of_ours(database: Database, folder: DataFolder, table: str) -> None:
    """Nor of SQLite's; the file is named, and of stores that were asked for together none is there."""
    stores = StateStores(folder, database)
    good = Component("good", "state.sqlite", "good.yaml", {}, frozenset())
    bad = Component("bad", "state.sqlite", "bad.yaml", {"tableName": table}, frozenset())
    with pytest.raises(SetupError, match=r"bad\.yaml.*tableName"):
        stores.add([good, bad])
    assert [store.name for store in stores.add([good])] == ["good"]


TABLE_OF_THE_ENVIRONMENT = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: env}
spec: {type: secretstores.local.env, version: v1, metadata: []}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.sqlite
  version: v1
  metadata: [{name: tableName, secretKeyRef: {name: TABLE}}]
auth: {secretStore: env}
"""


@pytest.mark.parametrize("table", ["hunter2 or so", "SUBSCRIPTION", "sqlite_hunter2"])
def test_a_secret_table_name_is_not_quoted(
    database: Database, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Whatever is wrong with it: it is no plain name, a table of ours, one that SQLite refuses."""
    monkeypatch.setenv("TABLE", table)
    resources = tmp_path / "resources"
    resources.mkdir()
    (resources / "store.yaml").write_text(TABLE_OF_THE_ENVIRONMENT)
    with pytest.raises(SetupError, match="tableName") as error:
        StateStores(folder, database).add(load("app", [resources]).states.values())
    assert table not in str(error.value)
    assert error.value.__cause__ is None
