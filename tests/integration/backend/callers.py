"""backend under TODO_AUTH=required beside a provider, and what makes callers of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg

from tests.integration.backend.scenario import prepare
from tests.integration.backend.service import Api, Running, running_backend
from tests.support.postgres import Databases
from tests.support.provider import AUDIENCE, IdentityProvider
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.contracts.clock import utc_now
from todo.operations.access import NewToken, access
from todo.operations.postgres import PostgresServer

EVERYTHING = tuple(Scope)
UNLIMITED = {"TODO_RATE": "100000", "TODO_RATE_BURST": "100000", "TODO_AUTH_FAILURES": "100000"}


@dataclass(frozen=True)
class Guarded:
    """A service that knows its callers."""

    service: Running
    url: str  # of its database
    identity: IdentityProvider

    @property
    def base(self) -> str:
        return self.service.base

    async def user(self) -> int:
        connection = await asyncpg.connect(self.url)
        try:
            made: int = await connection.fetchval(
                "INSERT INTO backend.users (email, name, zone, created_at) VALUES ($1, 'U', 'UTC', $2) RETURNING id",
                f"user{os.urandom(6).hex()}@example.test",
                utc_now(),
            )
            return made
        finally:
            await connection.close()

    async def token(self, user_id: int = 1, scopes: Sequence[Scope] = OWN_TASKS, **more: Any) -> NewToken:  # noqa: ANN401 - expires_at
        async with access(self.url) as opened:
            return await opened.add_token(user_id, "of a test", scopes, **more)

    @asynccontextmanager
    async def calling(
        self, scopes: Sequence[Scope] = OWN_TASKS, *, user_id: int | None = None, token: str | None = None
    ) -> AsyncIterator[Api]:
        """A client with a token, of a user of its own unless one is given."""
        user_id = user_id or await self.user()
        async with aiohttp.ClientSession(self.base) as http:
            async with http.get("/openapi.json") as response:
                document = await response.json()
            yield Api(http, document, user_id, token or (await self.token(user_id, scopes)).token)


@contextmanager
def guarded_backend(server: PostgresServer, **settings: str) -> Iterator[Guarded]:
    """Serve a database of its own, with a provider whose first key is `first`."""
    with ThreadPoolExecutor(1) as thread:
        url = thread.submit(asyncio.run, _migrated(server)).result()
    identity = IdentityProvider()
    identity.add_key("first")
    with identity.in_a_thread():
        oidc = {"TODO_OIDC_ISSUER": identity.issuer, "TODO_OIDC_AUDIENCE": AUDIENCE}
        with running_backend(url, TODO_AUTH="required", **oidc, **(UNLIMITED | settings)) as service:
            asyncio.run_coroutine_threadsafe(_ready(service), service._loop).result(30)
            yield Guarded(service, url, identity)


async def _migrated(server: PostgresServer) -> str:
    databases = Databases(server)
    return await databases.create(await databases.template("backend", prepare))


async def _ready(service: Running) -> None:
    async with aiohttp.ClientSession(service.base) as http:
        while True:
            async with http.get("/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.01)
