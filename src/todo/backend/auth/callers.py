"""From the header of a request to the user it acts for."""

import ipaddress
from dataclasses import dataclass
from typing import Final, Protocol

from todo.backend.auth import sessions, tokens
from todo.backend.auth.errors import ForbiddenError, TooManyError, UnauthenticatedError
from todo.backend.auth.limits import Buckets
from todo.backend.auth.recent import Recent
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.auth.settings import AuthSettings
from todo.backend.store import credentials, people
from todo.backend.store import sessions as session_store
from todo.backend.store.credentials import Identity, Token
from todo.backend.store.sessions import Session
from todo.domain.due import zone_info
from todo.domain.errors import RuleError
from todo.messaging.unit import Database, Transaction

_MINUTE: Final = 60
_NETWORK: Final = 64  # bits of an IPv6 address: what one subscriber has


class Person(Protocol):
    """What a provider says of somebody. `email` counts only if it is verified."""

    @property
    def sub(self) -> str: ...
    @property
    def email(self) -> str | None: ...
    @property
    def email_verified(self) -> bool: ...
    @property
    def name(self) -> str | None: ...
    @property
    def zoneinfo(self) -> str | None: ...


class Verifier(Protocol):
    """Tells whom a bearer token speaks of. Raises `UnauthenticatedError` and `ProviderAwayError`."""

    async def verify(self, token: str) -> Person: ...

    def has_key_of(self, token: str) -> bool:
        """Whether `verify` can tell at once, by a key that is known; nothing of the token is proven by that."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request acts for, and what it may do. `user_id` None: TODO_AUTH=local believes what the request says.

    `session` None: they came with a token.
    """

    user_id: int | None
    scopes: frozenset[Scope]
    session: Session | None = None

    def need(self, scope: Scope) -> None:
        """Raises `ForbiddenError`."""
        if scope not in self.scopes:
            raise ForbiddenError("insufficient-scope", f"this needs a token of scope {scope}", scope=scope)

    def acts_for(self, user_id: int | None) -> int:
        """The user that a request is about, which names one or nobody. Raises `ForbiddenError`."""
        if self.user_id is None:
            return people.FIRST_USER if user_id is None else user_id
        if user_id not in {None, self.user_id}:
            raise ForbiddenError("other-user", "user_id is not yours: leave it out, or give your own")
        return self.user_id


LOCAL: Final = Caller(None, frozenset(Scope))


