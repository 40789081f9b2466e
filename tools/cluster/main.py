"""The command line of the cluster: up, down, run, images, build, status."""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from todo.operations.engine.binaries import EngineMissingError
from tools.cluster import build, certificates, cgroups, images, namespaces, needs, servers
from tools.cluster.layout import INSIDE, ClusterError, cache, run_folder

START: Final = ("-m", "tools.cluster.start")
ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = """\
examples:
  python tools/cluster.py up                             build what is missing and start; nothing to do when it runs
  python tools/cluster.py run -- kubectl get pods -A     run a command inside, where the pods can be reached
  python tools/cluster.py run -- bash                    look around
  python tools/cluster.py images                         load the images that were changed, while it runs
  python tools/cluster.py down                           stop it; nothing of it is left
"""


def up() -> None:
    """Build, start and load what is missing; the cluster is ready afterwards."""
    needs.check()
    started = time.monotonic()
    build.ensure()
    archives = images.ensure(cache(), build.DAPR.target)
    if is_up():
        load(archives)
        print("the cluster is up")
        return
    namespaces.destroy()  # of a start that was cut short
    clean()
    print("starting the cluster ...", flush=True)
    begun = time.monotonic()
    try:
        start(archives)
    except ClusterError:
        namespaces.destroy()  # the logs stay
        raise
    print(f"the cluster is up after {time.monotonic() - begun:.0f} s ({time.monotonic() - started:.0f} s in all)")
    print("python tools/cluster.py run -- kubectl get pods -A")


def start(archives: list[Path]) -> None:
    run = run_folder()
    (run / "logs").mkdir(parents=True)
    certificates.make_all(run)
    servers.write_configuration(run)
    cgroups.create()
    namespaces.create()
    inside([sys.executable, *START, "start", str(run), *map(str, archives)])
    ready().touch()


def ready() -> Path:
    return run_folder() / "ready"


def is_up() -> bool:
    return namespaces.first_process() is not None and ready().exists()


def load_images() -> None:
    """Make and import the images that were changed, into the cluster that runs."""
    needs.check()
    load(images.ensure(cache(), build.DAPR.target))


def load(archives: list[Path]) -> None:
    inside([sys.executable, *START, "load", *map(str, archives)])


def inside(command: list[str]) -> None:
    """Run one of our own programs inside. Raises ClusterError when it fails; it has said why."""
    code = namespaces.run(command, {**environment(), "PYTHONPATH": str(ROOT)})
    if code != 0:
        raise ClusterError(f"the cluster did not do it; logs: {run_folder() / 'logs'}")


def down(*, everything: bool) -> None:
    """Stop the cluster; nothing of it is left, not even what was built if everything is to go."""
    namespaces.destroy()
    clean()
    if everything:
        shutil.rmtree(cache(), ignore_errors=True)
    print("the cluster is down")


def clean() -> None:
    """Remove what a run leaves on disk and in the kernel when its processes are gone, whatever ended them."""
    cgroups.remove()
    shutil.rmtree(run_folder(), ignore_errors=True)
    with contextlib.suppress(OSError):  # somebody else's, then
        Path("/var/lib/cni").rmdir()


def run(command: list[str]) -> int:
    """Run a command inside; kubectl, helm and the cluster's kubeconfig are at hand."""
    return namespaces.run(command, environment())


def environment() -> dict[str, str]:
    given = {"KUBECONFIG": str(run_folder() / "admin.kubeconfig"), INSIDE: str(run_folder()), "PATH": build.path()}
    return {**os.environ, **given}


def status() -> int:
    """Say whether it runs; 1 when it does not."""
    if not is_up():
        print("down")
        return 1
    print(f"up ({run_folder()})")
    return run(["kubectl", "get", "pods", "--all-namespaces"])


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one at a time change the cluster."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another command is at work on the cluster; waiting ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tools/cluster.py",
        description="A real Kubernetes of one node with Dapr, for development and tests (docs/cluster.md).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("up", help="build what is missing and start it")
    tasks.add_parser("down", help="stop it and remove what it left").add_argument(
        "--all", action="store_true", help="remove the programs and images too, which take a quarter of an hour to make"
    )
    tasks.add_parser("run", help="run a command inside").add_argument("command", nargs=argparse.REMAINDER)
    tasks.add_parser("images", help="make and load the images that were changed")
    tasks.add_parser("build", help="compile the programs, start nothing")
    tasks.add_parser("status", help="say whether it runs; exit code 1 when it does not")
    return parser.parse_args()


def carry_out(asked: argparse.Namespace) -> int:
    match asked.task:
        case "run":
            return run(asked.command[asked.command[:1] == ["--"] :])
        case "status":
            return status()
    with locked():
        match asked.task:
            case "up":
                up()
            case "down":
                down(everything=asked.all)
            case "images":
                load_images()
            case "build":
                build.ensure()
    return 0


def main() -> int:
    try:
        return carry_out(parse())
    except (ClusterError, EngineMissingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
