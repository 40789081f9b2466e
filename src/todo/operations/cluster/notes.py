"""What procedures remember in the cluster: a ConfigMap, so that whoever goes on may run in another pod."""

from collections.abc import Callable
from typing import Final

from todo.operations.cluster.cluster import Cluster
from todo.operations.cluster.errors import ClusterError, Fault

NAME: Final = "todo-operations"
SWAP: Final = "swap.json"
ROTATIONS: Final = "rotations.jsonl"
_TRIES: Final = 5


class Notes:
    """Texts by key. Raises `ClusterError`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def read(self, key: str) -> str | None:
        found = await self._cluster.get("configmap", NAME)
        return None if found is None else (found.get("data") or {}).get(key)

    async def write(self, key: str, text: str | None) -> None:
        """None: forget it."""
        await self._change(key, lambda _: text)

    async def append(self, key: str, line: str) -> None:
        await self._change(key, lambda before: f"{before or ''}{line}\n")

    async def _change(self, key: str, to: Callable[[str | None], str | None]) -> None:
        """Whoever was quicker is read again: nothing of his is lost."""
        for attempt in range(1, _TRIES + 1):
            try:
                await self._changed(key, to)
            except ClusterError as error:
                if error.fault is not Fault.CONFLICT or attempt == _TRIES:
                    raise
            else:
                return

    async def _changed(self, key: str, to: Callable[[str | None], str | None]) -> None:
        found = await self._cluster.get("configmap", NAME)
        if found is None:
            text = to(None)
            if text is not None:
                metadata = {"name": NAME}
                await self._cluster.create(
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: text}}
                )
            return
        version = found["metadata"]["resourceVersion"]
        text = to((found.get("data") or {}).get(key))
        await self._cluster.patch("configmap", NAME, {"metadata": {"resourceVersion": version}, "data": {key: text}})
