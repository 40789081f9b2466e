"""Answers as people read them. What others wrote is shown as text: no markup, no control characters."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from todo.contracts.pause import Pause
from todo.operations.client import (
    BulkResults,
    Changes,
    Letter,
    LetterPage,
    Mail,
    Mails,
    Pipeline,
    Reading,
    Reminder,
    Sentence,
    Step,
    Task,
    TaskList,
    TaskLists,
    TaskPage,
    Undone,
    User,
    View,
    Views,
    Why,
)
from todo.operations.watching import Told

if TYPE_CHECKING:  # importing it costs more than everything else here
    from todo.operations.verify import Report

SHORT_ID: Final = 8
_STYLES: Final = {
    "delivered": "green",
    "failed": "red",
    "open": "bold",
    "due": "yellow",
    "deferred": "yellow",
    "scheduled": "cyan",
}


def plain(text: str) -> str:
    """The text without what a terminal would obey; its lines stay."""
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)


def task_list(page: TaskPage) -> RenderableType:
    if not page.tasks:
        return "no tasks; add one with: todo add 'Water the plants' --due 'in 10m' --remind due"
    table = _table("id", "due", "title", "", "status")
    for task in page.tasks:
        marks = [*(f"#{label}" for label in task.labels), "repeats" if task.recurrence else ""]
        priority = f"!{task.priority} " if task.priority < 4 else ""  # noqa: PLR2004 - 4 is none
        table.add_row(
            str(task.id)[:SHORT_ID], due(task), plain(task.title), plain(f"{priority}{' '.join(marks)}").strip(),
            _word(task.status),
        )  # fmt: skip
    if page.next_cursor is None:
        return table
    return Group(table, Text(f"there are more: --cursor {page.next_cursor}", style="dim"))


def task(one: Task) -> RenderableType:
    """A task, whole."""
    grid = _grid()
    for name, value in _fields(one):
        grid.add_row(name, plain(value))
    return Group(grid, *([_history(one.reminder_history)] if one.reminder_history else []))


def changed(one: Task) -> RenderableType:
    """What a change led to, in a line."""
    when = f", due {due(one)}" if due(one) else ""
    return Text.assemble((str(one.id), "bold"), f"  {plain(one.title)}  ", _word(one.status), when)


def told(one: Told) -> RenderableType:
    """A change in a line."""
    change = one.change
    if change is None:
        return Text("the database is another one by now: all there is follows", style="yellow")
    what = (f"{change.kind} {str(change.id)[:SHORT_ID]}", "bold")
    if change.value is None:
        return Text.assemble(what, f"  version {change.version}  ", ("deleted", "dim"))
    name = plain(str(change.value.get("title") or change.value.get("name") or ""))
    return Text.assemble(what, f"  version {change.version}  {name}  ", _word(str(change.value.get("status", ""))))


def reading(one: Reading) -> RenderableType:
    """How a line is read, before it is saved."""
    grid = _grid()
    symbols = [f"!{one.draft['priority']}"] if "priority" in one.draft else []
    symbols += [token.text for token in one.tokens if token.kind == "list"]
    symbols += [f"#{label}" for label in one.draft.get("labels", ())]
    for name, value in (("title", one.title), ("when", one.reading), ("", " ".join(symbols))):
        if value:
            grid.add_row(name, plain(value))
    return Group(grid, *_remarks(one.remarks))


def rule(one: Sentence) -> RenderableType:
    """A sentence, its rule and its first dates."""
    grid = _grid()
    rows = {"sentence": one.sentence, "rule": one.rule, "counts from": one.mode, "closed late": one.policy}
    for name, value in (rows | {"dates": "\n".join(one.occurrences)}).items():
        grid.add_row(name, plain(value))
    return Group(grid, *_remarks(one.remarks))


def _remarks(remarks: Sequence[str]) -> list[Text]:
    return [Text(plain(remark), style="yellow") for remark in remarks]


def task_lists(found: TaskLists) -> RenderableType:
    if not found.lists:
        return "no lists; add one with: todo lists add Work"
    table = _table("id", "name", "colour")
    for one in found.lists:
        table.add_row(str(one.id)[:SHORT_ID], plain(one.name), one.color or "")
    return table


def one_list(one: TaskList) -> RenderableType:
    return Text.assemble((str(one.id), "bold"), f"  {plain(one.name)}")


def changes(found: Changes) -> RenderableType:
    """What can be taken back, the last first."""
    if not found.steps:
        return "nothing to take back"
    table = _table("id", "at (UTC)", "what", "title", "things")
    for one in found.steps:
        what = f"{'undo of ' if one.takes_back else ''}{one.what}"
        table.add_row(one.id, f"{one.at:%Y-%m-%d %H:%M:%S}", what, plain(one.title), str(one.things))
    return table


def undone(one: Undone) -> RenderableType:
    return Text(f"taken back: {one.what} of {plain(one.title)}")


def bulk(found: BulkResults) -> RenderableType:
    """How many, and each that was not done with the reason."""
    refused = [one for one in found.results if one.problem]
    reasons = [Text(f"{one.id}  {plain(one.problem.detail)}", style="red") for one in refused if one.problem]
    return Group(Text(f"done: {len(found.results) - len(refused)} of {len(found.results)}"), *reasons)


def due(one: Task) -> str:
    """When a task is due, in its own zone."""
    if one.due_date:
        return one.due_date.isoformat()
    return "" if one.due_at is None else f"{one.due_at.astimezone(_zone(one.zone)):%Y-%m-%d %H:%M %Z}"


def why(story: Why) -> RenderableType:
    """The timeline, then what became of each reminder."""
    table = _table("at (UTC)", "after", "where", "what")
    first = story.timeline[0].at if story.timeline else None
    for step in story.timeline:
        table.add_row(f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], _after(first, step.at), step.where, _what(step))
    silent = [Text(f"{app} did not answer: its part is missing", style="yellow") for app in story.did_not_answer]
    state = f"{'deleted, ' if story.task.deleted else ''}{story.task.status}"
    heading = Text.assemble((plain(story.task.title), "bold"), f"  {story.task.id}  {state}")
    history: list[RenderableType] = ["", _history(story.reminders)] if story.reminders else []
    return Group(heading, "", table, *silent, *history)


def views(found: Views) -> RenderableType:
    if not found.views:
        return "no views; save one with: todo views add Urgent '!1 & (overdue | due before: +7d)'"
    table = _table("name", "filter", "sorted by")
    for one in found.views:
        table.add_row(plain(one.name), plain(one.filter), one.sort)
    return table


def view(one: View) -> RenderableType:
    return Text.assemble((plain(one.name), "bold"), f"  {plain(one.filter)}  sorted by {one.sort}")


def users(found: Sequence[User]) -> RenderableType:
    table = _table("id", "address", "name", "time zone")
    for user in found:
        table.add_row(str(user.id), plain(user.email), plain(user.name), user.zone)
    return table


def letters(page: LetterPage) -> RenderableType:
    if not page.dead_letters:
        return "no dead letters"
    table = _table("id", "parked at (UTC)", "app", "topic", "status", "error")
    for one in page.dead_letters:
        error = plain(one.error.splitlines()[0] if one.error else "")
        table.add_row(str(one.id), _instant(one.parked_at), one.app, one.topic, _word(one.status), error)
    more = [Text(f"there are more: --cursor {page.next_cursor}", style="dim")] if page.next_cursor else []
    return Group(table, *more)


def letter(one: Letter) -> RenderableType:
    grid = _grid()
    rows = {
        "dead letter": str(one.id),
        "status": f"{one.status}, {one.replays} replays",
        "app": one.app,
        "topic": one.topic,
        "event": f"{one.event_id} ({one.event_type or 'no type'})",
        "subject": one.subject,
        "error": one.error,
        "attempts": str(one.attempts),
        "parked at": f"{_instant(one.parked_at)} UTC",
        "size": f"{one.size:,} bytes, sha256 {one.sha256}",
    }
    for name, value in rows.items():
        grid.add_row(name, plain(value))
    body: list[RenderableType] = ["", Text(plain(one.body))] if one.body else []
    return Group(grid, *body)


def mails(page: Mails) -> RenderableType:
    if not page.messages:
        return "the mailbox is empty"
    table = _table("id", "received (UTC)", "to", "subject")
    for one in page.messages:
        recipients = ", ".join(address.address for address in one.To)
        received = _instant(one.Created) if one.Created else ""
        table.add_row(one.ID[:SHORT_ID], received, plain(recipients), plain(one.Subject))
    return Group(table, Text(f"{len(page.messages)} of {page.total}", style="dim"))


def mail(one: Mail) -> RenderableType:
    grid = _grid()
    grid.add_row("from", plain(f"{one.From.name} <{one.From.address}>"))
    grid.add_row("to", plain(", ".join(address.address for address in one.To)))
    grid.add_row("subject", plain(one.Subject))
    grid.add_row("message id", plain(one.MessageID))
    return Group(grid, "", Text(plain(one.Text.replace("\r\n", "\n"))))


def _depth(events: int) -> str:
    """Services count an outbox up to 10,001."""
    return str(events) if events <= 10_000 else "more than 10,000"  # noqa: PLR2004 - see messaging/outbox.py


def pipeline(state: Pipeline) -> RenderableType:
    grid = _grid()
    held = state.schedule
    rows = {
        "outbox": f"{_depth(state.outbox.depth)} events, the oldest {state.outbox.oldest_seconds:.1f} s old"
        + _paused(state.outbox.paused),
        "schedule": _counts(held.states) if held else "notification-service does not answer",
        "next reminder": f"{_instant(held.next_fire)} UTC" if held and held.next_fire else "none",
        "overdue since": f"{_instant(held.oldest_overdue)} UTC" if held and held.oldest_overdue else "nothing is",
        "schedule's outbox": f"{_depth(held.outbox_depth)} events{_paused(held.relay_paused)}" if held else "",
        "dead letters": _counts(state.dead_letters),
        "sidecar": "ready" if state.sidecar_ready else "away: events wait in the outbox",
    }
    for name, value in rows.items():
        grid.add_row(name, value)
    return grid


def _paused(held: Pause | None) -> str:
    return f"; {held.text}" if held else ""


def report(verdict: "Report") -> RenderableType:
    """The verdict of `todo verify`."""
    looked = ", ".join(f"{count:,} {what}" for what, count in verdict.looked_at.items())
    if verdict.agree:
        return Text.assemble(("everything agrees", "green"), f": {looked}")
    table = _table("what", "about", "detail")
    for one in verdict.findings:
        table.add_row(Text(one.kind, style="red"), plain(one.subject), plain(one.detail))
    count = len(verdict.findings)
    summary = Text(f"{count} disagreement{'s' if count > 1 else ''} in {looked}", style="red")
    return Group(table, summary)


def _fields(one: Task) -> Iterable[tuple[str, str]]:
    repeats = one.recurrence
    rows = {
        "id": str(one.id),
        "title": one.title,
        "status": one.status + (f" at {_instant(one.closed_at)} UTC" if one.closed_at else ""),
        "due": due(one),
        "priority": str(one.priority),
        "labels": ", ".join(one.labels),
        "reminders": ", ".join(one.reminders),
        "repeats": f"{repeats.rule}, occurrence {repeats.seq}{', ended' if repeats.ended else ''}" if repeats else "",
        "version": str(one.version),
        "notes": one.notes,
    }
    return ((name, value) for name, value in rows.items() if value)


def _history(reminders: Sequence[Reminder]) -> RenderableType:
    table = _table("reminder", "fires at (UTC)", "state", "attempts")
    for one in reminders:
        told = [f"{each.attempt}: {each.outcome} {each.reason}".strip() for each in one.attempts]
        table.add_row(one.reminder, _instant(one.fire_at), _word(one.state), plain("\n".join(told)))
    return table


def _what(step: Step) -> Text:
    details = {"reminder": step.reminder, "attempt": step.attempt, "to": step.recipient, "id": step.message_id}
    told = "  ".join(f"{name} {value}" for name, value in details.items() if value not in {None, ""})
    version = f" version {step.version}" if step.version else ""
    return Text.assemble(plain(step.what) + version, (f"  {plain(told)}" if told else "", "dim"))


def _after(first: dt.datetime | None, at: dt.datetime) -> str:
    seconds = (at - first).total_seconds() if first else 0.0
    return f"{seconds:+.3f} s" if abs(seconds) < 3600 else f"{dt.timedelta(seconds=round(seconds))}"  # noqa: PLR2004


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items()) or "empty"


def _instant(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def _zone(name: str | None) -> dt.tzinfo:
    try:
        return ZoneInfo(name) if name else dt.UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return dt.UTC


def _word(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
