"""Signing in at an identity provider: the whole way of a browser, and the ways that lead nowhere."""

import itertools
import os
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from tests.integration.backend.browsers import PLAIN, Browser, browsing, execute
from tests.integration.backend.callers import EVERYTHING, Guarded, guarded_backend
from tests.integration.backend.service import Api
from tests.integration.backend.test_sessions import cookie_of
from tests.support.provider import CLIENT, CLIENT_SECRET
from tests.support.waiting import until
from todo.backend.auth import sessions
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.operations.access import access
from todo.operations.postgres import PostgresServer

SIGN_IN = "todo-sign-in"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
_subjects = itertools.count(1)


@pytest.fixture(scope="module")
def guarded(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    client = {"TODO_OIDC_CLIENT_ID": CLIENT, "TODO_OIDC_CLIENT_SECRET": CLIENT_SECRET}
    with guarded_backend(pg_server, TODO_OIDC_CREATE_USERS="true", **client) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def without_client(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    with guarded_backend(pg_server) as guarded:
        yield guarded


@pytest.fixture
async def browser(guarded: Guarded) -> Any:  # noqa: ANN401 - an async generator
    async with browsing(guarded) as browser:
        yield browser


@pytest.fixture(autouse=True)
def _provider_as_it_is(guarded: Guarded) -> Any:  # noqa: ANN401 - a generator
    """Somebody whom nobody knows is at the provider, unless the test says who."""
    identity = guarded.identity
    identity.person, identity.refusal, identity.away = {"sub": subject()}, "", False
    identity.refused.clear()
    yield
    identity.away = False


def subject() -> str:
    return f"subject-{next(_subjects)}-{os.urandom(4).hex()}"


async def somebody(guarded: Guarded, scopes: tuple[Scope, ...] = OWN_TASKS) -> int:
    """Whoever is at the provider is a user."""
    user_id = await guarded.user()
    async with access(guarded.url) as opened:
        await opened.link(user_id, guarded.identity.issuer, guarded.identity.person["sub"], scopes)
    return user_id


class TestTheWay:
    async def test_whoever_signed_in_there_is_signed_in_here_and_where_they_wanted_to_be(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        user_id = await somebody(guarded)
        answer = await browser.via_provider("/today%3Fq%3Da%26b", origin=None, sec_fetch_site="cross-site")
        assert (answer.status, answer.headers["location"]) == (303, "/today?q=a&b")
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert set(browser.cookies) == {PLAIN}
        session = (await browser.call("GET", "/session")).body
        assert (session["user"]["id"], session["methods"]) == (user_id, ["password", "oidc"])
        browser.csrf = session["csrf"]
        assert (await browser.call("POST", "/tasks", {"title": "t"})).body["user_id"] == user_id
        (listed,) = (await browser.call("GET", "/sessions")).body["sessions"]
        assert (listed["method"], listed["current"]) == ("oidc", True)

    async def test_without_a_wish_it_leads_to_the_app(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        assert (await browser.via_provider()).headers["location"] == "/"

    async def test_what_the_browser_holds_meanwhile_is_as_well_kept_as_a_session(self, browser: Browser) -> None:
        begun = await browser.begin()
        cookie = cookie_of(begun.headers["set-cookie"])
        assert (begun.status, cookie.key, cookie["httponly"], cookie["samesite"]) == (303, SIGN_IN, True, "lax")
        assert (cookie["path"], cookie["max-age"], begun.headers["cache-control"]) == ("/", "600", "no-store")
        asked = URL(begun.headers["location"]).query
        assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")
        assert cookie.value.split(".")[0] not in begun.headers["location"]
        assert CLIENT_SECRET not in begun.headers["location"]

    async def test_scopes_are_those_of_the_identity(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded, EVERYTHING)
        await browser.via_provider()
        assert (await browser.call("GET", "/users")).status == 200

    async def test_somebody_new_becomes_a_user_as_they_do_with_a_token(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        email = f"{os.urandom(4).hex()}@b.test"
        guarded.identity.person |= {"email": email, "email_verified": True, "name": "Ada"}
        assert (await browser.via_provider()).status == 303
        user = (await browser.call("GET", "/session")).body["user"]
        assert (user["email"], user["name"]) == (email, "Ada")

    async def test_whoever_is_nobody_here_is_told_so(self, browser: Browser) -> None:
        assert (await browser.via_provider()).kind == "no-account"
        answer = await browser.via_provider("/today", accept=HTML)
        assert (answer.status, answer.headers["location"]) == (303, "/?sign-in=no-account")
        assert browser.cookies == {}

    async def test_whoever_changes_their_mind_there_comes_back_to_the_app(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        guarded.identity.refusal = "access_denied"
        answer = await browser.via_provider(accept=HTML)
        assert (answer.status, answer.headers["location"]) == (303, "/?sign-in=sign-in-failed")
        assert browser.cookies == {}

    async def test_while_the_provider_is_away_nobody_is_blamed(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        location = (await browser.begin()).headers["location"]
        back = await browser.visit(location)
        guarded.identity.away = True
        assert (await browser.call("GET", back)).kind == "identity-provider-away"

    async def test_signing_in_ends_the_session_before_and_a_planted_one_is_none(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        await somebody(guarded)
        planted = sessions.new_secret()
        browser.hold(planted)
        await browser.via_provider()
        first = browser.cookie
        assert first not in {None, planted}
        await browser.via_provider()
        assert browser.cookie not in {first, planted}
        assert len((await browser.call("GET", "/sessions")).body["sessions"]) == 1


class TestAttacks:
    @pytest.mark.parametrize(
        "path",
        ["//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example",
         "/\t/evil.example", "/\n/evil.example", " //evil.example", "javascript:alert(1)", "evil.example"],
    )  # fmt: skip
    async def test_it_leads_nowhere_else(self, browser: Browser, path: str) -> None:
        answer = await browser.begin(quote(path, safe=""))
        assert (answer.status, answer.body["errors"][0]["field"]) == (422, "next")
        assert browser.cookies == {}

    async def test_what_is_encoded_twice_stays_a_path(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        answer = await browser.via_provider(quote("/%2F%2Fevil.example", safe=""))
        assert answer.headers["location"] == "/%2F%2Fevil.example"

    async def test_another_path_in_the_cookie_breaks_the_state(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        back = await browser.visit((await browser.begin("/today")).headers["location"])
        secret, began, _ = browser.cookies[SIGN_IN].split(".")
        browser.hold(f"{secret}.{began}.Ly9ldmlsLmV4YW1wbGU", SIGN_IN)
        assert (await browser.call("GET", back)).kind == "sign-in-failed"
        assert browser.cookies == {}

    async def test_the_answer_to_one_browser_signs_no_other_in(self, guarded: Guarded, browser: Browser) -> None:
        """Login forgery: a victim is sent to the attacker's callback, with no sign-in of theirs or with one."""
        await somebody(guarded)
        async with browsing(guarded) as victim:
            back = await browser.visit((await browser.begin()).headers["location"])
            assert (await victim.call("GET", back)).kind == "sign-in-failed"
            await victim.begin()
            assert (await victim.call("GET", back)).kind == "sign-in-failed"
            assert victim.cookies == {}
        assert guarded.identity.refused == []

    async def test_a_stolen_code_is_no_use_under_another_state(self, guarded: Guarded, browser: Browser) -> None:
        """The provider refuses it: the verifier is of another browser."""
        await somebody(guarded)
        async with browsing(guarded) as victim:
            stolen = URL(await victim.visit((await victim.begin()).headers["location"])).query["code"]
            own = URL(await browser.visit((await browser.begin()).headers["location"]))
            assert (await browser.call("GET", str(own.update_query(code=stolen)))).kind == "sign-in-failed"
        assert (guarded.identity.refused, browser.cookies) == (["invalid_grant"], {})

    async def test_a_code_is_good_once(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        back = await browser.visit((await browser.begin()).headers["location"])
        held = browser.cookies[SIGN_IN]
        assert (await browser.call("GET", back)).status == 303
        assert (await browser.call("GET", back)).kind == "sign-in-failed"
        assert guarded.identity.refused == []
        browser.hold(held, SIGN_IN)
        assert (await browser.call("GET", back)).kind == "sign-in-failed"
        assert guarded.identity.refused == ["invalid_grant"]

    @pytest.mark.parametrize("claims", [{"nonce": "another"}, {"aud": "todo-api"}, {"exp": 1}, {"azp": "another"}])
    async def test_an_id_token_of_another_sign_in_opens_nothing(
        self, guarded: Guarded, browser: Browser, claims: dict[str, Any]
    ) -> None:
        await somebody(guarded)
        guarded.identity.person |= claims
        assert (await browser.via_provider()).kind == "invalid-token"
        assert browser.cookies == {}

    @pytest.mark.parametrize(
        "query", ["", "?code=x", "?state=x", "?state=x&code=x&iss=x", "?error=x", "?code=" + "x" * 9000]
    )
    async def test_whoever_just_comes_is_sent_away(self, browser: Browser, query: str) -> None:
        assert (await browser.call("GET", f"/session/oidc/callback{query}")).status in {401, 422}

    async def test_an_id_token_is_no_token_for_the_api(self, guarded: Guarded, browser: Browser) -> None:
        await somebody(guarded)
        token = guarded.identity.token("first", sub=guarded.identity.person["sub"], aud=CLIENT)
        assert (await browser.call("GET", "/me", authorization=f"Bearer {token}")).status == 401


class TestEnding:
    async def test_whoever_is_unlinked_is_out_and_linked_again_signs_in_anew(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        user_id = await somebody(guarded)
        await browser.via_provider()
        assert (await browser.call("GET", "/me")).status == 200
        async with access(guarded.url) as opened:
            await opened.unlink(guarded.identity.issuer, guarded.identity.person["sub"])
            assert (await browser.call("GET", "/me")).status == 401
            await opened.link(user_id, guarded.identity.issuer, guarded.identity.person["sub"], OWN_TASKS)
        assert (await browser.call("GET", "/me")).status == 401
        assert (await browser.via_provider()).status == 303
        assert (await browser.call("GET", "/me")).body["id"] == user_id

    async def test_a_session_of_a_provider_that_is_no_longer_believed_has_ended(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        user_id = await somebody(guarded)
        await browser.via_provider()
        async with access(guarded.url) as opened:
            await opened.link(user_id, "https://elsewhere.example", guarded.identity.person["sub"], OWN_TASKS)
        moved = "UPDATE sessions SET issuer = 'https://elsewhere.example' WHERE user_id = $1"
        await execute(guarded, moved, user_id)
        await until(lambda: _is_out(browser))


async def _is_out(browser: Browser) -> bool:
    return (await browser.call("GET", "/me")).status == 401


class TestWithout:
    async def test_without_a_client_there_is_no_such_way(self, without_client: Guarded) -> None:
        async with browsing(without_client) as browser:
            for path in ("/session/oidc", "/session/oidc/callback?state=x&code=x"):
                assert (await browser.call("GET", path)).kind == "not-found"
            assert (await browser.call("GET", "/session")).body["methods"] == ["password"]

    async def test_under_local_there_is_nothing_to_sign_in_to(self, api: Api) -> None:
        for path in ("/session/oidc", "/session/oidc/callback"):
            assert (await api.get(path)).status == 409
