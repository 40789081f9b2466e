"""Where everything of the cluster is, its addresses, and the error that ends a command with one line."""

import hashlib
from pathlib import Path
from typing import Final

from todo.operations.engine import binaries

MODULES: Final = Path(__file__).with_name("modules")
NODE: Final = "node"
NODE_IP: Final = "172.31.77.2"
API: Final = f"https://{NODE_IP}:6443"
SERVICE_CIDR: Final = "10.96.0.0/16"
POD_CIDR: Final = "10.244.0.0/24"
DNS_IP: Final = "10.96.0.10"
INSIDE: Final = "TODO_CLUSTER"  # set for every command inside: the folder of the run


class ClusterError(Exception):
    """Why the cluster cannot do what it was asked for, in words for the person who asked."""


def cache() -> Path:
    return binaries.cache() / "cluster"


def run_folder() -> Path:
    """Return the folder of what a running cluster writes; it is gone when the cluster is."""
    return cache() / "run"


def cgroup() -> str:
    """Return the name of the cgroup of all pods: one for each cache, so that two clusters do not meet."""
    return f"todo-cluster-{hashlib.sha256(str(cache()).encode()).hexdigest()[:8]}"


def images_folder() -> Path:
    """Return containerd's root: unpacked images, kept from one start to the next."""
    return cache() / "containerd"
