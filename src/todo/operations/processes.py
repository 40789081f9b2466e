"""What the operating system says about processes: exact on Linux, as good as `ps` and `lsof` know elsewhere."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
LAUNCHER = Path(__file__).with_name("launch.py")


def launched(command: Sequence[str], *, death_signal: int, user: tuple[int, int] | None = None) -> list[str]:
    """Wrap a command so that it gets `death_signal` when this process ends (Linux) and runs as `user` (uid, gid)."""
    options = ["--parent", str(os.getpid()), "--death-signal", str(int(death_signal))]
    if user is not None:
        options += ["--user", f"{user[0]}:{user[1]}"]
    return [sys.executable, "-I", "-S", str(LAUNCHER), *options, "--", *command]


def alive(pid: int) -> bool:
    """Tell whether the process exists and is not a zombie."""
    if PROC.joinpath("self").exists():
        state = _stat_state(pid)
        return state not in {None, "Z", "X"}
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill(pid: int, seconds: float = 5.0) -> None:
    """End a process at once and wait until it is gone, for so long at most."""
    deadline = time.monotonic() + seconds
    try:
        os.kill(pid, signal.SIGKILL)
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
    except ProcessLookupError:
        return


def command_of(pid: int) -> str | None:
    """Return the command line of a process, or None when it is gone or hidden."""
    try:
        words = PROC.joinpath(str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return _output("ps", "-o", "command=", "-p", str(pid)) if sys.platform != "linux" else None
    return " ".join(word.decode(errors="replace") for word in words if word) or None


def working_in(folder: Path, program: str) -> list[int]:
    """List the processes of a program whose working directory is `folder` (Linux; elsewhere an empty list)."""
    target = os.fspath(folder.resolve())
    pids = (int(entry.name) for entry in (PROC.iterdir() if PROC.is_dir() else ()) if entry.name.isdigit())
    return [pid for pid in pids if _link(PROC / str(pid) / "cwd") == target and _runs(pid, program) and alive(pid)]


def listener_on(port: int) -> int | None:
    """Return the pid of the process that listens on a TCP port, or None when it cannot be told."""
    if sys.platform != "linux":
        found = _output("lsof", "-nP", "-t", f"-iTCP:{port}", "-sTCP:LISTEN")
        return int(found.split()[0]) if found else None
    inodes = _listening_inodes(port)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and inodes & _socket_inodes(entry / "fd"):
            return int(entry.name)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = PROC.joinpath("net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


def _socket_inodes(descriptors: Path) -> set[str]:
    try:
        links = [_link(entry) or "" for entry in descriptors.iterdir()]
    except OSError:
        return set()
    return {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def _runs(pid: int, program: str) -> bool:
    executable = _link(PROC / str(pid) / "exe") or ""
    return Path(executable.removesuffix(" (deleted)")).name == program  # deleted: replaced by an upgrade


def _stat_state(pid: int) -> str | None:
    try:
        return PROC.joinpath(str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - "socket:[1]" is no path
    except OSError:
        return None


def _output(program: str, *arguments: str) -> str | None:
    found = shutil.which(program)
    if found is None:
        return None
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return done.stdout.strip() or None
