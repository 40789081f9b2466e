"""`/changes` and its stream as clients see them: across replicas, after a lost connection, and for one owner only."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest

from tests.integration.backend.callers import Guarded
from tests.integration.backend.scenario import prepare
from tests.integration.backend.service import Api, Running, client, running_backend
from tests.support.postgres import Databases
from tests.support.sse import Stream, streaming
from tests.support.waiting import until
from todo.backend import hub
from todo.backend.api import changes, feed
from todo.backend.auth.scopes import Scope
from todo.operations.access import access
from todo.operations.postgres import PostgresServer

STREAM = "/changes/stream"


@asynccontextmanager
async def following(api: Api, cursor: str | None = None, **headers: str) -> AsyncIterator[Stream]:
    """A stream of the client's user."""
    query = {"user_id": str(api.user_id)} | ({"cursor": cursor} if cursor else {})
    async with streaming(api._http, STREAM, query, **headers) as stream:
        yield stream


async def edit(api: Api, task: dict[str, Any], title: str) -> dict[str, Any]:
    answer = await api.call("PATCH", f"/tasks/{task['id']}", {"title": title}, if_match="*")
    assert answer.status == 200, answer
    return dict(answer.body)


async def now(api: Api) -> str:
    return str((await api.get("/changes", cursor=feed.NOW)).body["cursor"])


async def everything(api: Api) -> list[dict[str, Any]]:
    page: dict[str, Any] = (await api.get("/changes")).body
    found = list(page["changes"])
    while page["more"]:
        page = (await api.get("/changes", cursor=page["cursor"])).body
        found += page["changes"]
    return found


class TestPages:
    async def test_everything_first_and_then_what_changed(self, api: Api) -> None:
        task = await api.task(title="Pay rent")
        first = (await api.get("/changes")).body
        value = {name: part for name, part in task.items() if name != "reminder_history"}
        entry = {"kind": "task", "id": task["id"], "version": 1, "deleted": False, "value": value}
        assert (first["changes"], first["more"], first["reset"]) == ([entry], True, False)
        while first["more"]:  # things of other kinds, of which there are none
            first = (await api.get("/changes", cursor=first["cursor"])).body
            assert first["changes"] == []
        assert (await api.get("/changes", cursor=first["cursor"])).body["changes"] == []
        changed = await edit(api, task, "Pay the rent")
        (again,) = (await api.get("/changes", cursor=first["cursor"])).body["changes"]
        assert (again["version"], again["value"]) == (2, changed)

    async def test_lists_change_too(self, api: Api) -> None:
        begun = await now(api)
        made = (await api.call("POST", "/lists", {"name": "Home"})).body
        (told,) = (await api.get("/changes", cursor=begun)).body["changes"]
        assert told == {"kind": "list", "id": made["id"], "version": 1, "deleted": False, "value": made}
        between = await now(api)
        assert (await api.call("DELETE", f"/lists/{made['id']}", if_match="*")).status == 204
        (told,) = (await api.get("/changes", cursor=between)).body["changes"]
        assert told == {"kind": "list", "id": made["id"], "version": 2, "deleted": True, "value": None}
        assert [one["kind"] for one in await everything(api)] == []

    @pytest.mark.parametrize("cursor", ["x", "%%", "W10", "bm93", "é", "WzEsMiwzXQ", "a" * 200])
    async def test_what_is_no_cursor_is_refused(self, api: Api, cursor: str) -> None:
        answer = await api.get("/changes", cursor=cursor)
        assert (answer.status, answer.fields) == (422, ["cursor"])
        answer = await api.get(STREAM, cursor=cursor)
        assert (answer.status, answer.fields) == (422, ["cursor"])

    async def test_limits_are_bounded(self, api: Api) -> None:
        for query in ({"limit": "0"}, {"limit": "501"}, {"cursor": "a" * 201}):
            assert (await api.get("/changes", **query)).status == 422
        answer = await api.call("GET", STREAM, last_event_id="x")
        assert (answer.status, answer.fields) == (422, ["Last-Event-ID"])

    async def test_a_cursor_of_another_epoch_starts_over(self, api: Api) -> None:
        task = await api.task()
        read = feed.read_cursor(await now(api))
        assert isinstance(read, feed.Cursor)
        other = msgspec.structs.replace(read, epoch=read.epoch + 1).write()
        answer = (await api.get("/changes", cursor=other)).body
        assert answer["reset"]
        assert [one["id"] for one in answer["changes"]] == [task["id"]]
        async with following(api, other) as stream:
            reset, change = await stream.take(2)
            assert (reset.kind, change.kind, change.data["id"]) == ("reset", "change", task["id"])


