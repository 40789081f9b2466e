"""Who may call the API under TODO_AUTH=required. These commands need the system's database, not a token."""

import datetime as dt
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from todo.backend.auth.scopes import OWN_TASKS, Scope
from todo.backend.store.credentials import Identity, Token
from todo.backend.store.sessions import Session
from todo.cli.session import Code, complain, guarded, print_json, print_rich
from todo.cli.show import plain
from todo.operations.access import Access, AccessError, NewToken, NoDatabaseError, access, database_of

MOST_DAYS: Final = 3650

T = TypeVar("T")

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="TODO_DATA", metavar="FOLDER", help="The running system's data folder (./data)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
User = Annotated[int, typer.Option("--user", metavar="ID", min=1, max=2**63 - 1, help="Whom it acts for.")]
Scopes = Annotated[
    list[Scope] | None,
    typer.Option("--scope", help="What it is good for, again for more; else the user's own tasks."),
]
Issuer = Annotated[
    str,
    typer.Option("--issuer", envvar="TODO_OIDC_ISSUER", metavar="URL", help="The provider, as tokens have it in iss."),
]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="What the provider calls them: sub in their tokens.")]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    tokens = typer.Typer(help="Tokens for the API (TODO_AUTH=required).", no_args_is_help=True)
    tokens.command("add", epilog="Example: todo token add --user 1 --name laptop --days 90")(add_token)
    tokens.command("list", epilog="Example: todo token list --json")(list_tokens)
    tokens.command("revoke", epilog="Example: todo token revoke 7")(revoke)
    app.add_typer(tokens, name="token")
    identities = typer.Typer(help="Who people are whom an identity provider vouches for.", no_args_is_help=True)
    identities.command("add", epilog="Example: todo identity add 248289761001 --user 2 --scope operator")(link)
    identities.command("list", epilog="Example: todo identity list --json")(list_identities)
    identities.command("remove", epilog="Example: todo identity remove 248289761001")(unlink)
    app.add_typer(identities, name="identity")


def add_token(  # noqa: PLR0913 - a token has this many parts
    *,
    user: User,
    name: Annotated[str, typer.Option(help="What it is for, to recognise it in the list.")] = "token",
    scope: Scopes = None,
    days: Annotated[int | None, typer.Option(min=1, max=MOST_DAYS, help="Ends after so many days; else never.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown now and never again: only its hash is kept."""
    ends = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    with_access(data, lambda it: it.add_token(user, name, _distinct(scope), ends), _made, as_json=as_json)


def list_tokens(*, data: Data = None, as_json: Json = False) -> None:
    """List every token: whose, what for, when it was last used, whether it holds."""
    with_access(data, lambda it: it.tokens(), _token_table, as_json=as_json)


def revoke(
    token: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="As `todo token list` shows it.")],
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take a token back. When the command has ended, no replica takes it any more."""
    with_access(data, lambda it: it.revoke(token), _revoked, as_json=as_json)


def link(  # noqa: PLR0913 - an identity has this many parts
    subject: Subject,
    *,
    user: User,
    issuer: Issuer,
    scope: Scopes = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say which user somebody is; again with other scopes changes those."""
    with_access(
        data,
        lambda it: it.link(user, issuer, subject, _distinct(scope)),
        lambda one: _identity_table([one]),
        as_json=as_json,
    )


def list_identities(*, data: Data = None, as_json: Json = False) -> None:
    """List who is known by which name."""
    with_access(data, lambda it: it.identities(), _identity_table, as_json=as_json)


def unlink(subject: Subject, *, issuer: Issuer, data: Data = None, as_json: Json = False) -> None:
    """Forget who somebody is. When the command has ended, no replica knows them; the user and their tasks stay."""
    with_access(
        data,
        lambda it: it.unlink(issuer, subject),
        lambda one: f"{plain(one.subject)} is user {one.user_id} no more",
        as_json=as_json,
    )


def with_access(
    data: Path | None,
    work: Callable[[Access], Awaitable[T]],
    render: Callable[[T], RenderableType],
    *,
    as_json: bool,
) -> None:
    """Do something in the system's database, and print what came of it."""

    async def run() -> int:
        try:
            async with access(database_of(data, os.environ)) as opened:
                done = await work(opened)
        except AccessError as error:
            complain(str(error))
            return Code.NO
        except NoDatabaseError as error:
            complain(str(error))
            return Code.UNREACHABLE
        if as_json:
            print_json(msgspec.json.encode(_plainly(done)))
        else:
            print_rich(render(done))
        return Code.OK

    raise typer.Exit(guarded(run, as_json=as_json))


def _plainly(done: object) -> object:
    if isinstance(done, list):
        return [_plainly(one) for one in done]
    return asdict(done) if isinstance(done, Token | Identity | Session) else done


def _distinct(scopes: Sequence[Scope] | None) -> Sequence[Scope]:
    return list(dict.fromkeys(scopes or OWN_TASKS))


def _made(new: NewToken) -> RenderableType:
    ends = f"until {new.expires_at:%Y-%m-%d %H:%M} UTC" if new.expires_at else "until it is revoked"
    told = f"token {new.id} of user {new.user_id}, good for {', '.join(new.scopes)}, {ends}; it is shown this once:"
    return Group(Text(told), Text(new.token, style="bold"))


def _revoked(token: Token) -> str:
    return f"revoked token {token.id}, {plain(token.name)}"


def _token_table(tokens: Sequence[Token]) -> RenderableType:
    if not tokens:
        return "no tokens; make one with: todo token add --user 1 --scope operator"
    table = table_of("id", "user", "name", "begins", "scopes", "made (UTC)", "last used (UTC)", "holds")
    now = dt.datetime.now(dt.UTC)
    for one in tokens:
        table.add_row(
            str(one.id), str(one.user_id), plain(one.name), one.beginning, ", ".join(one.scopes), day(one.created_at),
            day(one.last_used_at), _state(one, now),
        )  # fmt: skip
    return table


def _identity_table(identities: Sequence[Identity]) -> RenderableType:
    if not identities:
        return "nobody is known by a provider's name; add one with: todo identity add SUBJECT --user 1"
    table = table_of("user", "subject", "issuer", "scopes", "since (UTC)")
    for one in identities:
        table.add_row(
            str(one.user_id), plain(one.subject), plain(one.issuer), ", ".join(one.scopes), day(one.created_at)
        )
    return table


def table_of(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _state(token: Token, now: dt.datetime) -> str:
    if token.revoked_at:
        return f"revoked {day(token.revoked_at)}"
    if token.expires_at is None:
        return "yes"
    return f"{'until' if token.expires_at > now else 'ended'} {day(token.expires_at)}"


def day(at: dt.datetime | None) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M}" if at else ""
