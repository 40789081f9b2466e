"""The pages of the guide, as blocks with what is said of them."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tools.guide.marks import Mark, MarkError, Run, mark

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = ROOT / "docs" / "guide"
COMMANDS: Final = ("bash", "sh", "shell", "console")

_FENCE: Final = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
_HEADING: Final = re.compile(r"^(?P<level>#{1,6}) (?P<title>.+?)\s*$")


class PageError(ValueError):
    """What is wrong with a page, with its place."""


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Command:
    """What a reader types and ends with Enter, over several lines perhaps."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block as it stands in the page; `line` is that of its first line of text."""

    line: int
    language: str
    text: str
    section: str
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block and, of commands, the output shown behind it."""

    fence: Fence
    mark: Mark
    output: Fence | None = None

    def commands(self) -> list[Command]:
        return list(split(self.fence.text, self.fence.line))


@dataclass(frozen=True, slots=True)
class Page:
    path: Path
    headings: list[Heading]
    blocks: list[Block]

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name


def pages() -> list[Page]:
    """Return the guide's pages in the order of the site's navigation. Raises PageError."""
    return [read(path) for path in paths()]


def paths() -> list[Path]:
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)["nav"]  # noqa: S506 - strings only
    listed = [ROOT / "docs" / name for name in _files(nav) if name.startswith("guide/")]
    missing = sorted(set(GUIDE.glob("*.md")) - set(listed))
    if missing:
        raise PageError(f"{missing[0].relative_to(ROOT)} is not in the nav of mkdocs.yml, so nobody would run it")
    return listed


def _files(entry: object) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case dict():
            for value in entry.values():
                yield from _files(value)
        case list():
            for value in entry:
                yield from _files(value)
        case _:
            raise PageError(f"mkdocs.yml: {entry!r} is no entry of nav")


def read(path: Path) -> Page:
    """Read a page; every fenced block has to be marked, and every command to have an output. Raises PageError."""
    headings, fences = _scan(path)
    return Page(path, headings, list(_blocks(path, fences)))


def _scan(path: Path) -> tuple[list[Heading], list[Fence]]:
    headings: list[Heading] = []
    fences: list[Fence] = []
    said: Mark | None = None
    lines = iter(enumerate(path.read_text().splitlines(), start=1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            text = _body(path, number, lines, fence)
            section = headings[-1].title if headings else ""
            fences.append(Fence(number + 1, fence["language"], text, section, said))
            said = None
        elif heading := _HEADING.match(line):
            headings.append(Heading(len(heading["level"]), heading["title"]))
        elif line.strip():
            said = _mark(path, number, line)
    return headings, fences


def _body(path: Path, number: int, lines: Iterator[tuple[int, str]], fence: re.Match[str]) -> str:
    indent, end = fence["indent"], fence["ticks"]
    body: list[str] = []
    for _, line in lines:
        if line.strip() == end:
            return "\n".join(body)
        body.append(line.removeprefix(indent))
    raise PageError(f"{path.name}:{number}: this block has no end")


def _mark(path: Path, number: int, line: str) -> Mark | None:
    try:
        return mark(line)
    except MarkError as error:
        raise PageError(f"{path.name}:{number}: {error}") from error


def _blocks(path: Path, fences: list[Fence]) -> Iterator[Block]:
    source = path.read_text().splitlines()
    waiting: Fence | None = None
    for fence in fences:
        if waiting is not None and fence.mark is None and fence.language not in COMMANDS:
            _adjacent(path, source, waiting, fence)
            yield _block(path, waiting, fence)
            waiting = None
            continue
        if waiting is not None:
            yield _block(path, waiting, None)
        waiting = fence
    if waiting is not None:
        yield _block(path, waiting, None)


def _adjacent(path: Path, source: list[str], command: Fence, output: Fence) -> None:
    """Raise PageError if anything stands between a command and the block without a mark behind it."""
    end = command.line + len(command.text.splitlines())  # the fence's last line, counted from 1
    between = [line for line in source[end : output.line - 2] if line.strip()]
    if between or not isinstance(command.mark, Run):
        raise PageError(f"{path.name}:{output.line}: this block has no mark, and follows no command that is run")


def _block(path: Path, fence: Fence, output: Fence | None) -> Block:
    where = f"{path.name}:{fence.line}"
    if fence.mark is None:
        raise PageError(f"{where}: this block has no mark: run, not run, file or figure")
    if isinstance(fence.mark, Run):
        if fence.language not in COMMANDS:
            raise PageError(f"{where}: only bash can be run, and this is {fence.language or 'of no language'}")
        if fence.mark.silent == (output is not None):
            raise PageError(f"{where}: show the output in a block behind this one, or mark it `silent`: one of them")
    return Block(fence, fence.mark, output)


def split(text: str, line: int) -> Iterator[Command]:
    """Cut a block into commands, as an interactive shell does: a command ends where bash can parse what was typed."""
    typed: list[str] = []
    for offset, row in enumerate(text.splitlines()):
        if not typed and (not row.strip() or row.lstrip().startswith("#")):
            continue
        typed.append(row)
        if _complete("\n".join(typed)):
            yield Command(line + offset + 1 - len(typed), "\n".join(typed))
            typed = []
    if typed:
        raise PageError(f"line {line + text.count(chr(10))}: bash wants more of `{typed[-1].strip()}`")


def _complete(text: str) -> bool:
    if text.endswith("\\"):
        return False
    parsed = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)  # noqa: S607
    return parsed.returncode == 0 and not parsed.stderr
