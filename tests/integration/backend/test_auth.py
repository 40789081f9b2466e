"""TODO_AUTH=required: who gets in, as whom, and what they may do."""

import asyncio
import datetime as dt
import itertools
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from yarl import URL

from tests.integration.backend.callers import EVERYTHING, UNLIMITED, Guarded, guarded_backend
from tests.integration.backend.scenario import NOON, MovableClock, Scenario
from tests.integration.backend.service import APP_TOKEN, Api, running_backend
from tests.integration.cli.conftest import todo
from tests.support.provider import AUDIENCE
from tests.support.waiting import until
from todo.backend.auth import tokens
from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.store import credentials
from todo.contracts.clock import utc_now
from todo.messaging.database import connect
from todo.operations.access import NewToken, access
from todo.operations.postgres import PostgresServer

CHALLENGE = 'Bearer realm="todo"'
_subjects = itertools.count(1)


def subject() -> str:
    return f"subject-{next(_subjects)}-{os.urandom(4).hex()}"


class Raw:
    """Calls with an Authorization header as it is given."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base

    async def __call__(
        self,
        authorization: str | None,
        method: str = "GET",
        path: str = "/me",
        **parts: Any,  # noqa: ANN401 - aiohttp's
    ) -> tuple[int, str, str]:
        """Status, the problem's kind (or nothing), and the challenge."""
        headers = {"authorization": authorization} if authorization is not None else {}
        url = URL(self._base + path, encoded=True)
        async with self._http.request(method, url, headers=headers, **parts) as answer:
            body = await answer.json()
            kind = str(body["type"]).rpartition(":")[2] if answer.status >= 400 else ""
            if kind:
                assert answer.content_type == "application/problem+json"
            return answer.status, kind, answer.headers.get("www-authenticate", "")


@pytest.fixture
async def raw(guarded: Guarded) -> Any:  # noqa: ANN401 - an async generator
    async with aiohttp.ClientSession(guarded.base) as http:
        yield Raw(http, guarded.base)


class TestGettingIn:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/tasks"),
            ("GET", "/me"),
            ("GET", "/users"),
            ("GET", "/dead-letters"),
            ("GET", "/pipeline"),
            ("GET", "/nowhere"),
            ("GET", "/tasks/"),
            ("POST", "/tasks"),
            ("POST", "/occurrences/preview"),
            ("POST", "/quick-add"),
            ("POST", "/sentences"),
            ("OPTIONS", "/tasks"),
            ("GET", "//readyz"),
            ("GET", "/readyz/../tasks"),
            ("GET", "/healthz/tasks"),
        ],
    )
    async def test_nobody_gets_in_without_a_token(self, raw: Raw, method: str, path: str) -> None:
        assert await raw(None, method, path, data=b"{not json") == (401, "not-authenticated", CHALLENGE)

    @pytest.mark.parametrize(
        "given",
        ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", "Bearer a.b.c", "Bearer TOKEN", "Bearer TOKEN7",
         "Bearer " + "x" * 9000, "bearer todo_" + "\u00e9" * 43],
    )  # fmt: skip
    async def test_nobody_gets_in_with_what_is_no_token(self, raw: Raw, given: str) -> None:
        """TOKEN stands for one of the right form: names of tests are the same in every process."""
        status, kind, challenge = await raw(given.replace("TOKEN", tokens.new_token()))
        assert (status, kind) == (401, "invalid-token")
        assert challenge.startswith(f'{CHALLENGE}, error="invalid_token"')

    async def test_a_token_in_the_address_is_none(self, guarded: Guarded, raw: Raw) -> None:
        new = await guarded.token()
        assert (await raw(None, path=f"/me?access_token={new.token}"))[0] == 401

    async def test_probes_metrics_and_the_document_are_open_and_a_sidecar_needs_its_own_token(
        self, guarded: Guarded, raw: Raw
    ) -> None:
        async with aiohttp.ClientSession(guarded.base) as http:
            for path in ("/healthz", "/healthz/consume", "/readyz", "/metrics", "/openapi.json", "/dapr/subscribe"):
                async with http.get(path) as answer:
                    assert answer.status == 200, path
            for path in ("/job/reconcile-series", "/internal/tasks/versions", "/events/task-occurrences"):
                operator = await guarded.token(scopes=EVERYTHING)
                assert (await raw(f"Bearer {operator.token}", "POST", path))[:2] == (401, "app-token-missing")
                async with http.post(path, headers={"dapr-api-token": APP_TOKEN}, json={}) as answer:
                    assert answer.status in {200, 204}, path

    async def test_the_document_says_that_a_token_is_wanted(self, guarded: Guarded) -> None:
        async with guarded.calling() as api:
            assert api._document["security"] == [{"bearer": []}, {"session": []}]
            assert api._document["components"]["securitySchemes"] == {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "todo-session"},
            }

    async def test_whoever_listens_on_every_address_is_called_by_any_name(self, guarded: Guarded) -> None:
        new = await guarded.token()
        async with aiohttp.ClientSession(guarded.base) as http:
            headers = {"authorization": f"Bearer {new.token}", "host": "todo.example.org"}
            async with http.get("/me", headers=headers) as answer:
                assert answer.status == 200