class TestStream:
    async def test_what_is_there_and_then_each_change(self, api: Api) -> None:
        task = await api.task(title="there")
        async with following(api) as stream:
            assert stream.answer.content_type == "text/event-stream"
            assert stream.answer.headers["cache-control"] == "no-store"
            assert stream.answer.headers["x-accel-buffering"] == "no"
            (first,) = await stream.take(1)
            assert first.data["value"] == task
            await edit(api, task, "changed")
            (second,) = await stream.take(1)
            assert (second.kind, second.data["version"], second.data["value"]["title"]) == ("change", 2, "changed")
            await api.call("DELETE", f"/tasks/{task['id']}")
            (third,) = await stream.take(1)
            assert (third.data["version"], third.data["deleted"], third.data["value"]) == (3, True, None)

    async def test_a_stream_goes_on_where_the_last_one_was_cut(self, api: Api) -> None:
        """The browser's header goes before the address, which stays as it was."""
        begin = await now(api)
        made = [await api.task(title=f"{number}") for number in range(4)]
        async with following(api, begin) as stream:
            seen = await stream.take(2)
        missed = await api.task(title="meanwhile")
        async with following(api, begin, last_event_id=stream.last_id) as stream:
            seen += await stream.take(3)
        assert [event.data["id"] for event in seen] == [*(one["id"] for one in made), missed["id"]]

    async def test_whoever_was_cut_amid_all_there_is_gets_the_rest_and_what_changed_at_once(self, api: Api) -> None:
        """Nothing rings for what happened before they came back."""
        old, new = await api.task(title="old"), await api.task(title="new")
        async with following(api) as stream:
            assert [event.data["id"] for event in await stream.take(1)] == [new["id"]]
        await edit(api, new, "edited")
        async with following(api, last_event_id=stream.last_id) as stream:
            assert [event.data["id"] for event in await stream.take(2)] == [old["id"], new["id"]]
            assert stream.comments == []

    async def test_an_id_without_an_event_moves_the_cursor_on(self, api: Api) -> None:
        """Otherwise whoever comes back after a quiet day would read the whole day of everybody else."""
        cursor = await now(api)
        other = api.of((await api.post("/users", {"email": f"{os.urandom(6).hex()}@example.test"})).body["id"])
        task = await api.task()
        async with following(api) as stream:
            await stream.until(task["id"], 1)
            before = stream.last_id
            await other.task()
            await edit(api, task, "moved")
            await stream.until(task["id"], 2)
        assert len({cursor, before, stream.last_id}) == 3

    async def test_nobody_sees_what_is_anothers(self, api: Api) -> None:
        other = api.of((await api.post("/users", {"email": f"{os.urandom(6).hex()}@example.test"})).body["id"])
        async with following(api) as stream:
            await other.task(title="theirs")
            task = await api.task(title="mine")
            events = await stream.until(task["id"], 1)
            assert [event.data["id"] for event in events] == [task["id"]]

    async def test_a_quiet_stream_shows_that_it_is_alive(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes, "HEARTBEAT", 0.01)
        task = await api.task()
        async with following(api) as stream:
            await stream.take(1)
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(stream.until(task["id"], 2))
                await until(lambda: len(stream.comments) > 2)
                await edit(api, task, "at last")
            assert reading.result()[-1].data["version"] == 2

    async def test_streams_are_no_requests_that_take_long(self, service: Running, api: Api) -> None:
        await api.task()
        async with following(api) as stream:
            await stream.take(1)
            async with aiohttp.ClientSession(service.base) as http, http.get("/metrics") as answer:
                during = await answer.text()
        assert "todo_streams_open 0.0" not in during
        assert 'route="/changes/stream"' not in during
        assert 'route="/tasks"' in during


