"""Pods of a test's own, as hardened as those of the overlays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HARDENED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SCRATCH: Final = "/tmp"  # noqa: S108 - a volume of the pod


@dataclass(frozen=True)
class Container:
    """One container; with a port it is ready when that answers, with `health` when this path of it does."""

    name: str
    image: str
    command: Sequence[str] = ()
    port: int = 0
    health: str = ""
    args: Sequence[str] = ()
    env: Mapping[str, Any] = field(default_factory=dict)  # values, or where a value comes from
    mounts: Mapping[str, str] = field(default_factory=dict)  # folders, each with its volume: data, run or a ConfigMap

    def manifest(self) -> dict[str, Any]:
        asked = (
            {"httpGet": {"path": self.health, "port": self.port}} if self.health else {"tcpSocket": {"port": self.port}}
        )
        return {
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "env": [_variable(name, value) for name, value in self.env.items()],
            "securityContext": HARDENED,
            "volumeMounts": [
                {"name": volume, "mountPath": path} for path, volume in {SCRATCH: "tmp", **self.mounts}.items()
            ],
            **({"command": list(self.command)} if self.command else {}),
            **({"args": list(self.args)} if self.args else {}),
            **({"readinessProbe": {**asked, "periodSeconds": 1}} if self.port else {}),
        }


def pod(
    name: str, user: int, containers: Sequence[Container], first: Sequence[Container] = (), *, configuration: str = ""
) -> dict[str, Any]:
    """A pod of one user, with empty volumes and, if it is named, one of a ConfigMap."""
    volumes: list[dict[str, Any]] = [{"name": volume, "emptyDir": {}} for volume in ("tmp", "data", "run")]
    if configuration:
        volumes.append({"name": configuration, "configMap": {"name": configuration}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": user,
                "fsGroup": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": volumes,
            "initContainers": [one.manifest() for one in first],
            "containers": [one.manifest() for one in containers],
        },
    }


def _variable(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the API takes
    return {"name": name, ("value" if isinstance(value, str) else "valueFrom"): value}
