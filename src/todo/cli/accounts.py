"""Who may sign in with a browser, and who is. These commands need the system's database, as those for tokens do."""

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import RenderableType

from todo.backend.store.sessions import Session
from todo.cli.show import plain
from todo.cli.tokens import Data, Json, Scopes, day, table_of, with_access
from todo.operations.access import Account

MOST_TYPED: Final = 4096
_Whose = Annotated[int, typer.Argument(metavar="USER", min=1, max=2**63 - 1, help="As `todo user list` shows it.")]


def register(app: typer.Typer, users: typer.Typer) -> None:
    """Give the app these commands, and `users` one of their own."""
    users.command("password", epilog="Example: todo user password 2 --scope tasks:read --scope tasks:write")(password)
    sessions = typer.Typer(help="Browsers that people are signed in with (TODO_AUTH=required).", no_args_is_help=True)
    sessions.command("list", epilog="Example: todo session list --user 1 --json")(list_sessions)
    sessions.command("end", epilog="Example: todo session end 7")(end_session)
    app.add_typer(sessions, name="session")


def password(
    user: _Whose,
    *,
    scope: Scopes = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let them sign in with none any more.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a user sign in with a password, read from the terminal or a line of standard input.

    It ends their sessions. Without --scope a password opens what it opened before, a first one the user's own tasks.
    """
    if remove:
        with_access(data, lambda it: it.remove_password(user), lambda one: _ended(one.ended), as_json=as_json)
        return
    given, scopes = _asked(), None if scope is None else list(dict.fromkeys(scope))
    with_access(data, lambda it: it.set_password(user, given, scopes), _set, as_json=as_json)


def list_sessions(
    *,
    user: Annotated[
        int | None, typer.Option("--user", metavar="ID", min=1, max=2**63 - 1, help="Whose; else everybody's.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List who is signed in, since when and with what."""
    with_access(data, lambda it: it.sessions(user), _session_table, as_json=as_json)


def end_session(
    session: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="As `todo session list` shows it.")
    ],
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Sign a browser out. When the command has ended, no replica takes its cookie any more."""
    with_access(data, lambda it: it.end_session(session), lambda _: f"session {session} has ended", as_json=as_json)


def _asked() -> str:
    if sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline(MOST_TYPED).rstrip("\r\n")


def _set(account: Account) -> str:
    opens = ", ".join(account.scopes)
    return f"user {account.user_id} signs in with the new password, good for {opens}; {_ended(account.ended)}"


def _ended(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'} ended"


def _session_table(sessions: Sequence[Session]) -> RenderableType:
    if not sessions:
        return "nobody is signed in"
    table = table_of("id", "user", "by", "browser", "since (UTC)", "last seen (UTC)", "until (UTC)")
    for one in sessions:
        table.add_row(
            str(one.id), str(one.user_id), one.method, plain(one.user_agent), day(one.created_at), day(one.seen_at),
            day(one.expires_at),
        )  # fmt: skip
    return table
