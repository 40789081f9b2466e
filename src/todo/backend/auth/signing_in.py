"""From what somebody proves to a session of theirs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from todo.backend.auth import sessions
from todo.backend.auth.callers import Authenticator, network
from todo.backend.auth.errors import ForbiddenError, TooManyError, UnauthenticatedError
from todo.backend.auth.limits import Buckets
from todo.backend.auth.settings import AuthSettings
from todo.backend.commands import NotFoundError
from todo.backend.store import people
from todo.backend.store import sessions as store
from todo.messaging.unit import Database, Transaction

if TYPE_CHECKING:
    from todo.backend.auth.code_flow import CodeFlow
    from todo.backend.auth.passwords import Hashing

log = structlog.get_logger()

AT_ONCE: Final = 10  # tries at one account; then one every
ONE_EVERY: Final = 30.0  # seconds
_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, as far as that shows: `held` is the session cookie that came along, whatever it is worth."""

    address: str
    user_agent: str
    held: str | None


@dataclass(frozen=True, slots=True)
class Returned:
    """What an identity provider sent a browser back with."""

    state: str
    code: str
    error: str
    issuer: str | None


class SigningIn:
    """Opens sessions. Tries are bounded by address and by account, whether there is such an account or not.

    `code_flow` None: nobody signs in at an identity provider.
    """

    def __init__(
        self,
        database: Database,
        settings: AuthSettings,
        hashing: "Hashing",
        authenticator: Authenticator,
        code_flow: "CodeFlow | None",
    ) -> None:
        self._database = database
        self._hashing = hashing
        self._authenticator = authenticator
        self._code_flow = code_flow
        self.methods = ["password", *(["oidc"] if code_flow else [])]
        self._places = Buckets(settings.failures / _MINUTE, settings.failures)
        self._accounts = Buckets(1 / ONE_EVERY, AT_ONCE)

    async def by_password(self, email: str, password: str, visit: Visit) -> str:
        """A new session's secret. Raises `UnauthenticatedError` and `TooManyError`.

        Nothing in the answer tells, nor how long it takes, whether it was the address or the password.
        """
        self._take_try(visit.address)
        if wait := self._accounts.take(email.lower()):
            raise TooManyError("too many tries at this account", wait)
        login = await store.login(self._database.pool, email) if people.is_address(email) else None
        if not await self._hashing.fits(login.hash if login else None, password) or login is None:
            raise _wrong()
        newer = await self._hashing.renewed(login.hash, password)
        async with self._database.transaction() as unit:
            if not await store.lock(unit.connection, login):
                raise _wrong()
            if newer is not None:
                await store.rehash(unit.connection, login, newer)
            return await self._open(unit, login.user_id, None, visit)

    async def begin(self, next_path: str) -> tuple[str, str]:
        """Where to send a browser to sign in, and the cookie it is to hold meanwhile.

        Raises `NotFoundError`, `RuleError` and `ProviderAwayError`.
        """
        return await self._flow().begin(next_path, self._database.clock())

    async def by_code(self, held: str, answer: Returned, visit: Visit) -> tuple[str, str]:
        """A new session's secret, and where to go. Raises what `finish` does, `ForbiddenError` and `TooManyError`."""
        flow = self._flow()
        self._take_try(visit.address)
        person, next_path = await flow.finish(held, answer, self._database.clock())
        known = await self._authenticator.identity_of(person)
        try:
            async with self._database.transaction() as unit:
                return await self._open(unit, known.user_id, (known.issuer, known.subject), visit), next_path
        except asyncpg.ForeignKeyViolationError:
            raise ForbiddenError("no-account", "the account was unlinked just now") from None

    def _flow(self) -> "CodeFlow":
        if self._code_flow is None:
            raise NotFoundError("nobody signs in at an identity provider here: TODO_OIDC_CLIENT_ID is not set")
        return self._code_flow

    def _take_try(self, address: str) -> None:
        """Raises `TooManyError`."""
        if wait := self._places.take(network(address)):
            raise TooManyError("too many tries to sign in from this address", wait)

    async def _open(self, unit: Transaction, user_id: int, identity: tuple[str, str] | None, visit: Visit) -> str:
        """A session under a secret of its own; the one that the browser had before ends."""
        secret = sessions.new_secret()
        if visit.held is not None:
            await store.end_known(unit.connection, sessions.digest(visit.held))
        session_id = await store.open_for(
            unit.connection,
            user_id,
            sha256=sessions.digest(secret),
            identity=identity,
            user_agent=sessions.short(visit.user_agent),
            now=unit.now,
        )
        log.info("signed in", user_id=user_id, session_id=session_id, method="oidc" if identity else "password")
        return secret


def _wrong() -> UnauthenticatedError:
    return UnauthenticatedError("address or password is wrong", given=False, kind="wrong-credentials")
