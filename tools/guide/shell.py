"""The shell that a page's commands are typed into: one for the whole page, so that variables and jobs last."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.guide.pages import Command

POLL: Final = 0.1
STOP_SECONDS: Final = 20.0  # for what was left running in the background


class StuckError(Exception):
    """A command did not end in time."""


class GoneError(Exception):
    """The shell itself ended."""


@dataclass(slots=True)
class Shell:
    """A bash whose commands write into files and report their exit codes over a pipe of their own."""

    process: subprocess.Popen[str]
    answers: int
    folder: Path
    typed: int = 0

    def run(self, command: Command, output: Path, deadline: float) -> int:
        """Run one command, append what it prints, return its exit code. Raises StuckError, GoneError."""
        self._type(f". {self._file(command)} >>{output} 2>&1 </dev/null 3>&-; echo $? >&3")
        return int(self._answer(deadline))

    def start(self, command: Command, output: Path) -> int:
        """Run one command in the background and return its process id."""
        self._type(f"{{ . {self._file(command)}; }} >>{output} 2>&1 </dev/null 3>&- & echo $! >&3")
        return int(self._answer(time.monotonic() + STOP_SECONDS))

    def _file(self, command: Command) -> Path:
        self.typed += 1
        path = self.folder / f"command-{self.typed}.sh"
        path.write_text(command.text + "\n")
        return path

    def _type(self, text: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - Popen was asked for a pipe
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def _answer(self, deadline: float) -> str:
        said = b""
        while not said.endswith(b"\n"):
            if select.select([self.answers], [], [], POLL)[0]:
                read = os.read(self.answers, 64)
                if not read:
                    raise GoneError("the shell itself ended")
                said += read
            elif time.monotonic() > deadline:
                raise StuckError
        return said.decode()


@contextlib.contextmanager
def shell(folder: Path, directory: Path, environment: Mapping[str, str]) -> Iterator[Shell]:
    """Start a shell in a directory; when it is left, whatever still runs in it is ended."""
    answers, write = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - nothing from outside is in it
        ["bash", "-c", f"exec 3>&{write} {write}>&-; exec bash -o pipefail"],  # noqa: S607 - exit codes go to 3
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=directory,
        env=dict(environment),
        pass_fds=[write],
        start_new_session=True,
    )
    os.close(write)
    try:
        yield Shell(process, answers, folder)
    finally:
        os.close(answers)
        _end(process)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(process: subprocess.Popen[str]) -> None:
    """End the shell with all that it started: asked first, `todo up` stops its services in order."""
    assert process.stdin is not None  # noqa: S101 - Popen was asked for a pipe
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    deadline = time.monotonic() + STOP_SECONDS
    while _group_lives(process) and time.monotonic() < deadline:
        process.poll()
        time.sleep(POLL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _group_lives(process: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
