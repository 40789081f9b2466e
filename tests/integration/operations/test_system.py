"""The composition with real PostgreSQL and mailbox; the other programs are stand-ins that answer their probes."""

import asyncio
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support import children
from todo.operations import datafolder, host, processes, runfile, system, up
from todo.operations.datafolder import AlreadyRunningError
from todo.operations.supervisor import State
from todo.operations.system import AddressNeededError, UpOptions, running_system

REAL = {"todo.mailbox"}
STAND_IN = """
import os, re, sys
if sys.argv[1:] and sys.argv[1] == "migrate":
    print("migrating", os.environ["DATABASE_URL"])
    raise SystemExit
if "-f" in sys.argv:
    ports = re.findall(r"daprHTTPPort: (\\d+)", open(sys.argv[sys.argv.index("-f") + 1]).read())
else:
    ports = [os.environ["APP_PORT"]]
sys.argv[1:] = ports
"""
NO_MAIL_SERVER = {key: value for key, value in os.environ.items() if key not in system.HANDED_OUT}


def use_stand_ins(programs: Any, run_files: Any, local: Path) -> None:  # noqa: ANN401 - modules to change
    (local / "resources").mkdir(parents=True, exist_ok=True)
    (local / "dapr.yaml").write_text("version: 1\n")
    run_files.LOCAL = local
    real = programs.python
    program = [sys.executable, "-S", "-c", STAND_IN + children.SERVER]
    programs.python = lambda module: real(module) if module in REAL else program


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runfile, "LOCAL", runfile.LOCAL)
    monkeypatch.setattr(host, "python", host.python)
    use_stand_ins(host, runfile, tmp_path / "local")


def options(folder: Path, **changes: Any) -> UpOptions:  # noqa: ANN401 - any of the options
    known = UpOptions(data=folder, free_ports=True, environ=NO_MAIL_SERVER, durable=False)
    return dataclasses.replace(known, **changes)


async def test_a_whole_system_comes_up_heals_after_kills_and_goes_down(tmp_path: Path) -> None:
    async with running_system(options(tmp_path / "data", replicas={"email-delivery": 2})) as running:
        assert set(running.children) == {
            "postgres",
            "migrate-backend",
            "migrate-notification",
            "daprlet",
            "mailbox",
            "backend",
            "notification-service",
            "email-delivery",
            "email-delivery-2",
            "recurring-service",
        }
        found = datafolder.running_system(tmp_path / "data")
        assert found is not None
        assert found.addresses["backend"] == running.backend_url
        for name in ("postgres", "daprlet", "email-delivery-2", "mailbox"):
            dead = await running.kill(name)
            await running.wait_ready()
            assert running.pid(name) not in {None, dead}
        await running.stop("backend")
        assert running.children["backend"].state is State.STOPPED
        await running.start("backend")
        connection = await asyncpg.connect(running.database_url)
        await connection.close()
        pids = [pid for name in running.children if (pid := running.pid(name))]
    assert not any(map(processes.alive, pids))
    assert datafolder.running_system(tmp_path / "data") is None


async def test_each_child_gets_what_it_needs_and_no_more(tmp_path: Path) -> None:
    given = NO_MAIL_SERVER | {
        "DATABASE_URL": "postgresql://elsewhere/todo",
        "SMTP_URL": "smtp://mail",
        "TODO_EMAIL": "a@b",
        "DAPR_HTTP_ENDPOINT": "https://elsewhere",
        "DAPR_GRPC_ENDPOINT": "https://elsewhere:443",
    }
    async with system.prepared_system(options(tmp_path / "data", environ=given)) as prepared:
        envs = {name: child.spec.env for name, child in prepared.children.items()}
    assert "postgres" not in envs
    assert "mailbox" not in envs
    assert {name for name, env in envs.items() if "DATABASE_URL" in env} == {
        "migrate-backend",
        "migrate-notification",
        "backend",
        "notification-service",
    }
    assert {name for name, env in envs.items() if "SMTP_URL" in env} == {"email-delivery"}
    assert {name for name, env in envs.items() if "TODO_EMAIL" in env} == {"migrate-backend", "backend"}
    assert {name for env in envs.values() for name in env if name.startswith("DAPR_")} == {
        "DAPR_API_TOKEN",
        "DAPR_HTTP_PORT",
    }
    tokens = {env["APP_API_TOKEN"] for env in envs.values() if "APP_API_TOKEN" in env}
    assert len(tokens) == 4


