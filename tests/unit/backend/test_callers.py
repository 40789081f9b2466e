"""Who is let in and who is slowed, with a provider that is real and a database that is not."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from tests.support.provider import AUDIENCE, KEYS, IdentityProvider
from todo.backend.auth.callers import Authenticator
from todo.backend.auth.errors import ForbiddenError, TooManyError, UnauthenticatedError
from todo.backend.auth.oidc import Provider
from todo.backend.auth.scopes import OWN_TASKS
from todo.backend.auth.settings import AuthSettings, OidcSettings
from todo.backend.store import credentials
from todo.backend.store.credentials import Identity
from todo.contracts.clock import utc_now

BURST = 3
NEVER = 0.0001  # a second: what flows into a caller's bucket while a test runs is nothing
HERE = "192.0.2.1"


class Gate:
    """An authenticator that forgives one failure a minute; `linked` are known here, `looked_up` were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, provider: Provider, settings: OidcSettings) -> None:
        self.linked: dict[str, int] = {}
        self.looked_up: list[str] = []
        self.provider = provider
        database: Any = SimpleNamespace(pool=None)
        self._authenticator = Authenticator(database, AuthSettings(settings, NEVER, BURST, 1), provider)
        monkeypatch.setattr(credentials, "identity", self._identity)

    async def _identity(self, _: object, issuer: str, subject: str) -> Identity | None:
        self.looked_up.append(subject)
        user_id = self.linked.get(subject)
        return Identity(issuer, subject, user_id, OWN_TASKS, utc_now()) if user_id else None

    async def __call__(self, token: str | None, address: str = HERE) -> int | type[Exception]:
        """The user who is let in, or why nobody is."""
        try:
            caller = await self._authenticator.admit(token and f"Bearer {token}", address)
        except (ForbiddenError, TooManyError, UnauthenticatedError) as error:
            return type(error)
        assert caller.user_id is not None
        return caller.user_id


@pytest.fixture
async def identity() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as identity:
        identity.add_key("first")
        yield identity


@pytest.fixture
async def gate(identity: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    settings = OidcSettings(identity.issuer, AUDIENCE, create_users=False)
    async with aiohttp.ClientSession() as http:
        provider = Provider(http, settings)
        running = asyncio.create_task(provider.run())
        try:
            yield Gate(monkeypatch, provider, settings)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_whoever_is_nobody_here_has_a_share_of_look_ups_too(identity: IdentityProvider, gate: Gate) -> None:
    token = identity.token("first", sub="stranger")
    answers = [await gate(token) for _ in range(10)]
    assert answers == [ForbiddenError] * BURST + [TooManyError] * (10 - BURST)
    assert gate.looked_up == ["stranger"] * BURST
    assert await gate(identity.token("first", sub="another")) is ForbiddenError


async def test_whoever_is_linked_has_the_same_share(identity: IdentityProvider, gate: Gate) -> None:
    gate.linked["ada"] = 7
    assert [await gate(identity.token("first")) for _ in range(BURST + 1)] == [7] * BURST + [TooManyError]


async def test_made_up_keys_from_an_address_that_keeps_failing_ask_nobody_and_wait_for_nothing(
    identity: IdentityProvider, gate: Gate
) -> None:
    gate.linked["ada"] = 7
    known = identity.token("first")
    assert await gate(known) == 7
    forged = [identity.token("first", header={"kid": f"made-up-{number}"}) for number in range(30)]
    assert await gate(forged[0]) is UnauthenticatedError
    asked = identity.asked[KEYS]
    assert {await gate(one) for one in forged} == {TooManyError}
    assert (gate.provider._wanted.is_set(), identity.asked[KEYS]) == (False, asked)
    assert await gate(known) == 7


async def test_a_new_key_is_asked_for_by_others_meanwhile(identity: IdentityProvider, gate: Gate) -> None:
    gate.linked["ada"] = 7
    assert await gate(None) is UnauthenticatedError
    identity.add_key("second")
    fresh = identity.token("second")
    assert await gate(fresh) is TooManyError
    assert await gate(fresh, "192.0.2.2") == 7
    assert await gate(fresh) == 7


async def test_what_is_no_address_is_counted_as_one(gate: Gate) -> None:
    assert await gate(None, "made-up-1") is UnauthenticatedError
    assert await gate(None, "made-up-2" * 100) is TooManyError
    assert await gate(None, "") is TooManyError


@pytest.mark.parametrize(
    ("one", "another", "are_the_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%made-up", True),
    ],
)
async def test_failures_are_counted_by_address_and_of_ipv6_by_network(
    gate: Gate, one: str, another: str, *, are_the_same: bool
) -> None:
    assert await gate(None, one) is UnauthenticatedError
    assert await gate(None, another) is (TooManyError if are_the_same else UnauthenticatedError)
