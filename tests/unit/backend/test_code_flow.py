"""The authorization code flow with a provider that is real: it checks the client, the code and PKCE itself."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.support.provider import AUDIENCE, CLIENT, CLIENT_SECRET, IdentityProvider
from todo.backend.auth import code_flow
from todo.backend.auth.code_flow import CodeFlow, checked_path
from todo.backend.auth.errors import ProviderAwayError, UnauthenticatedError
from todo.backend.auth.oidc import Claims, Provider
from todo.backend.auth.settings import Client, OidcSettings
from todo.backend.auth.signing_in import Returned
from todo.domain.errors import RuleError

NOW = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
BACK = "https://todo.example.org/session/oidc/callback"


@pytest.fixture
async def identity() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as identity:
        identity.add_key("first")
        yield identity


class Browser:
    """Goes to the provider and comes back, with what it holds and what it was told."""

    def __init__(self, http: aiohttp.ClientSession, flow: CodeFlow) -> None:
        self._http = http
        self.flow = flow
        self.cookie = ""
        self.answer = Returned("", "", "", None)

    async def go(self, next_path: str = "/") -> None:
        location, self.cookie = await self.flow.begin(next_path, NOW)
        async with self._http.get(URL(location, encoded=True), allow_redirects=False) as answer:
            back = URL(answer.headers["location"], encoded=True)
        assert str(back.with_query(None)) == BACK
        given = back.query
        self.answer = Returned(given["state"], given.get("code", ""), given.get("error", ""), given.get("iss"))

    async def come_back(self, *, later: dt.timedelta = dt.timedelta(), **other: Any) -> tuple[Claims, str]:  # noqa: ANN401 - parts of an answer
        given = {name: getattr(self.answer, name) for name in ("state", "code", "error", "issuer")}
        return await self.flow.finish(self.cookie, Returned(**(given | other)), NOW + later)


@asynccontextmanager
async def browsing(
    identity: IdentityProvider, secret: str | Path | None = CLIENT_SECRET, client: str = CLIENT
) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as http:
        provider = Provider(http, OidcSettings(identity.issuer, AUDIENCE, create_users=False))
        running = asyncio.create_task(provider.run())
        try:
            yield Browser(http, CodeFlow(http, provider, Client(client, secret), BACK))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def refusal(browser: Browser, **other: Any) -> str:  # noqa: ANN401 - parts of an answer
    with pytest.raises(UnauthenticatedError) as refused:
        await browser.come_back(**other)
    return str(refused.value)


class TestComingBack:
    @pytest.mark.parametrize(
        ("secret", "methods"),
        [
            (CLIENT_SECRET, None),
            (CLIENT_SECRET, ["private_key_jwt", "client_secret_basic", "client_secret_post"]),
            (CLIENT_SECRET, ["client_secret_post"]),
            (None, ["none"]),
        ],
    )
    async def test_whoever_signed_in_there_is_known_here(
        self, identity: IdentityProvider, secret: str | None, methods: list[str] | None
    ) -> None:
        identity.secret, identity.methods = secret, methods
        identity.person = {"sub": "ada", "email": "a@b.test", "email_verified": True}
        async with browsing(identity, secret) as browser:
            await browser.go("/today?q=%C3%A4#x")
            claims, next_path = await browser.come_back()
        assert (claims.sub, claims.email, claims.email_verified) == ("ada", "a@b.test", True)
        assert next_path == "/today?q=%C3%A4#x"
        assert identity.refused == []

    async def test_a_secret_in_a_file_is_read_whenever_it_is_needed(
        self, identity: IdentityProvider, tmp_path: Path
    ) -> None:
        file = tmp_path / "secret"
        file.write_text("the old one\n")
        async with browsing(identity, file) as browser:
            await browser.go()
            assert "does not take the code" in await refusal(browser)
            file.write_text(f"{CLIENT_SECRET}\n")
            await browser.go()
            assert (await browser.come_back())[0].sub == "ada"
            await browser.go()
            file.unlink()
            with pytest.raises(ProviderAwayError):
                await browser.come_back()
        assert identity.refused == ["invalid_client"]

    async def test_nothing_of_one_sign_in_tells_of_another(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            asked = [URL((await browser.flow.begin("/", NOW))[0]).query for _ in range(2)]
        for name in ("state", "nonce", "code_challenge"):
            assert len({one[name] for one in asked}) == 2
            assert all(len(one[name]) == 43 for one in asked)


class TestAttacks:
    async def test_a_sign_in_that_takes_too_long_is_none(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            await browser.go()
            assert "ten minutes" in await refusal(browser, later=code_flow.LASTS + dt.timedelta(seconds=1))
            assert "ten minutes" in await refusal(browser, later=-dt.timedelta(hours=1))
            assert (await browser.come_back(later=code_flow.LASTS))[0].sub == "ada"

    async def test_an_answer_to_another_browser_is_none(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as victim, browsing(identity) as attacker:
            await attacker.go()
            await victim.go()
            for cookie in ("", victim.cookie, "x.y.z", attacker.cookie + "x", "a" * 43 + ".1." + "x" * 9999):
                attacker.cookie = cookie
                assert "did not begin" in await refusal(attacker)
        assert identity.refused == []

    async def test_neither_path_nor_beginning_can_be_exchanged(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            await browser.go("/today")
            secret, began, path = browser.cookie.split(".")
            for forged in (f"{secret}.{began}.L2Zvcmdlcg", f"{secret}.{int(began) - 1}.{path}", f"{secret}.{began}."):
                browser.cookie = forged
                assert "did not begin" in await refusal(browser)

    @pytest.mark.parametrize("state", ["", "x", "\u00e9", "a" * 43])
    async def test_another_state_is_refused_before_the_provider_is_asked(
        self, identity: IdentityProvider, state: str
    ) -> None:
        async with browsing(identity) as browser:
            await browser.go()
            assert "did not begin" in await refusal(browser, state=state)
            assert (await browser.come_back())[0].sub == "ada"

    async def test_a_code_is_good_once(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            await browser.go()
            await browser.come_back()
            assert "does not take the code" in await refusal(browser)
        assert identity.refused == ["invalid_grant"]

    async def test_a_code_that_another_browser_got_does_not_fit_the_verifier_of_this_one(
        self, identity: IdentityProvider
    ) -> None:
        """Code injection: the attacker's code under the victim's state, or the other way round."""
        async with browsing(identity) as victim, browsing(identity) as attacker:
            await victim.go()
            await attacker.go()
            assert "does not take the code" in await refusal(victim, code=attacker.answer.code)
        assert identity.refused == ["invalid_grant"]

    async def test_a_code_is_no_use_to_a_client_without_the_secret(self, identity: IdentityProvider) -> None:
        for secret in (None, "guessed"):
            async with browsing(identity, secret) as browser:
                await browser.go()
                assert "hush" not in await refusal(browser)
        assert identity.refused == ["invalid_client"] * 2

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"nonce": "of-another-sign-in"}, "nonce"),
            ({"nonce": None}, "nonce"),
            ({"nonce": 7}, "nonce"),
            ({"aud": AUDIENCE}, "aud"),
            ({"aud": [CLIENT, "another"]}, "azp"),
            ({"azp": "another"}, "azp"),
            ({"iss": "https://elsewhere.example"}, "iss"),
            ({"exp": 1}, "expired"),
            ({"sub": None}, "sub"),
        ],
    )
    async def test_an_id_token_that_is_not_of_this_sign_in_is_refused(
        self, identity: IdentityProvider, claims: dict[str, Any], reason: str
    ) -> None:
        identity.person = {"sub": "ada"} | claims
        async with browsing(identity) as browser:
            await browser.go()
            assert reason in await refusal(browser)

    async def test_an_id_token_for_several_is_taken_if_it_was_given_to_us(self, identity: IdentityProvider) -> None:
        identity.person = {"sub": "ada", "aud": [CLIENT, "another"], "azp": CLIENT}
        async with browsing(identity) as browser:
            await browser.go()
            assert (await browser.come_back())[0].sub == "ada"

    async def test_an_answer_of_another_provider_is_refused(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            await browser.go()
            assert "iss" in await refusal(browser, issuer="https://elsewhere.example")

    async def test_whoever_is_let_in_nowhere_is_not_let_in_here(self, identity: IdentityProvider) -> None:
        identity.refusal = "access_denied"
        async with browsing(identity) as browser:
            await browser.go()
            assert "let nobody in" in await refusal(browser)


class TestOutages:
    async def test_a_provider_that_goes_away_meanwhile_is_nobodys_fault(self, identity: IdentityProvider) -> None:
        async with browsing(identity) as browser:
            await browser.go()
            identity.away = True
            with pytest.raises(ProviderAwayError):
                await browser.come_back()
            identity.away = False
            assert (await browser.come_back())[0].sub == "ada"

    async def test_without_a_provider_nobody_is_sent_anywhere(self, identity: IdentityProvider) -> None:
        identity.away = True
        async with browsing(identity) as browser:
            with pytest.raises(ProviderAwayError):
                await browser.flow.begin("/", NOW)

    @pytest.mark.parametrize("kind", ["authorization_endpoint", "token_endpoint"])
    async def test_a_provider_whose_endpoints_are_not_safe_still_vouches_for_tokens(
        self, identity: IdentityProvider, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setitem(identity.says, kind, "http://id.example.org/x")
        async with browsing(identity) as browser:
            assert (await browser.flow._provider.verify(identity.token("first"))).sub == "ada"
            with pytest.raises(ProviderAwayError, match="https"):
                await browser.flow.begin("/", NOW)


class TestPaths:
    @pytest.mark.parametrize(
        "path", ["/", "/today", "/tasks?q=a%20b&c=//d#e", "/a//b", "/%2F%2Fevil.example", "/@evil"]
    )
    def test_a_path_of_this_system_is_gone_to(self, path: str) -> None:
        assert checked_path(path) == path

    @pytest.mark.parametrize(
        "path",
        ["", "today", "//evil.example", "///evil.example", "/\\evil.example", "\\/evil.example", "\\\\evil.example",
         "https://evil.example", "https:evil.example", "javascript:alert(1)", "/\tevil", "/\t/evil.example",
         "/\n/evil.example", "\t//evil.example", " //evil.example", "/a\\..\\\\evil", "/\x00", "/\u2028", "/\u00e9",
         "/" + "x" * 1000, "?next=/", "#", "@evil.example", ".evil.example", "/\r\nset-cookie: x=y"],
    )  # fmt: skip
    def test_what_could_be_another_place_is_refused(self, path: str) -> None:
        with pytest.raises(RuleError, match="next"):
            checked_path(path)
