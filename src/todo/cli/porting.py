"""All tasks as a file, and a file of tasks."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from todo.cli.session import Code, Session, command, complain, print_json, print_rich
from todo.cli.show import plain
from todo.operations.client import Answer, Imported, ImportLine, Remark

STREAM: Final = Path("-")
SHOWN: Final = 30  # remarks on a file, without --all
_TODOIST: Final = {"type", "content"}  # its columns, which ours has not


class Exported(StrEnum):
    JSON = "json"
    CSV = "csv"
    ICS = "ics"


class Kind(StrEnum):
    JSON = "json"
    CSV = "csv"
    ICS = "ics"
    TODOIST = "todoist"
    VIKUNJA = "vikunja"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    command(app, "export", example="todo export tasks.json", with_user=True)(export)
    command(app, "import", example="todo import tasks.ics --dry-run", with_user=True)(import_tasks)


async def export(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="Where to; - is stdout.")] = STREAM,
    *,
    kind: Annotated[Exported | None, typer.Option("--format", help="Else as FILE's name ends; JSON.")] = None,
) -> None:
    """Write every task that is not deleted into a file. docs/import-export.md says what each format keeps."""
    known = kind or _by_name(Exported, file) or Exported.JSON
    if file != STREAM and not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}", param_hint="FILE")
    with session.progress("exporting ..."), _written(file) as out:
        size = 0
        async for piece in session.api.export(session.user, known.value):
            size += out.write(piece)
    if file == STREAM:
        return
    if session.as_json:
        print_json(msgspec.json.encode({"file": str(file), "bytes": size}))
    else:
        print_rich(f"{size:,} bytes in {file}")


async def import_tasks(  # noqa: PLR0913 - what is wanted of it
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="What to import.")],
    *,
    kind: Annotated[Kind | None, typer.Option("--format", help="Else by FILE's name and first line.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--write", help="Look and report only, or really import.")] = True,
    partial: Annotated[bool, typer.Option("--partial", help="Import the rest although some cannot be read.")] = False,
    every: Annotated[bool, typer.Option("--all", help=f"Show every remark, not the first {SHOWN}.")] = False,
) -> int:
    """Import tasks from another program, or from an export. The same file again makes nothing twice."""
    known = kind or _by_content(file)
    if known is None:
        raise typer.BadParameter("its name does not say what it is: add --format", param_hint="FILE")
    report = _Report(session, SHOWN if not every else sys.maxsize)
    with file.open("rb") as content, report.bar:
        lines = session.api.import_file(session.user, known.value, content, dry_run=dry_run, partial=partial)
        async for line in lines:
            report.take(line)
    return report.end()


class _Report:
    """What an import says, shown while it goes."""

    def __init__(self, session: Session, most: int) -> None:
        self._as_json = session.as_json
        self._left = most
        self._hidden = 0
        self._last: ImportLine | None = None
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=self._as_json or not console.is_terminal)
        self._step = self.bar.add_task("", total=1.0)

    def take(self, line: Answer[ImportLine]) -> None:
        self._last = line.value
        if self._as_json:
            print_json(line.body.rstrip())
        elif line.value.progress:
            said = line.value.progress
            self.bar.update(self._step, completed=said.share, description=f"{said.phase} {said.tasks:,}")
        elif remark := line.value.broken or line.value.loss:
            self._remark(remark)

    def end(self) -> int:
        last = self._last
        if last is None or (last.done is None and last.failed is None):
            complain("the report broke off: import the same file again, nothing is made twice")
            return Code.UNREACHABLE
        if last.failed is not None:
            complain(last.failed.reason)
            return Code.UNREACHABLE
        done = last.done
        if done is None:
            raise AssertionError("it is done or failed")
        if not self._as_json:
            self._sum_up(done)
        return Code.NO if done.broken and not done.imported else Code.OK

    def _remark(self, one: Remark) -> None:
        if self._left <= 0:
            self._hidden += 1
            return
        self._left -= 1
        instead = f": {one.instead}" if one.instead else ": it cannot be imported"
        self.bar.console.print(Text(plain(f"line {one.line}: {one.field}: {one.problem}{instead}")), soft_wrap=True)

    def _sum_up(self, done: Imported) -> None:
        if self._hidden:
            print_rich(f"and {self._hidden:,} more: --all shows them")
        lost = ", ".join(f"{plain(name)} {count:,}" for name, count in done.fields.items())
        print_rich(f"{done.tasks:,} tasks, {done.already_there:,} of them there already, {done.imported:,} imported")
        if done.broken:
            print_rich(f"{done.broken:,} cannot be read")
        if lost:
            print_rich(f"not as they stand: {lost}")
        hint = " (add --write)" if done.dry_run and not done.broken else ""
        print_rich(done.result.partition(":")[0] + hint if done.dry_run else done.result)


@contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """The file, which appears once it is whole."""
    if file == STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _by_name(kinds: type[Exported], file: Path) -> Exported | None:
    ending = file.suffix.lower().removeprefix(".")
    return kinds(ending) if ending in set(kinds) else None


def _by_content(file: Path) -> Kind | None:
    ending = file.suffix.lower()
    if ending == ".zip":
        return Kind.VIKUNJA
    if ending == ".csv":
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as content:
            names = {name.strip().lower() for name in next(csv.reader([content.readline(10_000)]), [])}
        return Kind.TODOIST if names >= _TODOIST else Kind.CSV
    return {".json": Kind.JSON, ".ics": Kind.ICS}.get(ending)
