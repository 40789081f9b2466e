"""Who may call a system under TODO_AUTH=required: said by whoever has its database, and by no call to its API.

So the first token needs no secret in the environment of a service, and a stolen one makes no others.
"""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from todo.backend.auth import recent, tokens
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.store import credentials, people
from todo.backend.store import sessions as store
from todo.backend.store.credentials import Identity, Token
from todo.backend.store.sessions import Session
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.domain.errors import RuleError
from todo.messaging.database import Where, connect
from todo.messaging.failures import is_environment
from todo.messaging.postgres import Connection
from todo.operations import datafolder
from todo.service.settings import SettingsError, database_url

LONGEST_SUBJECT: Final = 255


class AccessError(Exception):
    """It cannot be done as it was said; the message says why, and what can."""


class NoDatabaseError(Exception):
    """The system's database is not to be had from here; the message says what to do."""


class NewToken(msgspec.Struct, frozen=True):
    """A token that was just made: `token` is told this once."""

    id: int
    user_id: int
    name: str
    scopes: Sequence[str]
    expires_at: dt.datetime | None
    token: str


class Account(msgspec.Struct, frozen=True):
    """A user who signs in with a password; of the password nothing. `ended` is how many sessions there were."""

    user_id: int
    scopes: Sequence[str]
    changed_at: dt.datetime
    ended: int


class Ended(msgspec.Struct, frozen=True):
    """Sessions that are no more."""

    ended: int


def database_of(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Where:
    """`DATABASE_URL` or `DATABASE_URL_FILE`, as in backend's pod, else that of the system on the data folder."""
    if environ.get("DATABASE_URL") or environ.get("DATABASE_URL_FILE"):
        try:
            return database_url(environ)
        except SettingsError as error:
            raise NoDatabaseError(str(error)) from error
    folder = data or datafolder.default_path()
    running = datafolder.running_system(folder)
    if running is None:
        raise NoDatabaseError(
            f"no system runs on {folder}: name its data folder with --data, or its database with DATABASE_URL"
        )
    return running.database_url


@asynccontextmanager
async def access(where: Where) -> AsyncIterator["Access"]:
    """Open a system's database. Raises `NoDatabaseError`."""
    try:
        connection = await connect(where, names.BACKEND.schema or "")
        try:
            yield Access(connection)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if not is_environment(error):
            raise
        raise NoDatabaseError(f"the database does not answer as it should ({type(error).__name__}: {error})") from error


class Access:
    """Tokens, identities, passwords and sessions of one system. Everything raises `AccessError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_token(
        self, user_id: int, name: str, scopes: Sequence[Scope], expires_at: dt.datetime | None = None
    ) -> NewToken:
        """Make a token for a user."""
        await self._check_user(user_id)
        _check_text("name", name, people.LONGEST_NAME)
        token = tokens.new_token()
        made = await credentials.add_token(
            self._connection,
            user_id,
            name,
            beginning=tokens.beginning(token),
            sha256=tokens.digest(token),
            scopes=scopes,
            expires_at=expires_at,
            now=utc_now(),
        )
        return NewToken(made.id, made.user_id, made.name, made.scopes, made.expires_at, token)

    async def tokens(self) -> list[Token]:
        """Every token that was ever made; of none the token itself."""
        return await credentials.tokens(self._connection)

    async def revoke(self, token_id: int) -> Token:
        """Take a token back; when this returns, no replica takes it any more."""
        token = await credentials.revoke(self._connection, token_id, utc_now())
        if token is None:
            raise AccessError(f"there is no token {token_id}: list them with `todo token list`")
        await asyncio.sleep(recent.GOOD_FOR)
        return token

    async def link(self, user_id: int, issuer: str, subject: str, scopes: Sequence[Scope]) -> Identity:
        """Say which user somebody is whom a provider vouches for; again with other scopes changes these."""
        await self._check_user(user_id)
        _check_text("subject", subject, LONGEST_SUBJECT)
        identity = await credentials.link(self._connection, issuer, subject, user_id, scopes, utc_now())
        if identity is None:
            raise AccessError(f"{subject} is another user already: remove that first with `todo identity remove`")
        return identity

    async def identities(self) -> list[Identity]:
        return await credentials.identities(self._connection)

    async def unlink(self, issuer: str, subject: str) -> Identity:
        """Forget who somebody is; when this returns, no replica knows them any more. The user stays."""
        identity = await credentials.unlink(self._connection, issuer, subject)
        if identity is None:
            raise AccessError(f"nobody knows {subject} of {issuer}: list them with `todo identity list`")
        await asyncio.sleep(recent.GOOD_FOR)
        return identity

    async def set_password(self, user_id: int, password: str, scopes: Sequence[Scope] | None = None) -> Account:
        """Let a user sign in with a password; whoever was signed in as them is no longer when this returns."""
        from todo.backend.auth import passwords  # noqa: PLC0415 - argon2, for those who set one

        await self._check_user(user_id)
        try:
            hashed = passwords.hashed(password)
        except RuleError as error:
            raise AccessError(str(error)) from error
        async with self._connection.transaction():
            login = await store.set_password(
                self._connection, user_id, hashed, scopes, default=OWN_TASKS, now=utc_now()
            )
            ended = await store.end_all(self._connection, user_id)  # a sign-in waits for this, and sees that it is late
        await asyncio.sleep(recent.GOOD_FOR)
        return Account(login.user_id, login.scopes, login.changed_at, ended)

    async def remove_password(self, user_id: int) -> Ended:
        """Let a user sign in with no password any more; whoever was signed in as them is no longer."""
        async with self._connection.transaction():
            if not await store.remove_password(self._connection, user_id):
                raise AccessError(f"user {user_id} has no password")
            ended = await store.end_all(self._connection, user_id)
        await asyncio.sleep(recent.GOOD_FOR)
        return Ended(ended)

    async def sessions(self, user_id: int | None = None) -> list[Session]:
        """Who is signed in with what: a user's sessions, or everybody's."""
        return await store.living(self._connection, utc_now(), user_id)

    async def end_session(self, session_id: int) -> Ended:
        """End a session; when this returns, no replica takes its cookie any more."""
        if await store.end(self._connection, session_id) is None:
            raise AccessError(f"there is no session {session_id}: list them with `todo session list`")
        await asyncio.sleep(recent.GOOD_FOR)
        return Ended(1)

    async def _check_user(self, user_id: int) -> None:
        if await people.find(self._connection, user_id) is None:
            raise AccessError(f"there is no user {user_id}: list them with `todo user list`")


def _check_text(field: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest or not text.isprintable():
        raise AccessError(f"{field}: give text of 1 to {longest} printable characters")
