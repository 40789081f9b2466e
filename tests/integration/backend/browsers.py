"""Browsers of people who sign in, as far as they show at the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
import asyncpg
from yarl import URL

from tests.integration.backend.callers import Guarded
from tests.integration.backend.service import LEAKS
from todo.backend.auth import passwords
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.store import sessions
from todo.contracts.clock import utc_now
from todo.messaging.database import connect

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
SECURE = "__Host-todo-session"
PLAIN = "todo-session"


@cache
def hash_of(password: str) -> str:
    return passwords.hashed(password)


@dataclass(frozen=True)
class Account:
    user_id: int
    email: str


async def account(guarded: Guarded, password: str = PASSWORD, scopes: tuple[Scope, ...] = OWN_TASKS) -> Account:
    """A user with a password."""
    user_id = await guarded.user()
    connection = await connect(guarded.url, "backend")
    try:
        hashed = hash_of(password)
        await sessions.set_password(connection, user_id, hashed, scopes, default=OWN_TASKS, now=utc_now())
        return Account(user_id, await connection.fetchval("SELECT email FROM users WHERE id = $1", user_id))
    finally:
        await connection.close()


async def execute(guarded: Guarded, statement: str, *values: object) -> list[asyncpg.Record]:
    connection = await connect(guarded.url, "backend")
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def kind(self) -> str:
        """The problem's, or nothing."""
        return str(self.body["type"]).rpartition(":")[2] if self.status >= 400 else ""


class Browser:
    """Keeps cookies as browsers do, sends where a page is from, and what a page was told to send."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self.base = base
        self.csrf: str | None = None

    @property
    def cookies(self) -> dict[str, str]:
        return {one.key: one.value for one in self._http.cookie_jar}

    @property
    def cookie(self) -> str | None:
        """The session's."""
        return self.cookies.get(PLAIN)

    def hold(self, value: str, name: str = PLAIN) -> None:
        self._http.cookie_jar.update_cookies({name: value}, URL(self.base))

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        **headers: str | None,
    ) -> Answer:
        """`headers` beside those of a page of ours; None leaves one out."""
        usual = {"origin": self.base, "sec_fetch_site": "same-origin", "x_csrf_token": self.csrf}
        sent = {name.replace("_", "-"): value for name, value in (usual | headers).items() if value is not None}
        url = URL(self.base + path, encoded=True)
        async with self._http.request(method, url, json=json, headers=sent, allow_redirects=False) as answer:
            text = await answer.text()
            body = await answer.json() if "json" in answer.content_type else text
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json"
                assert not LEAKS.search(text), text
            return Answer(answer.status, body, answer.headers)

    async def begin(self, next_path: str | None = None, **headers: str | None) -> Answer:
        """Ask to be sent to the identity provider."""
        query = "" if next_path is None else f"?next={next_path}"
        return await self.call("GET", f"/session/oidc{query}", **headers)

    async def visit(self, location: str) -> str:
        """Go to the identity provider, which sends people back at once: where to, as a path of ours."""
        async with self._http.get(URL(location, encoded=True), allow_redirects=False) as answer:
            assert answer.status == 302
            back = URL(answer.headers["location"], encoded=True)
            assert back.path == "/session/oidc/callback"
            return back.raw_path_qs

    async def via_provider(self, next_path: str | None = None, **headers: str | None) -> Answer:
        """Sign in there; the answer to whoever has come back."""
        return await self.call("GET", await self.visit((await self.begin(next_path)).headers["location"]), **headers)

    async def sign_in(self, email: str, password: str = PASSWORD, **headers: str | None) -> Answer:
        answer = await self.call("POST", "/session", {"email": email, "password": password}, **headers)
        if answer.status == 201:
            self.csrf = answer.body["csrf"]
        return answer


@asynccontextmanager
async def browsing(guarded: Guarded) -> AsyncIterator[Browser]:
    """A browser that nobody has signed in with."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Browser(http, guarded.base)


@asynccontextmanager
async def signed_in(guarded: Guarded, who: Account | None = None) -> AsyncIterator[Browser]:
    """One that somebody has."""
    who = who or await account(guarded)
    async with browsing(guarded) as browser:
        assert (await browser.sign_in(who.email)).status == 201
        yield browser
