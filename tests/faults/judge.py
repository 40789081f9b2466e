"""The verdict: what the API and the mailbox show at the end, held against the ledger. It asks nobody itself."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tests.faults.client import DUE
from tests.faults.ledger import Blow, Ledger
from todo.email_delivery.settings import CONNECTIONS
from todo.operations.client import Attempt, Mail, Pipeline, Reminder, Task
from todo.operations.verify import Kind, Report

WINDOW: Final = dt.timedelta(seconds=10)  # from the taking of a mail to its record, on a machine that is busy dying
MARGIN: Final = dt.timedelta(seconds=1)  # from a completion's instant to its commit
GRACE: Final = dt.timedelta(minutes=1)  # a reminder set so late is still sent
SENDS: Final = ("email-delivery", "mailbox")  # whose death can leave a mail taken and not recorded


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything as it is after the run."""

    tasks: Mapping[UUID, Task]
    histories: Mapping[UUID, Task]  # of the acknowledged ones, with `reminder_history`
    mails: Sequence[Mail]
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Repeat:
    """A mail of which a further copy came later, and the fault that explains it."""

    title: str
    mail: Mail
    blow: Blow | None


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    counts: Mapping[str, object]


def judge(
    ledger: Ledger, evidence: Evidence, *, excused: Sequence[str] = SENDS, exposed: Collection[str] | None = None
) -> Verdict:
    """Every broken promise. `excused` names whose faults may repeat a mail: one for each connection, or, where the
    outcomes themselves were destroyed, the mails titled in `exposed`."""
    mails = _by_title(evidence.mails)
    blows = ledger.blows_to(*excused)
    repeats = tuple(_repeats(blows, mails))
    findings = (
        *_tasks(ledger, evidence),
        *_series(ledger, evidence),
        *_reminders(ledger, evidence, mails, blows),
        *_strangers(ledger, mails),
        *_unexcused(repeats, exposed),
        *_left_over(evidence.pipeline),
    )
    return Verdict(findings, repeats, _counts(ledger, evidence, repeats, mails))


def agrees(report: Report, verdict: Verdict) -> list[str]:
    """Where `verify` and the ledger differ: it must find each repeated mail, and nothing else that is not ours."""
    repeated = Counter(finding.kind for finding in report.findings)
    expected = len({repeat.title for repeat in verdict.repeats})
    found = repeated.pop(Kind.MAIL_REPEATED, 0)
    differences = [f"verify sees {found} repeated mails, the ledger {expected}"] if found != expected else []
    if repeated and not verdict.findings:
        differences += [f"only verify: {one.kind} {one.subject}: {one.detail}" for one in report.findings]
    return differences


def _tasks(ledger: Ledger, evidence: Evidence) -> Iterator[str]:
    """Each acknowledged task is there as it was last acknowledged, and no other than their successors."""
    for task_id, task in ledger.tasks.items():
        found = evidence.tasks.get(task_id)
        if found is None:
            yield f"lost: task {task.title!r} {task_id}"
        elif _essence(found) != _essence(task):
            yield f"not as acknowledged: task {task.title!r}: {_essence(found)} instead of {_essence(task)}"
    series = {series_id for series_id, _ in ledger.series()}
    for task_id in evidence.tasks.keys() - ledger.tasks.keys():
        task = evidence.tasks[task_id]
        if task.recurrence is None or task.recurrence.series_id not in series or task.recurrence.seq == 1:
            yield f"never acknowledged: task {task.title!r} {task_id}"


def _essence(task: Task) -> tuple[object, ...]:
    return task.version, task.title, task.status, task.due_at, task.reminders, task.closed_at


def _series(ledger: Ledger, evidence: Evidence) -> Iterator[str]:
    """Each completed occurrence has one successor, and no open one has any."""
    places: Counter[tuple[UUID, int]] = Counter()
    for task in evidence.tasks.values():
        if task.recurrence:
            places[task.recurrence.series_id, task.recurrence.seq] += 1
    for series_id, tasks in ledger.series():
        last = max(seq for series, seq in places if series == series_id)
        closed = sum(task.status == "done" for task in tasks)
        if last != closed + 1:
            yield f"{tasks[0].title!r}: {closed} occurrences completed, the last one there is number {last}"
        for seq in range(1, last + 1):
            if places[series_id, seq] != 1:
                yield f"{tasks[0].title!r}: occurrence {seq} is there {places[series_id, seq]} times"


def _reminders(
    ledger: Ledger, evidence: Evidence, mails: Mapping[str, Sequence[Mail]], blows: Sequence[Blow]
) -> Iterator[str]:
    """Each reminder that was due has its mail, or an end with a reason; none came early."""
    for task_id, task in ledger.tasks.items():
        history = evidence.histories.get(task_id)
        if task.due_at is None or history is None or _is_successor(task):
            continue
        sent = mails.get(task.title, ())
        ids = {mail.MessageID for mail in sent}
        if len(ids) > 1:
            yield f"{task.title!r}: mails with {len(ids)} different Message-IDs"
        for mail in sent:
            if mail.Created and mail.Created < task.due_at:
                yield f"{task.title!r}: mailed at {mail.Created}, due at {task.due_at}"
        yield from _end(task, history, sent, blows)


def _end(task: Task, history: Task, sent: Sequence[Mail], blows: Sequence[Blow]) -> Iterator[str]:
    reminder = next((one for one in history.reminder_history if one.reminder == DUE), None)
    state = reminder.state if reminder else "absent"
    ids = {mail.MessageID.strip("<>") for mail in sent}
    told = {(one.message_id or "").strip("<>") for one in _attempts(reminder) if one.outcome == "delivered"}
    if sent and (state != "delivered" or told != ids) and not _sent_unseen(task, reminder, sent, blows):
        yield f"{task.title!r}: mailed as {ids}, the API says {state} as {told}"
    if not sent and not _may_lack_mail(task, state):
        yield f"lost: the reminder of {task.title!r} is {state}, and there is no mail"
    if sent and task.closed_at and task.due_at and task.closed_at < task.due_at - MARGIN:
        yield f"{task.title!r}: mailed although it was completed before it was due"


