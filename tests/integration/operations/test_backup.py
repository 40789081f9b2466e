"""A backup is of one instant, and a restore happens whole or not at all."""

import asyncio
import datetime as dt
import gzip
import io
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.postgres import Databases
from tests.support.waiting import until
from todo.messaging.migrations import migrate, revisions
from todo.messaging.postgres import Connection
from todo.operations.backup import restoring
from todo.operations.backup.archive import DamagedError
from todo.operations.backup.restoring import MIGRATIONS, DataThereError, check, restore
from todo.operations.backup.taking import LEFT_OUT, SCHEMAS, BackupError, take
from todo.operations.datafolder import DataFolder
from todo.operations.postgres import PostgresServer
from todo.operations.system import HANDED_OUT

NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
TODO = Path(sys.executable).with_name("todo")
PLAIN = {name: value for name, value in os.environ.items() if name not in {*HANDED_OUT, "TODO_DATA"}}
NAME_IT = "name a data folder with --data, or a database with DATABASE_URL"
AWKWARD = "tab\t, line\n, \\N, backslash \\, quote ', \u2603 and \U0001f4a9"


def prepare(url: str) -> None:
    for schema, folder in MIGRATIONS.items():
        migrate(url, schema, folder)


@asynccontextmanager
async def connected(url: str, name: str = "test") -> AsyncIterator[Connection]:
    connection: Connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def url(databases: Databases) -> str:
    """A migrated database with a user, their task, a dead letter, and what the schedule knows of it."""
    url = await databases.create(await databases.template("backup", prepare))
    async with connected(url) as connection:
        await connection.execute("INSERT INTO backend.origin VALUES (true, 7, 'here')")
        await connection.execute("INSERT INTO backend.running VALUES ('backend:8000', now())")
        await connection.execute(
            "INSERT INTO backend.users (email, name, zone, created_at) VALUES ('a@b', $1, 'UTC', now())", AWKWARD
        )
        await add_task(connection, uuid4(), AWKWARD)
        await connection.execute(
            "INSERT INTO backend.dead_letters (app, topic, event_id, event_type, subject, body, size, sha256, error,"
            " attempts, status, replays, parked_at, changed_at)"
            " VALUES ('a', 't', 'e', '', '', $1, 3, '', $2, 1, 'open', 0, now(), now())",
            bytes(range(256)), AWKWARD,
        )  # fmt: skip
    return url


