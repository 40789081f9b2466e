"""Tasks: add, list, show, edit, close, put off, delete, why, and what changes."""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from todo.cli import show as render
from todo.cli import words
from todo.cli.session import Session, command, print_json, print_rich
from todo.operations import watching
from todo.operations.client import Recurrence

T = TypeVar("T")

NONE: Final = "none"

Id = Annotated[str, typer.Argument(metavar="ID", help="A task's id, or the beginning of it.")]
Title = Annotated[str, typer.Argument(help="What is to be done.")]
DueText = Annotated[
    str | None,
    typer.Option("--due", help="now, 'in 10m', 'tomorrow 09:00', 2030-05-01 or 2030-05-01T09:00+02:00."),
]
Zone = Annotated[str | None, typer.Option(help="IANA time zone of times without an offset; else the user's.")]
Remind = Annotated[
    list[str] | None,
    typer.Option("--remind", help="due, 1h (before), -PT1H, or an instant; again for more."),
]
Repeat = Annotated[str | None, typer.Option(help="daily, weekdays, weekly, monthly, yearly, or an RFC 5545 rule.")]
Mode = Annotated[
    bool | None, typer.Option("--from-completion/--from-due", help="Count from completion, or from the due date.")
]
Each = Annotated[
    bool | None, typer.Option("--each/--skip", help="Closed late: take every missed date, or the next to come.")
]
Priority = Annotated[int | None, typer.Option(min=1, max=4, help="1 is the most urgent, 4 is none.")]
Label = Annotated[list[str] | None, typer.Option("--label", help="Again for more.")]
Start = Annotated[str | None, typer.Option("--start", help="When it can begin, written as --due is.")]
InList = Annotated[str | None, typer.Option("--list", metavar="LIST", help="A list: its name, id, or its beginning.")]
Parent = Annotated[str | None, typer.Option("--parent", metavar="ID", help="The task it is a subtask of.")]
Notes = Annotated[str | None, typer.Option(help="Text of any lines.")]


class Status(StrEnum):
    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"
    ALL = "all"
    TRASH = "trash"


class Sort(StrEnum):
    CREATED = "created"
    DUE = "due"
    PRIORITY = "priority"
    TITLE = "title"


def register(app: typer.Typer) -> None:
    """Give the app these commands."""
    listing = "todo list --filter '#home & (overdue | due before: +7d)' --sort due"
    command(app, "add", example="todo add 'Pay rent' --due 'tomorrow 09:00' --remind 1h", with_user=True)(add)
    command(app, "list", example=listing, with_user=True)(list_tasks)
    command(app, "show", example="todo show 3fa85f64", with_user=True)(show)
    command(app, "edit", example="todo edit 3fa85f64 --due 'in 2h' --label none", with_user=True)(edit)
    command(app, "done", example="todo done 3fa85f64", with_user=True)(done)
    command(app, "reopen", example="todo reopen 3fa85f64", with_user=True)(reopen)
    command(app, "snooze", example="todo snooze 3fa85f64 'in 10m'", with_user=True)(snooze)
    command(app, "delete", example="todo delete 3fa85f64 --occurrence", with_user=True)(delete)
    command(app, "why", example="todo why 3fa85f64", with_user=True)(why)
    command(app, "watch", example="todo watch --json | jq .value.title", with_user=True)(watch)


async def add(  # noqa: PLR0913 - a task has this many parts
    session: Session,
    title: Title,
    *,
    due: DueText = None,
    zone: Zone = None,
    remind: Remind = None,
    repeat: Repeat = None,
    from_completion: Mode = None,
    each: Each = None,
    priority: Priority = None,
    label: Label = None,
    notes: Notes = None,
    start: Start = None,
    list_: InList = None,
    parent: Parent = None,
) -> None:
    """Add a task."""
    _check_repeat(repeat, from_completion, each)
    draft: dict[str, Any] = {"title": title}
    draft |= _given(user_id=session.user, zone=zone, priority=priority, labels=label, notes=notes)
    if due is not None:
        draft |= due_of(due, zone)
    if start is not None:
        draft |= _start(start, zone)
    draft |= await session.places(list_, parent)
    if remind:
        draft["reminders"] = _reminders(remind)
    if repeat is not None:
        draft["recurrence"] = _recurrence(repeat, from_completion=from_completion, each=each)
    session.show(await session.api.add_task(draft), render.changed)


