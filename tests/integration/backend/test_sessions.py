"""Signing in with a browser under TODO_AUTH=required: sessions, their cookies, and who cannot use them."""

import asyncio
import datetime as dt
import os
import re
import signal
import socket
import sys
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher
from yarl import URL

from tests.integration.backend.browsers import (
    PASSWORD,
    PLAIN,
    SECURE,
    Browser,
    account,
    browsing,
    execute,
    hash_of,
    signed_in,
)
from tests.integration.backend.callers import EVERYTHING, UNLIMITED, Guarded, guarded_backend
from tests.integration.backend.scenario import MovableClock, Scenario
from tests.integration.backend.service import Api
from tests.support.provider import AUDIENCE, CLIENT, CLIENT_SECRET
from tests.support.waiting import until
from todo.backend.auth import sessions
from todo.backend.auth.scopes import OWN_TASKS
from todo.backend.store import sessions as store
from todo.messaging.unit import Database
from todo.operations.access import access
from todo.operations.postgres import PostgresServer


def cookie_of(set_cookie: str) -> Any:  # noqa: ANN401 - a Morsel
    (morsel,) = SimpleCookie(set_cookie).values()
    return morsel


@pytest.fixture
async def browser(guarded: Guarded) -> Any:  # noqa: ANN401 - an async generator
    async with browsing(guarded) as browser:
        yield browser


class TestSigningIn:
    async def test_whoever_knows_the_password_gets_a_session_that_does_what_they_may(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        who = await account(guarded)
        answer = await browser.sign_in(who.email.upper())
        assert answer.status == 201
        assert answer.body["user"] | {"id": who.user_id, "email": who.email} == answer.body["user"]
        assert (answer.body["methods"], answer.body["scopes"]) == (["password"], ["tasks:read", "tasks:write"])
        assert (await browser.call("GET", "/session")).body == answer.body
        made = await browser.call("POST", "/tasks", {"title": "Pay rent"})
        assert (made.status, made.body["user_id"]) == (201, who.user_id)
        listed = await browser.call("GET", "/tasks", origin=None, sec_fetch_site="none", x_csrf_token=None)
        assert [one["id"] for one in listed.body["tasks"]] == [made.body["id"]]
        assert (await browser.call("GET", "/users")).kind == "insufficient-scope"

    async def test_the_cookie_is_no_scripts_and_no_other_sites(self, guarded: Guarded, browser: Browser) -> None:
        cookie = cookie_of((await browser.sign_in((await account(guarded)).email)).headers["set-cookie"])
        assert (cookie.key, cookie["httponly"], cookie["samesite"], cookie["path"]) == (PLAIN, True, "lax", "/")
        assert (cookie["domain"], cookie["secure"]) == ("", "")
        assert int(cookie["max-age"]) == store.LONGEST.total_seconds()

    async def test_what_is_told_of_a_session_is_kept_by_no_cache(self, guarded: Guarded, browser: Browser) -> None:
        assert (await browser.call("GET", "/session")).headers["cache-control"] == "no-store"
        assert (await browser.sign_in((await account(guarded)).email)).headers["cache-control"] == "no-store"

    async def test_an_account_that_is_an_operators_signs_in_as_one(self, guarded: Guarded, browser: Browser) -> None:
        who = await account(guarded, scopes=EVERYTHING)
        assert "operator" in (await browser.sign_in(who.email)).body["scopes"]
        assert (await browser.call("GET", "/users")).status == 200

    async def test_whoever_is_not_signed_in_is_told_how_that_is_done(self, browser: Browser) -> None:
        answer = await browser.call("GET", "/session")
        assert (answer.status, answer.kind, answer.body["methods"]) == (401, "not-authenticated", ["password"])

    async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        who, without = await account(guarded), await guarded.user()
        (row,) = await execute(guarded, "SELECT email FROM users WHERE id = $1", without)
        answers = [
            await browser.sign_in(who.email, PASSWORD + "x"),
            await browser.sign_in("nobody@example.test"),
            await browser.sign_in(row["email"]),
            await browser.sign_in("' OR true --", "x"),
            await browser.sign_in("\0@example.test\ud83d\ude00", "\0"),
        ]
        assert {(answer.status, answer.kind) for answer in answers} == {(401, "wrong-credentials")}
        assert len({str(answer.body) for answer in answers}) == 1
        assert not any("set-cookie" in answer.headers for answer in answers)

    @pytest.mark.parametrize(
        "body",
        [{}, {"email": "a@b.test"}, {"email": "a@b.test", "password": 7}, {"email": "a" * 255, "password": "x"},
         {"email": "a@b.test", "password": "x" * 257}, {"email": "a@b.test", "password": "x", "user_id": 1}],
    )  # fmt: skip
    async def test_what_cannot_be_a_sign_in_is_named(self, browser: Browser, body: dict[str, Any]) -> None:
        answer = await browser.call("POST", "/session", body)
        assert (answer.status, answer.kind) == (422, "invalid-input")
        assert "x" * 257 not in str(answer.body)

    async def test_a_page_of_another_origin_signs_nobody_in(self, guarded: Guarded, browser: Browser) -> None:
        who = await account(guarded)
        for headers in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}, {"origin": "null"}):
            assert (await browser.sign_in(who.email, **headers)).kind == "cross-origin"
        assert (await browser.sign_in(who.email, origin=None, sec_fetch_site=None)).status == 201

    async def test_only_the_hash_of_what_the_browser_holds_is_stored(self, guarded: Guarded) -> None:
        async with signed_in(guarded) as browser:
            rows = await execute(guarded, "SELECT s::text FROM sessions s")
            assert browser.cookie is not None
            assert browser.cookie not in str(rows)
            assert sessions.digest(browser.cookie).hex() in str(rows)
            assert browser.csrf is not None
            assert browser.csrf not in str(rows)


