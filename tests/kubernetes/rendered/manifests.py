"""The environments, rendered as `kubectl apply -k` would apply them."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from todo.operations.engine import binaries

ROOT: Final = Path(__file__).parents[3]
KUBERNETES: Final = ROOT / "kubernetes"
OVERLAYS: Final = ("local-kafka", "redis", "redpanda", "msk")
LOCAL: Final = ("local-kafka", "redis")
WORKLOADS: Final = ("Deployment", "StatefulSet", "Job", "CronJob")

Manifest = Mapping[str, Any]


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    return rendered(KUBERNETES / "overlays" / name)


@cache
def rendered(folder: Path) -> tuple[Manifest, ...]:
    done = subprocess.run([_kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def _kubectl() -> str:
    """The machine's own, else the one that `make cluster` built."""
    built = sorted(binaries.cache().glob("cluster/kubernetes-*/kubectl"))
    found = shutil.which("kubectl") or (str(built[-1]) if built else None)
    assert found, "kubectl is needed to render manifests: install it, or build it with `make cluster`"
    return found


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name)
    return found


def pod(workload: Manifest) -> Manifest:
    """The template of the pods that it makes."""
    spec = workload["spec"]
    template: Manifest = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def pods(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """The pod template of each workload, by the workload's name."""
    return {one["metadata"]["name"]: pod(one) for one in of_kind(manifests, *WORKLOADS)}


def containers(template: Manifest) -> Iterator[Manifest]:
    yield from template["spec"].get("initContainers", ())
    yield from template["spec"]["containers"]
