"""How images are built and kept: buildah with a store of its own, on a base that debootstrap makes."""

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tools.cluster import images_machine as machine
from tools.cluster.layout import ClusterError

# venv brings pip, with which the first stage of the application's image installs.
BASE_PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")
# What no program reads, and the name of this machine's mirror.
BASE_LEFT_OUT: Final = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log", "etc/apt/sources.list"),
)
LARGE: Final = 1024 * 1024  # files above are told apart by size and time
LEFT_OVER: Final = 60  # layers of images that are none any more; they are what makes the next build a quick one
LAST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its tag, the text of its Containerfile, and what it is made of."""

    tag: str
    recipe: str
    context: Path
    inputs: tuple[str, ...] = (".",)  # files and folders of the context
    contexts: Mapping[str, Path] = field(default_factory=dict)  # further folders, by the name that COPY --from uses
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.tag.removeprefix("localhost/").removeprefix("docker.io/"))

    @property
    def based(self) -> bool:
        return not self.recipe.startswith("FROM scratch")

    def key(self, base: str) -> str:
        """A hash of everything that decides what comes out."""
        said = json.dumps([self.tag, self.recipe, base if self.based else "", dict(self.arguments)])
        made_of = hashlib.sha256(said.encode())
        for folder, names in [(self.context, self.inputs), *((folder, (".",)) for folder in self.contexts.values())]:
            for file in _files(folder, names):
                made_of.update(f"{file.relative_to(folder)}\0".encode() + _content(file))
        return made_of.hexdigest()[:12]


class Store:
    """buildah's images in one folder, and the docker archives made of them beside it. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._buildah = ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "running")]

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield cls(folder)

    def archive(self, image: Image) -> Path:
        """Return the image as an archive, built unless that is there already; older archives of it go."""
        archive = self.folder / f"{image.name}-{image.key(self.base_tag)}.tar"
        if not archive.exists():
            started = time.monotonic()
            print(f"building {image.tag} ...", flush=True)
            self._build(image)
            self._save(image.tag, archive)
            self._prune()
            print(f"{image.tag}: done in {time.monotonic() - started:.0f} s", flush=True)
        for other in self.folder.glob(f"{image.name}-{'?' * 12}.tar"):
            if other != archive:
                other.unlink()
        return archive

    @property
    def base_tag(self) -> str:
        made_of = json.dumps([machine.release(), BASE_PACKAGES, BASE_LEFT_OUT])
        return f"localhost/base:{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def _build(self, image: Image) -> None:
        options = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        options += [f"--build-context={name}={folder}" for name, folder in image.contexts.items()]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            recipe = Path(folder) / "Containerfile"
            recipe.write_text(image.recipe)
            if image.based:
                self._ensure_base()
                options += [f"--build-arg=BASE={self.base_tag}", *machine.write_pip_settings(Path(folder))]
                options += machine.apt_volumes()
            form = ["--isolation=chroot", "--layers", "--format=docker", "--pull-never", "--quiet"]
            self._run("build", *form, *options, f"--tag={image.tag}", f"--file={recipe}", str(image.context))

    def _save(self, tag: str, archive: Path) -> None:
        """Write the archive beside its place first: nobody ever sees half of it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            whole = Path(folder) / archive.name
            self._run("push", "--quiet", tag, f"docker-archive:{whole}:{tag}")
            whole.rename(archive)

    def _prune(self) -> None:
        if len(self._run("images", "--quiet", "--filter", "dangling=true").split()) > LEFT_OVER:
            self._run("rmi", "--prune")

    def _ensure_base(self) -> None:
        if self._run("images", "--quiet", "--filter", f"reference={self.base_tag}"):
            return
        print(f"making a base of {machine.release()} (about a minute) ...", flush=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            root = Path(folder) / "root"
            include = f"--include={','.join(BASE_PACKAGES)}"
            run(["debootstrap", "--variant=minbase", include, machine.release(), str(root), machine.mirror()])
            for name in BASE_LEFT_OUT:
                _empty(root / name)
            container = self._run("from", "scratch")
            self._run("add", "--quiet", container, str(root), "/")
            self._run("commit", "--quiet", "--rm", "--format=docker", container, self.base_tag)

    def _run(self, command: str, *arguments: str) -> str:
        return run([*self._buildah, command, *arguments]).strip()


def run(command: list[str]) -> str:
    """Run it and return what it prints. Raises ClusterError with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except FileNotFoundError as error:
        raise ClusterError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise ClusterError("\n".join([f"{Path(command[0]).name} failed:", *said[-LAST_LINES:]]))
    return done.stdout


def _files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        place = folder / name
        found = [place] if place.is_file() else place.rglob("*")
        yield from sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _content(file: Path) -> bytes:
    stat = file.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}".encode() if stat.st_size > LARGE else file.read_bytes()


def _empty(place: Path) -> None:
    """Leave folders themselves: programs expect them."""
    if place.is_dir():
        shutil.rmtree(place)
        place.mkdir()
    else:
        place.unlink(missing_ok=True)
