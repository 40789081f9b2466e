"""Connections to one service's schema.

Where the database is, is a DSN or a file that holds one. The file is read for every new connection, so that a rotated
password needs no restart: it is looked at every second, and when its content changed, connections made by the old one
are replaced as soon as they are free.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
import structlog

from todo.contracts.clock import Clock
from todo.messaging import metrics, outbox
from todo.messaging.bell import Bell
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection, Pool
from todo.messaging.unit import Database

log = structlog.get_logger()

Where: TypeAlias = str | Path  # a DSN, or the file that holds it

_COMMAND_TIMEOUT: Final = 15  # seconds; longer work is paged
_LOOK: Final = 1.0  # seconds between two looks at the file
_SETTINGS: Final = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",  # a frozen replica must not hold its row locks for ever
}


class OwnConnection(asyncpg.Connection):
    """A connection that knows the DSN it was made with."""

    __slots__ = ("dsn", "where")

    where: Where
    dsn: str

    def is_outdated(self) -> bool:
        """Whether the file holds another DSN by now: the one of this connection may soon be refused."""
        try:
            return dsn_of(self.where) != self.dsn
        except OSError:
            return False  # the file is being replaced; the next look tells


def dsn_of(where: Where) -> str:
    """The DSN as it is now. Raises OSError while the file cannot be read."""
    return where if isinstance(where, str) else where.read_text().strip()


async def connect(
    where: Where, schema: str, *, command_timeout: float | None = _COMMAND_TIMEOUT, **settings: str
) -> OwnConnection:
    """One connection of its own, for LISTEN, session locks and migrations."""
    return await _log_in(
        where,
        server_settings=_server_settings(schema) | settings,
        command_timeout=command_timeout,
        timeout=_COMMAND_TIMEOUT,
    )


async def open_database(where: Where, schema: str, clock: Clock, *, max_size: int = 8) -> Database:
    """A pool on the schema. Connects lazily: a service starts while its database is away, and says so in `/readyz`."""
    pool: Any = await asyncpg.create_pool(
        connect=partial(_pooled, where),
        connection_class=OwnConnection,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=300,
        server_settings=_server_settings(schema),
        command_timeout=_COMMAND_TIMEOUT,
        timeout=_COMMAND_TIMEOUT,
        reset=_keep,
    )
    metrics.connections_busy.set_function(lambda: pool.get_size() - pool.get_idle_size())
    metrics.connections_limit.set(max_size)
    return Database(pool, clock, Bell(pool, outbox.CHANNEL_PREFIX + schema))


async def follow(where: Where, pool: Pool) -> None:
    """Replace a pool's connections when the file's content has changed: free ones now, others when they are free.

    Runs beside the service until cancelled; ends at once when there is no file to follow.
    """
    if isinstance(where, str):
        return
    used = None
    while True:
        with contextlib.suppress(OSError):  # it is being replaced, or the next connection says what is wrong
            now = dsn_of(where)
            if used not in (None, now):
                log.info("database login changed, connections are replaced")
                await pool.expire_connections()
                await _renew(pool)
            used = now
        await asyncio.sleep(_LOOK)


async def _renew(pool: Pool) -> None:
    """Take as many connections as lie idle, all at once, and give them back: each is made anew on the way."""
    taken: Sequence[Any] = await asyncio.gather(
        *(pool.acquire() for _ in range(pool.get_idle_size())), return_exceptions=True
    )
    for one in taken:
        if not isinstance(one, BaseException):
            await pool.release(one)
        elif not is_environment(one):
            raise one


async def _pooled(where: Where, *_: object, **options: Any) -> OwnConnection:  # noqa: ANN401 - asyncpg's options
    """Connect as the pool asks, which knows no DSN."""
    del options["connection_class"]
    return await _log_in(where, **options)


async def _log_in(where: Where, **options: Any) -> OwnConnection:  # noqa: ANN401 - asyncpg's options
    """Connect by the DSN as it is now; once more if it was changed while its login was refused."""
    dsn = dsn_of(where)
    try:
        return await _connect(where, dsn, options)
    except asyncpg.InvalidAuthorizationSpecificationError:
        changed = dsn_of(where)
        if changed == dsn:
            raise
        return await _connect(where, changed, options)


async def _connect(where: Where, dsn: str, options: dict[str, Any]) -> OwnConnection:
    connection: OwnConnection = await asyncpg.connect(dsn, connection_class=OwnConnection, **options)
    connection.where, connection.dsn = where, dsn
    return connection


async def _keep(_: Connection) -> None:
    """Hand a connection back as it is: asyncpg has ended its transaction, and nothing here changes its session."""


def _server_settings(schema: str) -> dict[str, str]:
    return {"search_path": schema, "application_name": f"todo-{schema}", **_SETTINGS}
