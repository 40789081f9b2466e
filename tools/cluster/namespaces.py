"""The cluster's own network, mount and process namespaces: what runs, mounts or listens in them ends with them."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tools.cluster.layout import DNS_IP, NODE_IP, SERVICE_CIDR, ClusterError, run_folder

FIRST: Final = Path(__file__).with_name("first.py")
FLAGS: Final = ("--net", "--mount", "--pid")
SECONDS_TO_END: Final = 30


def first_process() -> int | None:
    """Return the number, seen from outside, of the first process inside, or None when it is gone."""
    try:
        pid, started = (run_folder() / "first.pid").read_text().split()
    except FileNotFoundError:
        return None
    return int(pid) if started_at(int(pid)) == started else None  # else the number was given again


def started_at(pid: int) -> str | None:
    """Return when the process was started, in the kernel's ticks. It is there until all that is inside has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def create() -> None:
    """Make the namespaces; returns when their mounts and network are there. Raises ClusterError."""
    command = ["unshare", *FLAGS, "--fork", "--kill-child", "--mount-proc", sys.executable, "-I", "-S", str(FIRST)]
    arguments = [str(run_folder()), NODE_IP, SERVICE_CIDR, DNS_IP]
    log = run_folder() / "logs" / "first.log"
    with log.open("wb") as errors:
        outer = subprocess.Popen(  # noqa: S603 - our own program
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            cwd="/",
        )
    if outer.stdout is None or outer.stdout.readline() != b"ready\n":
        raise ClusterError(f"the namespaces could not be made:\n{log.read_text()}")
    outer.stdout.close()
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    (run_folder() / "first.pid").write_text(f"{children[0]} {started_at(int(children[0]))}")
    outer.returncode = 0  # it is meant to outlive this process


def destroy() -> None:
    """End the first process, and with it everything inside; returns when all of it is gone. Raises ClusterError."""
    pid = first_process()
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS_TO_END
    while first_process() is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"process {pid} does not end")
        time.sleep(0.05)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command inside, in the same folder, and return its exit code. Raises ClusterError."""
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run(enter(command), env=environment, check=False).returncode  # noqa: S603 - as asked for
    return 128 + signal.SIGINT


def enter(command: Sequence[str]) -> list[str]:
    """Return the command that runs this command inside. Raises ClusterError."""
    pid = first_process()
    if pid is None:
        raise ClusterError("the cluster does not run: start it with `make cluster`")
    there = f'cd {shlex.quote(str(Path.cwd()))} && exec "$@"'  # entering leaves one at the root
    return ["nsenter", f"--target={pid}", *FLAGS, "--", "/bin/sh", "-c", there, "sh", *command]
