"""What happens on a snapshot, on an outcome, and when it is time: one function each."""

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID, uuid5

from msgspec.structs import replace

from todo.contracts import events, names
from todo.contracts.envelope import Event
from todo.contracts.events import Outcome, ReminderDue, ReminderInstance, ReminderOutcome, TaskSnapshot
from todo.messaging.unit import Database, Outgoing, Transaction, outgoing
from todo.notification import metrics, schedule, store
from todo.notification.schedule import Reminder, State
from todo.notification.store import Key

APP_ID: Final = names.NOTIFICATION.app_id
CLAIM: Final = 500
HEARD_AFTER: Final = dt.timedelta(minutes=2)  # what an outcome may take to backend
LONGEST_PAUSE: Final = dt.timedelta(hours=1)  # between two questions whether it has

Snapshots = Iterable[tuple[TaskSnapshot, str]]  # each with the traceparent of what brought it


async def task_event(arrived: Sequence[Event], tx: Transaction) -> None:
    """Bring the schedule to the newest snapshots; those not newer than what was seen change nothing."""
    await apply_snapshots(tx, ((event.data, event.traceparent) for event in arrived))


async def apply_snapshots(tx: Transaction, snapshots: Snapshots) -> int:
    """Apply every snapshot whose (epoch, version) is news; returns how many were."""
    newest = _newest(snapshots)
    news = await store.know_tasks(tx, (snapshot for snapshot, _ in newest.values()))
    if not news:
        return 0
    rows = await store.lock_of_tasks(tx, news)
    changed = [after for task_id in news for after in _changes(rows, *newest[task_id], tx)]
    await store.save(tx, changed)
    tx.emit(*(_announcement(row, tx, row.traceparent) for row in changed if row.state is State.SKIPPED))
    return len(news)


async def lose_tasks(tx: Transaction, after: UUID | None, last: UUID | None, there: Sequence[UUID], epoch: int) -> int:
    """Let go of tasks that backend does not have any more: it was restored from before they were. Returns how many."""
    lost = await store.lose_tasks(tx, after, last, there, epoch)
    rows = await store.lock_of_tasks(tx, lost)
    unwanted = [(row, schedule.unwanted(row, tx.now)) for row in rows.values()]
    await store.save(tx, [after for before, after in unwanted if after is not before])
    return len(lost)


async def delivery_outcome(arrived: Sequence[Event], tx: Transaction) -> None:
    """Close what was delivered, suppressed or refused, schedule again what was put off. Old outcomes change nothing."""
    await apply_outcomes(tx, [(event.data, event.traceparent) for event in arrived])


async def apply_outcomes(tx: Transaction, outcomes: Sequence[tuple[ReminderOutcome, str]]) -> None:
    """Apply outcomes, each with the traceparent of what brought it.

    One of an instance that is not known is remembered: this schedule made it before it was restored from a backup.
    """
    arrived = {_key(outcome): traceparent for outcome, traceparent in outcomes}
    rows = await store.lock(tx, arrived)
    if forgotten := arrived.keys() - rows.keys():
        await store.add(tx, [schedule.forgotten(*key, arrived[key], tx.now) for key in sorted(forgotten)])
        rows |= await store.lock(tx, forgotten)
    states = {key: row.state for key, row in rows.items()}
    changed: dict[Key, Reminder] = {}
    for outcome, traceparent in outcomes:
        key = _key(outcome)
        after = schedule.settled(rows[key], outcome, tx.now)
        if after is rows[key]:
            continue
        rows[key] = changed[key] = after
        if after.state is State.FAILED and outcome.outcome is not Outcome.FAILED:
            tx.emit(_announcement(after, tx, traceparent))
    await store.save(tx, list(changed.values()))
    _count_ends(row for key, row in changed.items() if row.state is not states[key])


async def dispatch_due(database: Database) -> int:
    """Send what is due on its way: claimed, counted and in the outbox in one transaction. Returns how many."""
    async with database.transaction() as tx:
        due = await store.claim_due(tx, CLAIM)
        await _dispatch(tx, [schedule.dispatched(row, tx.now) for row in due])
    for row in due:
        metrics.lateness.observe(max(0.0, (tx.now - (row.next_at or tx.now)).total_seconds()))
    return len(due)


async def chase_unanswered(database: Database) -> int:
    """Dispatch again what nobody answered, or end it. Returns how many were looked at."""
    async with database.transaction() as tx:
        claimed = await store.claim_unanswered(tx, CLAIM)
        looked = [(row, schedule.unanswered(row, tx.now, in_outbox=in_outbox)) for row, in_outbox in claimed]
        await _dispatch(tx, [after for before, after in looked if after.attempt > before.attempt])
        rest = [after for before, after in looked if after.attempt == before.attempt]
        await store.save(tx, rest)
        tx.emit(*(_announcement(row, tx, row.traceparent) for row in rest if row.next_at is None))
    _count_ends(rest)
    return len(claimed)


