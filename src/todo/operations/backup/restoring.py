"""Restore a backup: into schemas of their own, checked, brought up to date, then put in the place of the old ones.

Until the last transaction nothing that was there is touched: whatever is wrong with the file, and whoever kills this,
leaves the data as it was.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import asyncpg

from todo import backend, notification
from todo.contracts import names
from todo.messaging.database import Where, connect
from todo.messaging.migrations import migrate, revisions
from todo.messaging.postgres import Connection
from todo.operations.backup.archive import DamagedError, Manifest, Reader, Schema, Totals
from todo.operations.backup.taking import SCHEMAS, BackupError, Tell

BACKEND: Final = names.BACKEND.schema or ""
NOTIFICATION: Final = names.NOTIFICATION.schema or ""
MIGRATIONS: Final = {
    BACKEND: Path(backend.__path__[0], "migrations"),
    NOTIFICATION: Path(notification.__path__[0], "migrations"),
}
FRESH: Final = "_restored"  # what the names of schemas end with until they take the old ones' place
_ALONE: Final = "SELECT pg_try_advisory_lock(hashtext('restore'))"
# Services keep a connection each, for their relay.
_RUNNING: Final = """
SELECT string_agg(DISTINCT application_name, ', ') FROM pg_stat_activity
WHERE datname = current_database() AND application_name = ANY($1::text[])
"""
_OWNER: Final = "SELECT nspowner::regrole::text FROM pg_namespace WHERE oid = to_regnamespace($1)"
_HAND_OVER: Final = """
DO $$
DECLARE made record;
BEGIN
    FOR made IN SELECT oid::regclass AS relation FROM pg_class
                WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {owner}', made.relation);
    END LOOP;
    ALTER SCHEMA {schema} OWNER TO {owner};
