"""One whole system for these tests, started by `todo up`, and `todo` as a person runs it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from todo.operations import datafolder
from todo.operations.datafolder import RunningSystem
from todo.operations.system import HANDED_OUT

OURS = ("TODO_API", "TODO_DATA", "TODO_USER", "TODO_MAILBOX", "DAPR_HTTP_PORT", "DAPR_HTTP_ENDPOINT")
PLAIN = {key: value for key, value in os.environ.items() if key not in {*HANDED_OUT, *OURS}}
COMMAND = [sys.executable, "-c", "from todo.cli.main import main; main()"]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was printed
        return json.loads(self.out)


def todo(*arguments: str, data: Path, typed: str = "", **environ: str) -> Result:
    """Run `todo` to its end, with `typed` on its standard input."""
    env = PLAIN | {"TODO_DATA": str(data)} | environ
    command = [*COMMAND, *arguments]
    done = subprocess.run(command, env=env, input=typed, capture_output=True, text=True, timeout=90, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Running:
    """A running system, and `todo` beside it."""

    data: Path
    known: RunningSystem

    def __call__(self, *arguments: str, **environ: str) -> Result:
        return todo(*arguments, data=self.data, **environ)

    def add(self, title: str) -> str:
        """A task, made without the detour over a command; its id."""
        body = json.dumps({"title": title}).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.known.addresses['backend']}/tasks", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return str(json.load(answer)["id"])

    def ok(self, *arguments: str) -> Any:  # noqa: ANN401 - the answer's JSON
        """What a command that succeeds prints with --json."""
        result = self(*arguments, "--json")
        assert result.code == 0, result.err
        return result.json

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:  # noqa: ANN401 - what it returns
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.05)
        return found


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("cli") / "data"
    log = data.parent / "up.log"
    with log.open("wb") as out:
        command = [*COMMAND, "up", "--free-ports", "--data", str(data), "--log-format", "json"]
        process = subprocess.Popen(command, env=PLAIN, stdout=out, stderr=out)
    try:
        yield Running(data, _ready(process, data, log))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0


def _ready(process: "subprocess.Popen[bytes]", data: Path, log: Path) -> RunningSystem:
    deadline = time.monotonic() + 60
    while '"event": "ready"' not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)
    running = datafolder.running_system(data)
    assert running is not None
    return running