class TestFixation:
    async def test_a_cookie_that_somebody_planted_is_no_session_afterwards(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        planted = sessions.new_secret()
        browser.hold(planted)
        await browser.sign_in((await account(guarded)).email)
        assert browser.cookie != planted
        async with browsing(guarded) as attacker:
            attacker.hold(planted)
            assert (await attacker.call("GET", "/me")).status == 401

    async def test_signing_in_again_ends_the_session_before(self, guarded: Guarded) -> None:
        who = await account(guarded)
        async with signed_in(guarded, who) as browser, browsing(guarded) as another:
            before = browser.cookie
            assert before is not None
            await browser.sign_in(who.email)
            assert browser.cookie != before
            assert len((await browser.call("GET", "/sessions")).body["sessions"]) == 1
            another.hold(before)
            await until(lambda: _is_out(another))


async def _is_out(browser: Browser) -> bool:
    return (await browser.call("GET", "/me")).status == 401


class TestForgery:
    """What another site can make a browser send, cookies included."""

    @pytest.mark.parametrize(
        ("headers", "kind"),
        [
            ({"x_csrf_token": None}, "csrf"),
            ({"x_csrf_token": ""}, "csrf"),
            ({"x_csrf_token": "\u00e9"}, "csrf"),
            ({"x_csrf_token": sessions.csrf_token("of another session")}, "csrf"),
            ({"origin": "https://evil.example"}, "cross-origin"),
            ({"origin": "null"}, "cross-origin"),
            ({"origin": ""}, "cross-origin"),
            ({"origin": "http://[::1"}, "cross-origin"),
            ({"sec_fetch_site": "cross-site"}, "cross-origin"),
            ({"sec_fetch_site": "same-site"}, "cross-origin"),
            ({"sec_fetch_site": "none"}, "cross-origin"),
            ({"origin": None, "sec_fetch_site": None}, "cross-origin"),
        ],
        ids=str,
    )
    async def test_nothing_is_changed_by_a_page_that_is_not_ours(
        self, guarded: Guarded, headers: dict[str, str | None], kind: str
    ) -> None:
        async with signed_in(guarded) as browser:
            task = (await browser.call("POST", "/tasks", {"title": "Stays"})).body
            calls: list[tuple[str, str, Any]] = [
                ("POST", "/tasks", {"title": "t"}),
                ("DELETE", f"/tasks/{task['id']}", None),
                ("DELETE", "/session", None),
                ("DELETE", "/sessions/1", None),
            ]
            for method, path, body in calls:
                answer = await browser.call(method, path, body, **headers)
                assert (answer.status, answer.kind) == (403, kind), path
            assert [one["id"] for one in (await browser.call("GET", "/tasks")).body["tasks"]] == [task["id"]]

    async def test_one_of_both_headers_is_enough_where_a_browser_sends_one(self, guarded: Guarded) -> None:
        async with signed_in(guarded) as browser:
            assert (await browser.call("POST", "/tasks", {"title": "t"}, origin=None)).status == 201
            assert (await browser.call("POST", "/tasks", {"title": "t"}, sec_fetch_site=None)).status == 201

    async def test_a_token_counts_before_a_cookie_and_needs_nothing_of_a_page(self, guarded: Guarded) -> None:
        async with signed_in(guarded) as browser:
            new = await guarded.token()
            bare = {"origin": None, "sec_fetch_site": None, "x_csrf_token": None}
            answer = await browser.call("POST", "/tasks", {"title": "t"}, authorization=f"Bearer {new.token}", **bare)
            assert (answer.status, answer.body["user_id"]) == (201, 1)
            assert (await browser.call("GET", "/me", authorization="Bearer x")).status == 401


class TestEnding:
    async def test_sessions_are_listed_with_what_tells_them_apart(self, guarded: Guarded) -> None:
        who = await account(guarded)
        async with signed_in(guarded, who) as browser, browsing(guarded) as phone:
            await phone.sign_in(who.email, user_agent="Phone\t1.0 " + "x" * 500)
            phones, first = (await browser.call("GET", "/sessions")).body["sessions"]
            assert [phones["current"], first["current"]] == [False, True]
            assert phones["user_agent"].startswith("Phone1.0 x")
            assert len(phones["user_agent"]) == 160
            assert phones["method"] == "password"
            assert phones["seen_at"] == phones["created_at"] < phones["expires_at"]

    async def test_signing_out_ends_the_session_and_takes_the_cookie(self, guarded: Guarded) -> None:
        async with signed_in(guarded) as browser, browsing(guarded) as thief:
            assert browser.cookie is not None
            thief.hold(browser.cookie)
            answer = await browser.call("DELETE", "/session")
            assert (answer.status, cookie_of(answer.headers["set-cookie"])["max-age"]) == (204, "0")
            assert browser.cookie is None
            assert (await thief.call("GET", "/me")).kind == "invalid-token"
            assert (await thief.call("GET", "/session")).body["methods"] == ["password"]

    async def test_another_session_of_ones_own_is_ended(self, guarded: Guarded) -> None:
        who = await account(guarded)
        async with signed_in(guarded, who) as browser, signed_in(guarded, who) as lost:
            (theirs,) = [one for one in (await lost.call("GET", "/sessions")).body["sessions"] if one["current"]]
            assert (await browser.call("DELETE", f"/sessions/{theirs['id']}")).status == 204
            assert (await lost.call("GET", "/me")).status == 401
            assert (await browser.call("DELETE", f"/sessions/{theirs['id']}")).status == 404
            assert (await browser.call("GET", "/me")).status == 200

    async def test_another_users_session_is_not_there(self, guarded: Guarded) -> None:
        async with signed_in(guarded) as browser, signed_in(guarded) as victim:
            (theirs,) = (await victim.call("GET", "/sessions")).body["sessions"]
            assert (await browser.call("DELETE", f"/sessions/{theirs['id']}")).kind == "not-found"
            assert theirs["id"] not in [one["id"] for one in (await browser.call("GET", "/sessions")).body["sessions"]]
            new = await guarded.token()
            bearer = f"Bearer {new.token}"
            assert (await browser.call("DELETE", f"/sessions/{theirs['id']}", authorization=bearer)).status == 404
            assert (await victim.call("GET", "/me")).status == 200

    async def test_a_token_has_to_be_good_for_it(self, guarded: Guarded) -> None:
        async with guarded.calling([], user_id=await guarded.user()) as api:
            assert (await api.get("/sessions")).status == 403
            assert (await api.call("DELETE", "/sessions/1")).status == 403
            assert (await api.call("DELETE", "/session")).status == 409

    async def test_a_session_ended_by_command_is_out_once_the_command_has_ended(self, guarded: Guarded) -> None:
        """In another process than the one that believes in it, which is asked for it all the while."""
        who = await account(guarded)
        async with signed_in(guarded, who) as browser, access(guarded.url) as opened:
            (one,) = await opened.sessions(who.user_id)
            asking = asyncio.create_task(_ask_until_out(browser))
            await opened.end_session(one.id)
            assert (await browser.call("GET", "/me")).status == 401
            await asking

    async def test_a_new_password_ends_what_the_old_one_began(self, guarded: Guarded) -> None:
        who = await account(guarded)
        async with signed_in(guarded, who) as browser, browsing(guarded) as another:
            async with access(guarded.url) as opened:
                assert (await opened.set_password(who.user_id, "another password")).ended == 1
            assert (await browser.call("GET", "/me")).status == 401
            assert (await another.sign_in(who.email)).kind == "wrong-credentials"
            assert (await another.sign_in(who.email, "another password")).status == 201
            async with access(guarded.url) as opened:
                assert (await opened.remove_password(who.user_id)).ended == 1
            assert (await another.call("GET", "/me")).status == 401
            assert (await another.sign_in(who.email, "another password")).kind == "wrong-credentials"

    async def test_what_an_account_may_do_is_asked_anew(self, guarded: Guarded) -> None:
        who = await account(guarded, scopes=EVERYTHING)
        async with signed_in(guarded, who) as browser:
            await execute(guarded, "UPDATE password_logins SET scopes = '{tasks:read}' WHERE user_id = $1", who.user_id)
            await until(lambda: _may_not(browser, "/users"))
            assert (await browser.call("POST", "/tasks", {"title": "t"})).status == 403

    @pytest.mark.parametrize("held", ["", "x", "a" * 43, "a" * 5000, "\u00e9", "a b", '"', "../../x"])
    async def test_what_is_no_session_opens_nothing(self, guarded: Guarded, held: str) -> None:
        async with aiohttp.ClientSession(guarded.base) as http:
            for path in ("/me", "/session"):
                async with http.get(path, headers={"cookie": f"{PLAIN}={held}; {SECURE}=x"}) as answer:
                    assert answer.status == 401


async def _ask_until_out(browser: Browser) -> None:
    while (await browser.call("GET", "/me")).status == 200:
        pass


async def _may_not(browser: Browser, path: str) -> bool:
    return (await browser.call("GET", path)).status == 403


class TestKeeping:
    """The rows behind it, with a clock that can be moved."""

    async def _session(self, scenario: Scenario, name: str = "one") -> bytes:
        digest = sessions.digest(name)
        db, now = scenario.database.pool, scenario.clock()
        await store.set_password(db, 1, hash_of(PASSWORD), None, default=OWN_TASKS, now=now)
        await store.open_for(db, 1, sha256=digest, identity=None, user_agent="", now=now)
        return digest

    async def test_a_session_that_is_not_used_for_two_weeks_ends(
        self, scenario: Scenario, database: Database, clock: MovableClock
    ) -> None:
        digest = await self._session(scenario)
        clock.now += store.IDLE - dt.timedelta(seconds=1)
        assert await store.use(database.pool, digest, clock()) is not None
        clock.now += store.IDLE - dt.timedelta(seconds=1)
        assert await store.use(database.pool, digest, clock()) is not None
        clock.now += store.IDLE
        assert await store.use(database.pool, digest, clock()) is None
        assert await store.living(database.pool, clock()) == []

    async def test_no_session_lasts_longer_than_three_months(
        self, scenario: Scenario, database: Database, clock: MovableClock
    ) -> None:
        digest, ends = await self._session(scenario), clock() + store.LONGEST
        while clock() < ends:
            assert await store.use(database.pool, digest, clock()) is not None
            clock.now += dt.timedelta(days=10)
        assert await store.use(database.pool, digest, clock()) is None

    async def test_that_it_is_used_is_noted_every_ten_minutes(
        self, scenario: Scenario, database: Database, clock: MovableClock
    ) -> None:
        digest, before = await self._session(scenario), clock()
        clock.now += store.SEEN_EVERY - dt.timedelta(seconds=1)
        await store.use(database.pool, digest, clock())
        assert [one.seen_at for one in await store.living(database.pool, clock())] == [before]
        clock.now += dt.timedelta(seconds=1)
        await store.use(database.pool, digest, clock())
        assert [one.seen_at for one in await store.living(database.pool, clock())] == [clock()]

    async def test_a_user_has_so_many_and_the_dead_are_swept(
        self, scenario: Scenario, database: Database, clock: MovableClock
    ) -> None:
        for number in range(store.MOST + 5):
            clock.now += dt.timedelta(seconds=1)
            await self._session(scenario, str(number))
        assert len(await store.living(database.pool, clock())) == store.MOST
        assert await store.use(database.pool, sessions.digest("0"), clock()) is None
        clock.now += store.IDLE
        await self._session(scenario, "last")
        assert await database.pool.fetchval("SELECT count(*) FROM sessions") == 1

    async def test_a_password_that_changes_while_somebody_signs_in_lets_nobody_in(
        self, scenario: Scenario, database: Database, clock: MovableClock
    ) -> None:
        await self._session(scenario)
        (email,) = await database.pool.fetch("SELECT email FROM users WHERE id = 1")
        checked = await store.login(database.pool, email["email"])
        assert checked is not None
        clock.now += dt.timedelta(seconds=1)
        await store.set_password(database.pool, 1, "another", None, default=OWN_TASKS, now=clock())
        async with database.transaction() as unit:
            assert not await store.lock(unit.connection, checked)
        await store.rehash(database.pool, checked, "stale")
        assert (await store.login(database.pool, email["email"]) or checked).hash == "another"


class TestHashes:
    async def test_a_hash_of_weaker_parameters_is_made_anew_at_the_next_sign_in(
        self, guarded: Guarded, browser: Browser
    ) -> None:
        who = await account(guarded)
        weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        await execute(guarded, "UPDATE password_logins SET hash = $2 WHERE user_id = $1", who.user_id, weak)
        assert (await browser.sign_in(who.email)).status == 201
        (row,) = await execute(guarded, "SELECT hash FROM password_logins WHERE user_id = $1", who.user_id)
        assert row["hash"].startswith("$argon2id$")
        assert row["hash"].split("$")[3] == hash_of(PASSWORD).split("$")[3]
        assert (await browser.sign_in(who.email)).status == 201


@pytest.fixture(scope="class")
def behind_tls(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    with guarded_backend(pg_server, TODO_PUBLIC_URL="https://todo.example.org/") as guarded:
        yield guarded


class TestPublicAddress:
    async def test_beyond_loopback_the_cookie_goes_over_tls_alone(self, behind_tls: Guarded) -> None:
        async with browsing(behind_tls) as browser:
            answer = await browser.sign_in((await account(behind_tls)).email)
            cookie = cookie_of(answer.headers["set-cookie"])
            assert (cookie.key, cookie["secure"], cookie["httponly"]) == (SECURE, True, True)
            assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "lax")
            headers = {"cookie": f"{SECURE}={cookie.value}", "x_csrf_token": answer.body["csrf"]}
            for origin, status in {"https://todo.example.org": 201, "http://todo.example.org": 403}.items():
                made = await browser.call("POST", "/tasks", {"title": "t"}, **headers | {"origin": origin})
                assert made.status == status, origin
            plain = {"cookie": f"{PLAIN}={cookie.value}"}
            assert (await browser.call("GET", "/me", **plain)).status == 401
            gone = await browser.call("DELETE", "/session", **headers)
            assert cookie_of(gone.headers["set-cookie"])["secure"]


@pytest.fixture
def narrow(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    with guarded_backend(pg_server, TODO_AUTH_FAILURES="12") as guarded:
        yield guarded


class TestLimits:
    async def test_guesses_are_slowed_by_account_and_by_address(self, narrow: Guarded) -> None:
        who, other = await account(narrow), await account(narrow)
        async with browsing(narrow) as browser:
            known = await browser.sign_in(other.email)
            assert known.status == 201
            written = (who.email, who.email.upper())
            guesses = [await browser.sign_in(written[number % 2], f"guess {number}") for number in range(11)]
            assert [one.status for one in guesses] == [401] * 10 + [429]
            assert (await browser.sign_in(who.email)).status == 429
            refused = await browser.sign_in(other.email)
            assert (refused.status, refused.kind) == (429, "too-many-requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert (await browser.call("GET", "/me")).status == 200

    async def test_an_account_that_is_none_is_slowed_as_one_that_is(self, browser: Browser) -> None:
        email = f"{os.urandom(6).hex()}@example.test"
        assert [(await browser.sign_in(email)).status for _ in range(11)] == [401] * 10 + [429]


class TestLocal:
    async def test_under_local_the_local_user_is_signed_in_and_nothing_is_in_the_way(self, api: Api) -> None:
        answer = await api.get("/session")
        assert (answer.status, answer.body["user"]["id"]) == (200, api.user_id)
        assert (answer.body["csrf"], answer.body["methods"]) == (None, [])
        assert len(answer.body["scopes"]) == len(EVERYTHING)
        refused = await api.post("/session", {"email": "a@b.test", "password": PASSWORD})
        assert (refused.status, "nothing to sign in to" in refused.body["detail"]) == (409, True)
        assert (await api.call("DELETE", "/session")).status == 409
        assert (await api.get("/sessions")).body == {"sessions": []}
        assert (await api.call("DELETE", "/sessions/1")).status == 404


class TestLogs:
    async def test_no_password_cookie_code_or_address_is_ever_logged(self, guarded: Guarded, tmp_path: Path) -> None:
        """A whole process at its most talkative, with its database taken away in the middle."""
        who = await account(guarded)
        log = tmp_path / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environ = {
            "DATABASE_URL": guarded.url, "DAPR_API_TOKEN": "dapr-hush", "APP_API_TOKEN": "app-hush",
            "APP_PORT": str(port), "TODO_AUTH": "required", "TODO_LOG_LEVEL": "debug", **UNLIMITED,
            "TODO_OIDC_ISSUER": guarded.identity.issuer, "TODO_OIDC_AUDIENCE": AUDIENCE,
            "TODO_OIDC_CLIENT_ID": CLIENT, "TODO_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }  # fmt: skip
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "todo.backend", env=os.environ | environ, stdout=out, stderr=out
            )
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
                browser = Browser(http, f"http://127.0.0.1:{port}")
                await until(lambda: _is_up(browser), 30)
                assert (await browser.sign_in(who.email)).status == 201
                cookie, csrf = browser.cookie, browser.csrf
                assert (await browser.sign_in(who.email, "swordfish " * 2)).status == 401
                await browser.call("POST", "/session", {"email": who.email, "password": ["swordfish"]})
                await execute(guarded, "ALTER TABLE password_logins RENAME TO hidden_logins")
                assert (await browser.sign_in(who.email)).kind == "unavailable"
                await execute(guarded, "ALTER TABLE hidden_logins RENAME TO password_logins")
                assert (await browser.call("DELETE", "/session")).status == 204
                back = await browser.visit((await browser.begin()).headers["location"])
                secret = browser.cookies["todo-sign-in"].split(".")[0]
                assert (await browser.call("GET", back)).kind == "no-account"
                browser.hold(secret, "todo-sign-in")
                assert (await browser.call("GET", back)).kind == "sign-in-failed"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = log.read_text()
        assert re.search(r"signed in", said)
        assert "request put off" in said
        parts = URL(back).query
        for hidden in (
            PASSWORD,
            "swordfish",
            who.email,
            cookie,
            csrf,
            secret,
            parts["code"],
            parts["state"],
            CLIENT_SECRET,
        ):
            assert hidden is not None
            assert hidden not in said


async def _is_up(browser: Browser) -> bool:
    try:
        return (await browser.call("GET", "/readyz")).status == 200
    except (aiohttp.ClientError, AssertionError):
        return False
