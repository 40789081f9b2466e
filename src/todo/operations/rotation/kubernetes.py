"""Where the secrets of a system on a cluster are, and how its sidecars get to use them."""

import base64
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aiohttp

from todo.operations.cluster import Cluster, ClusterError, lease
from todo.operations.cluster.notes import ROTATIONS, Notes
from todo.operations.cluster.system import System
from todo.operations.datafolder import SidecarAddress
from todo.operations.engine.resources import other_init_timeout
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.calm import Calm
from todo.operations.rotation.journal import Journal
from todo.operations.rotation.place import NEXT, PREVIOUS, Secrets
from todo.operations.rotation.reloading import Reloading

SHOWN: Final = "todo.dev/shown-at"  # an annotation of a component: a change of it has sidecars look at it again
_SUFFIXES: Final = (NEXT, PREVIOUS)


class KubernetesPlace(Reloading):
    """`Place` of one secret on a cluster, where a component is named by its object.

    A login that was put aside is in the same Secret, its keys with a prefix (`previous.REDIS_PASSWORD`): objects of the
    API server change one by one, so only what is in one object changes whole.
    """

    settles = (
        150.0  # a mounted secret changes up to a minute and a half after its object; then connections are replaced
    )

    def __init__(self, system: System, http: aiohttp.ClientSession, calm: Calm, name: str) -> None:
        super().__init__(http, calm)
        self._system = system
        self._cluster = system.cluster
        self._name = name

    async def secrets(self) -> Secrets:
        with telling():
            found = await self._system.secret(self._name) or {}
        parts: Secrets = {}
        for key, value in found.items():
            suffix = _suffix(key)
            parts.setdefault(self._name + suffix, {})[key.removeprefix(_prefix(suffix))] = value
        return parts

    async def put(self, changes: Mapping[str, Secret | None]) -> None:
        if not changes:
            return
        with telling():
            live = await self._cluster.get("secret", self._name)
            if live is None:
                raise RotationError(f"there is no secret {self._name} any more: who deleted it?")
            version = live["metadata"]["resourceVersion"]
            data = self._data(changes, live.get("data") or {})
            await self._cluster.patch("secret", self._name, {"metadata": {"resourceVersion": version}, "data": data})

    def _data(self, changes: Mapping[str, Secret | None], live: Mapping[str, str]) -> dict[str, str | None]:
        """What is patched into the object: a key that a changed secret has no more is removed."""
        patch: dict[str, str | None] = {}
        for name, secret in changes.items():
            suffix = name.removeprefix(self._name)
            prefix = _prefix(suffix)
            patch |= {key: None for key in live if _suffix(key) == suffix}
            patch |= {
                f"{prefix}{key}": base64.b64encode(value.encode()).decode() for key, value in (secret or {}).items()
            }
        return patch

    async def _component(self, component: str) -> Mapping[str, Any]:
        with telling():
            return await self._system.component(component)

    async def _sidecars(self) -> Sequence[SidecarAddress]:
        with telling():
            return [
                SidecarAddress(one.pod, one.app.app_id, await self._system.sidecar_url(one.pod), one.metrics_url)
                for one in await self._system.replicas()
                if not one.ending
            ]

    async def _show(self, component: str, *, force: bool = False) -> None:
        patch: dict[str, Any] = {"metadata": {"annotations": {SHOWN: dt.datetime.now(dt.UTC).isoformat()}}}
        if force:
            patch["spec"] = {"initTimeout": other_init_timeout(await self._component(component))}
        with telling():
            await self._cluster.patch("component", component, patch)

    async def _refresh(self) -> None:
        """Nothing: Dapr's operator looks secrets up for each sidecar that it shows a component."""


class ClusterJournal(Journal):
    """The journal that is kept in the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._notes = Notes(cluster)

    async def _append(self, line: bytes) -> None:
        with telling():
            await self._notes.append(ROTATIONS, line.decode())

    async def _lines(self) -> Sequence[bytes]:
        with telling():
            return (await self._notes.read(ROTATIONS) or "").encode().splitlines()


@asynccontextmanager
async def alone(cluster: Cluster) -> AsyncIterator[None]:
    """Be the only one that changes what the sidecars of this system use. Raises `RotationError`."""
    with telling():
        async with lease.alone(cluster):
            yield


@contextmanager
def telling() -> Iterator[None]:
    """What the cluster has to say ends a rotation."""
    try:
        yield
    except ClusterError as error:
        raise RotationError(str(error)) from error


def _prefix(suffix: str) -> str:
    return f"{suffix.removeprefix('.')}." if suffix else ""


def _suffix(key: str) -> str:
    """Of which of the secrets in one object a key is."""
    return next((suffix for suffix in _SUFFIXES if key.startswith(_prefix(suffix))), "")
