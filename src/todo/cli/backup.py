"""A copy of everything that cannot be made again, and the way back from it."""

import asyncio
import contextlib
import datetime as dt
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import asyncpg
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from todo.cli.session import Code, complain, guarded
from todo.messaging.failures import is_environment
from todo.operations.backup import place
from todo.operations.backup.archive import DamagedError, Manifest, Totals
from todo.operations.backup.place import NoDataError
from todo.operations.backup.taking import SCHEMAS, BackupError, take
from todo.operations.datafolder import DataFolderError, default_path
from todo.operations.postgres import PostgresError
from todo.service.settings import SettingsError

STREAM: Final = Path("-")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="TODO_DATA", metavar="FOLDER", help="The system's data folder (./data), without DATABASE_URL."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print what it holds as JSON.")]


class Part(StrEnum):
    BACKEND = "backend"
    NOTIFICATION = "notification"


Only = Annotated[Part | None, typer.Option("--only", help="One service's data alone.")]


class Held(msgspec.Struct, frozen=True):
    """What a backup holds: revisions by schema, rows by table."""

    taken_at: dt.datetime
    made_by: str
    revisions: dict[str, str]
    rows: dict[str, int]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    app.command("backup", epilog="Example: todo backup monday.tar.gz")(backup)
    app.command("restore", epilog="Example: todo restore monday.tar.gz --replace")(restore)


def backup(
    file: Annotated[Path | None, typer.Argument(metavar="FILE|-", help="Else todo-<time>.tar.gz; - is stdout.")] = None,
    *,
    only: Only = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a backup of tasks, users and reminders as they are at one instant. Everything goes on meanwhile."""
    if file == STREAM and sys.stdout.isatty():
        raise typer.BadParameter("a terminal is no place for a backup: add > FILE", param_hint="FILE")
    if file and not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}", param_hint="FILE")
    target = file or Path(f"todo-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.tar.gz")

    async def work() -> int:
        with _progress() as tell, _written(target) as out:
            async with place.to_back_up(data or default_path()) as where:
                held = _held(*await take(where, out, [only] if only else SCHEMAS, tell))
        _show(held, str(target), as_json=as_json)
        return Code.OK

    raise typer.Exit(_guarded(work, str(target)))


def restore(  # noqa: PLR0913 - each is one thing a person may want
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="What `todo backup` wrote; - is stdin.")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the data that is there.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read it whole, say what it holds, restore nothing.")] = False,
    only: Only = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of what is there. The system must not run; if it fails, nothing has changed."""
    if file != STREAM and not file.is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE")
    from todo.operations.backup import restoring  # noqa: PLC0415 - Alembic is slow to import

    async def work() -> int:
        with _progress() as tell, _read(file) as source:
            if check:
                held = _held(*await asyncio.to_thread(restoring.check, source))
            else:
                async with place.to_restore(data or default_path()) as where:
                    held = _held(*await restoring.restore(where, source, [only] if only else (), tell, replace=replace))
        _show(held, str(file), as_json=as_json)
        return Code.OK

    raise typer.Exit(_guarded(work, str(file)))


def _guarded(work: Callable[[], Awaitable[int | None]], file: str) -> int:
    async def told() -> int | None:
        try:
            return await work()
        except DamagedError as error:
            complain(f"{file}: {error}; nothing was changed")
            return Code.NO
        except (BackupError, DataFolderError, NoDataError, PostgresError, SettingsError) as error:
            complain(str(error))
            return Code.NO
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not is_environment(error):
                raise
            complain(f"it was cut short ({type(error).__name__}: {error}): run it again")
            return Code.UNREACHABLE

    return guarded(told)


@contextlib.contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file of that name once everything is in it and on the disk, for its owner's eyes only; or stdout."""
    if target == STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _read(file: Path) -> Iterator[BinaryIO]:
    if file == STREAM:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Say which table it is at, to a person at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("beginning ...") as status:
        yield lambda what: status.update(f"{what} ...")


def _held(manifest: Manifest, totals: Totals) -> Held:
    revisions = {name: schema.revision for name, schema in manifest.schemas.items()}
    return Held(manifest.taken_at, manifest.made_by, revisions, {name: one.rows for name, one in totals.tables.items()})


def _show(held: Held, file: str, *, as_json: bool) -> None:
    """Say what a backup holds, on stderr: stdout may be the backup itself. JSON goes there only then."""
    if as_json:
        line = msgspec.json.encode(held)
        (sys.stderr.buffer if file == str(STREAM) else sys.stdout.buffer).write(line + b"\n")
        return
    errors = Console(stderr=True, highlight=False, markup=False)
    errors.print(f"{file}: as of {held.taken_at:%Y-%m-%d %H:%M:%S} UTC, by todo {held.made_by}", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, rows in held.rows.items():
        table.add_row(name, f"{rows:,}")
    errors.print(table)
