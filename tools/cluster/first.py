"""The first process inside: makes the network and the mounts, then reaps what others leave until it is killed.

It runs as a script of its own, with nothing but the standard library. What the kubelet and the container runtime would
write to folders of the host goes to a temporary file system or to the folder of the run.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

WRITTEN: Final = ("/run", "/var/log", "/var/lib/cni")
# The kubelet insists on these values and would set them for the whole machine: it is shown that they are there.
TUNABLES: Final = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def do(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - fixed commands


def make_network(node_ip: str, service_cidr: str, dns_ip: str) -> None:
    do("ip", "link", "set", "lo", "up")
    for address in (node_ip, dns_ip):
        do("ip", "address", "add", f"{address}/32", "dev", "lo")
    # Without it the API server, which is no pod, cannot reach a service, and the injector's webhook is passed over.
    do("ip", "route", "add", service_cidr, "dev", "lo", "src", node_ip)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def make_mounts(run: Path) -> None:
    do("mount", "--make-rshared", "/")
    for folder in WRITTEN:
        Path(folder).mkdir(parents=True, exist_ok=True)
        do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    for name, value in TUNABLES.items():
        shown = run / "tunables" / name.replace("/", ".")
        shown.parent.mkdir(exist_ok=True)
        shown.write_text(f"{value}\n")
        do("mount", "--bind", str(shown), f"/proc/sys/{name}")


def reap_for_ever() -> None:
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    folder, *addresses = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    make_mounts(Path(folder))
    make_network(*addresses)
    print("ready", flush=True)
    os.close(1)
    reap_for_ever()
