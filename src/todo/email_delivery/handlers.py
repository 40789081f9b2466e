"""Resolve, claim, send, record: how a reminder that is due becomes one mail."""

import asyncio
import datetime as dt
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import structlog

from todo.contracts import names, spans
from todo.contracts.clock import Clock
from todo.contracts.envelope import Event, trace_id
from todo.contracts.events import EventParked, Outcome, ReminderDue, ReminderOutcome, outcome_type
from todo.contracts.invocation import ResolvedReminder
from todo.contracts.spans import Kind
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery import metrics
from todo.email_delivery.backend import Backend, Resolution
from todo.email_delivery.claims import Claim, Claims, Entry, Settled
from todo.email_delivery.lease import LAST_START, PATIENCE, Stopwatch
from todo.email_delivery.letter import Letters
from todo.email_delivery.mailer import BusyError, LeaseTooOldError, Mailer, Verdict, loggable
from todo.email_delivery.mime import AddressError
from todo.email_delivery.smtp import Mail
from todo.messaging import parking
from todo.messaging.unit import Outgoing, Unit, outgoing

log = structlog.get_logger()

APP_ID: Final = names.EMAIL_DELIVERY.app_id
_NO_ADDRESS: Final = "The address of the task's owner is not one that mail can be sent to."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReminderMails:
    """Turns due reminders into mails. No more claims are held than there are connections to the mail server."""

    backend: Backend
    claims: Claims
    mailer: Mailer
    letters: Letters
    clock: Clock

    async def reminder_due(self, events: Sequence[Event], unit: Unit) -> None:
        """Send each reminder at most once, and tell what became of it.

        Raises `UnavailableError` when backend or the claims could not be asked about some, or none was begun in time;
        what became of the others, put off or not, is recorded by then, and told when the batch comes again.
        """
        resolved = await self.backend.resolve([event.data.key for event in events])
        outcomes = await _all(self._deliver(event, answer) for event, answer in zip(events, resolved, strict=True))
        unit.emit(*(_told(event, one, self.clock()) for event, one in zip(events, outcomes, strict=True) if one))

    async def _deliver(self, event: Event, resolution: Resolution) -> ReminderOutcome | None:
        """What became of one reminder. None: it is known, or another's claim will tell, or its next dispatch."""
        due: ReminderDue = event.data
        since = Stopwatch(self.clock)
        async with self.mailer.lane():
            if since.age() > PATIENCE:
                metrics.not_begun.inc()
                raise BusyError("no connection to the mail server became free in time")
            reminder = (await self.backend.renew(resolution)).reminder
            if due.attempt <= max(reminder.answered, default=0):
                metrics.answered.inc()
                return None
            if answered := self._without_mail(due, reminder):
                return await self._or_begun_before(due, answered)
            mail = self._compose(reminder)
            if mail is None:
                return self._outcome(due, Verdict(Outcome.FAILED, _NO_ADDRESS), reminder.recipient)
            claim = await self.claims.claim(due)
            if isinstance(claim, Claim):
                return await self._send(event, claim, mail)
            if isinstance(claim, Settled):
                return _settled_before(due, claim.entry)
            metrics.left_to_others.inc()
            log.info("mail left to the holder of its claim", event_id=event.id, task_id=str(due.task_id))
            return None

    async def _send(self, event: Event, claim: Claim, mail: Mail) -> ReminderOutcome | None:
        """Send what is claimed, then keep the outcome: told or not, this attempt sends nothing more."""
        began = time.perf_counter()
        try:
            with spans.span("send mail", Kind.CLIENT, event.traceparent) as span:
                verdict = await self.mailer.send(mail, may_start=lambda: claim.lease.age() <= LAST_START)
                span.note({"todo.mail.outcome": verdict.outcome, "todo.attempt": event.data.attempt})
        except LeaseTooOldError:
            log.warning("mail not sent, its lease grew too old", event_id=event.id, claim=claim.key)
            return None
        outcome = self._outcome(event.data, verdict, mail.recipient)
        _observe(event, outcome, time.perf_counter() - began)
        await self.claims.record(claim, _entry(claim.entry, outcome))
        return outcome

    def _without_mail(self, due: ReminderDue, reminder: ResolvedReminder) -> ReminderOutcome | None:
        """The outcome that backend's answer already is, if it is one."""
        if reminder.delivered_at is not None:
            delivered = self._outcome(due, Verdict(Outcome.DELIVERED), None)
            attempt = reminder.ended_attempt or due.attempt
            return msgspec.structs.replace(delivered, at=reminder.delivered_at, attempt=attempt)
        if reminder.failed:
            return self._outcome(due, Verdict(Outcome.FAILED, reminder.failed), None)
        if reminder.suppressed:
            metrics.mails.labels(Outcome.SUPPRESSED).inc()
            return self._outcome(due, Verdict(Outcome.SUPPRESSED, reminder.suppressed), None)
        return None

    async def _or_begun_before(self, due: ReminderDue, answered: ReminderOutcome) -> ReminderOutcome:
        """What is not wanted any more may have been sent while it was: by a sender that died before it could tell."""
        entry = await self.claims.find(due.key) if answered.outcome is Outcome.SUPPRESSED else None
        if entry is None:
            return answered
        if entry.settles(due.attempt):
            return _settled_before(due, entry)
        if entry.outcome is not None and not entry.possibly_sent:
            return answered
        message_id = self.letters.message_id(due.key)
        return msgspec.structs.replace(answered, possibly_sent=True, message_id=message_id)

    def _compose(self, reminder: ResolvedReminder) -> Mail | None:
        try:
            return self.letters.write(reminder)
        except AddressError:
            metrics.mails.labels(Outcome.FAILED).inc()
            return None

    def _outcome(self, due: ReminderDue, verdict: Verdict, recipient: str | None) -> ReminderOutcome:
        return ReminderOutcome(
            due.task_id,
            due.reminder,
            due.fire_at,
            due.attempt,
            verdict.outcome,
            at=self.clock(),
            reason=verdict.reason,
            possibly_sent=verdict.possibly_sent,
            message_id=None if verdict.outcome is Outcome.SUPPRESSED else self.letters.message_id(due.key),
            recipient=recipient,
        )