class TestTokens:
    async def test_a_token_acts_for_its_user(self, guarded: Guarded) -> None:
        async with guarded.calling() as api:
            me = (await api.get("/me")).body
            assert (me["id"], me["scopes"]) == (api.user_id, ["tasks:read", "tasks:write"])
            task = await api.task()
            assert task["user_id"] == api.user_id
            assert [one["id"] for one in (await api.get("/tasks")).body["tasks"]] == [task["id"]]

    async def test_only_its_hash_is_stored_and_it_is_shown_once(self, guarded: Guarded) -> None:
        new = await guarded.token()
        assert re.fullmatch(r"todo_[A-Za-z0-9_-]{43}", new.token)
        connection = await asyncpg.connect(guarded.url)
        rows = await connection.fetch("SELECT t::text FROM backend.api_tokens t WHERE id = $1", new.id)
        await connection.close()
        assert new.token[12:] not in str(rows)
        assert tokens.digest(new.token).hex() in str(rows)
        async with access(guarded.url) as opened:
            (listed,) = [one for one in await opened.tokens() if one.id == new.id]
        assert listed.beginning == new.token[:9]

    async def test_scopes_open_what_they_name_and_nothing_else(self, guarded: Guarded) -> None:
        user_id = await guarded.user()
        opened: dict[Scope, list[str]] = {
            Scope.READ: ["GET /tasks", f"GET /tasks/{uuid4()}", f"GET /tasks/{uuid4()}/why"],
            Scope.WRITE: ["POST /tasks", f"DELETE /tasks/{uuid4()}", f"POST /tasks/{uuid4()}/complete"],
            Scope.OPERATOR: [
                "GET /users", "GET /users/1", "POST /users", "PATCH /users/1", "GET /dead-letters",
                "GET /dead-letters/1", "POST /dead-letters/1/replay", "POST /dead-letters/1/discard", "GET /pipeline",
            ],
        }  # fmt: skip
        for scope in Scope:
            async with guarded.calling([scope], user_id=user_id) as api:
                assert (await api.get("/me")).body["scopes"] == [scope]
                for needed, calls in opened.items():
                    for call in calls:
                        method, path = call.split()
                        answer = await api.call(method, path, {} if method in {"POST", "PATCH"} else None)
                        assert (answer.status == 403) == (needed != scope), (scope, call, answer)
                        if needed != scope:
                            assert answer.body["type"] == "urn:todo:problem:insufficient-scope"
                            assert f'scope="{needed}"' in answer.headers["www-authenticate"]

    async def test_another_users_id_is_refused_wherever_it_is_given(self, guarded: Guarded) -> None:
        async with guarded.calling(EVERYTHING) as api:
            for other in (1, api.user_id + 1, 0, -1, 2**62):
                asked = await api.get("/tasks", user_id=str(other))
                said = await api.post("/tasks", {"title": "t", "user_id": other})
                for answer in (asked, said):
                    assert (answer.status, answer.body["type"]) == (403, "urn:todo:problem:other-user")
            assert (await api.get("/tasks", user_id=str(api.user_id))).status == 200
            assert (await api.task(user_id=api.user_id))["user_id"] == api.user_id

    async def test_a_token_ends_when_it_said_it_would(self, guarded: Guarded, raw: Raw) -> None:
        soon = utc_now() + dt.timedelta(seconds=1.5)
        new = await guarded.token(expires_at=soon)
        given = f"Bearer {new.token}"
        assert (await raw(given))[0] == 200
        await until(lambda: _is_refused(raw, given))
        assert utc_now() >= soon

    async def test_a_revoked_token_is_refused_by_every_replica_once_the_command_has_ended(
        self, guarded: Guarded, raw: Raw
    ) -> None:
        new = await guarded.token()
        given = f"Bearer {new.token}"
        with running_backend(guarded.url, TODO_AUTH="required", **UNLIMITED) as second:
            async with aiohttp.ClientSession(second.base) as http:
                other = Raw(http, second.base)
                await until(lambda: _is_known(other, given))
                stopping = asyncio.Event()
                busy = asyncio.create_task(_keep_asking((raw, other), given, stopping))
                done = await asyncio.to_thread(
                    todo, "token", "revoke", str(new.id), data=Path("nowhere"), DATABASE_URL=guarded.url
                )
                assert done.code == 0, done.err
                for replica in (raw, other):
                    assert (await replica(given))[:2] == (401, "invalid-token")
                stopping.set()
                assert await busy > 10

    async def test_use_is_noted(self, guarded: Guarded, raw: Raw) -> None:
        new = await guarded.token()
        assert await _last_used(guarded.url, new) is None
        before = utc_now()
        assert (await raw(f"Bearer {new.token}"))[0] == 200
        noted = await _last_used(guarded.url, new)
        assert noted is not None
        assert before <= noted <= utc_now()

    async def test_use_is_noted_once_a_minute_not_with_every_look(
        self, scenario: Scenario, migrated_url: str, clock: MovableClock
    ) -> None:
        async with access(migrated_url) as opened:
            new = await opened.add_token(scenario.user.id, "t", OWN_TASKS)
        noted = []
        for _ in range(3):
            await credentials.use(scenario.database.pool, tokens.digest(new.token), clock())
            noted.append(await _last_used(migrated_url, new))
            clock.advance(seconds=40)
        assert noted == [NOON, NOON, NOON + dt.timedelta(seconds=80)]

    async def test_a_database_that_takes_no_writes_lets_in_all_the_same(
        self, scenario: Scenario, migrated_url: str
    ) -> None:
        async with access(migrated_url) as opened:
            new = await opened.add_token(scenario.user.id, "t", OWN_TASKS)
        connection = await connect(migrated_url, "backend")
        try:
            await connection.execute("SET default_transaction_read_only = on")
            found = await credentials.use(connection, tokens.digest(new.token), NOON)
        finally:
            await connection.close()
        assert found is not None
        assert found.id == new.id
        assert await _last_used(migrated_url, new) is None


