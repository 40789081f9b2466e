"""Start the cluster's servers; runs inside the namespaces."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tools.cluster import build, containers, servers
from tools.cluster.layout import NODE, ClusterError

SECONDS: Final = 120
RECOMMENDED: Final = Path(__file__).parents[2] / "kubernetes" / "dapr-values.yaml"
CHART_VALUES: Final = {
    "global": {"tag": build.DAPR.version, "actors": {"enabled": False}},
    "dapr_scheduler": {"cluster": {"storageClassName": servers.DAPR_STORAGE}},
}


class Starter:
    """Starts the servers of one run and notices when one has ended."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.started = time.monotonic()
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(self, command: Sequence[str]) -> None:
        name = command[0]
        with (self.run / "logs" / f"{name}.log").open("wb") as log:
            self.children[name] = subprocess.Popen(  # noqa: S603 - one of ours
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.run
            )

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until it is ready. Raises ClusterError when that takes too long or a server has ended."""
        deadline = time.monotonic() + SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} was not ready within {SECONDS} s; logs: {self.run / 'logs'}")
            time.sleep(0.1)
        print(f"  {what} after {time.monotonic() - self.started:.1f} s", flush=True)

    def check(self) -> None:
        for name, child in self.children.items():
            if child.poll() is not None:
                log = self.run / "logs" / f"{name}.log"
                last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise ClusterError(f"{name} ended with {child.returncode} ({log}):\n{last}")

    def release(self) -> None:
        """Let the servers outlive this process."""
        for child in self.children.values():
            child.returncode = 0


def start(run: Path, archives: Sequence[Path]) -> None:
    """Start everything, install Dapr and return when all of it is ready. Raises ClusterError."""
    starter = Starter(run)
    with ThreadPoolExecutor() as pool:
        containers_ready = pool.submit(start_containers, starter, archives)
        start_control_plane(starter)
        dapr = pool.submit(install_dapr)
        containers_ready.result()
        for command in (servers.kubelet, servers.proxy, servers.coredns, servers.metrics_server):
            starter.spawn(command(run))
        starter.wait("node", node_is_ready)
        dapr.result()
    starter.wait("Dapr", dapr_is_ready)
    starter.wait("metrics", lambda: succeeds("kubectl", "get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes"))
    starter.release()


def start_containers(starter: Starter, archives: Sequence[Path]) -> None:
    containers.clear(starter.run)
    starter.spawn(servers.containerd(starter.run))
    starter.wait("containerd", containers.answers)
    load(archives)
    print(f"  images after {time.monotonic() - starter.started:.1f} s", flush=True)


def load(archives: Sequence[Path]) -> None:
    for name in containers.load(archives):
        print(f"  loaded {name}", flush=True)


def start_control_plane(starter: Starter) -> None:
    starter.spawn(servers.etcd(starter.run))
    starter.spawn(servers.api_server(starter.run))
    starter.wait("API server", lambda: succeeds("kubectl", "get", "--raw=/readyz"))
    starter.spawn(servers.controller_manager(starter.run))
    starter.spawn(servers.scheduler(starter.run))
    apply(servers.metrics_api())


def install_dapr() -> None:
    for folder in servers.SCHEDULER_FOLDERS:
        folder.mkdir(mode=0o700)
        os.chown(folder, servers.DAPR_USER, servers.DAPR_USER)
    apply(servers.scheduler_volumes())
    chart = str(build.DAPR.target / "dapr")
    options = ("--namespace=dapr-system", "--create-namespace", f"--values={RECOMMENDED}", "--values=-")
    must("helm", "upgrade", "--install", "dapr", chart, *options, given=json.dumps(CHART_VALUES))


def node_is_ready() -> bool:
    return succeeds("kubectl", "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s")


def dapr_is_ready() -> bool:
    return succeeds("kubectl", "wait", "--for=condition=Ready", "pod", "--all", "-n", "dapr-system", "--timeout=1s")


def apply(manifests: Sequence[Mapping[str, object]]) -> None:
    must("kubectl", "apply", "--filename=-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - one of ours


def must(*command: str, given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)  # noqa: S603 - one of ours
    if done.returncode != 0:
        raise ClusterError(f"{command[0]} {command[1]} failed: {done.stderr.strip()}")


if __name__ == "__main__":
    task, *paths = sys.argv[1:]
    try:
        if task == "load":
            load(list(map(Path, paths)))
        else:
            start(Path(paths[0]), list(map(Path, paths[1:])))
    except ClusterError as error:
        sys.exit(f"error: {error}")
