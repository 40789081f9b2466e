"""Take a backup: every row of both schemas as they were at one instant, while everything goes on."""

import graphlib
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final

import asyncpg

import todo
from todo.contracts import names
from todo.messaging.database import Where, connect
from todo.messaging.postgres import Connection
from todo.operations.backup.archive import FORMAT, Counter, Manifest, Schema, Table, Totals, Writer

SCHEMAS: Final = tuple(app.schema for app in names.APPS if app.schema)
# What tells of running processes, not of what they keep; and the revision, which the manifest has.
LEFT_OUT: Final = ("alembic_version", "relay_pause", "running", "sightings")

_TABLES: Final = """
SELECT c.relname AS name,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       (SELECT coalesce(array_agg(f.relname::text), '{}')
        FROM pg_constraint AS k JOIN pg_class AS f ON f.oid = k.confrelid
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND f.oid <> c.oid) AS refers_to
FROM pg_class AS c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r' AND c.relname <> ALL($2::text[])
"""
_COUNTED: Final = """
SELECT c.relname AS name, a.attname AS column, pg_get_serial_sequence($1 || '.' || c.relname, a.attname) AS sequence
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r' AND a.attidentity <> '' ORDER BY 1, 2
"""

Tell = Callable[[str], None]


class BackupError(Exception):
    """It cannot be done now; the message says why and what to do."""


async def take(where: Where, out: BinaryIO, schemas: Sequence[str], tell: Tell) -> tuple[Manifest, Totals]:
    """Write a backup. Raises `BackupError`; then what was written so far is no backup.

    Tables are locked against being changed in their form, by a migration say, and against nothing else.
    """
    connection = await connect(
        where, "backup", command_timeout=None, idle_in_transaction_session_timeout="0", lock_timeout="60s"
    )
    try:
        found = {schema: await _tables(connection, schema) for schema in schemas}
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await _lock(connection, [table.name for tables in found.values() for table in tables])
            # The first query is what the snapshot is of: from here on everything is seen as it is now.
            taken_at = await connection.fetchval("SELECT clock_timestamp()")
            if found != {schema: await _tables(connection, schema) for schema in schemas}:
                raise BackupError("the schema was migrated this very moment: try again")
            described = {
                schema: Schema(await _revision(connection, schema), tuple(tables)) for schema, tables in found.items()
            }
            manifest = Manifest(FORMAT, todo.__version__, taken_at, described)
            return manifest, await _write(connection, Writer(out, manifest), manifest, tell)
    finally:
        await connection.close()


async def _write(connection: Connection, writer: Writer, manifest: Manifest, tell: Tell) -> Totals:
    for schema in manifest.schemas.values():
        for table in schema.tables:
            tell(table.name)
            rows = writer.table(table.name)
            schema_name, _, name = table.name.partition(".")
            said: str = await connection.copy_from_table(
                name, schema_name=schema_name, columns=table.columns, output=rows.take
            )
            rows.finish(int(said.split()[1]))
    return writer.finish([one for schema in manifest.schemas for one in await _counters(connection, schema)])


async def _tables(connection: Connection, schema: str) -> list[Table]:
    """Every table to keep, after those that it refers to."""
    rows = {row["name"]: row for row in await connection.fetch(_TABLES, schema, LEFT_OUT)}
    if not rows:
        raise BackupError(
            f"this database has no schema {schema}: nothing has run on it yet, or it is not the one meant"
        )
    order = graphlib.TopologicalSorter({name: row["refers_to"] for name, row in sorted(rows.items())}).static_order()
    return [Table(f"{schema}.{name}", tuple(rows[name]["columns"])) for name in order]


async def _lock(connection: Connection, tables: Sequence[str]) -> None:
    try:
        await connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE")
    except (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError) as error:
        raise BackupError(f"a migration is under way: try again once it has ended ({error})") from error


async def _revision(connection: Connection, schema: str) -> str:
    revision: str = await connection.fetchval(f"SELECT version_num FROM {schema}.alembic_version")  # noqa: S608 - ours
    return revision


async def _counters(connection: Connection, schema: str) -> list[Counter]:
    """Where sequences stand: they are read as they are now, which is where the snapshot's were, or further."""
    counted = await connection.fetch(_COUNTED, schema)
    stand = [await connection.fetchrow(f"SELECT last_value, is_called FROM {row['sequence']}") for row in counted]  # noqa: S608 - the same
    return [
        Counter(f"{schema}.{row['name']}", row["column"], now["last_value"], now["is_called"])
        for row, now in zip(counted, stand, strict=True)
        if now is not None
    ]
