"""For the person who runs it: mails, dead letters, users, the pipeline, and whether everything agrees."""

from enum import StrEnum
from typing import Annotated

import typer

from todo.cli import accounts, show
from todo.cli.session import Code, NoError, Session, command
from todo.operations.client import Mailbox, NoAnswerError, UnreachableError

LetterId = Annotated[int, typer.Argument(metavar="ID", help="As `todo dead-letters list` shows it.")]


class LetterStatus(StrEnum):
    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    command(app, "mailbox", example="todo mailbox latest")(mailbox)
    command(app, "pipeline", example="todo pipeline --json")(pipeline)
    command(app, "verify", example="todo verify --wait 30")(verify)
    letters = typer.Typer(help="Events that could not be processed.", no_args_is_help=True)
    command(letters, "list", example="todo dead-letters list --status all")(list_letters)
    command(letters, "show", example="todo dead-letters show 7")(show_letter)
    command(letters, "replay", example="todo dead-letters replay 7")(replay)
    command(letters, "discard", example="todo dead-letters discard 7")(discard)
    app.add_typer(letters, name="dead-letters")
    users = typer.Typer(help="Who owns tasks and gets reminders.", no_args_is_help=True)
    command(users, "add", example="todo user add somebody@example.org --zone Europe/Berlin")(add_user)
    command(users, "list", example="todo user list --json")(list_users)
    accounts.register(app, users)
    app.add_typer(users, name="user")


async def mailbox(
    session: Session,
    mail: Annotated[str | None, typer.Argument(help="Show this one: its id, the beginning of it, or latest.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """List the mails in the development mailbox, or show one."""
    box = session.mailbox
    if box is None:
        raise NoError("there is no development mailbox here: mails go to a real server (TODO_MAILBOX names another)")
    try:
        if mail is None:
            session.show(await box.mails(limit), show.mails)
        else:
            session.show(await box.mail(await _mail_id(box, mail)), show.mail)
    except UnreachableError as error:
        raise NoAnswerError(f"no mailbox answers at {error.url} ({error.reason})") from error


async def pipeline(session: Session) -> None:
    """Show where events are right now."""
    session.show(await session.api.pipeline(), show.pipeline)


async def verify(
    session: Session,
    *,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to give what is under way.")] = 5.0,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that a reminder or an event may be late.")] = 10.0,
) -> int:
    """Compare tasks, events, schedule, outcomes and mails; exit 1 with the list when they disagree."""
    from todo.operations import verify as verification  # noqa: PLC0415 - slower to import than all the rest

    with session.progress("asking every service ..."):
        report = await verification.verify(session.place, wait=wait, grace=grace)
    session.show(verification.answer(report), show.report)
    return Code.OK if report.agree else Code.NO


async def list_letters(
    session: Session,
    *,
    status: Annotated[LetterStatus, typer.Option(help="Which.")] = LetterStatus.OPEN,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the next page begins, as the last one said.")] = None,
) -> None:
    """List dead letters, newest first."""
    session.show(await session.api.letters(status.value, limit, cursor), show.letters)


async def show_letter(session: Session, letter: LetterId) -> None:
    """Show a dead letter: who failed, why, and the event."""
    session.show(await session.api.letter(letter), show.letter)


async def replay(session: Session, letter: LetterId) -> None:
    """Send the event again; if it fails again, the letter opens again."""
    session.show(await session.api.replay(letter), show.letter)


async def discard(session: Session, letter: LetterId) -> None:
    """Close a dead letter for good."""
    session.show(await session.api.discard(letter), show.letter)


async def add_user(
    session: Session,
    email: Annotated[str, typer.Argument(help="Where reminders go.")],
    *,
    name: Annotated[str, typer.Option(help="How mails address them.")] = "",
    zone: Annotated[str, typer.Option(help="Their IANA time zone.")] = "UTC",
) -> None:
    """Add a user."""
    session.show(await session.api.add_user(email, name, zone), lambda user: show.users([user]))


async def list_users(session: Session) -> None:
    """List every user."""
    session.show(await session.api.users(), show.users)


async def _mail_id(box: Mailbox, text: str) -> str:
    if text == "latest":
        return text
    found = [one.ID for one in (await box.mails(limit=1000)).value.messages if one.ID.startswith(text)]
    if len(found) > 1 and text not in found:
        raise NoError(f"{len(found)} mails begin with {text}: give more of it")
    return found[0] if len(found) == 1 else text
