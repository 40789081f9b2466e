"""The life of one reminder instance, as functions from a row to the next: no I/O, no clock of their own.

    waiting ----------> dispatched -------> delivered | suppressed | failed
      | ^                |      ^ |
      | |   deferred     |      | | no answer: dispatched again
      | +----------------+      +-+
      v
    withdrawn  (and suppressed) --> waiting again when a newer snapshot wants it; skipped when that came too late

Only acceptance by an SMTP server uses an instance up: `delivered` beats every state and is never left.
"""

import datetime as dt
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from todo.contracts.events import Outcome, ReminderInstance, ReminderOutcome

PATIENCE: Final = dt.timedelta(seconds=120)  # longer than the lease of whoever sends (90 s)
LONGEST_PATIENCE: Final = dt.timedelta(hours=1)
DEFERRALS: Final = tuple(dt.timedelta(minutes=minutes) for minutes in (1, 5, 30, 60))
GIVE_UP: Final = dt.timedelta(hours=24)
TRIES: Final = 5  # fewer were made when nothing ran for most of those hours: it is not given up yet
NO_ANSWER: Final = "It was no longer wanted, and no answer came to its last attempt."  # whose sender may have died


class State(StrEnum):
    WAITING = "waiting"
    DISPATCHED = "dispatched"
    WITHDRAWN = "withdrawn"  # the newest snapshot does not want it; it was not on its way
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Reminder(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the schedule. The natural key is (task, reminder, fire_at); rows are never deleted."""

    task_id: UUID
    reminder: str
    fire_at: dt.datetime
    state: State
    wanted: bool = True  # by the newest snapshot; a dispatched one that is not is never dispatched again
    renewed: bool = False  # a newer snapshot wanted it while it was dispatched
    attempt: int = 0  # never reset: (instance, attempt) names one dispatch for ever
    deferrals: int = 0  # since it last began to wait for its time
    repeats: int = 0  # dispatches without an answer, since the last answer
    possibly_sent: int = 0  # attempts after which the mail may have been sent: the second ends it
    possibly_sent_by: int = 0  # the first of them
    next_at: dt.datetime | None = None  # waiting: when to dispatch; dispatched: when to dispatch again
    first_dispatched_at: dt.datetime | None = None  # giving up is counted from here
    dispatched_at: dt.datetime | None = None
    outbox_id: int | None = None  # the outbox row of the last dispatch
    reason: str = ""  # a sentence for the task's owner
    message_id: str | None = None  # of the mail that was delivered
    told: bool = False  # backend is known to have heard of this end
    asked_at: dt.datetime | None = None  # when backend was last asked, and had not
    traceparent: str = ""
    updated_at: dt.datetime

    @property
    def key(self) -> tuple[UUID, str, dt.datetime]:
        return self.task_id, self.reminder, self.fire_at


def wanted(
    row: Reminder | None, task_id: UUID, instance: ReminderInstance, traceparent: str, now: dt.datetime
) -> Reminder:
    """The row once a newer snapshot wants the instance. What is past when it is set, or set again, is skipped."""
    if row is None:
        row = Reminder(
            task_id=task_id,
            reminder=instance.reminder,
            fire_at=instance.fire_at,
            state=State.WITHDRAWN,
            traceparent=traceparent,
            updated_at=now,
        )
    if row.state is State.DISPATCHED:
        return replace(row, wanted=True, renewed=True, updated_at=now)
    if row.state not in (State.WITHDRAWN, State.SUPPRESSED):
        return row
    if instance.past:
        if row.state is State.SUPPRESSED:
            return row  # it has ended, and its owner was told how
        return _closed(row, State.SKIPPED, "Its time had passed when it was set.", now)
    return _waiting_for_its_time(row, now)


def unwanted(row: Reminder, now: dt.datetime) -> Reminder:
    """The row once a newer snapshot does not want it. What is on its way may still arrive, and its outcome counts."""
    if row.state is State.WAITING:
        return _withdrawn(row, "The task no longer wants it.", now)
    if row.state is State.DISPATCHED:
        return replace(row, wanted=False, renewed=False, updated_at=now)
    return row


def dispatched(row: Reminder, now: dt.datetime) -> Reminder:
    """A waiting row whose time has come, on its way."""
    return _sent(row, PATIENCE, now)


def unanswered(row: Reminder, now: dt.datetime, *, in_outbox: bool) -> Reminder:
    """A dispatched row that is due to be dispatched again: once more, or its end.

    While the outbox still holds the event nobody can have answered, and no time counts.
    """
    if in_outbox:
        untried = not row.repeats and not row.deferrals
        first = now if untried else row.first_dispatched_at
        return replace(row, next_at=now + PATIENCE, first_dispatched_at=first, updated_at=now)
    if not row.wanted:
        return _closed(row, State.SUPPRESSED, NO_ANSWER, now)
    if _gives_up(row, now):
        return _closed(row, State.FAILED, "No answer about its delivery came within 24 hours.", now)
    repeats = row.repeats + 1
    patience = min(PATIENCE * 2 ** min(repeats, 10), LONGEST_PATIENCE)
    return replace(_sent(row, patience, now), repeats=repeats)


def forgotten(task_id: UUID, reminder: str, fire_at: dt.datetime, traceparent: str, now: dt.datetime) -> Reminder:
    """The row of an instance that was made and dispatched before this schedule was restored: for `settled`."""
    return Reminder(
        task_id=task_id,
        reminder=reminder,
        fire_at=fire_at,
        state=State.DISPATCHED,
        wanted=False,
        attempt=-1,
        next_at=now,
        traceparent=traceparent,
        updated_at=now,
    )


def settled(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    """The row after an outcome. `delivered` counts whatever the attempt and the state; the rest must be current.

    A mail that was possibly sent counts once per attempt, however late it is told. An attempt that the row does not
    know of was made before the schedule was restored: it is taken for the current one, and counting goes on from it.
    """
    if outcome.attempt > row.attempt:
        row = _reminded(row, outcome, now)
    if outcome.outcome is Outcome.DELIVERED:
        return row if row.state is State.DELIVERED else _delivered(row, outcome, now)
    if row.state is not State.DISPATCHED or outcome.attempt != row.attempt:
        return _late(row, outcome, now)
    if outcome.outcome is Outcome.SUPPRESSED:
        return _suppressed(row, outcome.reason, now)
    if outcome.outcome is Outcome.FAILED:
        return _closed(row, State.FAILED, outcome.reason, now)
    if outcome.outcome is Outcome.DEFERRED:
        return _deferred(row, outcome, now)
    return row


def _reminded(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    """The row of a restored schedule once it hears of an attempt: what had not ended is where that attempt left it."""
    if row.state in (State.DELIVERED, State.FAILED, State.SKIPPED):
        return replace(row, attempt=outcome.attempt)
    if outcome.outcome is Outcome.SKIPPED:
        return _closed(replace(row, attempt=outcome.attempt), State.SKIPPED, outcome.reason, now)
    return replace(row, state=State.DISPATCHED, renewed=False, attempt=outcome.attempt, next_at=now, updated_at=now)


def _delivered(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    return replace(_closed(row, State.DELIVERED, outcome.reason, now), message_id=outcome.message_id)


def _suppressed(row: Reminder, reason: str, now: dt.datetime) -> Reminder:
    """It was not wanted when asked. A snapshot that came since then knows better: it waits again."""
    if row.renewed:
        return _waiting_for_its_time(row, now)
    return _closed(row, State.SUPPRESSED, reason, now)


def _deferred(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    deferrals = row.deferrals + 1
    row = _counted(replace(row, deferrals=deferrals, repeats=0), outcome)
    if outcome.possibly_sent and row.possibly_sent > 1:
        return _possibly_sent_twice(row, outcome, now)
    if not row.wanted:
        return _withdrawn(row, "It was put off, and is no longer wanted.", now)
    if _gives_up(row, now):
        return _closed(row, State.FAILED, f"Given up after 24 hours. {outcome.reason}".strip(), now)
    delay = DEFERRALS[min(deferrals, len(DEFERRALS)) - 1]
    return replace(row, state=State.WAITING, renewed=False, next_at=now + delay, reason=outcome.reason, updated_at=now)


def _late(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    """The row after an outcome of an attempt that is over. What has ended as something else than suppressed stays."""
    if row.state in (State.DELIVERED, State.FAILED, State.SKIPPED):
        return row
    counted = _counted(row, outcome)
    if counted is not row and counted.possibly_sent > 1 and row.state in (State.WAITING, State.DISPATCHED):
        return _possibly_sent_twice(counted, outcome, now)
    return counted


def _counted(row: Reminder, outcome: ReminderOutcome) -> Reminder:
    """The row with a mail that was put off and possibly sent counted, unless it was."""
    is_news = outcome.outcome is Outcome.DEFERRED and outcome.possibly_sent and outcome.attempt != row.possibly_sent_by
    if not is_news or row.possibly_sent > 1:
        return row
    return replace(row, possibly_sent=row.possibly_sent + 1, possibly_sent_by=row.possibly_sent_by or outcome.attempt)


def _possibly_sent_twice(row: Reminder, outcome: ReminderOutcome, now: dt.datetime) -> Reminder:
    reason = f"Possibly sent twice: the connection was lost after the mail was handed over. {outcome.reason}"
    return _closed(row, State.FAILED, reason.strip(), now)


def _waiting_for_its_time(row: Reminder, now: dt.datetime) -> Reminder:
    return replace(
        row,
        state=State.WAITING,
        wanted=True,
        renewed=False,
        deferrals=0,
        repeats=0,
        next_at=row.fire_at,
        first_dispatched_at=None,
        reason="",
        updated_at=now,
    )


def _sent(row: Reminder, patience: dt.timedelta, now: dt.datetime) -> Reminder:
    return replace(
        row,
        state=State.DISPATCHED,
        renewed=False,
        attempt=row.attempt + 1,
        next_at=now + patience,
        first_dispatched_at=row.first_dispatched_at or now,
        dispatched_at=now,
        updated_at=now,
    )


def _withdrawn(row: Reminder, reason: str, now: dt.datetime) -> Reminder:
    return replace(row, state=State.WITHDRAWN, wanted=False, next_at=None, reason=reason, updated_at=now)


def _closed(row: Reminder, state: State, reason: str, now: dt.datetime) -> Reminder:
    return replace(
        row, state=state, renewed=False, next_at=None, reason=reason, told=False, asked_at=None, updated_at=now
    )


def _gives_up(row: Reminder, now: dt.datetime) -> bool:
    """Whether it was tried for long enough and often enough: the hours of a closed laptop alone end nothing."""
    began = row.first_dispatched_at
    return began is not None and now - began >= GIVE_UP and row.deferrals + row.repeats >= TRIES
