"""What is typed as words: a line as a task, a sentence as a rule."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from todo.cli import show as render
from todo.cli.session import Code, Session, command, print_json, print_rich
from todo.cli.tasks import DueText, Zone, due_of

_RENT = "pay rent every last day of month 9am #home !1 remind 1h"


class Language(StrEnum):
    ENGLISH = "en"
    GERMAN = "de"


Spoken = Annotated[Language, typer.Option("--language", "-l", envvar="TODO_LANGUAGE", help="Of what is typed.")]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    command(app, "quick", example=f"todo quick '{_RENT}'", with_user=True)(quick)
    command(app, "sentence", example="todo sentence 'every Monday and Thursday'", with_user=True)(sentence)


async def quick(
    session: Session,
    text: Annotated[list[str], typer.Argument(help="What is to be done, when, and the rest of it, in one line.")],
    *,
    zone: Zone = None,
    language: Spoken = Language.ENGLISH,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Save it without asking.")] = False,
) -> int:
    """Add a task from one line of text. How it is read is shown first; what is not understood stays in the title.

    With --json and without --yes the reading is all: nothing is saved.
    """
    read = await session.api.quick_add(session.user, " ".join(text), zone, language.value)
    if session.as_json and not yes:
        print_json(read.body)
        return Code.OK
    if not session.as_json:
        print_rich(render.reading(read.value))
    if not yes and not _is_wanted():
        return Code.NO
    draft = read.value.draft | ({} if session.user is None else {"user_id": session.user})
    session.show(await session.api.add_task(draft), render.changed)
    return Code.OK


async def sentence(
    session: Session,
    text: Annotated[list[str], typer.Argument(help="How something repeats, or an RRULE.")],
    *,
    due: DueText = None,
    zone: Zone = None,
    language: Spoken = Language.ENGLISH,
) -> None:
    """Tell the rule that a sentence means, or the sentence of a rule, and its first dates."""
    start = due_of(due, zone) if due is not None else {}
    given = {"text": " ".join(text), "language": language.value, "zone": zone} | start
    session.show(await session.api.sentence(session.user, given), render.rule)


def _is_wanted() -> bool:
    if not sys.stdin.isatty():
        sys.stderr.write("nothing is saved: give --yes to save it without being asked\n")
        return False
    return typer.confirm("Add it?", default=True)