END
$$
"""


class DataThereError(BackupError):
    """There is data that would be replaced, and nobody said that it may be."""


def check(source: BinaryIO) -> tuple[Manifest, Totals]:
    """Read a whole backup. Raises `DamagedError`."""
    with Reader(source) as reader:
        for table in (table for schema in reader.manifest.schemas.values() for table in schema.tables):
            for _ in reader.rows(table.name):
                pass
        return reader.manifest, reader.finish()


async def restore(
    where: Where, source: BinaryIO, only: Sequence[str], tell: Tell, *, replace: bool
) -> tuple[Manifest, Totals]:
    """Put a backup in the place of what is there, or some of its schemas. Raises `BackupError` and `DamagedError`.

    No service may run on the database. What was restored is in a new epoch: see `docs/backup.md`.
    """
    with Reader(source) as reader:
        chosen = _chosen(reader.manifest, only)
        connection = await connect(
            where, "restore", command_timeout=None, idle_in_transaction_session_timeout="0", lock_timeout="30s"
        )
        try:
            await _check(connection, list(chosen), replace=replace)
            async with _fresh_schemas(connection, list(chosen)):
                totals = await _load(connection, where, reader, chosen, tell)
                tell("bringing it up to date")
                for schema in chosen:
                    await asyncio.to_thread(migrate, where, schema + FRESH, MIGRATIONS[schema])
                await _begin_anew(connection, list(chosen), reader.manifest.taken_at)
                await _swap(connection, list(chosen))
            await _analyze(connection, chosen)
        finally:
            await connection.close()
        return reader.manifest, totals


def _chosen(manifest: Manifest, only: Sequence[str]) -> dict[str, Schema]:
    chosen = {name: schema for name, schema in manifest.schemas.items() if not only or name in only}
    if missing := [name for name in only if name not in chosen]:
        raise BackupError(f"the backup has no {', '.join(missing)}: it is of {', '.join(manifest.schemas)}")
    for name, schema in chosen.items():
        known = revisions(MIGRATIONS[name]) if name in SCHEMAS else ()
        if schema.revision not in known:
            raise BackupError(
                f"its {name} is at revision {schema.revision}, made by todo {manifest.made_by}, which this version does"
                " not know: restore it with that version or a newer one"
            )
    return chosen


async def _check(connection: Connection, schemas: Sequence[str], *, replace: bool) -> None:
    if not await connection.fetchval(_ALONE):
        raise BackupError("another restore runs on this database: wait for it, or end it")
    await _check_nobody_runs(connection)
    there = [
        schema for schema in schemas if await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema)
    ]
    if there and not replace:
        raise DataThereError(
            f"{await _inventory(connection, there)} would be replaced: if that is meant, add --replace"
        )


async def _check_nobody_runs(connection: Connection) -> None:
    running = await connection.fetchval(_RUNNING, [f"todo-{schema}" for schema in SCHEMAS])
    if running:
        raise BackupError(
            f"services run on this database ({running}): stop them first, on Kubernetes with kubectl scale"
        )


async def _inventory(connection: Connection, there: Sequence[str]) -> str:
    tasks = {schema: await connection.fetchval(f"SELECT count(*) FROM {schema}.tasks") for schema in there}  # noqa: S608 - ours
    return " and ".join(f"{schema} with {count} tasks" for schema, count in tasks.items())


@contextlib.asynccontextmanager
async def _fresh_schemas(connection: Connection, schemas: Sequence[str]) -> AsyncIterator[None]:
    """Let there be none of an earlier restore, and leave none behind."""
    drop = f"DROP SCHEMA IF EXISTS {', '.join(schema + FRESH for schema in schemas)} CASCADE"
    await connection.execute(drop)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.execute(drop)
        raise


async def _load(connection: Connection, where: Where, reader: Reader, chosen: dict[str, Schema], tell: Tell) -> Totals:
    loaded: dict[str, int] = {}
    for name, schema in reader.manifest.schemas.items():
        if name in chosen:
            await asyncio.to_thread(migrate, where, name + FRESH, MIGRATIONS[name], schema.revision)
        for table in schema.tables:
            tell(table.name)
            if name in chosen:
                loaded[table.name] = await _copy(connection, table.name, table.columns, reader.rows(table.name))
            else:
                for _ in reader.rows(table.name):
                    pass
    totals = reader.finish()
    for table_name, rows in loaded.items():
        if rows != totals.tables[table_name].rows:
            raise DamagedError(f"{table_name} has {rows} rows instead of {totals.tables[table_name].rows}")
    for counter in totals.counters:
        if counter.table in loaded:
            await connection.execute(
                "SELECT setval(pg_get_serial_sequence($1, $2), $3, $4)",
                _fresh(counter.table),
                counter.column,
                counter.value,
                counter.is_called,
            )
    return totals


async def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterator[bytes]) -> int:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in rows:
            yield piece

    schema, _, name = _fresh(table).partition(".")
    try:
        said: str = await connection.copy_to_table(name, schema_name=schema, columns=columns, source=pieces())
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError) as error:
        raise DamagedError(f"the rows of {table} cannot be read ({error})") from error
    return int(said.split()[1])


def _fresh(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{schema}{FRESH}.{name}"


async def _begin_anew(connection: Connection, schemas: Sequence[str], taken_at: dt.datetime) -> None:
    """Say in the restored schemas that they are.

    Versions that backend counts from here on are of an epoch higher than any that was: than those that can be seen
    here, and than those of a place that is lost, which the clock stands for.
    """
    if BACKEND in schemas:
        await connection.execute(
            f"INSERT INTO backend{FRESH}.origin (epoch, cluster) VALUES ($1, '')"  # noqa: S608 - a constant
            " ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch",
            max(await _epochs(connection)) + 1,
        )
    if NOTIFICATION in schemas:
        await connection.execute(f"UPDATE notification{FRESH}.origin SET cluster = ''")  # noqa: S608 - a constant
        await connection.execute(
            f"INSERT INTO notification{FRESH}.restores (restored_at, taken_at) VALUES (clock_timestamp(), $1)",  # noqa: S608 - a constant
            taken_at,
        )


async def _epochs(connection: Connection) -> list[int]:
    """Every epoch that is known of, to backend as it is and was and to who heard of it; and minutes since 1970."""
    tables = ("backend.origin", f"backend{FRESH}.origin", "notification.tasks", f"notification{FRESH}.tasks")
    return [
        await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::int / 60"),
        *[
            await connection.fetchval(f"SELECT coalesce(max(epoch), 0) FROM {table}")  # noqa: S608 - ours
            for table in tables
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table)
        ],
    ]


async def _swap(connection: Connection, schemas: Sequence[str]) -> None:
    async with connection.transaction():
        for schema in schemas:
            owner = await connection.fetchval(_OWNER, schema)
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            await connection.execute(f"ALTER SCHEMA {schema}{FRESH} RENAME TO {schema}")
            if owner:
                await connection.execute(_HAND_OVER.format(schema=schema, owner=owner))
        await _check_nobody_runs(connection)  # nor has begun to meanwhile


async def _analyze(connection: Connection, schemas: dict[str, Schema]) -> None:
    """Let queries be planned well from the first on; the server does it by itself some time."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        for schema in schemas.values():
            for table in schema.tables:
                await connection.execute(f"ANALYZE {table.name}")
