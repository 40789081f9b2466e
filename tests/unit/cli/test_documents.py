"""What the documents tell people to type exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from todo.cli.main import app
from todo.operations import ports

RUNNER = CliRunner()
ROOT = Path(__file__).parents[3]
GUIDES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
DOCUMENTS = [*(ROOT / name for name in GUIDES), *sorted((ROOT / "docs").rglob("*.md"))]


def _said(program: str) -> set[str]:
    """Command lines of the program: lines of code blocks, and code in the text."""
    found: set[str] = set()
    fence = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for text in (document.read_text() for document in DOCUMENTS):
        lines = [line.strip() for block in fence.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        inline = re.findall(r"`([^`\n]+)`", fence.sub("", text))
        found |= {line for line in (*lines, *inline) if re.match(rf"{program} [\w-]", line)}
    return found


def _words(line: str) -> Iterator[str]:
    """The words of one command, up to a comment, a pipe or the next command."""
    for word in shlex.split(line, comments=True):
        if word in {"|", "||", "&&", "&", ">", ";"}:
            return
        yield word


def _parse(line: str) -> None:
    told = RUNNER.invoke(app, [*list(_words(line))[1:], "--help"])
    assert told.exit_code == 0, told.output
    for name in re.findall(r"--port (\S+)=", line):
        assert name in ports.defaults()


@pytest.mark.parametrize("line", sorted(_said("todo")))
def test_every_todo_command_in_the_documents_parses(line: str) -> None:
    _parse(line)


def test_the_documents_are_read() -> None:
    assert {"todo up --port backend=9000", "todo list"} <= _said("todo")
    assert "make run" in {" ".join(line.split()[:2]) for line in _said("make")}


@pytest.mark.parametrize("line", ["todo sing", "todo list --loud", "todo dead-letters burn", "todo up --port front=1"])
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        _parse(line)


@pytest.mark.parametrize("line", sorted(_said("make")))
def test_every_make_target_in_the_documents_exists(line: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert line.split()[1] in targets
