"""`state.sqlite`: keys and values with ETags, first-write, time to live, bulk reads and transactions."""

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from daprlet.database import Database, Savepoint
from daprlet.errors import Rejected, StorageError

_log = logging.getLogger(__name__)

_CHUNK: Final = 500
FIRST_WRITE: Final = "first-write"


def schema(table: str) -> str:
    """The table of a store; `table` is checked to be a plain name before it gets here."""
    return f"""
CREATE TABLE IF NOT EXISTS "{table}" (
    store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, etag TEXT NOT NULL, expires REAL,
    PRIMARY KEY (store, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS "{table}_by_expiry" ON "{table}" (expires) WHERE expires IS NOT NULL;
"""


class EtagMismatch(Rejected):
    """Somebody else has written, or the key exists already for a first write."""


class Item(NamedTuple):
    value: bytes
    etag: str
    expires: float | None


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write a value. `etag` must match when given; a first write without one must find the key absent.

    `ttl` is seconds from now; None keeps the value for ever.
    """

    key: str
    value: bytes
    etag: str | None = None
    first_write: bool = False
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key; with an `etag` only if it matches. A missing key without an `etag` is no error."""

    key: str
    etag: str | None = None


Operation = Upsert | Delete


class StateStore:
    """One state component. An expired value is absent for every operation, whether or not it was cleaned up yet."""

    def __init__(self, database: Database, name: str, table: str = "state", cleanup_interval: float = 3600.0) -> None:
        self._database = database
        self.name = name
        self._table = f'"{table}"'
        self._cleanup_interval = cleanup_interval

    def get(self, key: str) -> Item | None:
        sql = (
            f"SELECT value, etag, expires FROM {self._table}"  # noqa: S608 - a checked name
            " WHERE store = ? AND key = ? AND (expires IS NULL OR expires > ?)"
        )
        rows = self._database.read(sql, (self.name, key, time.time()))
        return Item(*rows[0]) if rows else None

    async def apply(self, operation: Operation) -> None:
        """Do one operation durably; raises `EtagMismatch` or `StorageError`."""
        await self._database.write(lambda connection: self._do(connection, operation))

    async def apply_each(self, operations: Sequence[Operation]) -> None:
        """Do every operation on its own; raises the first `EtagMismatch`, with the others done nevertheless."""
        results = await asyncio.gather(*(self.apply(one) for one in operations), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def transact(self, operations: Sequence[Operation]) -> None:
        """Do all operations or none; raises `EtagMismatch` or `StorageError`."""

        def all_or_none(connection: sqlite3.Connection) -> None:
            with Savepoint(connection):
                for operation in operations:
                    self._do(connection, operation)

        await self._database.write(all_or_none)

    async def clean_up(self) -> None:
        """Delete expired values from time to time, for as long as the run lasts; at an interval of 0 never."""
        while self._cleanup_interval > 0:
            await asyncio.sleep(self._cleanup_interval)
            try:
                while await self._database.write(self._delete_expired) == _CHUNK:
                    pass
            except StorageError as error:
                _log.error("expired values of %s could not be deleted: %s", self.name, error)

    def _do(self, connection: sqlite3.Connection, operation: Operation) -> None:
        if isinstance(operation, Upsert):
            self._upsert(connection, operation)
        else:
            self._delete(connection, operation)

    def _upsert(self, connection: sqlite3.Connection, operation: Upsert) -> None:
        now = time.time()
        if operation.etag is not None or operation.first_write:
            self._check(connection, operation.key, operation.etag, now)
        expires = None if operation.ttl is None else now + operation.ttl
        connection.execute(
            f"INSERT INTO {self._table} (store, key, value, etag, expires) VALUES (?, ?, ?, ?, ?) ON CONFLICT"  # noqa: S608 - the same
            " DO UPDATE SET value = excluded.value, etag = excluded.etag, expires = excluded.expires",
            (self.name, operation.key, operation.value, secrets.token_hex(8), expires),
        )

    def _delete(self, connection: sqlite3.Connection, operation: Delete) -> None:
        if operation.etag is not None:
            self._check(connection, operation.key, operation.etag, time.time())
        sql = f"DELETE FROM {self._table} WHERE store = ? AND key = ?"  # noqa: S608 - the same
        connection.execute(sql, (self.name, operation.key))

    def _check(self, connection: sqlite3.Connection, key: str, etag: str | None, now: float) -> None:
        """Raise unless the live value has this ETag, or with None, unless there is no live value."""
        row = connection.execute(
            f"SELECT etag FROM {self._table} WHERE store = ? AND key = ? AND (expires IS NULL OR expires > ?)",  # noqa: S608 - the same
            (self.name, key, now),
        ).fetchone()
        if (row[0] if row else None) != etag:
            raise EtagMismatch("possible etag mismatch. error from state store")

    def _delete_expired(self, connection: sqlite3.Connection) -> int:
        sql = (
            f"DELETE FROM {self._table} WHERE (store, key) IN"  # noqa: S608 - the same
            f" (SELECT store, key FROM {self._table} WHERE expires <= ? LIMIT {_CHUNK})"
        )
        return connection.execute(sql, (time.time(),)).rowcount
