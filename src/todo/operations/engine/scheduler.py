"""Dapr's Scheduler, with its etcd in a folder of ours, on loopback."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from todo.operations import ports
from todo.operations.datafolder import RESTRICTED
from todo.operations.engine import binaries
from todo.operations.supervisor import ChildSpec, http_probe

NAME: Final = "scheduler"
PORTS: Final = tuple(f"{NAME}{suffix}" for suffix in ("", "-health", "-metrics", "-etcd", "-etcd-peer"))
STOP_STEPS: Final = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))


def child(folder: Path, numbers: Mapping[str, int], *, as_json: bool = False) -> ChildSpec:
    """How it runs; `numbers` has a port for each of `PORTS`."""
    port, health, metrics, etcd, peer = (numbers[name] for name in PORTS)
    server = "dapr-scheduler-server-0"
    flags = {
        "id": server,
        "listen-address": ports.LOOPBACK,
        "port": port,
        "override-broadcast-host-port": f"{ports.LOOPBACK}:{port}",
        "healthz-port": health,  # on every address: Dapr 1.18.2 does not heed healthz-listen-address
        "metrics-listen-address": ports.LOOPBACK,
        "metrics-port": metrics,
        "etcd-client-listen-address": ports.LOOPBACK,
        "etcd-client-port": etcd,
        "etcd-data-dir": folder,
        "etcd-initial-cluster": f"{server}=http://{ports.LOOPBACK}:{peer}",
        "log-level": "warn",
        "log-as-json": str(as_json).lower(),
    }
    return ChildSpec(
        NAME,
        [str(binaries.dapr("scheduler")), *(f"--{name}={value}" for name, value in flags.items())],
        {"PATH": os.environ.get("PATH", os.defpath)},
        ready=http_probe(health, "/healthz"),
        before_start=lambda: folder.mkdir(mode=RESTRICTED, parents=True, exist_ok=True),
        stop_steps=STOP_STEPS,
        address=f"{ports.LOOPBACK}:{port}",
        heard=False,  # its etcd tells a lot, whatever the log level
    )
