"""Run the blocks of a page in one shell and compare what they print."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.guide import expectation
from tools.guide.expectation import PatternError
from tools.guide.marks import Excerpt, NotRun, Place, Run
from tools.guide.pages import ROOT, Block, Command, Page, PageError
from tools.guide.shell import POLL, GoneError, Shell, StuckError, alive, shell

AGAIN_SECONDS: Final = 1.0  # between two looks at what takes its time
GAP: Final = "# ..."  # in an excerpt: lines are left out
WIDTH: Final = "120"  # columns: tables are as wide everywhere


@dataclass(frozen=True, slots=True)
class Failure:
    """A block that does not do what the page says."""

    page: str
    line: int
    command: str
    problem: str
    expected: str
    got: str

    def __str__(self) -> str:
        parts = [f"{self.page}:{self.line}: {self.problem}", *_indented("command", self.command)]
        if self.expected:
            parts += _indented("expected (-) and got (+)", expectation.difference(self.expected, self.got))
        else:
            parts += _indented("got", self.got or "(nothing)")
        return "\n".join(parts)


@dataclass(slots=True)
class Section:
    """What became of the blocks below one heading."""

    title: str
    passed: int = 0
    seconds: float = 0
    reasons: list[str] = field(default_factory=list)  # why some of it is not executed here
    failure: Failure | None = None
    unreached: int = 0


class BlockError(Exception):
    def __init__(self, command: Command, problem: str, got: str, expected: str = "") -> None:
        super().__init__(problem)
        self.command, self.problem, self.got, self.expected = command, problem, got, expected


def check(page: Page) -> Iterator[Failure]:
    """Yield what can be told without running anything: patterns that stand for nothing, excerpts that are none."""
    for block in page.blocks:
        if isinstance(block.mark, Excerpt) and (problem := _excerpt(block.mark.path, block.fence.text)):
            yield _failure(page, block, problem)
        if block.output is not None:
            try:
                expectation.agrees(block.output.text, "")
            except PatternError as error:
                yield _failure(page, block, str(error))
        if isinstance(block.mark, Run):
            try:
                block.commands()
            except PageError as error:
                yield _failure(page, block, str(error))


def _failure(page: Page, block: Block, problem: str) -> Failure:
    return Failure(page.name, block.fence.line, block.fence.text, problem, "", "")


def _excerpt(path: str, text: str) -> str | None:
    """Say what is wrong with an excerpt: its lines follow each other in the file, all indented alike, but for gaps."""
    file = ROOT / path
    if not file.is_file():
        return f"there is no file {path}"
    lines = [line.rstrip() for line in file.read_text().splitlines()]
    start = 0
    for part in _parts(text):
        found = next((at for at in range(start, len(lines)) if _same(lines[at : at + len(part)], part)), None)
        if found is None:
            return f"`{part[0].strip()}` and what follows do not stand so in {path}"
        start = found + len(part)
    return None


def _parts(text: str) -> list[list[str]]:
    """Cut an excerpt where a comment `# ...` says that lines are left out."""
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == GAP:
            parts.append([])
        else:
            parts[-1].append(line.rstrip())
    return [part for part in parts if part]


def _same(lines: list[str], wanted: list[str]) -> bool:
    if [line.lstrip() for line in lines] != [line.lstrip() for line in wanted]:
        return False
    return len({len(line) - len(want) for line, want in zip(lines, wanted, strict=True) if line}) <= 1


def run(page: Page, place: Place, folder: Path, tell: Callable[[Section], None]) -> list[Section]:
    """Run a page's blocks for one place, telling of each section when it is done; the first failure ends the page."""
    with shell(folder, ROOT, environment(folder)) as typing:
        sections = list[Section]()
        failed = False
        for title, blocks in _sections(page):
            section = Section(title, reasons=[block.mark.reason for block in blocks if isinstance(block.mark, NotRun)])
            started = time.monotonic()
            for number, block in enumerate(blocks):
                if not isinstance(block.mark, Run) or block.mark.place != place:
                    continue
                count = len(block.commands())
                if failed:
                    section.unreached += count
                    continue
                section.failure = _attempt(page, block, typing, folder / f"output-{len(sections)}-{number}")
                failed = section.failure is not None
                section.passed += 0 if failed else count
            section.seconds = time.monotonic() - started
            sections.append(section)
            tell(section)
    return sections


