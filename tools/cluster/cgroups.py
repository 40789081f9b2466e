"""The cgroups that the cluster's pods are in: one group of our own under the root of every hierarchy."""

import contextlib
from pathlib import Path
from typing import Final

from tools.cluster.layout import cgroup

ROOT: Final = Path("/sys/fs/cgroup")
DELEGATED: Final = "+cpu +cpuset +memory +pids"


def hierarchies() -> list[Path]:
    """Return the mount points of all hierarchies: one on cgroups v2, one for each controller on v1."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    groups = (Path(where) for _, where, kind, *_ in mounts if kind in {"cgroup", "cgroup2"})
    return [where for where in groups if where.is_relative_to(ROOT)]


def create() -> None:
    for hierarchy in hierarchies():
        (hierarchy / cgroup()).mkdir(exist_ok=True)
    if (ROOT / "cgroup.subtree_control").exists():
        for group in (ROOT, ROOT / cgroup()):
            (group / "cgroup.subtree_control").write_text(DELEGATED)


def remove() -> None:
    """Remove the groups with all below them; their processes have ended."""
    for hierarchy in hierarchies():
        top = hierarchy / cgroup()
        for group in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True) if top.exists() else []:
            group.rmdir()
        with contextlib.suppress(FileNotFoundError):
            top.rmdir()
