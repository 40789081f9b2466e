"""Get promtool, which checks and tests Prometheus' rules, once, into the engine's cache.

It is built from the Go module that tools/prometheus pins, without the service discoveries of every cloud: two minutes
on two cores.
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
from pathlib import Path

MODULE = Path(__file__).resolve().parent / "prometheus"
PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"
EXAMPLES = """\
examples:
  python tools/promtool.py           build it if it is not there yet
  python tools/promtool.py --print   say where it is; exit code 1 when it is not there yet
"""


class PromtoolError(Exception):
    """Why there is no promtool, in words for the person who asked for it."""


def path() -> Path:
    """Return where promtool is, or will be once built."""
    pins = (MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()
    version = re.search(r"github\.com/prometheus/prometheus v(\S+)", (MODULE / "go.mod").read_text())
    if version is None:
        raise PromtoolError(f"{MODULE / 'go.mod'} pins no version of Prometheus")
    given = os.environ.get("TODO_ENGINE_CACHE")
    cache = (Path(given) if given else Path.home() / ".cache" / "todo-engine").expanduser()
    return cache / f"promtool-{version[1]}-{hashlib.sha256(pins).hexdigest()[:12]}" / "promtool"


def program() -> Path:
    """Return promtool. Raises PromtoolError."""
    if not path().exists():
        raise PromtoolError("promtool is not built yet: run `python tools/promtool.py` (once, about two minutes)")
    return path()


def build() -> None:
    """Build it beside its place and move it there whole. Raises PromtoolError."""
    go = shutil.which("go")
    if go is None:
        raise PromtoolError("Go is not installed. Install it from https://go.dev/dl (or your packages) and try again.")
    target, started = path(), time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"promtool: building {target.parent.name} ...", flush=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        flags = ["-mod=readonly", "-trimpath", "-tags", "remove_all_sd", "-ldflags", "-s -w", "-o", str(unfinished)]
        done = subprocess.run(  # noqa: S603 - the go on PATH, fixed arguments
            [go, "build", *flags, PACKAGE], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PromtoolError("\n".join(["building promtool failed:", *done.stderr.splitlines()[-20:]]))
        unfinished.replace(target)
    print(f"promtool: done in {time.monotonic() - started:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tools/promtool.py",
        description="Build promtool into the engine's cache.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--print", action="store_true", dest="printing", help="only say where it is")
    printing = parser.parse_args().printing
    try:
        if printing:
            print(program())
        elif not path().exists():
            build()
    except PromtoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
