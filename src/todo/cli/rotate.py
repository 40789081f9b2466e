"""Exchanging logins while everything runs."""

import os
import sys
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from todo.cli.session import Code, Kubernetes, complain, guarded, print_json, print_rich
from todo.operations import rotate as rotating
from todo.operations.cluster.system import is_meant
from todo.operations.engine.resources import ResourceError
from todo.operations.rotate import Subject
from todo.operations.rotation.authority import RotationError
from todo.operations.rotation.journal import Entry
from todo.operations.rotation.steps import Login, Rotation, Status, Wish
from todo.operations.swapping.target import SwapError


class What(Enum):
    """What one call does."""

    ROTATE = auto()
    PLAN = auto()
    REHEARSE = auto()
    RETIRE = auto()
    BACK = auto()
    STATUS = auto()


def register(app: typer.Typer) -> None:
    """Give the app this command."""
    app.command("rotate", epilog="Example: todo rotate kafka --generate")(rotate)


def rotate(  # noqa: PLR0913 - each is one thing a person may want
    subject: Annotated[Subject, typer.Argument(help="Whose login: the broker's that is in use, or the database's.")],
    *,
    generate: Annotated[bool, typer.Option("--generate", help="Make a new login and move everyone to it.")] = False,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="Move to this login, made elsewhere.")] = None,
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where its password is; - reads it from standard input.")
    ] = None,
    retire: Annotated[bool, typer.Option("--retire", help="Refuse the login before from now on.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Return to the login before, or give up one cut short.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show versions, dates and steps.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --dry-run: do everything, retiring included, to the system there."),
    ] = None,
    data: Annotated[
        Path, typer.Option(envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder.")
    ] = Path("data"),
    kubernetes: Kubernetes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print steps as JSON lines.")] = False,
) -> None:
    """Exchange a login while everything runs; without an option, go on where one was cut short."""
    chosen = [what for what, given in [(What.RETIRE, retire), (What.BACK, back), (What.STATUS, status)] if given]
    if len(chosen) + generate + (username is not None) > 1 or (chosen and dry_run):
        raise typer.BadParameter("give one of --generate, --username, --retire, --back and --status")
    if against is not None and not (dry_run and generate):
        raise typer.BadParameter("--against rehearses with logins of its own: give --dry-run and --generate with it")
    wish = _wish(username, password_file, generate=generate)
    what = chosen[0] if chosen else What.REHEARSE if against else What.PLAN if dry_run else What.ROTATE

    async def work() -> int:
        changes = what not in {What.STATUS, What.PLAN}
        try:
            tell = _teller(as_json=as_json)
            if against is None and is_meant(asked=kubernetes, data=data):
                opened = rotating.rotation_on_kubernetes(subject, os.environ, tell, changes=changes)
            else:
                opened = rotating.rotation(subject, against or data, tell, changes=changes)
            async with opened as rotation:
                await _do(what, rotation, wish, as_json=as_json)
        except (RotationError, ResourceError, SwapError) as error:
            complain(str(error))
            return Code.NO
        return Code.OK

    raise typer.Exit(guarded(work, as_json=as_json))


async def _do(what: What, rotation: Rotation, wish: Wish | None, *, as_json: bool) -> None:
    match what:
        case What.STATUS:
            _show(await rotation.status(), as_json=as_json)
        case What.PLAN:
            _plan(await rotation.check(wish), as_json=as_json)
        case What.ROTATE:
            await rotation.rotate(wish)
        case What.REHEARSE:
            await rotation.rotate(wish)
            await rotation.retire()
        case What.BACK:
            await rotation.back()
        case What.RETIRE:
            await rotation.retire()


def _wish(username: str | None, password_file: str | None, *, generate: bool) -> Wish | None:
    if (username is None) != (password_file is None):
        raise typer.BadParameter("--username and --password-file go together: a password is in no command line")
    if username is not None and password_file is not None:
        return Wish(username, _password(password_file))
    return Wish() if generate else None


def _password(file: str) -> str:
    """The first line of a file or of standard input. Raises `typer.BadParameter`."""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="--password-file") from error
    password = text.split("\n", 1)[0].rstrip("\r")
    if not password:
        raise typer.BadParameter(f"{file} holds no password in its first line", param_hint="--password-file")
    return password


def _teller(*, as_json: bool) -> Callable[[Entry], None]:
    def tell(entry: Entry) -> None:
        if as_json:
            print_json(msgspec.json.encode(entry))
        else:
            detail = f": {entry.detail}" if entry.detail else ""
            print_rich(f"{entry.secret} version {entry.version} ({entry.login}) {entry.step}{detail}")
        sys.stdout.flush()  # a step is told when it is done

    return tell


def _plan(steps: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.json.encode({"would": steps}))
        return
    print_rich("all checks passed; it would")
    for step in steps:
        print_rich(f"  {step}")


def _show(status: Status, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.json.encode(status))
        return
    print_rich(
        f"{status.secret}: {_told(status.current)}, {'in use' if status.verified else 'not seen in use everywhere'}"
    )
    if status.previous:
        print_rich(f"still let in: {_told(status.previous)}")
    if status.unfinished:
        print_rich(f"cut short: {_told(status.unfinished)}, used by nobody")
    table = Table("when", "who", "version", "login", "step", "detail", box=None)
    for one in status.history:
        table.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}", one.who, str(one.version), one.login, one.step, one.detail)
    if status.history:
        print_rich(table)


def _told(login: Login) -> str:
    since = f" since {login.since:%Y-%m-%d %H:%M}" if login.since else ""
    return f"version {login.version} ({login.login}){since}"
