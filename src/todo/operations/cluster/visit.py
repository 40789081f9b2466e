"""The place of a system on a cluster, for a command that asks its API.

Whoever is in the operations pod can make tokens. So a command that was given none has one of its own while it runs.
"""

import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import asyncpg

from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.store import credentials
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.messaging.database import Where, connect
from todo.operations.access import AccessError, NoDatabaseError, access, database_of
from todo.operations.cluster.errors import ClusterError, Fault
from todo.operations.cluster.system import System
from todo.operations.find import Place

LASTS: Final = dt.timedelta(hours=12)  # a killed command's token; nobody else knows it
FIRST_USER: Final = 1
EVERYTHING: Final = (*OWN_TASKS, Scope.OPERATOR)


@asynccontextmanager
async def visited(
    system: System, environ: Mapping[str, str] = os.environ, user_id: int | None = None
) -> AsyncIterator[Place]:
    """Where to ask, with a token: TODO_TOKEN, else one made for this command where its database is known from here."""
    place = await system.place(environ)
    if place.api_token or not (environ.get("DATABASE_URL") or environ.get("DATABASE_URL_FILE")):
        yield place
        return
    async with _token(environ, user_id or FIRST_USER, EVERYTHING) as token:
        yield replace(place, api_token=token)


@asynccontextmanager
async def _token(environ: Mapping[str, str], user_id: int, scopes: Sequence[Scope]) -> AsyncIterator[str]:
    try:
        where = database_of(environ=environ)
        async with access(where) as granted:
            made = await granted.add_token(user_id, "todo in operations", scopes, utc_now() + LASTS)
    except (NoDatabaseError, AccessError) as error:
        raise ClusterError(Fault.REFUSED, f"no token for the API: {error}") from error
    try:
        yield made.token
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # then it ends with its time
            await _revoke(where, made.id)


async def _revoke(where: Where, token_id: int) -> None:
    """Without waiting until every replica has noticed: nobody knows the token any more."""
    connection = await connect(where, names.BACKEND.schema or "")
    try:
        await credentials.revoke(connection, token_id, utc_now())
    finally:
        await connection.close(timeout=2)