async def test_with_a_real_mail_server_the_address_is_asked_for_once(tmp_path: Path) -> None:
    given = NO_MAIL_SERVER | {"SMTP_URL": "smtp://mail"}
    with pytest.raises(AddressNeededError, match="TODO_EMAIL"):
        async with system.prepared_system(options(tmp_path / "data", environ=given)):
            pass
    for ask in (lambda _question: "you@example.org", None):
        async with system.prepared_system(options(tmp_path / "data", environ=given, ask=ask)) as prepared:
            assert prepared.children["backend"].spec.env["TODO_EMAIL"] == "you@example.org"


async def test_starting_twice_says_so(tmp_path: Path) -> None:
    async with system.prepared_system(options(tmp_path / "data")) as first:
        with pytest.raises(AlreadyRunningError, match=re.escape(f"(pid {os.getpid()} at {first.backend_url})")):
            async with system.prepared_system(options(tmp_path / "data")):
                pass


async def test_a_temporary_system_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running_system(options(tmp_path / "unused", temporary=True)) as running:
        folder = running.data.path
        assert folder.exists()
    assert not folder.exists()
    assert not (tmp_path / "unused").exists()


SUPERVISING = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.integration.operations import test_system
from todo.operations import host, processes, runfile, system

async def main():
    test_system.use_stand_ins(host, runfile, Path(sys.argv[1]) / "local")
    if sys.argv[3] == "orphans":
        launched = processes.launched
        processes.launched = lambda command, *, death_signal, user=None: launched(command, death_signal=0, user=user)
    async with system.running_system(test_system.options(Path(sys.argv[1]) / "data", durable=True)) as running:
        print(*filter(None, (child.pid for child in running.children.values())), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("left", ["nothing", "orphans"])
async def test_after_kill_9_of_the_supervisor_the_next_start_recovers(tmp_path: Path, left: str) -> None:
    root = str(Path(__file__).parents[3])
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISING, str(tmp_path), root, left), stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(word) for word in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 7
    supervisor.kill()
    await supervisor.wait()
    assert left == "nothing" or all(map(processes.alive, pids))
    try:
        async with running_system(options(tmp_path / "data", durable=True)) as running:
            assert not any(map(processes.alive, pids))
            connection = await asyncpg.connect(running.database_url)
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
    finally:
        for pid in filter(processes.alive, pids):
            processes.kill(pid)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_up_shows_a_table_a_command_and_the_mailbox_and_ends_well_on_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    run = asyncio.create_task(up.up(options(tmp_path / "data")))
    await children.until(lambda: "Ctrl-C stops everything" in screen.getvalue())
    running = datafolder.running_system(tmp_path / "data")
    assert running is not None
    os.kill(os.getpid(), sent)
    assert await run == 0
    shown = screen.getvalue()
    assert re.search(r"notification-service +http://127\.0\.0\.1:\d+ +\d+ +ready +\d+\.\d\d s", shown)
    assert f"curl -sX POST {running.addresses['backend']}/tasks" in shown
    assert f"in the mailbox: {running.addresses['mailbox']}" in shown


async def test_the_command_shown_sends_json_with_an_instant_of_now(tmp_path: Path) -> None:
    async with system.prepared_system(options(tmp_path / "data")) as prepared:
        command = next(line for line in up._first_steps(prepared, 1.0).plain.splitlines() if "curl" in line)
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", command.replace("curl", "printf '%s\\n'"), stdout=subprocess.PIPE
    )
    words = (await shell.communicate())[0].decode().splitlines()
    body = json.loads(words[-1])
    assert body["title"] == "Water the plants"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["due_at"])
    assert body["reminders"] == ["PT0S"]


async def test_up_with_a_taken_port_ends_with_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    assert await up.up(options(tmp_path / "data", ports={"backend": port})) == 1
    blocker.close()
    said = capsys.readouterr().err
    assert f"port {port} (backend) is taken by process {os.getpid()}" in said
    assert "--port backend=" in said


async def test_up_whose_migration_fails_shows_why_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = host.python

    def broken(module: str) -> list[str]:
        failing = children.program("raise SystemExit('relation is missing')")
        return failing if module == "todo.backend" else stand_in(module)

    monkeypatch.setattr(host, "python", broken)
    assert await up.up(options(tmp_path / "data")) == 1
    assert re.search(r"migrate-backend exited with code 1:\n  relation is missing", capsys.readouterr().err)
