"""containerd's images: kept from one start to the next, and nothing else of it."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.cluster.layout import ClusterError, images_folder
from tools.cluster.servers import SOCKET

CTR: Final = ("ctr", f"--address={SOCKET}", "--namespace=k8s.io")
SECONDS: Final = 20
WITHOUT_CRI: Final = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'


def answers() -> bool:
    return subprocess.run([*CTR, "version"], capture_output=True, check=False).returncode == 0  # noqa: S603 - ours


def clear(run: Path) -> None:
    """Drop the containers of an earlier run, which ended with it, before anything that remembers them starts."""
    if not images_folder().exists():
        return
    configuration = run / "containerd-plain.toml"
    configuration.write_text(f"{WITHOUT_CRI}\n{(run / 'containerd.toml').read_text()}")
    command = ["containerd", f"--config={configuration}", "--log-level=warn"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:  # noqa: S603 - ours
        deadline = time.monotonic() + SECONDS
        while not answers() and time.monotonic() < deadline:
            time.sleep(0.05)
        names = ctr("containers", "list", "--quiet").split()
        if names:
            ctr("containers", "delete", *names)
        server.terminate()


def load(archives: Sequence[Path]) -> list[str]:
    """Import the archives, whose names say what is in them, that are not loaded; return their names."""
    record = images_folder() / "loaded.json"
    loaded: list[str] = json.loads(record.read_text()) if record.exists() else []
    new = [archive for archive in archives if archive.name not in loaded]
    for archive in new:
        ctr("images", "import", str(archive))
    record.write_text(json.dumps([archive.name for archive in archives]))  # only these: a tag may go back and forth
    return [archive.name for archive in new]


def ctr(*arguments: str) -> str:
    done = subprocess.run([*CTR, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        raise ClusterError(f"ctr {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
    return done.stdout
