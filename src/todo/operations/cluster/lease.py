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


class _TakenError(Exception):
    """Somebody else has the Lease, or removed it: nothing may be changed any more."""


@asynccontextmanager
async def alone(cluster: Cluster) -> AsyncIterator[None]:
    """Hold the Lease. Raises `ClusterError`, also in the middle, when it could not be renewed in time.

    Whether another holder lives is told by its renewals and not by what its clock says: a killed one is waited out.
    """
    who = f"pid {os.getpid()} on {socket.gethostname()}, {time.time_ns()}"
    failures: list[Exception] = []
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
        raise _told(failures[-1] if failures else None) from error
    finally:
        with contextlib.suppress(ClusterError):  # then it ends with its time
            await _release(cluster, who)


def _told(last: Exception | None) -> ClusterError:
    if isinstance(last, _TakenError):
        return ClusterError(Fault.CONFLICT, f"Lease {NAME} is lost: {last}. See what runs, then run it again")
    why = "was this process stopped?" if last is None else str(last) or f"no answer within {ANSWERED:.0f} s"
    return ClusterError(Fault.AWAY, f"Lease {NAME} was not renewed for {GIVEN_UP:.0f} s ({why}): run it again")


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


async def _renew_for_ever(cluster: Cluster, who: str, limit: asyncio.Timeout, failures: list[Exception]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(ANSWERED):
                if await _renewed(cluster, who):
                    limit.reschedule(began + GIVEN_UP)
        except _TakenError as error:
            failures.append(error)
            limit.reschedule(loop.time())
            return
        except (ClusterError, TimeoutError) as error:  # time tells
            failures.append(error)
        await asyncio.sleep(RENEWED)


async def _renewed(cluster: Cluster, who: str) -> bool:
    lease = await cluster.get("lease", NAME)
    holder = lease and lease["spec"].get("holderIdentity")
    if lease is None or holder != who:
        raise _TakenError(f"{holder or 'somebody'} took it away")
    return await _written(cluster, lease, who)


async def _release(cluster: Cluster, who: str) -> None:
    lease = await cluster.get("lease", NAME)
    if lease is not None and lease["spec"].get("holderIdentity") == who:
        await _written(cluster, lease, "")
