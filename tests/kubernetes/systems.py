"""The cluster as tests see it, and whole systems on it, each in a namespace of its own."""

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
OVERLAYS: Final = ROOT / "kubernetes" / "overlays"
NAMESPACE: Final = "todo-phasev"  # what overlays say; on the cluster each system gets another
SECONDS_TO_START: Final = 240.0
LAST_LINES: Final = 15


class NotReadyError(AssertionError):
    """A system did not get ready; the message says what its pods, events and logs say."""


@dataclass(frozen=True)
class Cluster:
    """The running cluster, from inside its namespaces: pods, services and the API server are one socket away."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """Run our kubectl and return what it printed; what it complains of is the message of the failure."""
        done = self.attempt(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def attempt(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run our kubectl where it may fail."""
        command = ["kubectl", *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    def get(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the API server says
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    @contextlib.contextmanager
    def namespace(self, prefix: str = "todo") -> Iterator[str]:
        """Lend a namespace; everything in it is gone afterwards."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.kubectl("create", "namespace", name)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")
            self.attempt("-n", name, "delete", "pods", "--all", "--grace-period=1", "--wait=false")
            self.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=120s")


@dataclass(frozen=True)
class System:
    """One system on the cluster, with all its pods ready."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, given=given)

    def attempt(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return self.cluster.attempt("--namespace", self.namespace, *arguments, given=given)

    def get(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the API server says
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def pods(self, app: str | None = None) -> list[dict[str, Any]]:
        """Return the pods that are not on their way out."""
        chosen = [] if app is None else [f"--selector=app={app}"]
        found: list[dict[str, Any]] = self.get("pods", *chosen)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def url(self, service: str, port: int) -> str:
        """Return the address of a service; this process is inside the cluster's network."""
        return f"http://{self.get('service', service)['spec']['clusterIP']}:{port}"

    def apply(self, manifests: str) -> None:
        """Apply manifests that say `todo-phasev` to this system's namespace."""
        self.kubectl("apply", "--filename=-", given=manifests.replace(NAMESPACE, self.namespace))

    def wait_until_ready(self, seconds: float = SECONDS_TO_START) -> None:
        """Wait until all is rolled out and every pod is ready with all its containers. Raises NotReadyError."""
        deadline = time.monotonic() + seconds
        while lacking := self.lacking():
            if time.monotonic() > deadline:
                raise NotReadyError(f"not ready after {seconds:.0f} s: {', '.join(lacking)}\n{self.report()}")
            time.sleep(1)

    def lacking(self) -> list[str]:
        """Return what is not ready yet: workloads that are not rolled out, pods without their sidecar or not ready."""
        workloads = self.get("deployments,statefulsets")["items"]
        return [
            *(_name(workload) for workload in workloads if not _rolled_out(workload)),
            *(_name(pod) for pod in self.pods() if not _is_whole(pod)),
        ]

    def report(self) -> str:
        """Return pods, events and the last lines of every container that is not ready, for the message of a failure."""
        parts = [self.attempt("get", "pods", "--output=wide").stdout]
        parts.append(self.attempt("get", "events", "--field-selector=type!=Normal", "--sort-by=.lastTimestamp").stdout)
        for pod in self.pods():
            parts += [self._last_lines(pod, name) for name in _waiting(pod)]
        return "\n".join(parts)

    def _last_lines(self, pod: Mapping[str, Any], container: str) -> str:
        name = pod["metadata"]["name"]
        chosen = ("logs", name, f"--container={container}", f"--tail={LAST_LINES}")
        said = self.attempt(*chosen, "--previous").stdout + self.attempt(*chosen).stdout
        return f"-- {name} {container}\n{said}"


def _name(thing: Mapping[str, Any]) -> str:
    return f"{thing['kind'].lower()} {thing['metadata']['name']}"


def _rolled_out(workload: Mapping[str, Any]) -> bool:
    status, wanted = workload["status"], workload["spec"]["replicas"]
    seen = status.get("observedGeneration") == workload["metadata"]["generation"]
    return bool(seen and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == wanted)


def _is_whole(pod: Mapping[str, Any]) -> bool:
    """Tell whether all containers are ready, the injected one among them; what ran to its end counts as whole."""
    if pod["status"]["phase"] == "Succeeded":
        return True
    injected = pod["metadata"].get("annotations", {}).get("dapr.io/enabled") == "true"
    return not _waiting(pod) and (not injected or "daprd" in _containers(pod))


def _containers(pod: Mapping[str, Any]) -> list[str]:
    inits = pod["spec"].get("initContainers", [])
    return [container["name"] for container in [*inits, *pod["spec"]["containers"]]]


def _waiting(pod: Mapping[str, Any]) -> list[str]:
    status = pod["status"]
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return sorted(set(_containers(pod)) - {state["name"] for state in states if state["ready"]})


@contextlib.contextmanager
def deployed(cluster: Cluster, overlay: str | Path = "redis", *, values: str = "") -> Iterator[System]:
    """Lend a system that was made as its guide says: secrets, then the overlay (a name, or a folder of a test's own).

    `values` are the lines of KEY=value for secrets that cannot be made up. A folder of a test's own is generated for as
    the overlay that it starts with: "redis" for `redis-with-something`.
    """
    folder = overlay if isinstance(overlay, Path) else OVERLAYS / overlay
    rendered = cluster.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder))
    with cluster.namespace(folder.name) as name:
        system = System(cluster, name)
        system.apply(generated_secrets(folder.name, values))
        system.apply(rendered)
        system.wait_until_ready()
        yield system


def generated_secrets(overlay: str, values: str) -> str:
    known = next(folder.name for folder in OVERLAYS.iterdir() if overlay.startswith(folder.name))
    command = [sys.executable, "-c", "from todo.cli.main import main; main()", "secrets", "generate", "--for", known]
    given = ["--values", "-"] if values else []
    done = subprocess.run([*command, *given], input=values, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
