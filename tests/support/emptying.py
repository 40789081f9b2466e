"""Empty tables are sooner had than a new database."""

import asyncpg


async def empty(url: str, schema: str) -> None:
    """Delete every row of a schema but the record of its migrations, and count from one again."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetchval(
            "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables"
            " WHERE schemaname = $1 AND tablename <> 'alembic_version'",
            schema,
        )
        await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    finally:
        await connection.close()
