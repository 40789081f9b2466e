import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.children import Recorder, program, server, until, until_gone
from todo.operations import ports, processes
from todo.operations.supervisor import ChildFailedError, ChildSpec, State, Supervisor, http_probe

ENV = dict(os.environ)


@asynccontextmanager
async def supervising(*specs: ChildSpec, sink: Recorder | None = None) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(specs, sink or Recorder())
    try:
        yield supervisor
    finally:
        await supervisor.stop()


def serving(name: str, after: tuple[str, ...] = ()) -> ChildSpec:
    port = ports.free(1)[0]
    return ChildSpec(name, server(port), ENV, after=after, ready=http_probe(port, "/readyz"))


async def test_children_start_after_what_they_need_is_ready_or_done() -> None:
    sink = Recorder()
    once = ChildSpec("migrate", program("print('migrated')"), ENV, after=("first",), once=True)
    async with supervising(serving("last", ("migrate",)), once, serving("first"), sink=sink) as supervisor:
        await supervisor.start()
        assert [name for name, _ in sink.lines] == ["first", "migrate", "last"]
        assert {name: child.state for name, child in supervisor.children.items()} == {
            "first": State.READY,
            "migrate": State.DONE,
            "last": State.READY,
        }


async def test_what_is_killed_is_started_again_with_another_pid() -> None:
    async with supervising(serving("web")) as supervisor:
        await supervisor.start()
        dead = await supervisor.kill("web")
        await supervisor.wait_ready()
        assert supervisor.children["web"].pid not in {None, dead}
        assert supervisor.children["web"].starts == 2


async def test_a_watch_that_cannot_write_is_told_of_and_harms_nothing() -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = Recorder()
    supervisor = Supervisor([serving("web")], sink, watch=full)
    try:
        await supervisor.start()
        await supervisor.kill("web")
        await supervisor.wait_ready()
    finally:
        await supervisor.stop()
    assert supervisor.children["web"].state is State.STOPPED
    assert any("No space left" in text for text in sink.of("todo"))


async def test_stop_is_graceful_and_in_reverse_order() -> None:
    sink = Recorder()
    async with supervising(serving("below"), serving("above", ("below",)), sink=sink) as supervisor:
        await supervisor.start()
    assert [name for name, text in sink.lines if text == "drained"] == ["above", "below"]
    assert {child.state for child in supervisor.children.values()} == {State.STOPPED}


async def test_a_child_that_ignores_its_stop_signal_is_killed_after_its_deadline() -> None:
    sink = Recorder()
    deaf = program("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)")
    steps = ((signal.SIGTERM, 0.1), (signal.SIGKILL, 5.0))
    async with supervising(ChildSpec("deaf", deaf, ENV, stop_steps=steps), sink=sink) as supervisor:
        supervisor.begin()
        await until(lambda: "deaf" in sink.of("deaf"))
        pid = supervisor.children["deaf"].pid
    assert pid is not None
    assert not processes.alive(pid)


async def test_kill_all_ends_a_stop_that_would_take_long() -> None:
    sink = Recorder()
    deaf = program("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)")
    steps = ((signal.SIGTERM, 600.0),)
    async with supervising(ChildSpec("deaf", deaf, ENV, stop_steps=steps), sink=sink) as supervisor:
        supervisor.begin()
        await until(lambda: "deaf" in sink.of("deaf"))
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)
        supervisor.kill_all()
        await stopping
        assert supervisor.children["deaf"].state is State.STOPPED


async def test_a_child_that_keeps_failing_ends_the_start_with_its_last_lines() -> None:
    sink = Recorder()
    broken = program("print('no such table: tasks'); raise SystemExit(3)")
    async with supervising(ChildSpec("broken", broken, ENV, ready=http_probe(1, "/")), sink=sink) as supervisor:
        with pytest.raises(ChildFailedError, match=r"broken exited with code 3:\n  no such table: tasks"):
            await supervisor.start()
    assert any("3 starts failed" in text for text in sink.of("todo"))


async def test_a_one_shot_child_that_fails_is_not_repeated_and_holds_back_its_dependents() -> None:
    once = ChildSpec("migrate", program("raise SystemExit('cannot migrate')"), ENV, once=True)
    async with supervising(once, serving("web", ("migrate",))) as supervisor:
        with pytest.raises(ChildFailedError, match=r"migrate exited with code 1:\n  cannot migrate"):
            await supervisor.start()
        assert supervisor.children["migrate"].starts == 1
        assert supervisor.children["web"].starts == 0


async def test_what_never_becomes_ready_is_named_when_time_is_up() -> None:
    silent = ChildSpec(
        "silent", program("import time; print('thinking'); time.sleep(600)"), ENV, ready=http_probe(1, "/")
    )
    async with supervising(silent) as supervisor:
        with pytest.raises(ChildFailedError, match="silent was not ready within"):
            await supervisor.start(seconds=0.3)


async def test_a_stopped_child_stays_down_until_it_is_started_again() -> None:
    async with supervising(serving("web")) as supervisor:
        await supervisor.start()
        await supervisor.stop_child("web")
        assert supervisor.children["web"].state is State.STOPPED
        supervisor.start_child("web")
        await supervisor.wait_ready(["web"])


async def test_long_lines_and_bytes_that_are_no_text_reach_the_sink_whole_or_cut_but_never_block() -> None:
    sink = Recorder()
    loud = program("import sys; sys.stdout.buffer.write(b'x' * 1_000_000 + b'\\n\\xff\\xfe\\nlast without newline')")
    async with supervising(ChildSpec("loud", loud, ENV, once=True), sink=sink) as supervisor:
        await supervisor.start()
    assert sum(len(text) for text in sink.of("loud") if set(text) == {"x"}) == 1_000_000
    assert list(sink.of("loud")[-2:]) == ["\ufffd\ufffd", "last without newline"]


async def test_a_grandchild_that_holds_the_pipe_does_not_hide_the_death_of_the_child_and_is_ended_with_it() -> None:
    sink = Recorder()
    parent = program("""
        import subprocess, sys, time
        print(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]).pid)
        time.sleep(600)
    """)
    async with supervising(ChildSpec("parent", parent, ENV), sink=sink) as supervisor:
        supervisor.begin()
        await until(lambda: bool(sink.of("parent")))
        grandchild = int(sink.of("parent")[0])
        await supervisor.kill("parent")
        await until_gone(grandchild)


SUPERVISING = """
import asyncio, os, sys
from pathlib import Path
from todo.operations.logs import Silence
from todo.operations.supervisor import ChildSpec, Supervisor

def child(name):
    async def ready(pid):
        return Path(sys.argv[1], name).exists()
    program = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
    return ChildSpec(name, [sys.executable, "-S", "-c", program, sys.argv[1] + "/" + name], os.environ, ready=ready)

async def main():
    supervisor = Supervisor([child("one"), child("two")], Silence())
    await supervisor.start()
    print(*(child.pid for child in supervisor.children.values()), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_kill_9_of_the_supervisor_leaves_no_orphans(tmp_path: Path) -> None:
    script = tmp_path / "supervising.py"
    script.write_text(SUPERVISING)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path), stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(word) for word in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(processes.alive, pids))
    supervisor.kill()
    await supervisor.communicate()
    try:
        for pid in pids:
            await until_gone(pid)
    finally:
        for pid in filter(processes.alive, pids):
            processes.kill(pid)
