"""What building images takes from this machine's own settings: where its packages come from. None of it is kept."""

import os
import platform
import subprocess
from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Final

from tools.cluster.layout import ClusterError

PIP_FILES: Final = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
# Of pip's settings those that say where packages are; others may name files that only this machine has.
PIP_SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")
CA_INSIDE: Final = "/run/secrets/ca.pem"
APT_FOLDERS: Final = ("/etc/apt", "/var/lib/apt/lists", "/usr/share/keyrings")


def release() -> str:
    """The code name of this Debian or Ubuntu, which the base gets too."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def mirror() -> str:
    """Where apt gets this release from. Raises ClusterError when its lists do not say."""
    targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    said = subprocess.run(targets, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    for line in said.stdout.splitlines():
        codename, _, address = line.partition(" ")
        if codename == release():
            return address
    raise ClusterError(f"apt has no list of packages for {release() or 'this system'}: run apt-get update")


def apt_volumes() -> list[str]:
    """Options that lend a build this machine's lists of packages, to read."""
    return [f"--volume={folder}:{folder}:ro" for folder in APT_FOLDERS if Path(folder).exists()]


def write_pip_settings(folder: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Write pip's settings, without what holds for this machine only; return the options that lend them to a build."""
    settings = pip_settings(environ)
    lines = [f"{name} = {value}\n" for name, value in settings.items() if name in PIP_SETTINGS]
    secrets = []
    authority = settings.get("cert")
    if authority:
        lines.append(f"cert = {CA_INSIDE}\n")
        secrets.append(f"--secret=id=ca,src={authority}")
    (folder / "pip.conf").write_text("".join(["[global]\n", *lines]))
    return [*secrets, f"--secret=id=pip,src={folder / 'pip.conf'}"]


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip would go by: its files, then the environment, later ones first."""
    found = RawConfigParser()
    found.read([*(Path(file).expanduser() for file in PIP_FILES), environ.get("PIP_CONFIG_FILE", os.devnull)])
    settings = {
        name: value
        for section in ("global", "install")
        if found.has_section(section)
        for name, value in found.items(section)
    }
    given = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_")
    }
    return settings | given