async def _last_used(url: str, new: NewToken) -> dt.datetime | None:
    async with access(url) as opened:
        (token,) = [one for one in await opened.tokens() if one.id == new.id]
    return token.last_used_at


async def _is_refused(raw: Raw, given: str) -> bool:
    return (await raw(given))[0] == 401


async def _is_known(raw: Raw, given: str) -> bool:
    return (await raw(given))[0] == 200


async def _keep_asking(replicas: tuple[Raw, ...], given: str, stopping: asyncio.Event) -> int:
    """Keep the token in every replica's memory; how often it was good."""
    good = 0
    while not stopping.is_set():
        for replica in replicas:
            good += (await replica(given))[0] == 200
    return good


class TestProvider:
    async def test_whoever_is_linked_gets_in_as_their_user_with_their_scopes(self, guarded: Guarded) -> None:
        user_id, sub = await guarded.user(), subject()
        async with access(guarded.url) as opened:
            await opened.link(user_id, guarded.identity.issuer, sub, [Scope.READ, Scope.OPERATOR])
        async with guarded.calling(user_id=user_id, token=guarded.identity.token("first", sub=sub)) as api:
            me = (await api.get("/me")).body
            assert (me["id"], me["scopes"]) == (user_id, ["operator", "tasks:read"])
            assert (await api.post("/tasks", {"title": "t"})).status == 403

    async def test_whoever_is_not_linked_has_no_account(self, guarded: Guarded, raw: Raw) -> None:
        token = guarded.identity.token("first", sub=subject(), email="a@b.test", email_verified=True)
        assert (await raw(f"Bearer {token}"))[:2] == (403, "no-account")

    async def test_the_same_subject_of_another_issuer_is_somebody_else(self, guarded: Guarded, raw: Raw) -> None:
        sub = subject()
        async with access(guarded.url) as opened:
            await opened.link(1, "https://elsewhere.example", sub, OWN_TASKS)
        assert (await raw(f"Bearer {guarded.identity.token('first', sub=sub)}"))[:2] == (403, "no-account")

    async def test_whoever_is_no_longer_linked_is_out_once_the_command_has_ended(
        self, guarded: Guarded, raw: Raw
    ) -> None:
        sub = subject()
        given = f"Bearer {guarded.identity.token('first', sub=sub)}"
        async with access(guarded.url) as opened:
            await opened.link(1, guarded.identity.issuer, sub, OWN_TASKS)
            assert (await raw(given))[0] == 200
            await opened.unlink(guarded.identity.issuer, sub)
        assert (await raw(given))[:2] == (403, "no-account")

    async def test_a_token_that_does_not_hold_is_refused(self, guarded: Guarded, raw: Raw) -> None:
        expired = guarded.identity.token("first", exp=int(time.time()) - 61)
        assert (await raw(f"Bearer {expired}"))[:2] == (401, "invalid-token")
        assert (await raw(f"Bearer {guarded.identity.token('first', aud='another')}"))[0] == 401

    async def test_an_unknown_key_while_the_provider_is_away_is_nobodys_fault(self, guarded: Guarded, raw: Raw) -> None:
        sub = subject()
        async with access(guarded.url) as opened:
            await opened.link(1, guarded.identity.issuer, sub, OWN_TASKS)
        known = f"Bearer {guarded.identity.token('first', sub=sub)}"
        guarded.identity.add_key("second")
        fresh = f"Bearer {guarded.identity.token('second', sub=sub)}"
        assert (await raw(known))[0] == 200
        guarded.identity.away = True
        try:
            assert (await raw(fresh))[:2] == (503, "identity-provider-away")
            assert (await raw(known))[0] == 200
        finally:
            guarded.identity.away = False
        await until(lambda: _is_known(raw, fresh))