async def list_tasks(  # noqa: PLR0913 - filters
    session: Session,
    *,
    status: Annotated[
        Status | None, typer.Option(help="Which: open, unless the filter says is: or closed.", show_default=False)
    ] = None,
    filter_: Annotated[str | None, typer.Option("--filter", "-f", help="As docs/filters.md has it.")] = None,
    label: Annotated[str | None, typer.Option(help="Only those with this label.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Words in title or notes.")] = None,
    sort: Annotated[Sort, typer.Option(help="Newest, soonest due, most urgent or by title first.")] = Sort.CREATED,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Where the next page begins, as the last one said.")] = None,
    list_: InList = None,
    parent: Parent = None,
) -> None:
    """List tasks."""
    query: dict[str, object] = {
        "status": status.value if status else None,
        "label": label,
        "q": search,
        "filter": filter_,
        "sort": sort.value,
        "limit": limit,
        "cursor": cursor,
    }
    query |= await session.places(list_, parent)
    answer = await session.api.tasks(session.user, **query)
    session.show(answer, render.task_list)


async def show(session: Session, task: Id) -> None:
    """Show a task and what became of its reminders."""
    answer = await session.api.task(session.user, await session.task_id(task))
    session.show(answer, render.task)


async def edit(  # noqa: PLR0913 - a task has this many parts
    session: Session,
    task: Id,
    *,
    title: Annotated[str | None, typer.Option()] = None,
    due: DueText = None,
    zone: Zone = None,
    remind: Remind = None,
    repeat: Repeat = None,
    from_completion: Mode = None,
    each: Each = None,
    priority: Priority = None,
    label: Label = None,
    notes: Notes = None,
    start: Start = None,
    list_: InList = None,
    parent: Parent = None,
) -> None:
    """Change what is given, and leave the rest.

    `none` clears due, start, remind, repeat, label, notes, list and parent.
    """
    _check_repeat(repeat, from_completion, each)
    changes = _given(title=title, zone=zone, priority=priority)
    if due is not None:
        changes |= {"due_at": None, "due_date": None} if due == NONE else due_of(due, zone)
    if start is not None:
        changes |= {"start_at": None, "start_date": None} if start == NONE else _start(start, zone)
    changes |= await session.places(list_, parent)
    if remind:
        changes["reminders"] = [] if remind == [NONE] else _reminders(remind)
    if label:
        changes["labels"] = [] if label == [NONE] else label
    if notes is not None:
        changes["notes"] = "" if notes == NONE else notes
    if not changes and repeat is None:
        raise typer.BadParameter("nothing is to be changed: give --title, --due, --remind or another of its parts")
    task_id = await session.task_id(task)
    known = (await session.api.task(session.user, task_id)).value
    if repeat is not None:
        rule = _recurrence(repeat, from_completion=from_completion, each=each, known=known.recurrence)
        changes["recurrence"] = None if repeat == NONE else rule
    session.show(await session.api.edit(session.user, task_id, changes, known.version), render.changed)


async def done(session: Session, task: Id) -> None:
    """Complete a task; of one that repeats the next occurrence comes."""
    answer = await session.api.complete(session.user, await session.task_id(task))
    session.show(answer, render.changed)


async def reopen(session: Session, task: Id) -> None:
    """Open a closed task again."""
    answer = await session.api.reopen(session.user, await session.task_id(task))
    session.show(answer, render.changed)


