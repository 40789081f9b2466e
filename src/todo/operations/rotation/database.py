"""Logins of PostgreSQL: two roles that take turns."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Final, TypeVar

import asyncpg

from todo.contracts import names
from todo.operations import logins
from todo.operations.logins import Login
from todo.operations.rotation.authority import RotationError, Secret

DSN: Final = "POSTGRES_CONNECTION_STRING"
SCHEMAS: Final = [app.schema for app in names.APPS if app.schema]

# $1 schemas: those with a table that this login may not change
_FOREIGN: Final = """
SELECT DISTINCT schemaname || '.' || tablename FROM pg_tables
WHERE schemaname = ANY ($1) AND NOT pg_has_role(current_user, tableowner, 'USAGE') LIMIT 1
"""

T = TypeVar("T")


class DatabaseLogins:
    """`Authority` on the database. `operator` is the DSN of whoever may change roles; None: nobody here may.

    `file` is what commands beside this one log in by: mounted, it changes a while after its secret did.
    """

    def __init__(self, operator: str | None, file: Path | None = None) -> None:
        self._login = operator
        self._file = file

    def login(self, secret: Secret) -> str:
        return logins.of_dsn(secret[DSN]).role

    def fresh(self, secret: Secret, version: int) -> Secret:
        del version
        role = self.login(secret)
        if role not in logins.TURNS:
            raise RotationError(
                f"the services log in as {role}, which is none of the two roles that take turns here: make another role"
                " in your database that may use their tables, and give it with --username"
            )
        return {**secret, DSN: logins.fresh(logins.other(role)).dsn(secret[DSN])}

    def given(self, secret: Secret, username: str, password: str) -> Secret:
        if username == self.login(secret):
            raise RotationError(
                f"--username: {username} is in use, and PostgreSQL knows one password per role: give another role"
            )
        return {**secret, DSN: Login(username, password).dsn(secret[DSN])}

    def beside(self, kept: Secret, current: Secret) -> Secret:
        return {**current, DSN: logins.of_dsn(kept[DSN]).dsn(current[DSN])}

    async def may_create(self, by: Secret) -> None:
        del by
        query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        if not await _told(logins.value(self._operator, query)):
            raise RotationError(
                "the operator's login to the database may not change roles: give a role with --username"
            )

    async def create(self, secret: Secret, *, by: Secret) -> None:
        del by
        await _told(logins.admit(self._operator, logins.of_dsn(secret[DSN])))

    async def check(self, secret: Secret) -> None:
        foreign = await _told(logins.value(secret[DSN], _FOREIGN, SCHEMAS))
        if foreign:
            raise RotationError(
                f"role {self.login(secret)} may not change table {foreign}: make it a member of the role that owns it"
            )

    async def is_refused(self, secret: Secret) -> bool:
        return await _told(logins.is_refused(secret[DSN]))

    async def users(self, secret: Secret, *, by: Secret) -> list[str]:
        sessions = await _told(logins.sessions(by[DSN], self.login(secret)))
        return [*sessions, str(self._file)] if self._is_in_file(secret) else sessions

    async def remove(self, secret: Secret, *, by: Secret) -> None:
        del by
        role = self.login(secret)
        if role not in logins.TURNS:
            raise RotationError(f"role {role} was not made here: refuse it in your database, then call this again")
        await _told(logins.keep_out(self._operator, role))

    def _is_in_file(self, secret: Secret) -> bool:
        """Nobody need be connected by it: whoever comes next would be."""
        if self._file is None:
            return False
        try:
            dsn = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RotationError(f"{self._file} cannot be read ({type(error).__name__}): mount it first") from error
        return logins.of_dsn(dsn).role == self.login(secret)

    @property
    def _operator(self) -> str:
        if self._login is None:
            raise RotationError(
                "nobody here may change roles of the database: make or refuse one there, and give it with --username"
            )
        return self._login


async def _told(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise RotationError(f"database: {type(error).__name__}: {error}") from error