async def park(letters: Sequence[EventParked], unit: Unit) -> None:
    """Hand what cannot be processed to backend, which keeps and shows it."""
    unit.emit(*(parking.announcement(APP_ID, letter) for letter in letters))


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T | None]:
    """Every result, once all are there: a mail under way is never cut off because another failed.

    What was not begun is None, left to the next dispatch, so that those begun are told; raises if none was.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    begun = [result for result in results if not isinstance(result, BusyError)]
    failures = [result for result in begun or results if isinstance(result, BaseException)]
    for failure in sorted(failures, key=lambda error: not isinstance(error, UnavailableError)):
        raise failure
    return [None if isinstance(result, BaseException) else result for result in results]


def _settled_before(due: ReminderDue, entry: Entry) -> ReminderOutcome:
    """An outcome recorded earlier, told again: a refusal for good is one of this attempt too."""
    metrics.repeated.inc()
    outcome = entry.outcome or Outcome.FAILED
    return ReminderOutcome(
        due.task_id,
        due.reminder,
        due.fire_at,
        due.attempt if outcome is Outcome.FAILED else entry.attempt,
        outcome,
        at=entry.at or entry.claimed_at,
        reason=entry.reason,
        possibly_sent=entry.possibly_sent,
        message_id=entry.message_id,
        recipient=entry.recipient,
    )


def _entry(claimed: Entry, outcome: ReminderOutcome) -> Entry:
    return msgspec.structs.replace(
        claimed,
        outcome=outcome.outcome,
        at=outcome.at,
        reason=outcome.reason,
        possibly_sent=outcome.possibly_sent,
        message_id=outcome.message_id,
        recipient=outcome.recipient,
    )


def _told(event: Event, outcome: ReminderOutcome, now: dt.datetime) -> Outgoing:
    kind = outcome_type(outcome.outcome)
    subject = str(outcome.task_id)
    return outgoing(APP_ID, names.REMINDER_DELIVERIES, kind, subject, outcome, now=now, cause=event.traceparent)


def _observe(event: Event, outcome: ReminderOutcome, seconds: float) -> None:
    """One log line and a few numbers per mail; nothing in them is an address."""
    metrics.mails.labels(outcome.outcome).inc()
    metrics.sending.observe(seconds)
    if outcome.outcome is Outcome.DELIVERED:
        metrics.lateness.observe(max(0.0, (outcome.at - outcome.fire_at).total_seconds()))
    log.info(
        "mail",
        event_id=event.id,
        trace_id=trace_id(event.traceparent),
        task_id=str(outcome.task_id),
        reminder=outcome.reminder,
        fire_at=outcome.fire_at.isoformat(),
        attempt=outcome.attempt,
        outcome=outcome.outcome,
        milliseconds=round(seconds * 1000, 1),
        **({"reason": loggable(outcome.reason)} if outcome.reason else {}),
    )
