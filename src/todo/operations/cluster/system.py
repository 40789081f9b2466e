"""One system on a cluster, as it is deployed: its pods and their sidecars, its secrets, and where its API is."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from todo.contracts import names
from todo.operations import datafolder
from todo.operations.cluster.access import connected, is_inside, own_namespace
from todo.operations.cluster.cluster import Cluster, Object
from todo.operations.cluster.errors import ClusterError, Fault
from todo.operations.find import Place

DAPRD: Final = "daprd"
MAILBOX: Final = "mailbox"
TOKEN_SECRET: Final = "dapr-api-token"  # noqa: S105 - a Secret's name
METRICS_PORT: Final = 9090
FRESH: Final = 0.5  # seconds that a list of pods is good for
_LIVING: Final = {"Pending", "Running"}
_APPS: Final = {app.app_id: app for app in names.APPS}


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of a service whose sidecar runs, or ran before; one that never did will load what it finds."""

    pod: str
    app: names.App
    ip: str
    ending: bool

    @property
    def service_url(self) -> str:
        return f"http://{self.ip}:{self.app.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.ip}:{METRICS_PORT}/metrics"


class System:
    """The system of one namespace. Raises `ClusterError`."""

    def __init__(self, cluster: Cluster, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self._stack = stack
        self._urls: dict[str, str] = {}
        self._opening = asyncio.Lock()
        self._listed: tuple[float, Sequence[Replica]] = (float("-inf"), ())

    async def replicas(self) -> Sequence[Replica]:
        """Those that there are now, or were a moment ago."""
        asked, found = self._listed
        if time.monotonic() > asked + FRESH:
            pods = await self.cluster.list("pods")
            found = [_replica(pod) for pod in pods if _has_sidecar(pod)]
            self._listed = time.monotonic(), found
        return found

    async def sidecar_url(self, pod: str) -> str:
        """An address of a pod's sidecar, whose API listens on the pod's own loopback."""
        async with self._opening:
            if pod not in self._urls:
                reached = self.cluster.reach(pod, names.BACKEND.dapr_port)
                self._urls[pod] = await self._stack.enter_async_context(reached)
        return self._urls[pod]

    async def component(self, name: str) -> Object:
        found = await self.cluster.get("component", name)
        if found is None:
            raise ClusterError(
                Fault.ABSENT,
                f"namespace {self.cluster.namespace} has no component {name}: is a system deployed there?",
            )
        return found

    async def secret(self, name: str) -> dict[str, str] | None:
        found = await self.cluster.get("secret", name)
        if found is None:
            return None
        return {
            key: base64.b64decode(value).decode(errors="replace") for key, value in (found.get("data") or {}).items()
        }

    async def settings(self, component: Mapping[str, Any]) -> dict[str, str]:
        """A component's metadata by name, each secretKeyRef looked up."""
        found: dict[str, str] = {}
        for item in component["spec"].get("metadata") or ():
            ref = item.get("secretKeyRef")
            found[item["name"]] = _plain(item) if ref is None else await self._looked_up(item["name"], ref)
        return found

    async def place(self, environ: Mapping[str, str] = os.environ) -> Place:
        """Where the API, backend's sidecar and the mailbox are: behind port-forwards, because tokens go there."""
        backend = names.BACKEND.app_id
        api = await self._stack.enter_async_context(self.cluster.reach_app(backend, names.BACKEND.port))
        sidecar = await self._stack.enter_async_context(self.cluster.reach_app(backend, names.BACKEND.dapr_port))
        token = environ.get("DAPR_API_TOKEN") or (await self.secret(TOKEN_SECRET) or {}).get("token")
        return Place(api, sidecar, token, await self._mailbox(environ), environ.get("TODO_TOKEN", "").strip() or None)

    async def _mailbox(self, environ: Mapping[str, str]) -> str | None:
        if "TODO_MAILBOX" in environ:
            return environ["TODO_MAILBOX"] or None
        if not await self.cluster.list("pods", labels={"app": MAILBOX}):
            return None
        return await self._stack.enter_async_context(self.cluster.reach_app(MAILBOX, names.MAILBOX_HTTP_PORT))

    async def _looked_up(self, setting: str, ref: Mapping[str, str]) -> str:
        name, key = ref["name"], ref.get("key") or ref["name"]
        secret = await self.secret(name)
        if secret is None or key not in secret:
            what = f"no secret {name}" if secret is None else f"no key {key} in secret {name}"
            raise ClusterError(
                Fault.ABSENT, f"setting {setting}: there is {what} in namespace {self.cluster.namespace}: add it there"
            )
        return secret[key]


@asynccontextmanager
async def deployed(environ: Mapping[str, str] = os.environ) -> AsyncIterator[System]:
    """The system of TODO_NAMESPACE, else of the pod's own namespace, else of todo-phasev."""
    namespace = environ.get("TODO_NAMESPACE") or own_namespace() or names.NAMESPACE
    async with connected(namespace) as cluster, AsyncExitStack() as stack:
        yield System(cluster, stack)


def is_meant(*, asked: bool, data: Path | None = None, api: str | None = None) -> bool:
    """Whether a command is about a system on Kubernetes: it was said, or it runs in a pod and nothing else was said."""
    if asked or api or not is_inside():
        return asked
    return datafolder.running_system(data or datafolder.default_path()) is None


def _has_sidecar(pod: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("app") in _APPS and pod["status"].get("phase") in _LIVING and _has_run(pod["status"])


def _has_run(status: Mapping[str, Any]) -> bool:
    containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return any(
        one["name"] == DAPRD
        and bool(status.get("podIP"))
        and ("running" in one.get("state", {}) or one.get("restartCount", 0) > 0)
        for one in containers
    )


def _replica(pod: Object) -> Replica:
    metadata = pod["metadata"]
    app = _APPS[metadata["labels"]["app"]]
    return Replica(str(metadata["name"]), app, str(pod["status"]["podIP"]), "deletionTimestamp" in metadata)


def _plain(item: Mapping[str, Any]) -> str:
    value = item.get("value", "")
    return str(value).lower() if isinstance(value, bool) else str(value)
