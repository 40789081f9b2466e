"""What this machine must have, asked before anything starts; each lack is one line that says what to do."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tools.cluster.layout import ClusterError

CNI: Final = Path("/usr/lib/cni")
PROGRAMS: Final = {  # program: the Debian package that has it
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "catatonit": "catatonit",
}
CONTROLLERS: Final = ("cpu", "cpuset", "memory", "pids")
PROBES: Final = {  # what the kernel must be able to do: a command in a network namespace of its own
    "network namespaces": "true",
    "veth pairs (module veth)": "ip link add name left type veth peer name right",
    "nftables with NAT (modules nf_tables, nft_chain_nat)": "nft add table ip t && "
    "nft add chain ip t c '{ type nat hook prerouting priority 0; }'",
}


def check() -> None:
    """Raise ClusterError naming everything that is missing, a line for each."""
    if platform.system() != "Linux":
        raise ClusterError(f"the cluster needs Linux; this is {platform.system()}")
    if os.geteuid() != 0:
        raise ClusterError("the cluster makes namespaces, mounts and cgroups and needs root: run it with sudo")
    lacking = missing_packages() or [*missing_controllers(), *missing_of_kernel()]
    if lacking:
        raise ClusterError("\n".join(lacking))


def missing_packages() -> list[str]:
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not (CNI / "ptp").exists():
        packages.add("containernetworking-plugins")
    if not packages:
        return []
    names = " ".join(sorted(packages))
    return [f"missing: {names} (on Debian and Ubuntu: apt-get install --no-install-recommends {names})"]


def missing_controllers() -> list[str]:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        there = unified.read_text().split()
    else:
        lines = (line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:])
        there = [name for name, hierarchy, _, enabled in lines if hierarchy != "0" and enabled == "1"]
    return [f"cgroups: the controller {name} is not there" for name in CONTROLLERS if name not in there]


def missing_of_kernel() -> list[str]:
    lacking = [f"the kernel has no {what}" for what, probe in PROBES.items() if not works(probe)]
    if "\toverlay\n" not in Path("/proc/filesystems").read_text() and not works("modprobe overlay"):
        lacking.append("the kernel has no overlay file system (module overlay)")
    return lacking


def works(probe: str) -> bool:
    command = ["unshare", "--net", "sh", "-c", probe]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - one of PROBES
