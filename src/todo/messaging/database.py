"""Connections to one service's schema."""

from typing import Any, Final

import asyncpg

from todo.contracts.clock import Clock
from todo.messaging import outbox
from todo.messaging.bell import Bell
from todo.messaging.postgres import Connection
from todo.messaging.unit import Database

_COMMAND_TIMEOUT: Final = 15  # seconds; longer work is paged
_SETTINGS: Final = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",  # a frozen replica must not hold its row locks for ever
}


async def connect(
    url: str, schema: str, *, command_timeout: float | None = _COMMAND_TIMEOUT, **settings: str
) -> Connection:
    """One connection of its own, for LISTEN, session locks and migrations."""
    return await asyncpg.connect(
        url,
        server_settings=_server_settings(schema) | settings,
        command_timeout=command_timeout,
        timeout=_COMMAND_TIMEOUT,
    )


async def open_database(url: str, schema: str, clock: Clock, *, max_size: int = 8) -> Database:
    """A pool on the schema. Connects lazily: a service starts while its database is away, and says so in `/readyz`."""
    pool: Any = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=300,
        server_settings=_server_settings(schema),
        command_timeout=_COMMAND_TIMEOUT,
        timeout=_COMMAND_TIMEOUT,
        reset=_keep,
    )
    return Database(pool, clock, Bell(pool, outbox.CHANNEL_PREFIX + schema))


async def _keep(_: Connection) -> None:
    """Hand a connection back as it is: asyncpg has ended its transaction, and nothing here changes its session."""


def _server_settings(schema: str) -> dict[str, str]:
    return {"search_path": schema, "application_name": f"todo-{schema}", **_SETTINGS}
