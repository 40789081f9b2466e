"""Views: filters saved under a name."""

from typing import Annotated

import typer

from todo.cli import show as render
from todo.cli.session import NoError, Session, command, print_json, print_rich
from todo.cli.tasks import Sort
from todo.operations.client import View

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `todo views list` shows it; upper and lower case alike.")]


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    views = typer.Typer(help="Filters saved under a name (docs/filters.md).", no_args_is_help=True)
    adding = "todo views add Urgent '!1 & (overdue | due before: +7d)'"
    command(views, "list", example="todo views list", with_user=True)(list_views)
    command(views, "add", example=adding, with_user=True)(add)
    command(views, "rename", example="todo views rename Urgent 'This week'", with_user=True)(rename)
    command(views, "remove", example="todo views remove Urgent", with_user=True)(remove)
    command(views, "show", example="todo views show Urgent", with_user=True)(show)
    app.add_typer(views, name="views")


async def list_views(session: Session) -> None:
    """List the views in their order."""
    session.show(await session.api.views(session.user), render.views)


async def add(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    filter_: Annotated[str, typer.Argument(metavar="FILTER", help="As docs/filters.md has it.")],
    *,
    sort: Annotated[Sort, typer.Option(help="How its tasks are sorted.")] = Sort.DUE,
) -> None:
    """Save a filter under a name."""
    view = {"name": name, "filter": filter_, "sort": sort.value}
    session.show(await session.api.add_view(session.user, view), render.view)


async def rename(
    session: Session, name: Name, new: Annotated[str, typer.Argument(metavar="NEW", help="What it shall be called.")]
) -> None:
    """Give a view another name."""
    view = await _find(session, name)
    session.show(await session.api.edit_view(session.user, view, {"name": new}), render.view)


async def remove(session: Session, name: Name) -> None:
    """Remove a view; its tasks stay."""
    view = await _find(session, name)
    await session.api.delete_view(session.user, view)
    if session.as_json:
        print_json(b"null")
    else:
        print_rich(f"removed {render.plain(view.name)}")


async def show(
    session: Session,
    name: Name,
    *,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the next page begins, as the last one said.")] = None,
) -> None:
    """List the tasks of a view."""
    view = await _find(session, name)
    answer = await session.api.tasks(session.user, filter=view.filter, sort=view.sort, limit=limit, cursor=cursor)
    session.show(answer, render.task_list)


async def _find(session: Session, name: str) -> View:
    views = (await session.api.views(session.user)).value.views
    wanted = " ".join(name.split()).lower()
    found = next((view for view in views if view.name.lower() == wanted), None)
    if found is None:
        known = ", ".join(view.name for view in views[:10]) or "none"
        raise NoError(f"there is no view {name!r}; there are: {render.plain(known)}")
    return found
