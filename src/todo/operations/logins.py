"""How services and sidecars log in to the database: two roles that take turns.

While one is in use the other can get a new password, so that a rotation has both, and nobody is refused. Both act as
one owner role, which nobody logs in as: tables belong to it, whoever made them.
"""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
import msgspec

from todo.messaging.postgres import Connection

OWNER: Final = "todo_owner"
TURNS: Final = ("todo_a", "todo_b")
SCRAM_ROUNDS: Final = 4096  # what PostgreSQL takes itself

_ROLES: Final = f"""
DO $$
DECLARE
    name text;
    made record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OWNER}') THEN
        CREATE ROLE {OWNER} NOLOGIN;
    END IF;
    FOREACH name IN ARRAY ARRAY{list(TURNS)} LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT IN ROLE {OWNER}', name);
            EXECUTE format('ALTER ROLE %I SET role = {OWNER}', name);
        END IF;
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO {OWNER}', current_database());
    FOR made IN SELECT nspname FROM pg_namespace WHERE nspowner = current_user::regrole AND nspname !~ '^pg_|^info'
    LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO {OWNER}', made.nspname);
    END LOOP;
    FOR made IN
        SELECT c.oid::regclass AS relation FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relowner = current_user::regrole AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_|^info'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', made.relation);
    END LOOP;
END
$$
"""  # noqa: S608 - made of constants
_LET_IN: Final = "ALTER ROLE {role} LOGIN PASSWORD {verifier}"
_KEEP_OUT: Final = "ALTER ROLE {role} NOLOGIN PASSWORD NULL"


class Login(msgspec.Struct, frozen=True):
    """A role and its password, not shown by `repr`."""

    role: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.role!r})"

    def dsn(self, like: str) -> str:
        """The DSN of another login to the same database, with this one in its place."""
        parts = urlsplit(like)
        host = parts.netloc.rpartition("@")[2]
        user = f"{quote(self.role, safe='')}:{quote(self.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{user}@{host}"))


def of_dsn(dsn: str) -> Login:
    parts = urlsplit(dsn)
    return Login(unquote(parts.username or ""), unquote(parts.password or ""))


def fresh(role: str = TURNS[0]) -> Login:
    return Login(role, secrets.token_urlsafe(32))


def other(role: str) -> str:
    """Whose turn is next."""
    return TURNS[1] if role == TURNS[0] else TURNS[0]


async def admit(operator: str, login: Login) -> None:
    """Make the roles where they are missing, everything of the operator's theirs, and let this login in.

    `operator` is the DSN of a superuser. Done again, it changes nothing.
    """
    async with _session(operator) as connection:
        await connection.execute(_ROLES)
        verifier = f"'{_verifier(login.password)}'"
        await connection.execute(_LET_IN.format(role=_known(login.role), verifier=verifier))


async def keep_out(operator: str, role: str) -> None:
    """Refuse a role from now on. Its sessions go on: see `sessions` first."""
    async with _session(operator) as connection:
        await connection.execute(_KEEP_OUT.format(role=_known(role)))


async def sessions(dsn: str, role: str) -> list[str]:
    """What is logged in as that role now, by application name. Seen by the role's own kind and by operators."""
    query = "SELECT coalesce(nullif(application_name, ''), 'unnamed') FROM pg_stat_activity WHERE usename = $1"
    async with _session(dsn) as connection:
        return sorted(row[0] for row in await connection.fetch(query, role))


async def value(dsn: str, query: str, *arguments: object) -> object:
    """The one value of a query, asked under this login."""
    async with _session(dsn) as connection:
        return await connection.fetchval(query, *arguments)


async def is_refused(dsn: str) -> bool:
    """Whether this login is refused. Raises what is wrong otherwise: a server that is away refuses nobody."""
    try:
        async with _session(dsn):
            return False
    except asyncpg.InvalidAuthorizationSpecificationError:
        return True


@asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "todo-rotate"})
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


def _known(role: str) -> str:
    if role not in TURNS:
        raise ValueError(f"{role} is none of the roles that take turns: {', '.join(TURNS)}")
    return role


def _verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that the password itself is in no statement."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(SCRAM_ROUNDS, *coded)
