"""Get what the real engine consists of, once, into a cache outside the checkout: Dapr's programs and Kafka's jars.

Dapr publishes no package for Python, so daprd and the Scheduler are built from the Go module that tools/dapr pins.
Kafka's jars come through Maven; tools/kafka pins them, each by its checksum. Changing a pin gets things anew, anything
else is a no-op.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from todo.operations.engine import binaries
from todo.operations.engine.binaries import DAPR, KAFKA, PROGRAMS, EngineMissingError, Program

PACKAGES: dict[Program, str] = {"daprd": "./cmd/daprd", "scheduler": "github.com/dapr/dapr/cmd/scheduler"}
PROGRESS_SECONDS = 10.0
MAX_PARALLEL = 4  # packages compiled at once; more mostly costs memory
EXAMPLES = """\
examples:
  python tools/engine.py                 get what is missing (about four minutes on two cores, once)
  python tools/engine.py --print daprd   say where daprd is; exit code 1 when it is not there yet
  python tools/engine.py --print kafka   the same for the folder of Kafka's jars
  python tools/engine.py --lock-kafka    after a change of tools/kafka/pom.xml: write the jars' checksums anew
"""


class EngineError(Exception):
    """Why the engine cannot be had, in words for the person who asked for it."""


def find_go() -> str:
    """Return a Go that can build the module; Go fetches a newer toolchain by itself where its settings allow that."""
    go = shutil.which("go")
    if go is None:
        raise EngineError("Go is not installed. Install it from https://go.dev/dl (or your packages) and try again.")
    asked = subprocess.run(  # noqa: S603 - the go on PATH, fixed arguments
        [go, "version"], cwd=DAPR, env=environment(), capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise EngineError(f"this Go is too old for the pinned Dapr: {asked.stderr.strip()}")
    return go


def environment() -> dict[str, str]:
    """Return the environment of the build: pure Go, and no flags from the outside that would change its result."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def build_command(go: str, program: Program, output: Path) -> list[str]:
    stamp = f"-s -w -X github.com/dapr/dapr/pkg/buildinfo.version={binaries.dapr_version()}"
    parallel = str(min(os.cpu_count() or 1, MAX_PARALLEL))
    flags = ["-v", "-mod=readonly", "-trimpath", "-p", parallel, "-tags", "stablecomponents", "-ldflags", stamp]
    return [go, "build", *flags, "-o", str(output), PACKAGES[program]]


def run_with_progress(command: list[str], name: str) -> None:
    """Run a `go build -v`, saying now and then how far it is; if it fails, raise EngineError with its last words."""
    last_lines: deque[str] = deque(maxlen=30)
    downloaded = compiled = 0
    started = reported = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - the go on PATH, fixed arguments
        command, cwd=DAPR, env=environment(), stderr=subprocess.PIPE, text=True
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


@contextlib.contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """Lend a temporary path beside the target and rename it at the end: nobody ever sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        yield unfinished
        unfinished.replace(target)


def build(go: str, program: Program) -> None:
    with made_whole(binaries.dapr_path(program)) as unfinished:
        run_with_progress(build_command(go, program, unfinished), program)


def find_maven() -> str:
    """Return Maven. Its Java is checked too: Kafka needs it later, and to fetch jars that cannot run helps nobody."""
    binaries.java()
    maven = shutil.which("mvn")
    if maven is None:
        raise EngineError(
            "Maven is not installed. Install it from https://maven.apache.org (or your packages) and try again."
        )
    return maven


def fetch_jars(maven: str, target: Path) -> None:
    """Copy the jars that tools/kafka names into `target`. Raises EngineError with Maven's last words."""
    started = time.monotonic()
    say(f"kafka: fetching {binaries.kafka_version()} ...")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    done = subprocess.run(  # noqa: S603 - the mvn on PATH, fixed arguments
        [maven, "--batch-mode", "--quiet", "--file", str(KAFKA / "pom.xml"), *goal],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError("\n".join(["fetching Kafka failed:", *(done.stdout + done.stderr).splitlines()[-15:]]))
    say(f"kafka: done in {time.monotonic() - started:.0f} s")


def checksums(folder: Path) -> dict[str, str]:
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in sorted(folder.iterdir())}


def check_jars(folder: Path) -> None:
    """Raise EngineError unless the jars in the folder are, to the byte, those whose checksums are kept in git."""
    expected = {
        name: digest for digest, name in (line.split("  ") for line in binaries.CHECKSUMS.read_text().splitlines())
    }
    found = checksums(folder)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise EngineError(
            f"{', '.join(wrong)}: not as {binaries.CHECKSUMS} says; was it changed on the way, or tools/kafka/pom.xml?"
        )


def lock_jars() -> None:
    """Write the checksums of what tools/kafka names now."""
    with tempfile.TemporaryDirectory() as folder:
        fetch_jars(find_maven(), Path(folder))
        lines = [f"{digest}  {name}\n" for name, digest in checksums(Path(folder)).items()]
    binaries.CHECKSUMS.write_text("".join(lines))


def ensure_dapr() -> None:
    missing = [program for program in PROGRAMS if not binaries.dapr_path(program).exists()]
    if missing:
        go = find_go()
        say(f"building Dapr {binaries.dapr_version()} ({', '.join(missing)}), about four minutes on two cores ...")
        for program in missing:
            build(go, program)
    say(f"Dapr {binaries.dapr_version()}: {binaries.dapr('daprd').parent}")


def ensure_kafka() -> None:
    if not binaries.kafka_path().exists():
        maven = find_maven()
        with made_whole(binaries.kafka_path()) as unfinished:
            fetch_jars(maven, unfinished)
            check_jars(unfinished)
    say(f"Kafka {binaries.kafka_version()}: {binaries.kafka()}")


def say(line: str) -> None:
    print(line, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tools/engine.py",
        description="Get the real engine: daprd and the Dapr Scheduler, built, and Kafka's jars.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--print", choices=[*PROGRAMS, "kafka"], dest="path_of", help="print where this is, do nothing")
    task.add_argument("--lock-kafka", action="store_true", help="write the checksums of Kafka's jars anew")
    return parser.parse_args(arguments)


def tell(name: Program | Literal["kafka"]) -> int:
    """Print where something is; 1 when it is not there yet."""
    path = binaries.kafka_path() if name == "kafka" else binaries.dapr_path(name)
    print(path)
    return 0 if path.exists() else 1


def main() -> int:
    asked = parse()
    if asked.path_of is not None:
        return tell(asked.path_of)
    try:
        if asked.lock_kafka:
            lock_jars()
        else:
            ensure_kafka()
            ensure_dapr()
    except (EngineError, EngineMissingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
