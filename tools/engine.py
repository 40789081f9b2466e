"""Build the real Dapr binaries (daprd and the Scheduler) from the Go module that tools/dapr pins.

Dapr publishes no package for Python, so tests against the real engine build it once, into a cache outside the
repository. The cache is keyed by the pinned version and by the contents of go.mod and go.sum: changing a pin builds
anew, anything else is a no-op.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

MODULE = Path(__file__).resolve().parent / "dapr"
BINARIES = ("daprd", "scheduler")
PROGRESS_SECONDS = 10.0
MAX_PARALLEL = 4  # packages compiled at once; more mostly costs memory
EXAMPLES = """\
examples:
  python tools/engine.py                 build what is missing (about four minutes on two cores, once)
  python tools/engine.py --print daprd   say where daprd is; exit code 1 when it was not built yet
"""


class EngineError(Exception):
    """Why the engine cannot be built, in words for the person who asked for it."""


def version() -> str:
    """Return the Dapr version that go.mod pins, without its "v"."""
    found = re.search(r"^require github\.com/dapr/dapr v(\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise EngineError(f"{MODULE / 'go.mod'} pins no version of github.com/dapr/dapr")
    return found[1]


def binary_folder() -> Path:
    """Return this version's folder, <cache>/<version>-<pins>/bin; $TODO_ENGINE_CACHE moves the cache."""
    cache = os.environ.get("TODO_ENGINE_CACHE")
    root = Path(cache) if cache else Path.home() / ".cache" / "todo-engine"
    pins = hashlib.sha256((MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    return root.expanduser() / f"{version()}-{pins}" / "bin"


def binary(name: str) -> Path:
    """Return where the binary of that name is, or will be once built."""
    return binary_folder() / (f"{name}.exe" if os.name == "nt" else name)


def find_go() -> str:
    """Return a Go that can build the module; Go fetches a newer toolchain by itself where its settings allow that."""
    go = shutil.which("go")
    if go is None:
        raise EngineError("Go is not installed. Install it from https://go.dev/dl (or your packages) and try again.")
    asked = subprocess.run(  # noqa: S603 - the go on PATH, fixed arguments
        [go, "version"], cwd=MODULE, env=environment(), capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise EngineError(f"this Go is too old for the pinned Dapr:\n  {asked.stderr.strip()}")
    return go


def environment() -> dict[str, str]:
    """Return the environment of the build: pure Go, and no flags from the outside that would change its result."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def build_command(go: str, name: str, output: Path) -> list[str]:
    stamp = f"-s -w -X github.com/dapr/dapr/pkg/buildinfo.version={version()}"
    parallel = str(min(os.cpu_count() or 1, MAX_PARALLEL))
    flags = ["-v", "-mod=readonly", "-trimpath", "-p", parallel, "-tags", "stablecomponents", "-ldflags", stamp]
    return [go, "build", *flags, "-o", str(output), f"github.com/dapr/dapr/cmd/{name}"]


def run_with_progress(command: list[str], name: str) -> None:
    """Run a `go build -v`, saying now and then how far it is; if it fails, raise EngineError with its last words."""
    last_lines: deque[str] = deque(maxlen=30)
    downloaded = compiled = 0
    started = reported = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - the go on PATH, fixed arguments
        command, cwd=MODULE, env=environment(), stderr=subprocess.PIPE, text=True
    ) as build:
        for line in build.stderr or ():
            last_lines.append(line.rstrip())
            downloaded += line.startswith("go: downloading")
            compiled += not line.startswith("go: ")
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                seconds = reported - started
                say(f"{name}: {downloaded} modules fetched, {compiled} packages compiled, {seconds:.0f} s")
    if build.returncode != 0:
        raise EngineError("\n".join([f"building {name} failed:", *last_lines]))
    say(f"{name}: done in {time.monotonic() - started:.0f} s")


def build(go: str, name: str) -> None:
    """Build one binary under a temporary name in its folder, then rename it: nobody ever sees half a binary."""
    target = binary(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        run_with_progress(build_command(go, name, unfinished), name)
        unfinished.replace(target)


def ensure_engine() -> None:
    """Build every binary that is missing."""
    missing = [name for name in BINARIES if not binary(name).exists()]
    if not missing:
        say(f"Dapr {version()} is built: {binary_folder()}")
        return
    go = find_go()
    say(f"building Dapr {version()} ({', '.join(missing)}) into {binary_folder()}, about four minutes on two cores ...")
    for name in missing:
        build(go, name)


def say(line: str) -> None:
    print(line, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tools/engine.py",
        description="Build daprd and the Dapr Scheduler for the tests that run on the real engine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--print", choices=BINARIES, dest="path_of", help="print where this binary is and build nothing"
    )
    return parser.parse_args(arguments)


def main() -> int:
    asked = parse().path_of
    if asked is not None:
        print(binary(asked))
        return 0 if binary(asked).exists() else 1
    try:
        ensure_engine()
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
