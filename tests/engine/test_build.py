"""tools/engine.py with a stand-in for Go: what it says, what it builds, and that half a binary is never seen."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "engine.py"
BUILDS = """
while [ "$1" != "-o" ]; do shift; done
echo "go: downloading example.org/module v1.0.0" >&2
echo "example.org/module" >&2
echo binary > "$2"
"""
DIES_HALFWAY = """
while [ "$1" != "-o" ]; do shift; done
echo half > "$2"
echo "no space left on device" >&2
exit 1
"""


class Tool:
    """Runs the tool with its own cache and its own Go."""

    def __init__(self, folder: Path) -> None:
        self.cache, self._path = folder / "cache", folder / "path"
        self._path.mkdir()

    def go(self, build: str, version: str = "echo go version go1.99.0 linux/amd64") -> None:
        script = self._path / "go"
        script.write_text(
            f'#!/bin/sh\necho "$1" >> "{self._path}/calls"\n[ "$1" = version ] && {{ {version}; exit; }}\n{build}'
        )
        script.chmod(0o755)

    def calls(self) -> int:
        log = self._path / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def run(self, *arguments: str) -> tuple[int, str]:
        env = {**os.environ, "PATH": str(self._path), "TODO_ENGINE_CACHE": str(self.cache)}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, TOOL, *arguments, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    def built(self) -> list[str]:
        return sorted(path.name for path in self.cache.rglob("*") if path.is_file())


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


async def test_without_go_it_says_what_to_do(tool: Tool) -> None:
    """A missing Go is told in one line, with where to get it."""
    code, output = await tool.run()
    assert (code, output.count("\n")) == (1, 1)
    assert "Go is not installed" in output
    assert "go.dev" in output


async def test_an_old_go_is_named(tool: Tool) -> None:
    """A Go that cannot build the module is told in Go's own words."""
    tool.go(BUILDS, version='echo "go.mod requires go >= 1.26.5 (running go 1.21.0)" >&2; false')
    code, output = await tool.run()
    assert code == 1
    assert "too old" in output
    assert "running go 1.21.0" in output


async def test_it_builds_once(tool: Tool) -> None:
    """Both binaries are built; a second run does nothing; --print says where they are."""
    tool.go(BUILDS)
    assert (await tool.run("--print", "daprd"))[0] == 1
    code, output = await tool.run()
    assert (code, tool.built()) == (0, ["daprd", "scheduler"])
    assert "daprd: done" in output
    before = tool.calls()
    assert (await tool.run())[0] == 0
    assert tool.calls() == before
    code, printed = await tool.run("--print", "daprd")
    assert (code, printed.strip()) == (0, str(next(tool.cache.rglob("daprd"))))


async def test_a_build_that_fails_leaves_nothing(tool: Tool) -> None:
    """Half a binary is never seen, and the end of the build's output is told."""
    tool.go(DIES_HALFWAY)
    code, output = await tool.run()
    assert (code, tool.built()) == (1, [])
    assert "no space left on device" in output
