"""tools/engine.py with stand-ins for Go, Maven and Java: what it says, what it gets, and that half is never seen."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from todo.operations.engine import binaries

TOOL: Final = Path(__file__).resolve().parents[2] / "tools" / "engine.py"
BUILDS: Final = """
while [ "$1" != "-o" ]; do shift; done
echo "go: downloading example.org/module v1.0.0" >&2
echo "example.org/module" >&2
echo binary > "$2"
"""
DIES_HALFWAY: Final = """
while [ "$1" != "-o" ]; do shift; done
echo half > "$2"
echo "no space left on device" >&2
exit 1
"""
GO_1_99: Final = "echo go version go1.99.0 linux/amd64"
JAVA_21: Final = """echo 'openjdk version "21.0.2"' >&2"""
FETCHES: Final = f"""
for word in "$@"; do case "$word" in -DoutputDirectory=*) target="${{word#*=}}";; esac; done
/bin/cp -r "{binaries.kafka_path()}" "$target"
"""


class Tool:
    """Runs the tool with its own cache, and no programs but those that were put there."""

    def __init__(self, folder: Path) -> None:
        self.cache, self._path = folder / "cache", folder / "path"
        self._path.mkdir()
        self.go(BUILDS)
        self.put("java", JAVA_21)
        self.put("mvn", FETCHES)

    def go(self, build: str, version: str = GO_1_99) -> None:
        self.put("go", f'[ "$1" = version ] && {{ {version}; exit; }}\n{build}')

    def put(self, name: str, script: str) -> None:
        place = self._path / name
        place.write_text(f'#!/bin/sh\necho "$1" >> "{self._path}/calls"\n{script}')
        place.chmod(0o755)

    def take_away(self, name: str) -> None:
        (self._path / name).unlink()

    def calls(self) -> int:
        log = self._path / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def run(self, *arguments: str) -> tuple[int, str]:
        env = {**os.environ, "PATH": str(self._path), "TODO_ENGINE_CACHE": str(self.cache)}
        env.pop("JAVA_HOME", None)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, TOOL, *arguments, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def refusal(self) -> str:
        """The one line that it ends with, after those that say how far it came."""
        code, output = await self.run()
        assert code == 1
        assert output.count("error: ") == 1
        return output.partition("error: ")[2].rstrip("\n")

    def got(self) -> list[str]:
        return sorted(path.name for path in self.cache.rglob("*") if path.is_file() and path.suffix != ".jar")

    def jars(self) -> int:
        return len(list(self.cache.rglob("*.jar")))


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("go", ["Go is not installed", "https://go.dev/dl"]),
        ("mvn", ["Maven is not installed", "https://maven.apache.org"]),
        ("java", ["there is no Java on PATH", "install a JDK 17"]),
    ],
)
async def test_a_missing_program_is_told_in_one_line(tool: Tool, program: str, words: list[str]) -> None:
    """With where to get it."""
    tool.take_away(program)
    line = await tool.refusal()
    assert "\n" not in line
    assert all(word in line for word in words)


async def test_an_old_go_is_named(tool: Tool) -> None:
    """A Go that cannot build the module is told in Go's own words."""
    tool.go(BUILDS, version='echo "go.mod requires go >= 1.26.5 (running go 1.21.0)" >&2; false')
    line = await tool.refusal()
    assert "too old" in line
    assert "running go 1.21.0" in line


async def test_an_old_java_is_named(tool: Tool) -> None:
    """Kafka needs Java 17: better told now than when the broker is to start."""
    tool.put("java", """echo 'openjdk version "11.0.2"' >&2""")
    assert "is Java 11: install a JDK 17" in await tool.refusal()


async def test_it_gets_everything_once(tool: Tool) -> None:
    """Both programs and the jars are there; a second run does nothing; --print says where they are."""
    assert (await tool.run("--print", "daprd"))[0] == 1
    assert (await tool.run("--print", "kafka"))[0] == 1
    code, output = await tool.run()
    assert (code, tool.got()) == (0, ["daprd", "scheduler"])
    assert tool.jars() == len(binaries.CHECKSUMS.read_text().splitlines())
    assert "daprd: done" in output
    assert "kafka: done" in output
    before = tool.calls()
    assert (await tool.run())[0] == 0
    assert tool.calls() == before
    code, printed = await tool.run("--print", "daprd")
    assert (code, printed.strip()) == (0, str(next(tool.cache.rglob("daprd"))))
    code, printed = await tool.run("--print", "kafka")
    assert (code, printed.strip()) == (0, str(next(tool.cache.rglob("libs"))))


async def test_a_build_that_fails_leaves_nothing(tool: Tool) -> None:
    """Half a binary is never seen, and the end of the build's output is told."""
    tool.go(DIES_HALFWAY)
    assert "no space left on device" in await tool.refusal()
    assert tool.got() == []


async def test_a_fetch_that_fails_leaves_nothing(tool: Tool) -> None:
    tool.put("mvn", "echo 'Could not transfer artifact'; exit 1")
    assert "Could not transfer artifact" in await tool.refusal()
    assert tool.jars() == 0


@pytest.mark.parametrize(
    ("change", "jar"),
    [
        ('echo x >> "$target"/kafka-clients-*.jar', "kafka-clients-"),
        ('echo x > "$target"/stowaway.jar', "stowaway.jar"),
        ('/bin/rm "$target"/scala-library-*.jar', "scala-library-"),
    ],
)
async def test_a_jar_that_is_not_the_one_in_git_is_refused(tool: Tool, change: str, jar: str) -> None:
    tool.put("mvn", FETCHES + change)
    line = await tool.refusal()
    assert line.startswith(jar)
    assert "checksums.sha256" in line
    assert tool.jars() == 0