class TestRoom:
    async def test_a_user_has_so_many_streams(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "MOST_OF_A_USER", 1)
        await api.task()
        async with following(api) as stream:
            await stream.take(1)
            answer = await api.get(STREAM)
            assert (answer.status, answer.headers["retry-after"]) == (429, "10")
            assert answer.body["type"] == "urn:todo:problem:too-many-requests"

        async def is_free() -> bool:
            async with api._http.get(STREAM, params={"user_id": str(api.user_id)}) as answer:
                return answer.status == 200

        await until(is_free)

    async def test_a_process_has_so_many_streams(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "MOST_SEATS", 0)
        assert (await api.get(STREAM)).status == 429

    async def test_a_reader_who_takes_nothing_is_let_go_and_may_come_back(
        self, api: Api, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What they have not taken is in no memory of ours: it is read again, from their cursor on."""
        monkeypatch.setattr(changes, "PATIENCE", 0.05)
        monkeypatch.setattr(hub, "MOST_OF_A_USER", 1)
        begin = await now(api)
        made = await asyncio.gather(*(api.task(notes="x" * 20_000) for _ in range(200)))
        port = int(service.base.rpartition(":")[2])
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            slow.sendall(f"GET {STREAM}?user_id={api.user_id} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            assert await asyncio.to_thread(slow.recv, 12) == b"HTTP/1.1 200"

            await until(lambda: _has_room(api))
        monkeypatch.setattr(changes, "PATIENCE", 30.0)
        monkeypatch.setattr(hub, "MOST_OF_A_USER", 20)
        async with following(api, begin) as stream:
            events = await stream.take(len(made))
        assert {event.data["id"] for event in events} == {one["id"] for one in made}


async def _has_room(api: Api) -> bool:
    async with api._http.get(STREAM, params={"user_id": str(api.user_id), "cursor": feed.NOW}) as answer:
        return answer.status == 200


@pytest.fixture(scope="module")
def pair(pg_server: PostgresServer) -> Iterator[tuple[Running, Running]]:
    """Two replicas on one database."""
    with ThreadPoolExecutor(1) as thread:
        url = thread.submit(asyncio.run, _migrated(pg_server)).result()
    with running_backend(url) as one, running_backend(url) as other:
        yield one, other


class TestReplicas:
    async def test_each_tells_of_what_the_other_wrote(self, pair: tuple[Running, Running]) -> None:
        async with client(pair[0]) as one, client(pair[1]) as made:
            other = made.of(one.user_id)
            async with following(one) as here, following(other) as there:
                task = await one.task(title="here")
                assert (await there.until(task["id"], 1))[-1].data["value"] == task
                assert (await here.until(task["id"], 1))[-1].data["value"] == task
                changed = await edit(other, task, "there")
                assert (await here.until(task["id"], 2))[-1].data["value"] == changed
                assert (await there.until(task["id"], 2))[-1].data["value"] == changed

    async def test_a_reader_may_go_on_with_the_other_one(self, pair: tuple[Running, Running]) -> None:
        async with client(pair[0]) as one, client(pair[1]) as made:
            other = made.of(one.user_id)
            task = await one.task()
            async with following(one) as stream:
                await stream.take(1)
                await edit(one, task, "next")
                await stream.take(1)
            await edit(one, task, "meanwhile")
            async with following(other, last_event_id=stream.last_id) as stream:
                assert [event.data["version"] for event in await stream.take(1)] == [3]

    async def test_what_an_older_transaction_holds_back_comes_once_it_ends(
        self, pair: tuple[Running, Running], pg_server: PostgresServer
    ) -> None:
        """Nothing rings then, so a reader who was woken in vain looks again by itself."""
        anywhere = await asyncpg.connect(pg_server.dsn_of("postgres"))
        try:
            async with client(pair[0]) as api, following(api, feed.NOW) as stream:
                begun = anywhere.transaction()
                await begun.start()
                await anywhere.execute("SELECT pg_current_xact_id()")
                task = await api.task()
                reading = asyncio.create_task(stream.take(1))
                cursor = await now(api)
                await until(lambda: _is_held(api, cursor))
                assert not reading.done()
                await begun.rollback()
                assert (await reading)[0].data["id"] == task["id"]
        finally:
            await anywhere.close()

    async def test_streams_outlive_the_connections_of_the_service(
        self, pair: tuple[Running, Running], pg_server: PostgresServer
    ) -> None:
        """Whoever listens connects anew, and what was missed meanwhile is told."""
        async with client(pair[0]) as api, following(api) as stream:
            task = await api.task()
            await stream.take(1)
            anywhere = await asyncpg.connect(pg_server.dsn_of("postgres"))
            try:
                await anywhere.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'todo-backend'"
                )
            finally:
                await anywhere.close()
            await until(lambda: _is_edited(api, task))
            assert [event.data["version"] for event in await stream.until(task["id"], 2)][-1] == 2


async def _is_edited(api: Api, task: dict[str, Any]) -> bool:
    answer = await api.call("PATCH", f"/tasks/{task['id']}", {"title": "changed"}, if_match="*")
    return answer.status == 200


async def _is_held(api: Api, cursor: str) -> bool:
    return bool((await api.get("/changes", cursor=cursor)).body["changes"] == [])


async def _migrated(server: PostgresServer) -> str:
    databases = Databases(server)
    return await databases.create(await databases.template("backend", prepare))


async def test_a_database_that_was_restored_elsewhere_starts_readers_over(service_url: str) -> None:
    """Transactions are counted anew there, and what was read may never have been."""
    with running_backend(service_url) as service:
        async with client(service) as api:
            task = await api.task()
            cursor, user_id = await now(api), api.user_id
    connection = await asyncpg.connect(service_url)
    await connection.execute("UPDATE backend.origin SET cluster = 'where it came from'")
    await connection.close()
    with running_backend(service_url) as service:
        async with client(service) as made:
            answer = (await made.of(user_id).get("/changes", cursor=cursor)).body
    assert (answer["reset"], [one["id"] for one in answer["changes"]]) == (True, [task["id"]])


class TestCallers:
    async def test_a_stream_needs_a_token_that_reads(self, guarded: Guarded) -> None:
        async with aiohttp.ClientSession(guarded.base) as http, http.get(STREAM) as answer:
            assert answer.status == 401
        async with guarded.calling([Scope.WRITE]) as api:
            assert (await api.get(STREAM)).status == 403
        async with guarded.calling() as api:
            other = await guarded.user()
            assert (await api.get(STREAM, user_id=str(other))).status == 403

    async def test_the_stream_of_a_revoked_token_ends(self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes, "ADMITTED_FOR", 0.0)
        monkeypatch.setattr(changes, "HEARTBEAT", 0.01)
        user_id = await guarded.user()
        new = await guarded.token(user_id)
        async with guarded.calling(user_id=user_id, token=new.token) as api:
            task = await api.task()
            headers = {"authorization": f"Bearer {new.token}"}
            async with streaming(api._http, STREAM, {}, **headers) as stream:
                assert [event.data["id"] for event in await stream.take(1)] == [task["id"]]
                async with access(guarded.url) as opened:
                    await opened.revoke(new.id)
                assert [event async for event in stream.events()] == []


async def test_streams_end_well_when_the_service_is_told_to_end(service_url: str) -> None:
    """The answer is ended, not cut: a client knows that it may come back, and the shutdown waits for nobody."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "DATABASE_URL": service_url, "DAPR_API_TOKEN": "dapr", "APP_API_TOKEN": "app", "APP_PORT": str(port),
        "TODO_EMAIL": "ada@example.test",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "todo.backend", env=os.environ | environ, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            await until(lambda: _is_up(http), 30)
            async with streaming(http, STREAM, {"cursor": feed.NOW}) as stream:
                async with http.post("/tasks", json={"title": "last"}) as made:
                    assert made.status == 201
                assert len(await stream.take(1)) == 1
                process.send_signal(signal.SIGTERM)
                assert [event async for event in stream.events()] == []
        assert await process.wait() in {0, -signal.SIGTERM}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def service_url(databases: Databases) -> str:
    return await databases.create(await databases.template("backend", prepare))


async def _is_up(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