class Authenticator:
    """Finds out who calls, with one look-up a second at most for each caller, and keeps each to its share."""

    def __init__(self, database: Database, settings: AuthSettings, provider: Verifier | None) -> None:
        self._database = database
        self._oidc = settings.oidc
        self._provider = provider
        self._tokens: Recent[bytes, Token] = Recent(self._token)
        self._identities: Recent[str, Identity] = Recent(self._identity)
        self._sessions: Recent[bytes, Session] = Recent(self._session)
        self._share = Buckets(settings.rate, settings.burst)
        self._failures = Buckets(settings.failures / _MINUTE, settings.failures)

    async def admit(self, authorization: str | None, address: str, cookie: str | None = None) -> Caller:
        """The caller, by their token, else by their session's cookie.

        Raises `UnauthenticatedError`, `ForbiddenError`, `TooManyError` and `UnavailableError`.
        """
        place = network(address)
        try:
            if authorization is None and cookie is not None:
                known: Token | Identity | Session = await self._by_session(cookie, place)
            else:
                known = await self._known(authorization, place)
        except UnauthenticatedError:
            if wait := self._failures.take(place):
                raise _too_many_failures(wait) from None
            raise
        return _caller(known)

    async def signed_in(self, secret: str) -> Caller:
        """Whoever was given this session just now. Raises `UnauthenticatedError` when it has ended already."""
        session = await self._sessions.get(sessions.digest(secret))
        if session is None:
            raise UnauthenticatedError("the session has ended: sign in again")
        return _caller(session)

    def forget(self, digest: bytes) -> None:
        """Believe no more in a session that has ended."""
        self._sessions.forget(digest)

    async def _known(self, authorization: str | None, place: str) -> Token | Identity:
        given = _bearer(authorization)
        if tokens.is_token(given):
            token = await self._by_token(tokens.digest(given), place)
            self._take_share(token.user_id)
            return token
        if self._provider is None:
            raise UnauthenticatedError("that is no API token")
        person = await self._vouched(self._provider, given, place)
        self._take_share(person.sub)  # before any look-up: whoever is nobody here has a share too
        return await self.identity_of(person)

    def _take_share(self, caller: int | str) -> None:
        if wait := self._share.take(caller):
            raise TooManyError("these are more requests than one caller may send", wait)

    async def _vouched(self, provider: Verifier, given: str, place: str) -> Person:
        if (wait := self._failures.wait(place)) and not provider.has_key_of(given):
            raise _too_many_failures(wait)  # made-up keys ask the provider nothing, and wait for no answer
        return await provider.verify(given)

    async def _by_token(self, digest: bytes, place: str) -> Token:
        if digest not in self._tokens and (wait := self._failures.wait(place)):
            raise _too_many_failures(wait)  # guesses cost no look-up
        token = await self._tokens.get(digest)
        if token is None:
            raise UnauthenticatedError("there is no such token, or it was revoked")
        if token.expires_at is not None and token.expires_at <= self._database.clock():
            raise UnauthenticatedError("the token has expired")
        return token

    async def _by_session(self, cookie: str, place: str) -> Session:
        if not sessions.is_secret(cookie):
            raise UnauthenticatedError("the cookie is of no session: sign in")
        digest = sessions.digest(cookie)
        if digest not in self._sessions and (wait := self._failures.wait(place)):
            raise _too_many_failures(wait)
        session = await self._sessions.get(digest)
        if session is None or session.issuer not in {None, self._issuer}:
            raise UnauthenticatedError("the session has ended: sign in again")
        self._take_share(session.user_id)
        return session

    async def identity_of(self, person: Person) -> Identity:
        """Which user somebody is whom the provider vouches for. Raises `ForbiddenError`."""
        identity = await self._identities.get(person.sub)
        return identity or await self._first_seen(person)

    async def _token(self, digest: bytes) -> Token | None:
        return await credentials.use(self._database.pool, digest, self._database.clock())

    async def _session(self, digest: bytes) -> Session | None:
        return await session_store.use(self._database.pool, digest, self._database.clock())

    async def _identity(self, subject: str) -> Identity | None:
        return await credentials.identity(self._database.pool, self._issuer, subject)

    @property
    def _issuer(self) -> str:
        return self._oidc.issuer if self._oidc else ""

    async def _first_seen(self, person: Person) -> Identity:
        """Make a user of somebody whom nobody knows yet, if that is allowed. Raises `ForbiddenError`."""
        if self._oidc is None or not self._oidc.create_users:
            raise ForbiddenError("no-account", f"nobody here is {person.sub!r}: an operator can say who that is")
        email = person.email if person.email_verified else None
        if email is None or not people.is_address(email):
            raise ForbiddenError("no-account", "an account needs a verified address: the token has none (email)")
        name = _clean(person.name or "") or email.partition("@")[0]
        async with self._database.transaction() as unit:
            if user := await people.add(unit.connection, email, name, _zone(person), unit.now):
                return await self._link(unit, person.sub, user.id)
        if identity := await self._identity(person.sub):  # another request was first, this very moment
            return identity
        raise ForbiddenError("no-account", "the token's address is another user's: an operator can link the two")

    async def _link(self, unit: Transaction, subject: str, user_id: int) -> Identity:
        made = await credentials.link(unit.connection, self._issuer, subject, user_id, OWN_TASKS, unit.now)
        if made is None:  # to another user, this very moment: the one just made is undone
            raise ForbiddenError("no-account", "the account was linked just now: try again")
        return made


def _caller(known: Token | Identity | Session) -> Caller:
    scopes = frozenset(Scope(one) for one in known.scopes)
    return Caller(known.user_id, scopes, known if isinstance(known, Session) else None)


def _bearer(authorization: str | None) -> str:
    if authorization is None:
        raise UnauthenticatedError("give a token as `Authorization: Bearer ...` (`todo` takes TODO_TOKEN)", given=False)
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise UnauthenticatedError("the Authorization header is not of the form `Bearer ...`")
    return given.strip()


def _too_many_failures(wait: float) -> TooManyError:
    return TooManyError("too many requests from this address had no valid token", wait)


def network(address: str) -> str:
    """What the failures of an address are counted by: the address, of IPv6 the network it can choose its own from.

    What is no address is a proxy's word; all of that is counted as one.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 4:  # noqa: PLR2004 - IPv4
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.IPv6Network((int(parsed), _NETWORK), strict=False))


def _clean(name: str) -> str:
    return "".join(one for one in name if one.isprintable()).strip()[: people.LONGEST_NAME]


def _zone(person: Person) -> str:
    try:
        return zone_info(person.zoneinfo or "UTC", "zoneinfo").key
    except RuleError:
        return "UTC"