async def snooze(
    session: Session,
    task: Id,
    until: Annotated[str, typer.Argument(help="When: 'in 10m', 'tomorrow 09:00' (in the task's zone), or an instant.")],
    reminder: Annotated[str | None, typer.Option(help="The reminder this replaces, if it is still to come.")] = None,
) -> None:
    """Remind once more, later."""
    replaced = _reminders([reminder])[0] if reminder else None
    task_id = await session.task_id(task)
    zone = (await session.api.task(session.user, task_id)).value.zone
    at = _read(lambda: words.read_instant(until, _now(zone), _zone(zone)))
    answer = await session.api.snooze(session.user, task_id, at, replaced)
    session.show(answer, render.changed)


async def delete(
    session: Session,
    task: Id,
    *,
    occurrence: Annotated[
        bool, typer.Option("--occurrence", help="Of one that repeats only this; the next comes.")
    ] = False,
    series: Annotated[bool, typer.Option("--series", help="Of one that repeats this and all to come.")] = False,
) -> None:
    """Delete a task. Of one that repeats, say how much."""
    if occurrence and series:
        raise typer.BadParameter("give --occurrence or --series, not both")
    scope = "occurrence" if occurrence else "series" if series else None
    task_id = await session.task_id(task)
    await session.api.delete(session.user, task_id, scope)
    if session.as_json:
        print_json(b"null")
    else:
        print_rich(f"deleted {task_id}")


async def why(session: Session, task: Id) -> None:
    """Tell what happened to a task and its reminders, and if no mail went out, why not."""
    answer = await session.api.why(session.user, await session.task_id(task))
    session.show(answer, render.why)


async def watch(
    session: Session,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Begin with all there is, not with the next change.")
    ] = False,
    cursor: Annotated[str | None, typer.Option(help="Go on after this one, as --json shows it.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many changes.")] = None,
) -> None:
    """Print changes as they come, until Ctrl-C. With --json each is a line, with the cursor to go on after it."""
    begin = cursor or (None if everything else watching.NOW)
    seen = 0
    with suppress(asyncio.CancelledError):  # Ctrl-C
        async with aclosing(watching.follow(session.api, session.user, begin)) as changes:
            async for told in changes:
                if session.as_json:
                    print_json(told.line)
                else:
                    print_rich(render.told(told))
                sys.stdout.flush()
                seen += told.change is not None
                if seen == count:
                    return


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _recurrence(
    repeat: str, *, from_completion: bool | None, each: bool | None, known: Recurrence | None = None
) -> dict[str, str]:
    """What is repeated and how; what is not said stays as it is `known`."""
    mode = known.mode if known else "due"
    policy = known.policy if known else "skip"
    if from_completion is not None:
        mode = "completion" if from_completion else "due"
    if each is not None:
        policy = "each" if each else "skip"
    return {"rule": words.read_rule(repeat), "mode": mode, "policy": policy}


def _check_repeat(repeat: str | None, *how: bool | None) -> None:
    if repeat in {None, NONE} and any(one is not None for one in how):
        raise typer.BadParameter("--from-completion and --each say how a rule repeats: give --repeat too")


def _reminders(given: list[str]) -> list[str]:
    return [_read(partial(words.read_reminder, one)) for one in given]


def due_of(text: str, zone: str | None) -> dict[str, Any]:
    """The API's `due_at` or `due_date`."""
    return _read(lambda: words.read_due(text, _now(zone)))


def _start(text: str, zone: str | None) -> dict[str, Any]:
    return {name.replace("due", "start"): value for name, value in due_of(text, zone).items()}


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except words.WordsError as error:
        raise typer.BadParameter(str(error)) from None


def _now(zone: str | None) -> dt.datetime:
    """Now, in the zone that today means."""
    return dt.datetime.now(dt.UTC).astimezone(_zone(zone))


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is not an IANA time zone, such as Europe/Berlin") from None