async def tell_again(database: Database, heard_of: Callable[[Sequence[Reminder]], Awaitable[list[bool]]]) -> int:
    """Ask which ends backend has heard of, and tell the others again: outcomes may be lost with a broker's data.

    Backend is asked with no transaction open; what changed meanwhile is left for the next time. Returns how many were
    asked about: those are not asked about again for a while, so that none keeps the others from their turn.
    """
    ended = await store.untold(database.pool, database.clock(), (HEARD_AFTER, LONGEST_PAUSE), CLAIM)
    if not ended:
        return 0
    heard = dict(zip((row.key for row in ended), await heard_of(ended), strict=True))
    async with database.transaction() as tx:
        locked = await store.lock(tx, heard)
        unchanged = [row for row in ended if locked.get(row.key) == row]
        again = [row for row in unchanged if not heard[row.key]]
        told = [replace(row, told=True) for row in unchanged if heard[row.key]]
        await store.save(tx, told + [replace(row, asked_at=tx.now) for row in again])
        tx.emit(*(_announcement(row, tx, row.traceparent) for row in again))
    metrics.told_again.inc(len(again))
    return len(ended)


async def _dispatch(tx: Transaction, rows: Sequence[Reminder]) -> None:
    if not rows:
        return
    outbox_ids = await tx.emit_now([_due(row, tx) for row in rows])
    await store.save(tx, [replace(row, outbox_id=outbox_id) for row, outbox_id in zip(rows, outbox_ids, strict=True)])
    metrics.dispatched.inc(len(rows))


def _newest(snapshots: Snapshots) -> dict[UUID, tuple[TaskSnapshot, str]]:
    newest: dict[UUID, tuple[TaskSnapshot, str]] = {}
    for snapshot, traceparent in snapshots:
        known = newest.get(snapshot.task_id)
        if known is None or (known[0].epoch, known[0].version) < (snapshot.epoch, snapshot.version):
            newest[snapshot.task_id] = snapshot, traceparent
    return newest


def _changes(
    rows: Mapping[Key, Reminder], snapshot: TaskSnapshot, traceparent: str, tx: Transaction
) -> Iterator[Reminder]:
    """The rows of one task that its newest snapshot makes or changes."""
    if any(instance.fire_at.tzinfo is None for instance in snapshot.reminders):
        raise ValueError("a reminder of this snapshot fires at a time without a zone: it would not be found again")
    instances: dict[Key, ReminderInstance] = {
        (snapshot.task_id, instance.reminder, instance.fire_at): instance for instance in snapshot.reminders
    }
    for key, instance in instances.items():
        before = rows.get(key)
        after = schedule.wanted(before, snapshot.task_id, instance, traceparent, tx.now)
        if after is not before:
            yield after
    for key, before in rows.items():
        if key[0] == snapshot.task_id and key not in instances:
            after = schedule.unwanted(before, tx.now)
            if after is not before:
                yield after


def _key(outcome: ReminderOutcome) -> Key:
    return outcome.task_id, outcome.reminder, outcome.fire_at


def _due(row: Reminder, tx: Transaction) -> Outgoing:
    data = ReminderDue(row.task_id, row.reminder, row.fire_at, row.attempt)
    return outgoing(
        APP_ID,
        names.TASK_REMINDERS,
        events.REMINDER_DUE,
        str(row.task_id),
        data,
        now=tx.now,
        cause=row.traceparent,
    )


def _announcement(row: Reminder, tx: Transaction, cause: str) -> Outgoing:
    """How a reminder ended, as this service tells it: skipped or given up by itself, or what backend did not hear.

    Told again it is the same event: were it parked, it would be one dead letter.
    """
    outcome = Outcome(row.state)
    data = ReminderOutcome(
        row.task_id,
        row.reminder,
        row.fire_at,
        row.attempt,
        outcome,
        row.updated_at,
        row.reason,
        possibly_sent=row.reason == schedule.NO_ANSWER,
        message_id=row.message_id,
    )
    return outgoing(
        APP_ID,
        names.REMINDER_DELIVERIES,
        events.outcome_type(outcome),
        str(row.task_id),
        data,
        now=tx.now,
        cause=cause,
        event_id=str(uuid5(row.task_id, f"{data.key.text}/{row.attempt}/{outcome}")),
    )


def _count_ends(rows: Iterable[Reminder]) -> None:
    for row in rows:
        if row.next_at is None and row.state is not State.WITHDRAWN:
            metrics.settled.labels(row.state).inc()
