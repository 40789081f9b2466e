"""Only one at a time changes what the sidecars of a system use: a Lease, renewed for as long as its holder lives."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from todo.operations.cluster.cluster import Cluster
from todo.operations.cluster.errors import ClusterError, Fault

NAME: Final = "todo-operations"
DURATION: Final = 30  # seconds without a renewal after which a holder is taken to be dead
RENEWED: Final = 3.0  # seconds between two renewals
GIVEN_UP: Final = 24.0  # seconds without one after which a holder stops, before anybody takes it to be dead
ANSWERED: Final = 6.0  # seconds that the API server has for one renewal
LOOK: Final = 0.5


@asynccontextmanager
async def alone(cluster: Cluster) -> AsyncIterator[None]:
    """Hold the Lease. Raises `ClusterError`, also in the middle, when it could not be renewed in time.

    Whether another holder lives is told by its renewals and not by what its clock says: a killed one is waited out.
    """
    who = f"pid {os.getpid()} on {socket.gethostname()}, {time.time_ns()}"
    failures: list[str] = []
    await _take(cluster, who)
    try:
        async with asyncio.timeout(GIVEN_UP) as limit:
            renewing = asyncio.create_task(_renew_for_ever(cluster, who, limit, failures))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
    except TimeoutError as error:
        if not limit.expired():
            raise
        why = failures[-1] if failures else "was this process stopped?"
        raise ClusterError(
            Fault.AWAY, f"Lease {NAME} was not renewed for {GIVEN_UP:.0f} s ({why}): run it again"
        ) from error
    finally:
        with contextlib.suppress(ClusterError):  # then it ends with its time
            await _release(cluster, who)


async def _take(cluster: Cluster, who: str) -> None:
    seen, since = None, time.monotonic()
    while True:
        lease = await cluster.get("lease", NAME) or await _made(cluster)
        holder = str(lease.get("spec", {}).get("holderIdentity") or "")
        now = holder, lease.get("spec", {}).get("renewTime")
        if not holder or (now == seen and time.monotonic() > since + DURATION):
            if await _written(cluster, lease, who):
                return
        elif seen is not None and now != seen:
            raise ClusterError(Fault.CONFLICT, f"another swap or rotation is under way ({holder}): wait for its end")
        elif seen is None:
            seen, since = now, time.monotonic()
        await asyncio.sleep(LOOK)


async def _made(cluster: Cluster) -> dict[str, Any]:
    manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": {}}
    try:
        return await cluster.create(manifest)
    except ClusterError as error:
        if error.fault is not Fault.CONFLICT:
            raise
        return await cluster.get("lease", NAME) or {}


async def _written(cluster: Cluster, lease: dict[str, Any], who: str) -> bool:
    """Whether it is ours now: it was not, if somebody has written it since it was read."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {"holderIdentity": who, "leaseDurationSeconds": DURATION, "renewTime": now}
    patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
    try:
        await cluster.patch("lease", NAME, patch)
    except ClusterError as error:
        if error.fault is not Fault.CONFLICT:
            raise
        return False
    return True


async def _renew_for_ever(cluster: Cluster, who: str, limit: asyncio.Timeout, failures: list[str]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(ANSWERED):
                if await _renewed(cluster, who):
                    limit.reschedule(began + GIVEN_UP)
        except (ClusterError, TimeoutError) as error:  # time tells
            failures.append(str(error) or f"no answer within {ANSWERED:.0f} s")
        await asyncio.sleep(RENEWED)


async def _renewed(cluster: Cluster, who: str) -> bool:
    lease = await cluster.get("lease", NAME)
    return lease is not None and lease["spec"].get("holderIdentity") == who and await _written(cluster, lease, who)


async def _release(cluster: Cluster, who: str) -> None:
    lease = await cluster.get("lease", NAME)
    if lease is not None and lease["spec"].get("holderIdentity") == who:
        await _written(cluster, lease, "")