def _sent_unseen(task: Task, reminder: Reminder | None, sent: Sequence[Mail], blows: Sequence[Blow]) -> bool:
    """Taken by the mail server as its sender or itself died, completed before it was tried again; the API says so."""
    said_so = any(one.possibly_sent for one in _attempts(reminder))
    return task.closed_at is not None and said_so and all(_cause(mail, blows) for mail in sent)


def _is_possibly_sent(history: Task) -> bool:
    """Whether the API shows no more than that of any of its reminders."""
    return any(
        one.state != "delivered" and any(attempt.possibly_sent for attempt in one.attempts)
        for one in history.reminder_history
    )


def _attempts(reminder: Reminder | None) -> Sequence[Attempt]:
    return reminder.attempts if reminder else ()


def _may_lack_mail(task: Task, state: str) -> bool:
    """Completed before its mail was begun; or set more than a minute too late."""
    if task.closed_at is not None:
        return state in {"suppressed", "withdrawn"}
    return state == "skipped" and task.due_at is not None and task.created_at - task.due_at > GRACE


def _is_successor(task: Task) -> bool:
    return task.recurrence is not None and task.recurrence.seq > 1


def _strangers(ledger: Ledger, mails: Mapping[str, Sequence[Mail]]) -> Iterator[str]:
    known = {task.title for task in ledger.tasks.values()}
    for title in mails.keys() - known:
        yield f"a mail that nobody asked for: {title!r}"


def _repeats(blows: Sequence[Blow], mails: Mapping[str, Sequence[Mail]]) -> Iterator[Repeat]:
    """All copies but the last; each is laid to the first fault that came after its mail was taken."""
    for title, copies in mails.items():
        for mail in copies[:-1]:
            yield Repeat(title, mail, _cause(mail, blows))


def _cause(mail: Mail, blows: Sequence[Blow]) -> Blow | None:
    """The first fault after a mail was taken, if it came soon enough to keep it from being recorded."""
    at = mail.Created
    return next((blow for blow in blows if at and blow.began - WINDOW <= at <= blow.ended), None)


def _unexcused(repeats: Sequence[Repeat], exposed: Collection[str] | None) -> Iterator[str]:
    """Repeats come from a sender's death alone, as many as it had connections; or all are of what was exposed."""
    by_blow: Counter[Blow] = Counter()
    for repeat in repeats:
        if repeat.blow is None:
            yield f"mailed again without a cause: {repeat.title!r}, first taken at {repeat.mail.Created}"
        else:
            by_blow[repeat.blow] += 1
        if exposed is not None and repeat.title not in exposed:
            yield f"mailed again although its outcome was known: {repeat.title!r}"
    for blow, count in by_blow.items():
        if exposed is None and count > CONNECTIONS:  # so many mails can be on their way when a sender dies
            yield f"{count} mails repeated by one fault of {blow.target} at {blow.ended}, at most {CONNECTIONS} may be"


def _left_over(pipeline: Pipeline) -> Iterator[str]:
    schedule = pipeline.schedule
    if pipeline.outbox.depth or schedule is None or schedule.outbox_depth:
        yield f"an outbox is not empty: {pipeline}"
    if pipeline.dead_letters.get("open"):
        yield f"{pipeline.dead_letters['open']} dead letters"


def _by_title(mails: Sequence[Mail]) -> dict[str, list[Mail]]:
    found: defaultdict[str, list[Mail]] = defaultdict(list)
    for mail in mails:
        found[mail.Subject.removeprefix("Reminder: ")].append(mail)
    return dict(found)


def _counts(
    ledger: Ledger, evidence: Evidence, repeats: Sequence[Repeat], mails: Mapping[str, Sequence[Mail]]
) -> dict[str, object]:
    late = sorted(_lateness(ledger, mails))
    states = Counter(one.state for task in evidence.histories.values() for one in task.reminder_history)
    return {
        "tasks acknowledged": len(ledger.tasks),
        "tasks there": len(evidence.tasks),
        "completed": sum(task.status == "done" for task in ledger.tasks.values()),
        "reminders": ", ".join(f"{count} {state}" for state, count in states.most_common()),
        "mails": len(evidence.mails),
        "mails repeated": ", ".join(f"{count} ({name})" for name, count in _causes(repeats).most_common()) or 0,
        "shown as possibly sent": sum(map(_is_possibly_sent, evidence.histories.values())),
        "mail after due, p50 / p95 / max": " / ".join(f"{_share(late, part):.1f} s" for part in (0.5, 0.95, 1)),
        "answers to the client": ", ".join(f"{count} {kind}" for kind, count in ledger.answers.most_common()),
        "faults": ", ".join(f"{count} {name}" for name, count in Counter(b.target for b in ledger.blows).items()),
    }


def _causes(repeats: Sequence[Repeat]) -> Counter[str]:
    return Counter(repeat.blow.target if repeat.blow else "no cause" for repeat in repeats)


def _lateness(ledger: Ledger, mails: Mapping[str, Sequence[Mail]]) -> Iterator[float]:
    for task in ledger.tasks.values():
        for mail in mails.get(task.title, ())[:1]:
            if task.due_at and mail.Created and not _is_successor(task):
                yield (mail.Created - task.due_at).total_seconds()


def _share(values: Sequence[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))] if values else 0.0
