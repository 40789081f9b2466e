"""What a closed occurrence leads to: the next date of its series, or the series' end. No clock, no memory."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

from todo.contracts import events, names
from todo.contracts.envelope import Event
from todo.contracts.events import Occurrence, OccurrenceDue, SeriesEnded, TaskSnapshot
from todo.domain.recurrence import Due, Mode, Policy, RecurrenceError, Series, next_due, parse_rule
from todo.messaging.unit import DirectUnit, Outgoing, outgoing

APP_ID: Final = names.RECURRING.app_id


async def task_event(arrived: Sequence[Event], unit: DirectUnit) -> None:
    """Tell what follows each closed occurrence. Raises `ValueError` for a series that cannot be followed."""
    unit.emit(*await asyncio.to_thread(_answers, arrived))  # an odd rule takes a fraction of a second to expand


def _answers(arrived: Sequence[Event]) -> list[Outgoing]:
    return [answer for event in arrived if (answer := _answer(event))]


def _answer(event: Event) -> Outgoing | None:
    snapshot: TaskSnapshot = event.data
    following = follow(snapshot)
    if following is None or snapshot.closed_at is None:
        return None
    return outgoing(
        APP_ID,
        names.TASK_OCCURRENCES,
        events.OCCURRENCE_DUE if isinstance(following, OccurrenceDue) else events.SERIES_ENDED,
        str(following.series_id),
        following,
        now=snapshot.closed_at,
        cause=event.traceparent,
    )


def follow(snapshot: TaskSnapshot) -> OccurrenceDue | SeriesEnded | None:
    """What follows this snapshot: nothing unless it is a closed occurrence. The same snapshot, the same answer."""
    occurrence, closed_at, closed_version = snapshot.occurrence, snapshot.closed_at, snapshot.closed_version
    if occurrence is None or closed_at is None or closed_version is None or snapshot.status == "open":
        return None
    due = next_due(
        _series(occurrence),
        seq=occurrence.position,
        due=_due(snapshot) or closed_at,
        closed_at=closed_at,
        scheduled=_moment("scheduled", occurrence.scheduled) if occurrence.scheduled else None,
    )
    place = (occurrence.series_id, occurrence.seq + 1, occurrence.generation, snapshot.task_id, closed_version)
    match due:
        case None:
            return SeriesEnded(*place)
        case dt.datetime():
            return OccurrenceDue(*place, due_at=due)
        case _:
            return OccurrenceDue(*place, due_date=due.isoformat())


def _series(occurrence: Occurrence) -> Series:
    return Series(
        _moment("start", occurrence.start),
        occurrence.zone,
        parse_rule(occurrence.rule),
        Mode(occurrence.mode),
        Policy(occurrence.policy),
    )


def _due(snapshot: TaskSnapshot) -> Due | None:
    """When it was due; a task whose due date was taken away was due when it was closed."""
    if snapshot.due_at is not None:
        return snapshot.due_at
    return _moment("due_date", snapshot.due_date) if snapshot.due_date else None


def _moment(field: str, text: str) -> Due:
    try:
        return dt.date.fromisoformat(text) if len(text) == len("YYYY-MM-DD") else dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise RecurrenceError(field, f"is {text[:40]!r}", "write an RFC 3339 instant, or YYYY-MM-DD") from error
