"""Order among tasks: lists, places, the trash, taking changes back, many at once."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from todo.cli import show, words
from todo.cli.session import Code, Session, command, print_json, print_rich
from todo.cli.tasks import Id, InList, Parent

Which = Annotated[str, typer.Argument(metavar="LIST", help="A list: its name, id, or the beginning of that.")]
Color = Annotated[str | None, typer.Option(help="Such as #1f6feb; none for no colour.")]


class Action(StrEnum):
    EDIT = "edit"
    COMPLETE = "complete"
    REOPEN = "reopen"
    DELETE = "delete"
    MOVE = "move"


class Scope(StrEnum):
    OCCURRENCE = "occurrence"
    SERIES = "series"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    command(app, "move", example="todo move 3fa85f64 --after 8c1d22e0", with_user=True)(move)
    command(app, "dismiss", example="todo dismiss 3fa85f64 1h", with_user=True)(dismiss)
    command(app, "undo", example="todo undo", with_user=True)(undo)
    command(app, "bulk", example="""todo bulk edit 3fa85f64 8c1d22e0 --change '{"priority": 1}'""", with_user=True)(
        bulk
    )
    bin_ = typer.Typer(help="What was deleted, and bringing it back.", no_args_is_help=True)
    command(bin_, "list", example="todo trash list", with_user=True)(trash)
    command(bin_, "restore", example="todo trash restore 3fa85f64", with_user=True)(restore)
    app.add_typer(bin_, name="trash")
    lists = typer.Typer(help="Lists of tasks.", no_args_is_help=True)
    command(lists, "list", example="todo lists list", with_user=True)(list_lists)
    command(lists, "add", example="todo lists add Work --color '#1f6feb'", with_user=True)(add_list)
    command(lists, "edit", example="todo lists edit Work --name Office", with_user=True)(edit_list)
    command(lists, "delete", example="todo lists delete Work", with_user=True)(delete_list)
    app.add_typer(lists, name="lists")


async def move(
    session: Session,
    task: Id,
    *,
    after: Annotated[str | None, typer.Option(metavar="ID", help="The task it comes after; else before all.")] = None,
    list_: InList = None,
    parent: Parent = None,
) -> None:
    """Move a task in the manual order, and into a list or under a parent."""
    task_id = await session.task_id(task)
    where: dict[str, Any] = {"after": await session.task_id(after) if after else None}
    where |= await session.places(list_, parent)
    session.show(await session.api.move(session.user, task_id, where), show.changed)


async def dismiss(
    session: Session,
    task: Id,
    reminder: Annotated[str, typer.Argument(help="One of its reminders: due, 1h (before), -PT1H, or an instant.")],
) -> None:
    """Turn one reminder of a task off."""
    try:
        text = words.read_reminder(reminder)
    except words.WordsError as error:
        raise typer.BadParameter(str(error)) from None
    session.show(await session.api.dismiss(session.user, await session.task_id(task), text), show.changed)


async def trash(
    session: Session,
    *,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the next page begins, as the last one said.")] = None,
) -> None:
    """List what was deleted, the last first."""
    answer = await session.api.tasks(session.user, status="trash", limit=limit, cursor=cursor)
    session.show(answer, lambda page: show.task_list(page) if page.tasks else "the trash is empty")


async def restore(session: Session, task: Id) -> None:
    """Take a task out of the trash, with what its deletion took along."""
    answer = await session.api.restore(session.user, await session.task_id(task, "trash"))
    session.show(answer, show.changed)


async def undo(
    session: Session,
    step: Annotated[str | None, typer.Argument(metavar="STEP", help="As --show shows it; else the last one.")] = None,
    *,
    only_show: Annotated[bool, typer.Option("--show", help="List what can be taken back, and do nothing.")] = False,
) -> None:
    """Take a change back, an undo too."""
    if only_show:
        session.show(await session.api.changes(session.user, 20), show.changes)
    else:
        session.show(await session.api.undo(session.user, step), show.undone)


async def bulk(
    session: Session,
    action: Annotated[Action, typer.Argument(help="What to do.")],
    tasks: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tasks, or their beginnings.")],
    *,
    change: Annotated[str | None, typer.Option(help="Of edit and move: JSON, as the API takes it.")] = None,
    scope: Annotated[Scope | None, typer.Option(help="Of delete, for tasks that repeat.")] = None,
) -> int:
    """Do the same to many tasks; exit 1 when it could not be done to each. One `todo undo` takes all of it back."""
    body: dict[str, Any] = {"ids": [await session.task_id(one) for one in tasks], "action": action.value}
    if change is not None:
        body["change"] = _json(change)
    if scope is not None:
        body["scope"] = scope.value
    answer = await session.api.bulk(session.user, body)
    session.show(answer, show.bulk)
    return Code.OK if all(one.ok for one in answer.value.results) else Code.NO


async def list_lists(session: Session) -> None:
    """List the lists."""
    session.show(await session.api.lists(session.user), show.task_lists)


async def add_list(session: Session, name: Annotated[str, typer.Argument()], *, color: Color = None) -> None:
    """Add a list."""
    session.show(await session.api.add_list(session.user, name, color), show.one_list)


async def edit_list(
    session: Session,
    which: Which,
    *,
    name: Annotated[str | None, typer.Option()] = None,
    color: Color = None,
    after: Annotated[
        str | None, typer.Option(metavar="LIST", help="The list it comes after; none: before all.")
    ] = None,
) -> None:
    """Change a list, or its place."""
    changes: dict[str, Any] = {} if name is None else {"name": name}
    if color is not None:
        changes["color"] = None if color == "none" else color
    if after is not None:
        changes["after"] = None if after == "none" else (await session.task_list(after)).id
    if not changes:
        raise typer.BadParameter("nothing is to be changed: give --name, --color or --after")
    one = await session.task_list(which)
    session.show(await session.api.edit_list(session.user, one, changes), show.one_list)


async def delete_list(session: Session, which: Which) -> None:
    """Delete a list. Its tasks stay, and belong to no list."""
    one = await session.task_list(which)
    await session.api.delete_list(session.user, one)
    if session.as_json:
        print_json(b"null")
    else:
        print_rich(f"deleted {one.id}")


def _json(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--change is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise typer.BadParameter("""--change is a JSON object, such as '{"priority": 1}'""")
    return read
