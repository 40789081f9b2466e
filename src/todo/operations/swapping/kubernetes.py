"""A system on a cluster: its sidecars get their component from the API server, through Dapr's operator."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from todo.contracts import names
from todo.messaging.database import connect
from todo.messaging.postgres import Connection
from todo.operations.access import NoDatabaseError, database_of
from todo.operations.cluster import ClusterError, Fault, lease
from todo.operations.cluster.notes import SWAP, Notes
from todo.operations.cluster.system import System
from todo.operations.engine import resources, stock
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.find import Place
from todo.operations.swapping.target import Side, Sidecar, SwapError

STDIN: Final = "-"
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
SAID: Final = ("spec", "auth", "scopes")  # what a component says; the rest is the cluster's
_TRIES: Final = 5


class KubernetesTarget:
    """`SwapTarget` of a system on a cluster."""

    def __init__(self, system: System, place: Place) -> None:
        self._system = system
        self._cluster = system.cluster
        self._notes = Notes(system.cluster)
        self._expected: list[Mapping[str, Any]] = []  # what is in place unless somebody else changes it
        self.place = place

    async def sidecars(self) -> Sequence[Sidecar]:
        with telling():
            return [
                Sidecar(one.pod, one.app.app_id, await self._system.sidecar_url(one.pod), one.service_url, one.ending)
                for one in await self._system.replicas()
            ]

    async def remembered(self) -> bytes | None:
        with telling():
            text = await self._notes.read(SWAP)
        return None if text is None else text.encode()

    async def remember(self, content: bytes | None) -> None:
        with telling():
            await self._notes.write(SWAP, None if content is None else content.decode())

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        with telling():
            async with lease.alone(self._cluster):
                yield

    async def current(self) -> Side:
        with telling():
            component = _said(await self._system.component(names.PUBSUB))
        self._expected = [component]
        name = stock.environment_of(component) or "a component of your own"
        return await self._side(name, component)

    async def side(self, to: str) -> Side:
        if to in ENVIRONMENTS:
            return await self._side(to, self._parsed(to, ENVIRONMENTS[to].path.read_text()))
        text = await asyncio.to_thread(_own, to)  # whoever types it takes their time; the Lease is renewed
        return await self._side(to, self._parsed(to, text))

    async def restored(self, name: str, content: bytes) -> Side:
        return await self._side(name, yaml.safe_load(content))

    async def apply(self, side: Side) -> None:
        with telling():
            for attempt in range(1, _TRIES + 1):
                live = await self._system.component(names.PUBSUB)
                self._refuse_others(live)
                self._expected.append(side.component)  # stored or not: an answer may be lost
                try:
                    await self._cluster.replace(_with(live, side.component))
                except ClusterError as error:  # somebody else changed it a moment ago
                    if error.fault is not Fault.CONFLICT or attempt == _TRIES:
                        raise
                else:
                    return

    def _refuse_others(self, live: Mapping[str, Any]) -> None:
        """A drain takes minutes, in which somebody may apply a component that was never looked at."""
        if self._expected and _said(live) not in self._expected:
            raise SwapError(
                f"component {names.PUBSUB} was changed by somebody else meanwhile, and is left as they made it: "
                "look at it with kubectl, then run the swap again"
            )

    @asynccontextmanager
    async def database(self, schema: str) -> AsyncIterator[Connection]:
        try:
            where = database_of()
        except NoDatabaseError as error:
            raise SwapError(f"{error}: run this in the operations pod, which has the database's secret") from error
        connection = await connect(where, schema)
        try:
            yield connection
        finally:
            await connection.close(timeout=2)

    def _parsed(self, to: str, text: str) -> Mapping[str, Any]:
        """A component for this namespace, whatever its file says of others."""
        try:
            component = resources.parsed(to, text.replace(names.NAMESPACE, self._cluster.namespace))
        except resources.ResourceError as error:
            raise SwapError(str(error)) from error
        if not component.get("apiVersion"):
            raise SwapError(f"{to}: the component has no apiVersion: it is dapr.io/v1alpha1")
        metadata = component.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != names.PUBSUB:
            raise SwapError(f"{to}: the component must be named {names.PUBSUB}, which the services publish to")
        return _said(component)

    async def _side(self, name: str, component: Mapping[str, Any]) -> Side:
        with telling():
            settings = await self._system.settings(component)
        return Side(name, component, yaml.safe_dump(dict(component), sort_keys=False).encode(), settings)


def _own(to: str) -> str:
    """A component of one's own: a file of the operations pod has to be brought there, standard input comes along."""
    if to == STDIN:
        return sys.stdin.read()
    path = Path(to)
    if not path.is_file():
        known = ", ".join(ENVIRONMENTS)
        raise SwapError(f"--to is {to!r}: use one of {known}, a component file that is there, or - for one to read")
    try:
        return resources.text_of(path)
    except resources.ResourceError as error:
        raise SwapError(str(error)) from error


def _said(component: Mapping[str, Any]) -> dict[str, Any]:
    """A component without what the API server, kubectl and others keep beside it."""
    head = {
        "apiVersion": component["apiVersion"],
        "kind": "Component",
        "metadata": {"name": component["metadata"]["name"]},
    }
    return head | {key: component[key] for key in SAID if component.get(key)}


def _with(live: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """The object in place, saying something else; of the version that was read.

    kubectl compares with what was last applied to find out what is gone. So that a later `kubectl apply` of either file
    leaves nothing of the other behind, that is what it finds.
    """
    whole = {key: value for key, value in live.items() if key not in SAID} | {
        key: said[key] for key in SAID if key in said
    }
    annotations = dict(live["metadata"].get("annotations") or {})
    if APPLIED in annotations:
        before = json.loads(annotations[APPLIED])
        kept = {key: value for key, value in before.items() if key not in SAID}
        applied = kept | {key: said[key] for key in SAID if key in said}
        annotations[APPLIED] = json.dumps(applied, separators=(",", ":"), sort_keys=True) + "\n"
        whole["metadata"] = {**live["metadata"], "annotations": annotations}
    return whole


@contextmanager
def telling() -> Iterator[None]:
    """What the cluster has to say ends a swap."""
    try:
        yield
    except ClusterError as error:
        raise SwapError(str(error)) from error
