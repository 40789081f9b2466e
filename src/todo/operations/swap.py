"""`todo swap`, put together: a running system, on this host or on a cluster, moved to another broker."""

from collections.abc import Mapping
from pathlib import Path

from todo.operations.cluster import ClusterError
from todo.operations.cluster.system import deployed
from todo.operations.cluster.visit import visited
from todo.operations.swapping.host import HostTarget
from todo.operations.swapping.kubernetes import KubernetesTarget
from todo.operations.swapping.steps import Report, Wish, swap
from todo.operations.swapping.target import SwapError

__all__ = ["Report", "SwapError", "Wish", "swap_host", "swap_kubernetes"]


async def swap_host(data: Path, wish: Wish) -> Report:
    """Move the system that runs here. Raises `SwapError`: then it is, or went back, where it was."""
    return await swap(HostTarget(data), wish)


async def swap_kubernetes(wish: Wish, environ: Mapping[str, str]) -> Report:
    """Move the system that is deployed; run in its operations pod, which reaches brokers and database. As above."""
    try:
        async with deployed(environ) as system, visited(system, environ) as place:
            return await swap(KubernetesTarget(system, place), wish)
    except ClusterError as error:
        raise SwapError(str(error)) from error
