"""The database: whether it lets us in and is migrated, and what only it can tell. Nothing is written."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Final

import asyncpg

from todo.contracts import envelope, names
from todo.contracts.clock import Clock
from todo.contracts.names import App
from todo.messaging import outbox, pause
from todo.messaging.database import Where, connect
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Database, Letters, Outbox, Reading, Refusal, Repeated, Seen

ANSWERS_IN: Final = 10.0
OWNERS: Final = tuple(app for app in names.APPS if app.schema)
LOGIN: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
UNMIGRATED: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)

# One line for each (app, topic, error); the first letter's bytes tell whether it is an event at all
_LETTERS: Final = """
SELECT app, topic, error, count(*) AS count, min(id) AS first_id FROM dead_letters WHERE status = 'open'
GROUP BY app, topic, error ORDER BY count(*) DESC, min(id) LIMIT 20
"""
_BODY: Final = "SELECT body FROM dead_letters WHERE id = $1"

_REPEATED: Final = """
SELECT task_id, reminder,
       array_agg(format('attempt %s at %s: %s%s', attempt, to_char(at, 'YYYY-MM-DD HH24:MI:SS'), outcome,
                        CASE WHEN possibly_sent AND outcome <> 'delivered' THEN ', possibly sent' ELSE '' END)
                 ORDER BY attempt) AS attempts
FROM deliveries
WHERE (outcome = 'delivered' OR possibly_sent) AND at > clock_timestamp() - interval '7 days'
GROUP BY task_id, reminder, fire_at HAVING count(*) > 1 ORDER BY max(at) DESC LIMIT 10
"""

# Of each relay one session holds the advisory lock of its schema, or asks for it every second
_RELAYS: Final = """
SELECT count(DISTINCT pid) FROM (
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
      AND classid = (hashtext('relay')::bigint & 4294967295)::oid
      AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND application_name = 'todo-' || current_schema() AND query LIKE 'SELECT pg_try_advisory_lock(%'
) AS relays
"""


@asynccontextmanager
async def opened(where: Where, schema: str) -> AsyncIterator[Connection]:
    """A connection that cannot write."""
    connection = await connect(where, schema, default_transaction_read_only="on", application_name="todo-doctor")
    try:
        yield connection
    finally:
        with suppress(TimeoutError):  # a port-forward ends a connection late, and nothing of ours is in it any more
            await connection.close(timeout=0.2)


async def look(logins: Mapping[str, Where], clock: Clock) -> Database:
    """Try every login; with the first that works read what is to be read."""
    refusals = [one for who, where in logins.items() if (one := await _refusal(who, where)) is not None]
    if refusals:
        return Database(refusals=refusals)
    where = next(iter(logins.values()))
    behind: dict[str, tuple[str | None, str]] = {}
    instances = {}
    for app in OWNERS:
        async with asyncio.timeout(ANSWERS_IN), opened(where, app.schema or "") as connection:
            at, wanted = await _revision(connection), _revisions(app)
            if at is None or (at != wanted[0] and at in wanted):
                behind[app.app_id] = at, wanted[0]
            else:
                rows = await connection.fetch("SELECT instance FROM running ORDER BY started_at DESC LIMIT 10")
                instances[app.app_id] = [row["instance"] for row in rows]
    if behind:
        return Database(behind=behind)
    async with asyncio.timeout(ANSWERS_IN), opened(where, names.BACKEND.schema or "") as connection:
        return Database(
            clock=await _clock(connection, clock),
            letters=await _letters(connection),
            repeated=[Repeated(str(row["task_id"]), row["reminder"], row["attempts"])
                      for row in await connection.fetch(_REPEATED)],
            instances=instances,
        )  # fmt: skip


async def moving(where: Where) -> tuple[dict[str, Outbox], dict[str, int]]:
    """The outboxes and the number of relays, by app id. Raises what the database raises."""
    outboxes, relays = {}, {}
    for app in OWNERS:
        async with asyncio.timeout(ANSWERS_IN), opened(where, app.schema or "") as connection:
            depth = await connection.fetchrow(outbox.DEPTH)
            now = await connection.fetchval("SELECT clock_timestamp()")
            held = await pause.in_force(connection)
            oldest = (now - depth["oldest"]).total_seconds() if depth and depth["oldest"] else 0.0
            outboxes[app.app_id] = Outbox(depth["depth"] if depth else 0, oldest, held.text if held else "")
            relays[app.app_id] = await connection.fetchval(_RELAYS)
    return outboxes, relays


def check(seen: Seen) -> Iterator[Finding]:
    """Who is not let in, and which schema is behind the code."""
    database = seen.database
    if database is None:
        return
    away = [one for one in database.refusals if not one.is_login]
    if away:
        told = dict.fromkeys(one.reason for one in away)
        yield found(Code.DATABASE_AWAY, "database", "the database does not answer", f"asked from {seen.where}", *told)
    for one in database.refusals:
        if one.is_login:
            yield found(Code.DATABASE_LOGIN, one.who, f"the database does not let in {one.who}", one.reason)
    for app_id, (at, wanted) in database.behind.items():
        has = f"its schema is at revision {at}" if at else "it has no tables"
        yield found(
            Code.DATABASE_NOT_MIGRATED,
            app_id,
            f"the database of {app_id} is not migrated",
            f"{has}, {wanted} is needed",
        )


async def _refusal(who: str, where: Where) -> Refusal | None:
    try:
        async with asyncio.timeout(ANSWERS_IN), opened(where, names.BACKEND.schema or "") as connection:
            await connection.execute("SELECT 1")
    except LOGIN as error:
        return Refusal(who, f"{type(error).__name__}: {error}", is_login=True)
    except TimeoutError:
        return Refusal(who, f"no answer within {ANSWERS_IN:.0f} s", is_login=False)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if not is_environment(error):
            raise
        return Refusal(who, f"{type(error).__name__}: {error}", is_login=False)
    return None


async def _revision(connection: Connection) -> str | None:
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except UNMIGRATED:
        return None
    return revision


def _revisions(app: App) -> list[str]:
    """The revisions that this code knows, newest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - SQLAlchemy, for those who ask

    with resources.as_file(resources.files(app.module) / "migrations") as folder:
        return [one.revision for one in ScriptDirectory(str(Path(folder))).walk_revisions()]


async def _clock(connection: Connection, clock: Clock) -> Reading:
    asked, began = clock(), time.monotonic()
    told = await connection.fetchval("SELECT clock_timestamp()")
    took = time.monotonic() - began
    return Reading((told - asked).total_seconds() - took / 2, took / 2)


async def _letters(connection: Connection) -> list[Letters]:
    groups = await connection.fetch(_LETTERS)
    return [
        Letters(**group, unreadable=_unreadable(await connection.fetchval(_BODY, group["first_id"]), group["topic"]))
        for group in groups
    ]


def _unreadable(body: bytes | None, topic: str) -> str:
    """Why this code cannot read an event; nothing if it can, or if the letter is gone meanwhile."""
    read = envelope.decode(body, topic) if body is not None else None
    return read.reason if isinstance(read, envelope.Unreadable) else ""
