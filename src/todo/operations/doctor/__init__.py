"""`todo doctor`: what is wrong with a running system, how that is known, and what to do.

`host` and `kubernetes` gather what there is to see (`seen`), each theme's module judges it, and `findings` has the
table of everything that can be found. Nothing is changed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from todo.operations import datafolder
from todo.operations.cluster import is_inside
from todo.operations.doctor.examination import WATCH, CannotLookError, Patient, examine
from todo.operations.doctor.findings import TABLE, Code, Finding, Report
from todo.operations.doctor.host import HostPatient

__all__ = [
    "TABLE",
    "WATCH",
    "CannotLookError",
    "Code",
    "Finding",
    "HostPatient",
    "Report",
    "Where",
    "examine",
    "patient",
]


@dataclass(frozen=True, slots=True)
class Where:
    """A system on Kubernetes. None: what the environment says."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None


@asynccontextmanager
async def patient(data: Path, cluster: Where | None) -> AsyncIterator[Patient]:
    """The system on a cluster, if one is meant or this runs in a pod, else that on the data folder.

    Raises `CannotLookError`.
    """
    async with aiohttp.ClientSession() as http:
        if cluster is None and (not is_inside() or datafolder.running_system(data) is not None):
            yield HostPatient(data, http)
            return
        from todo.operations.doctor.kubernetes import opened  # noqa: PLC0415 - needs the extra `kubernetes`

        meant = cluster or Where()
        async with opened(http, meant.kubeconfig, meant.context, meant.namespace) as found:
            yield found
