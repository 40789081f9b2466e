"""What backend does when events and jobs arrive."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from todo.backend import commands, telling
from todo.backend.commands import Context
from todo.backend.store import answers, deliveries, letters, steps, tasks
from todo.contracts import envelope, events, names
from todo.contracts.clock import Clock
from todo.contracts.envelope import Event
from todo.contracts.events import EventParked, OccurrenceDue, SeriesEnded
from todo.dapr.subscriber import Deliver
from todo.domain import task as task_rules
from todo.domain.due import Due
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging import parking
from todo.messaging.consumer import Handler
from todo.messaging.unit import Database, Transaction

log = structlog.get_logger()

SERIES_GRACE: Final = dt.timedelta(minutes=1)  # what an occurrence may take before its series is reconciled
PAGE: Final = 200


async def delivery_outcomes(told: Sequence[Event], unit: Transaction) -> None:
    """Keep what became of reminders."""
    await deliveries.record(unit.connection, told)


def occurrences(epoch: Callable[[], int]) -> Handler[Transaction]:
    """A handler that makes the occurrences recurring-service has dated, and ends the series it has ended."""

    async def handle(told: Sequence[Event], unit: Transaction) -> None:
        for event in sorted(told, key=lambda one: (one.data.series_id, one.data.seq)):
            await _occurrence(event, unit, Context(epoch(), unit.now, event.traceparent))

    return handle


async def parked(told: Sequence[Event], unit: Transaction) -> None:
    """Keep the letters that other apps have written."""
    await letters.put(unit.connection, [event.data for event in told], unit.now)


async def park(own: Sequence[EventParked], unit: Transaction) -> None:
    """Keep letters of backend's own, with no detour over the broker."""
    await letters.put(unit.connection, own, unit.now)


def undelivered(database: Database, app_id: str, topic: str) -> Deliver:
    """Take what a sidecar gave up on: bytes that no handler of `app_id` ever accepted."""

    async def deliver(originals: Sequence[bytes]) -> None:
        async with database.transaction() as unit:
            written = [_undelivered(app_id, topic, original, unit.now) for original in originals]
            await letters.put(unit.connection, written, unit.now)

    return deliver


async def reconcile_series(database: Database, epoch: int, clock: Clock) -> None:
    """Tell again of closed occurrences whose successor never came; recurring-service dates them again."""
    await answers.forget_old(database.pool, clock())
    await steps.forget_old(database.pool, clock())
    after = None
    while True:
        async with database.transaction() as unit:
            found = await tasks.orphans(unit.connection, unit.now - SERIES_GRACE, after, PAGE)
            series = await tasks.series_of(unit.connection, [task.series_id for task in found if task.series_id])
            for task in found:
                unit.emit(telling.again(task, series.get(task.series_id) if task.series_id else None, epoch, unit.now))
        if found:
            log.info("series reconciled", tasks=len(found))
        if len(found) < PAGE:
            return
        after = found[-1].id


async def _occurrence(event: Event, unit: Transaction, context: Context) -> None:
    said: OccurrenceDue | SeriesEnded = event.data
    series = await tasks.series(unit.connection, said.series_id, lock=True)
    predecessor = await tasks.by_id(unit.connection, said.predecessor, lock=True)
    if reason := _objection(said, series, predecessor):
        await _decline(said, unit, reason)
        return
    if series is None or predecessor is None:
        raise AssertionError("an objection was due")
    there = await tasks.occurrence(unit.connection, series.id, said.seq)
    if there is not None and not there.withdrawn:
        return  # made before; a tombstone counts, so what was deleted stays deleted
    if isinstance(said, SeriesEnded):
        await tasks.update_series(unit.connection, replace(series, ended_seq=said.seq))
    else:
        await _make(unit, context, series, predecessor, said, there)


def _objection(said: OccurrenceDue | SeriesEnded, series: TaskSeries | None, predecessor: Task | None) -> str:
    """Why this does not apply, or nothing."""
    if series is None or predecessor is None or predecessor.series_id != said.series_id:
        return "the series or its predecessor is not here"
    if isinstance(said, OccurrenceDue) and series.ended_seq == said.seq:
        return "the series has ended"
    objections = {
        "the series was deleted": series.deleted,
        "the series has ended": series.ended_seq is not None and series.ended_seq != said.seq,
        f"it was dated under generation {said.generation}, not {series.generation}": (
            series.generation != said.generation
        ),
        f"its predecessor is not closed by version {said.closed_version} any more": (
            predecessor.closed_version != said.closed_version
        ),
        f"it does not follow occurrence {predecessor.seq}": (predecessor.seq or 0) + 1 != said.seq,
    }
    return next((reason for reason, holds in objections.items() if holds), "")


async def _decline(said: OccurrenceDue | SeriesEnded, unit: Transaction, reason: str) -> None:
    log.info("occurrence declined", series_id=str(said.series_id), seq=said.seq, reason=reason)
    await tasks.decline(
        unit.connection,
        said.series_id,
        said.seq,
        generation=said.generation,
        closed_version=said.closed_version,
        reason=reason,
        now=unit.now,
    )


async def _make(  # noqa: PLR0913 - all that an occurrence comes from
    unit: Transaction,
    context: Context,
    series: TaskSeries,
    predecessor: Task,
    said: OccurrenceDue,
    withdrawn: Task | None,
) -> None:
    """Make the occurrence, or bring back the withdrawn one; with the subtasks of its predecessor, open again."""
    made = task_rules.successor(predecessor, said.seq, _due(said, series.start.zone), context.now)
    await _put(unit, context, series, made, withdrawn)
    below = await tasks.subtasks(unit.connection, made.id, lock=True) if withdrawn else []
    made_before = {one.id: one for one in below}
    for one in await tasks.subtasks(unit.connection, predecessor.id):
        if not one.deleted or one.deleted_with == predecessor.id:
            copy = task_rules.subtask_of_successor(one, predecessor, made, context.now)
            await _put(unit, context, None, copy, made_before.get(copy.id))


async def _put(
    unit: Transaction, context: Context, series: TaskSeries | None, made: Task, withdrawn: Task | None
) -> None:
    if withdrawn is None:
        change = telling.change(
            events.TASK_CREATED, made, series, epoch=context.epoch, now=context.now, cause=context.cause
        )
        unit.tells = True
        await tasks.insert(unit.connection, made, change, context.now)
    elif withdrawn.withdrawn:
        revived = task_rules.revive(withdrawn, made, context.now)
        await commands.store_all(unit, context, events.TASK_UPDATED, [(revived, series)])


def _due(said: OccurrenceDue, zone: str) -> Due:
    date = dt.date.fromisoformat(said.due_date) if said.due_date else None
    if (said.due_at is None) == (date is None):
        raise ValueError("an occurrence is due at an instant or on a day")
    return Due(zone, at=said.due_at, date=date)


def _undelivered(app_id: str, topic: str, original: bytes, now: dt.datetime) -> EventParked:
    reason = "the app did not accept it for as long as its sidecar tried"
    read = envelope.decode(original, topic)
    if isinstance(read, envelope.Unreadable):
        return parking.letter(app_id, read, f"{reason}; {read.reason}", 0, now)
    if isinstance(read, envelope.Probe):
        read = envelope.Unreadable(read.id, events.PROBE, topic, "", 0, original, reason)
    return parking.letter(app_id, read, reason, 0, now)


HANDLED: Final[dict[str, Handler[Transaction]]] = {
    names.REMINDER_DELIVERIES: delivery_outcomes,
    names.DEAD_LETTERS: parked,
}