async def add_task(connection: Connection, task_id: UUID, title: str) -> None:
    """In both services, in one transaction."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO backend.tasks (id, user_id, version, title, notes, status, deleted, due_sort, priority,"
            " labels, reminders, instances, touched, withdrawn, created_at, updated_at)"
            " VALUES ($1, 1, 1, $2, '', 'open', false, 'infinity', 0, ARRAY[$2], '{PT0S}', $3, false, false, $4, $4)",
            task_id, title, '[{"a": "\\\\n\\u2603"}]', NOON,
        )  # fmt: skip
        await connection.execute("INSERT INTO notification.tasks VALUES ($1, 7, 1, false, 1, $2)", task_id, NOON)


async def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """Everything a backup has to hold, by table."""
    async with connected(url) as connection:
        tables = await connection.fetch(
            "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = ANY($1)"
            " AND tablename <> ALL($2) ORDER BY 1",
            SCHEMAS, [*LEFT_OUT, "origin", "restores"],
        )  # fmt: skip
        ordered = {name: f"SELECT * FROM {name} ORDER BY 1, 2" for (name,) in tables}  # noqa: S608 - our own names
        return {name: [dict(row) for row in await connection.fetch(query)] for name, query in ordered.items()}


async def schemas(url: str) -> list[str]:
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information' ORDER BY 1"
        )
    return [row["nspname"] for row in rows]


async def taken(url: str) -> bytes:
    out = io.BytesIO()
    await take(url, out, SCHEMAS, lambda _: None)
    return out.getvalue()


async def restored(url: str, content: bytes, *only: str, replace: bool = True) -> None:
    await restore(url, io.BytesIO(content), only, lambda _: None, replace=replace)


async def value(url: str, query: str) -> Any:  # noqa: ANN401 - whatever is asked for
    async with connected(url) as connection:
        return await connection.fetchval(query)


async def test_everything_comes_back_as_it_was_and_numbers_go_on(url: str, databases: Databases) -> None:
    elsewhere = await databases.create()
    await restored(elsewhere, await taken(url), replace=False)

    assert await contents(elsewhere) == await contents(url)
    async with connected(elsewhere) as connection:
        next_id = await connection.fetchval(
            "INSERT INTO backend.users (email, name, zone, created_at) VALUES ('c', '', 'UTC', now()) RETURNING id"
        )
        assert next_id == 2
        assert await connection.fetchval("SELECT count(*) FROM backend.running") == 0
        assert await connection.fetchval("SELECT version_num FROM notification.alembic_version") >= "0004"
        marked = await connection.fetchrow("SELECT taken_at <= restored_at AS in_order FROM notification.restores")
        assert marked is not None
        assert marked["in_order"]
    assert await schemas(elsewhere) == ["backend", "notification", "public"]


async def test_both_services_are_of_one_instant_and_nobody_waits(url: str, databases: Databases) -> None:
    """Tasks are made in both schemas at once, all the while: the copy has both halves of each, and not all of them."""
    tables: list[str] = []
    backup = asyncio.create_task(_copy(url, tables))
    async with connected(url) as connection:
        for number in itertools.count():
            await add_task(connection, uuid4(), f"task {number}")
            if backup.done():
                break
    elsewhere = await databases.create()
    await restored(elsewhere, await backup)

    copied, all_there = await contents(elsewhere), await contents(url)
    ids = {row["id"] for row in copied["backend.tasks"]}
    assert ids == {row["task_id"] for row in copied["notification.tasks"]}
    assert len(ids) < len(all_there["backend.tasks"])
    assert tables.index("backend.tasks") < tables.index("notification.tasks")


async def _copy(url: str, tables: list[str]) -> bytes:
    out = io.BytesIO()
    await take(url, out, SCHEMAS, tables.append)
    return out.getvalue()


async def test_what_is_damaged_or_cut_short_changes_nothing(url: str, databases: Databases) -> None:
    """Also where the damage is found last: a byte of the rows, with gzip's checksum made right again."""
    whole = await taken(url)
    plain = bytearray(gzip.decompress(whole))
    place = plain.rindex("\u2603".encode())
    plain[place : place + 3] = "\u2604".encode()
    target = await databases.create(await databases.template("backup", prepare))
    async with connected(target) as connection:
        await connection.execute("INSERT INTO backend.users VALUES (5, 'old@there', '', 'UTC', now())")
    before = await contents(target)
    for content in (gzip.compress(bytes(plain)), whole[: len(whole) // 2], whole[:-1], b"something else"):
        with pytest.raises(DamagedError):
            check(io.BytesIO(content))
        with pytest.raises(DamagedError):
            await restored(target, content)
    assert await contents(target) == before
    assert await schemas(target) == ["backend", "notification", "public"]


async def test_a_restore_that_is_killed_leaves_the_old_data_and_can_be_done_again(
    url: str, databases: Databases
) -> None:
    async with connected(url) as connection:
        await connection.execute("UPDATE backend.dead_letters SET body = $1", os.urandom(300_000))
    whole = await taken(url)
    target = await databases.create(await databases.template("backup", prepare))
    before = await contents(target)
    process = await asyncio.create_subprocess_exec(
        TODO, "restore", "-", "--replace", env=PLAIN | {"DATABASE_URL": target}, stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(whole[: len(whole) * 3 // 4])
    await process.stdin.drain()
    await until(partial(_is_begun, target), 30)
    process.send_signal(signal.SIGKILL)
    await process.wait()

    assert await contents(target) == before
    await until(partial(_is_free, target))
    await restored(target, whole)
    assert await contents(target) == await contents(url)
    assert await schemas(target) == ["backend", "notification", "public"]


async def _is_begun(url: str) -> bool:
    return "backend_restored" in await schemas(url)


async def _is_free(url: str) -> bool:
    """The server has noticed that nobody is there any more."""
    there = "datname = current_database() AND application_name LIKE 'todo-%'"
    return not await value(url, f"SELECT count(*) FROM pg_stat_activity WHERE {there}")  # noqa: S608 - a constant


async def test_nothing_is_replaced_unasked_or_under_a_running_service(url: str) -> None:
    whole = await taken(url)
    before = await contents(url)
    with pytest.raises(DataThereError, match=r"backend with 1 tasks and notification with 1 tasks .* --replace"):
        await restored(url, whole, replace=False)
    async with connected(url, "todo-notification"):
        with pytest.raises(BackupError, match=r"services run on this database .todo-notification"):
            await restored(url, whole)
    assert await contents(url) == before


async def test_a_service_that_starts_meanwhile_ends_the_restore(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on in an epoch that is over: the last transaction looks once more."""
    whole, before = await taken(url), await contents(url)
    swap = restoring._swap

    async def with_a_service(connection: Connection, schemas: Sequence[str]) -> None:
        async with connected(url, "todo-backend"):
            await swap(connection, schemas)

    monkeypatch.setattr(restoring, "_swap", with_a_service)
    with pytest.raises(BackupError, match="todo-backend"):
        await restored(url, whole)
    assert await contents(url) == before
    assert await schemas(url) == ["backend", "notification", "public"]


async def test_a_newer_schema_is_refused_and_an_older_one_is_brought_up_to_date(databases: Databases) -> None:
    old = await databases.create()
    for schema, revision in {"backend": "0001", "notification": "0002"}.items():
        await asyncio.to_thread(migrate, old, schema, MIGRATIONS[schema], revision)
    async with connected(old) as connection:
        await connection.execute("INSERT INTO backend.users VALUES (5, 'old@there', '', 'UTC', now())")
    target = await databases.create()
    await restored(target, await taken(old))
    assert await value(target, "SELECT email FROM backend.users") == "old@there"
    for schema, folder in MIGRATIONS.items():
        assert await value(target, f"SELECT version_num FROM {schema}.alembic_version") == revisions(folder)[-1]  # noqa: S608 - our own names

    async with connected(target) as connection:
        await connection.execute("UPDATE backend.alembic_version SET version_num = '9999'")
    with pytest.raises(BackupError, match=r"backend is at revision 9999.* newer one"):
        await restored(target, await taken(target))


async def test_a_restored_backend_is_in_an_epoch_higher_than_any(url: str, databases: Databases) -> None:
    """Than its own of either time, than what the schedule has seen, and than that of the restore before."""
    whole = await taken(url)
    async with connected(url) as connection:
        await connection.execute("UPDATE notification.tasks SET epoch = 2000000000")
    await restored(url, whole, "backend")
    assert await value(url, "SELECT epoch FROM backend.origin") == 2000000001
    elsewhere = await databases.create()
    await restored(elsewhere, whole)
    first = await value(elsewhere, "SELECT epoch FROM backend.origin")
    await restored(elsewhere, whole)
    assert await value(elsewhere, "SELECT epoch FROM backend.origin") > first > 7


async def test_one_service_alone(url: str) -> None:
    whole = await taken(url)
    async with connected(url) as connection:
        await add_task(connection, uuid4(), "later")
    await restored(url, whole, "notification")
    now = await contents(url)
    assert (len(now["backend.tasks"]), len(now["notification.tasks"])) == (2, 1)
    out = io.BytesIO()
    await take(url, out, ["backend"], lambda _: None)
    with pytest.raises(BackupError, match="the backup has no notification: it is of backend"):
        await restored(url, out.getvalue(), "notification")


async def test_who_owned_the_schema_owns_the_restored_one(url: str) -> None:
    """Services may log in as somebody else than who restores."""
    async with connected(url) as connection:
        await connection.execute("CREATE ROLE clerk")
        await connection.execute("ALTER SCHEMA backend OWNER TO clerk")
    try:
        await restored(url, await taken(url))
        assert await value(url, "SELECT tableowner FROM pg_tables WHERE tablename = 'users'") == "clerk"
        assert await value(url, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'backend'") == "clerk"
        assert await value(
            url, "SELECT pg_has_role('clerk', relowner, 'usage') FROM pg_class WHERE relname = 'users_id_seq'"
        )
    finally:
        async with connected(url) as connection:
            await connection.execute("DROP OWNED BY clerk; REASSIGN OWNED BY clerk TO todo; DROP ROLE clerk")


def test_through_the_command_as_a_pipe_and_as_a_file(tmp_path: Path) -> None:
    """A folder that never ran is restored to, and one that stopped is backed up, as in the documentation."""
    data, other = tmp_path / "data", tmp_path / "other"
    said = _todo("backup", data=data)
    assert (said.returncode, said.stderr) == (1, f"error: nothing was ever kept in {data}: {NAME_IT}\n".encode())
    with DataFolder(data) as folder, PostgresServer(folder.path / "postgres", durable=False) as server:
        prepare(server.dsn)
        said = _todo("backup", "-", data=data, DATABASE_URL=server.dsn)
        assert said.returncode == 0, said.stderr
        refused = _todo("restore", "-", data=data, content=said.stdout)
        assert refused.returncode == 1
        assert b"already runs" in refused.stderr
    cut = _todo("restore", "-", "--check", data=other, content=said.stdout[:-20])
    assert (cut.returncode, other.exists()) == (1, False)
    assert b"error: -: it is damaged, cut short" in cut.stderr
    assert _todo("restore", "-", data=other, content=said.stdout).returncode == 0
    place = tmp_path / "copy.tar.gz"
    copied = _todo("backup", str(place), "--json", data=other)
    assert json.loads(copied.stdout)["revisions"].keys() == {"backend", "notification"}
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    with place.open("rb") as file:
        assert check(file)[1].tables.keys() >= {"backend.tasks", "notification.reminders"}


def _todo(*arguments: str, data: Path, content: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    env = PLAIN | {"TODO_DATA": str(data)} | environ
    return subprocess.run([TODO, *arguments], env=env, input=content, capture_output=True, timeout=60, check=False)