@pytest.fixture(scope="class")
def welcoming(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    with guarded_backend(pg_server, TODO_OIDC_CREATE_USERS="true") as guarded:
        yield guarded


class TestFirstSight:
    def _token(self, guarded: Guarded, **claims: Any) -> str:  # noqa: ANN401 - JSON
        usual: dict[str, Any] = {"sub": subject(), "email": f"{os.urandom(6).hex()}@b.test", "email_verified": True}
        return guarded.identity.token("first", **(usual | claims))

    async def test_a_verified_address_makes_a_user_and_the_next_time_it_is_the_same(self, welcoming: Guarded) -> None:
        token = self._token(welcoming, name="Ada\u0007 L.", zoneinfo="Europe/Vienna", email="ada@b.test")
        async with welcoming.calling(user_id=1, token=token) as api:
            first = (await api.get("/me")).body
            assert (first["email"], first["name"], first["zone"]) == ("ada@b.test", "Ada L.", "Europe/Vienna")
            assert first["scopes"] == ["tasks:read", "tasks:write"]
            assert (await api.get("/me")).body == first

    async def test_of_requests_that_come_together_one_makes_the_user(self, welcoming: Guarded) -> None:
        token = self._token(welcoming)
        async with welcoming.calling(user_id=1, token=token) as api:
            answers = await asyncio.gather(*(api.get("/me") for _ in range(12)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body["id"] for answer in answers}) == 1

    @pytest.mark.parametrize(
        "claims",
        [{"email_verified": False}, {"email_verified": "true"}, {"email": None}, {"email": "nobody"},
         {"email": "a@b.test\r\nBcc: c@d.test"}, {"email": "x" * 250 + "@b.test"}, {"zoneinfo": 7, "email": 7}],
    )  # fmt: skip
    async def test_without_a_verified_address_there_is_no_account(
        self, welcoming: Guarded, claims: dict[str, Any]
    ) -> None:
        async with welcoming.calling(user_id=1, token=self._token(welcoming, **claims)) as api:
            answer = await api.get("/me")
        assert (answer.status, answer.body["type"]) == (403, "urn:todo:problem:no-account")

    async def test_the_address_of_another_user_opens_nothing_of_theirs(self, welcoming: Guarded) -> None:
        async with welcoming.calling(user_id=1, token=self._token(welcoming, email="ADA@example.test")) as api:
            answer = await api.get("/me")
        assert (answer.status, answer.body["type"]) == (403, "urn:todo:problem:no-account")

    async def test_a_zone_that_is_none_is_utc(self, welcoming: Guarded) -> None:
        async with welcoming.calling(user_id=1, token=self._token(welcoming, zoneinfo="../../etc")) as api:
            assert (await api.get("/me")).body["zone"] == "UTC"


@pytest.fixture(scope="class")
def narrow(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator
    limits = {"TODO_RATE": "1", "TODO_RATE_BURST": "8", "TODO_AUTH_FAILURES": "5"}
    with guarded_backend(pg_server, **limits) as guarded:
        yield guarded


class TestLimits:
    async def test_a_caller_has_a_share_and_is_told_when_there_is_more(self, narrow: Guarded) -> None:
        async with narrow.calling() as api, narrow.calling() as another:
            answers = await asyncio.gather(*(api.get("/tasks") for _ in range(20)))
            refused = [answer for answer in answers if answer.status == 429]
            assert 8 <= len(answers) - len(refused) < 20
            for answer in refused:
                assert answer.body["type"] == "urn:todo:problem:too-many-requests"
                assert 1 <= int(answer.headers["retry-after"]) <= 8
            assert (await another.get("/tasks")).status == 200
            await until(lambda: _answers(api))

    async def test_guesses_from_an_address_are_slowed_and_known_callers_there_are_not(self, narrow: Guarded) -> None:
        async with aiohttp.ClientSession(narrow.base) as http, narrow.calling() as known:
            assert (await known.get("/me")).status == 200
            raw = Raw(http, narrow.base)
            guesses = [await raw(f"Bearer {tokens.new_token()}") for _ in range(8)]
            assert [status for status, _, _ in guesses][:5] == [401] * 5
            assert [kind for _, kind, _ in guesses][-1] == "too-many-requests"
            assert (await raw(None))[:2] == (429, "too-many-requests")
            assert (await known.get("/me")).status == 200

    async def test_whoever_is_nobody_here_has_a_share_too(self, narrow: Guarded) -> None:
        async with aiohttp.ClientSession(narrow.base) as http:
            raw = Raw(http, narrow.base)
            given = f"Bearer {narrow.identity.token('first', sub=subject())}"
            answers = await asyncio.gather(*(raw(given) for _ in range(20)))
            kinds = [kind for _, kind, _ in answers]
            assert set(kinds) == {"no-account", "too-many-requests"}
            assert 8 <= kinds.count("no-account") < 20
            another = f"Bearer {narrow.identity.token('first', sub=subject())}"
            assert (await raw(another))[:2] == (403, "no-account")

    async def test_whoever_is_linked_is_counted_once(self, narrow: Guarded) -> None:
        sub = subject()
        async with access(narrow.url) as opened:
            await opened.link(await narrow.user(), narrow.identity.issuer, sub, OWN_TASKS)
        async with aiohttp.ClientSession(narrow.base) as http:
            raw = Raw(http, narrow.base)
            given = f"Bearer {narrow.identity.token('first', sub=sub)}"
            assert [(await raw(given))[0] for _ in range(8)] == [200] * 8


async def _answers(api: Api) -> bool:
    return (await api.get("/tasks")).status == 200


class TestOutages:
    async def test_before_its_database_is_there_nobody_is_told_that_their_token_is_bad(self) -> None:
        with running_backend("postgresql://nobody@127.0.0.1:1/nothing", TODO_AUTH="required") as service:
            async with aiohttp.ClientSession(service.base) as http:
                assert (await Raw(http, service.base)(f"Bearer {tokens.new_token()}"))[:2] == (503, "unavailable")
                async with http.get("/healthz") as answer:
                    assert answer.status == 200


class TestCommand:
    async def test_todo_sends_its_token_and_names_no_user(self, guarded: Guarded) -> None:
        user_id = await guarded.user()
        new = await guarded.token(user_id)
        environ = {"TODO_API": guarded.base, "TODO_TOKEN": new.token}

        async def run(*arguments: str, **more: str) -> Any:  # noqa: ANN401 - a result
            return await asyncio.to_thread(todo, *arguments, data=Path("nowhere"), **(environ | more))

        added = await run("add", "Mine", "--json")
        assert (added.code, added.json["user_id"]) == (0, user_id)
        assert (await run("show", added.json["id"][:8], "--json")).json["id"] == added.json["id"]
        missing = await run("list", TODO_TOKEN="")
        assert missing.code == 1
        assert "TODO_TOKEN" in missing.err
        far = await run("list", TODO_API="http://todo.example.org")
        assert (far.code, far.err.count("\n")) == (1, 1)
        assert "use https" in far.err
        other = await run("list", "--user", "1")
        assert (other.code, "user_id" in other.err) == (1, True)


class TestLogs:
    async def test_no_token_is_ever_logged(self, guarded: Guarded, tmp_path: Path) -> None:
        """A whole process at its most talkative, with good tokens, bad ones, and its database taken away."""
        sub = subject()
        async with access(guarded.url) as opened:
            await opened.link(1, guarded.identity.issuer, sub, OWN_TASKS)
        good = [(await guarded.token(scopes=EVERYTHING)).token, guarded.identity.token("first", sub=sub)]
        bad = [
            tokens.new_token(),
            guarded.identity.token("first", sub=sub, exp=1),
            guarded.identity.token("first", sub=sub, header={"kid": "made-up"}),
            guarded.identity.token("first", sub=subject()),
            "x.y." + "z" * 40,
            "swordfish" * 5,
        ]
        log = tmp_path / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environ = {
            "DATABASE_URL": guarded.url, "DAPR_API_TOKEN": "dapr-hush", "APP_API_TOKEN": "app-hush",
            "APP_PORT": str(port), "TODO_AUTH": "required", "TODO_LOG_LEVEL": "debug",
            "TODO_OIDC_ISSUER": guarded.identity.issuer, "TODO_OIDC_AUDIENCE": AUDIENCE,
        }  # fmt: skip
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "todo.backend", env=os.environ | environ, stdout=out, stderr=out
            )
        try:
            base = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession(base) as http:
                raw = Raw(http, base)
                await until(lambda: _is_up(http), 30)
                for token in (*good, *bad):
                    expected = {200} if token in good else {401, 403}
                    assert (await raw(f"Bearer {token}"))[0] in expected
                    await raw(f"Bearer {token}", path=f"/tasks?access_token={token}")
                    await raw(f"Bearer {token}", "POST", "/tasks", data=token)
                    await raw(token)
                await _break(guarded.url)
                assert (await raw(f"Bearer {bad[0]}"))[:2] == (503, "unavailable")
                await _mend(guarded.url)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = log.read_text()
        assert "request put off" in said
        for secret in (*good, *bad, "dapr-hush", "app-hush"):
            for part in secret.split("."):
                assert len(part) < 8 or part not in said, part


async def _is_up(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _break(url: str) -> None:
    await _execute(url, "ALTER TABLE backend.api_tokens RENAME TO hidden_tokens")


async def _mend(url: str) -> None:
    await _execute(url, "ALTER TABLE backend.hidden_tokens RENAME TO api_tokens")