def environment(folder: Path) -> Mapping[str, str]:
    """Return what a reader's terminal has after the virtual environment was activated; a fresh data folder is in it."""
    program = ROOT / ".venv" / "bin"
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TODO_", "DAPR_", "PYTEST_")) or name == "TODO_ENGINE_CACHE"
    }
    return own | {
        "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "TODO_DATA": str(folder / "data"),
        "COLUMNS": WIDTH,
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _sections(page: Page) -> Iterator[tuple[str, list[Block]]]:
    """Group blocks by heading, in the page's order."""
    title, blocks = "", list[Block]()
    for block in page.blocks:
        if block.fence.section != title and blocks:
            yield title, blocks
            blocks = []
        title = block.fence.section
        blocks.append(block)
    if blocks:
        yield title, blocks


def _attempt(page: Page, block: Block, typing: Shell, output: Path) -> Failure | None:
    try:
        execute(block, typing, output)
    except BlockError as error:
        return Failure(page.name, error.command.line, error.command.text, error.problem, error.expected, error.got)
    return None


def execute(block: Block, typing: Shell, output: Path) -> None:
    """Run a block until its output agrees, as long as its mark allows. Raises BlockError."""
    assert isinstance(block.mark, Run)  # noqa: S101 - the caller chose it
    if block.mark.background:
        return _background(block, block.mark, typing, output)
    patience = time.monotonic() + block.mark.within
    while True:
        output.unlink(missing_ok=True)
        try:
            return _once(block, block.mark, typing, output)
        except BlockError:
            if time.monotonic() > patience:
                raise
            time.sleep(AGAIN_SECONDS)


def _once(block: Block, how: Run, typing: Shell, output: Path) -> None:
    deadline = time.monotonic() + how.timeout
    commands = block.commands()
    for command in commands:
        wanted = how.exit if command is commands[-1] else 0
        try:
            code = typing.run(command, output, deadline)
        except StuckError:
            raise BlockError(command, f"it did not end within {how.timeout:.0f} s", _read(output)) from None
        except GoneError as error:
            raise BlockError(command, str(error), _read(output)) from error
        if code != wanted:
            raise BlockError(command, f"exit code {code} instead of {wanted}", _read(output))
    _compare(block, commands[-1], _read(output))


def _background(block: Block, how: Run, typing: Shell, output: Path) -> None:
    """Start the block's only command and wait until it has printed what the page shows; it goes on then."""
    (command,) = block.commands()
    deadline = time.monotonic() + how.timeout
    pid = typing.start(command, output)
    while not expectation.agrees(_shown(block), _read(output)):
        if not alive(pid):
            raise BlockError(command, "it ended instead of running on", _read(output), _shown(block))
        if time.monotonic() > deadline:
            raise BlockError(command, f"it did not print this within {how.timeout:.0f} s", _read(output), _shown(block))
        time.sleep(POLL)


def _compare(block: Block, command: Command, got: str) -> None:
    if block.output is None and expectation.plain(got):
        raise BlockError(command, "it printed something, and is marked `silent`", got)
    if block.output is not None and not expectation.agrees(block.output.text, got):
        raise BlockError(command, "the output is not the one shown", got, block.output.text)


def _shown(block: Block) -> str:
    return block.output.text if block.output is not None else ""


def _read(output: Path) -> str:
    return output.read_text(errors="replace") if output.exists() else ""


def _indented(title: str, text: str) -> list[str]:
    return [f"  {title}:", *(f"    {line}" for line in text.splitlines())]
