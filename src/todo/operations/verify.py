"""`todo verify`: whether the services agree with one another, and with the mailbox.

`collect` asks each service through its own API, `compare` judges what they said (a pure function), `verify` does both
until they agree or time is over. What is under way is no disagreement: an event in flight settles, and only what two
looks in a row find, a second apart, is told.
"""

import asyncio
import datetime as dt
import enum
import hashlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from todo.contracts import invocation, names, schedule
from todo.contracts.events import Outcome, ReminderInstance, ReminderKey, ReminderOutcome, SeriesEnded, TaskSnapshot
from todo.contracts.invocation import (
    AttemptKey,
    Deliveries,
    DeliveriesQuery,
    Snapshots,
    SnapshotsQuery,
    TaskVersion,
    TaskVersions,
    TaskVersionsQuery,
    Unfollowed,
    UnfollowedQuery,
)
from todo.contracts.pause import Pause
from todo.contracts.schedule import (
    KnownTask,
    KnownTasks,
    PageQuery,
    Reminders,
    Restore,
    ScheduledReminder,
    Summary,
    TasksQuery,
)
from todo.dapr.client import Dapr
from todo.dapr.client import connect as connect_sidecar
from todo.dapr.errors import DaprError
from todo.operations import client
from todo.operations.client import Api, Letter, Mailbox, NoAnswerError, UnreachableError
from todo.operations.find import Place
from todo.recurring.handlers import follow

PAGE: Final = 1000
SNAPSHOTS: Final = 50  # of 64 KB each stay below the 4 MiB that a sidecar lets through
MAILBOX_KEEP: Final = 10_000  # what the development mailbox keeps; older mails may be gone
PAUSE: Final = 1.0  # seconds between two looks
REDISPATCH: Final = dt.timedelta(minutes=2)  # `reconcile-reminders` looks every minute
SERIES_GRACE: Final = dt.timedelta(seconds=1)

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Kind(enum.StrEnum):
    """What kind of disagreement it is; stable, for programs."""

    TASK_UNSEEN = "task-unseen"
    TASK_BEHIND = "task-behind"
    TASK_AHEAD = "task-ahead"
    TASK_UNKNOWN = "task-unknown"
    REMINDER_MISSING = "reminder-missing"
    REMINDER_DROPPED = "reminder-dropped"
    REMINDER_UNWANTED = "reminder-unwanted"
    REMINDER_OVERDUE = "reminder-overdue"
    REMINDER_UNANSWERED = "reminder-unanswered"
    OUTCOME_MISSING = "outcome-missing"
    OUTCOME_UNAPPLIED = "outcome-unapplied"
    OUTCOME_UNKNOWN = "outcome-unknown"
    MAIL_MISSING = "mail-missing"
    MAIL_REPEATED = "mail-repeated"
    MAIL_UNACCOUNTED = "mail-unaccounted"
    OCCURRENCE_MISSING = "occurrence-missing"
    OCCURRENCE_REPEATED = "occurrence-repeated"
    OUTBOX_STUCK = "outbox-stuck"
    DEAD_LETTER = "dead-letter"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One disagreement. `subject` is what it is about: a task, a reminder's key, a Message-ID, a service, a letter."""

    kind: Kind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What everybody says, at `now` of notification-service's clock.

    `mails` counts Message-IDs without their brackets; None: there is no development mailbox. `mails_from` is the
    instant of the oldest mail when the mailbox is full, so that older ones may be gone, `mailed_at` when the first of
    each was taken. `restores` are of the schedule.
    """

    now: dt.datetime
    tasks: Mapping[UUID, TaskSnapshot] = field(default_factory=dict)
    known: Mapping[UUID, KnownTask] = field(default_factory=dict)
    reminders: Mapping[ReminderKey, ScheduledReminder] = field(default_factory=dict)
    outcomes: Mapping[ReminderKey, Sequence[ReminderOutcome]] = field(default_factory=dict)
    unfollowed: frozenset[UUID] = frozenset()
    mails: Mapping[str, int] | None = None
    mails_from: dt.datetime | None = None
    mailed_at: Mapping[str, dt.datetime] = field(default_factory=dict)
    restores: Sequence[Restore] = ()
    outboxes: Mapping[str, float] = field(default_factory=dict)  # the age of the oldest entry in seconds, by service
    paused: Mapping[str, Pause | None] = field(default_factory=dict)  # relays, by service
    letters: Sequence[Letter] = ()


class Report(msgspec.Struct, frozen=True):
    """The verdict, what was looked at, and how often it was looked."""

    agree: bool
    findings: tuple[Finding, ...]
    looked_at: dict[str, int]
    looks: int


async def verify(place: Place, *, wait: float = 0.0, grace: float = 10.0) -> Report:
    """Compare everything, again and again for up to `wait` seconds until it agrees.

    `grace` is how many seconds a due reminder or an outbox entry may be late. Raises `UnreachableError` and
    `NoAnswerError`.
    """
    async with client.session() as http, connect_sidecar(place.sidecar, place.token) as dapr:
        api = Api(http, place.api, place.api_token)
        mailbox = Mailbox(http, place.mailbox) if place.mailbox else None
        return await settle(lambda: collect(api, dapr, mailbox), wait=wait, grace=grace)


async def settle(look: Callable[[], Awaitable[Collected]], *, wait: float, grace: float) -> Report:
    """Look until there is nothing to find or time is over; tell what the last two looks both found."""
    deadline = asyncio.get_running_loop().time() + wait
    looks = 0
    before: set[Finding] | None = None
    while True:
        collected = await look()
        looks += 1
        found = set(compare(collected, dt.timedelta(seconds=grace)))
        if not found or asyncio.get_running_loop().time() >= deadline:
            lasting = found if before is None else found & before
            return Report(not lasting, tuple(sorted(lasting)), _looked_at(collected), looks)
        before = found
        await asyncio.sleep(min(PAUSE, wait))


def compare(said: Collected, grace: dt.timedelta) -> list[Finding]:
    """Every disagreement in what was collected."""
    return [
        *_tasks(said),
        *_wanted_reminders(said),
        *_scheduled_reminders(said, grace),
        *_outcomes_of_schedule(said),
        *_outcomes_of_history(said),
        *_mails(said),
        *_series(said),
        *_pipeline(said, grace),
    ]


def mail_id(key: ReminderKey) -> str:
    """The part of a reminder's Message-ID before the @: it follows from the key alone."""
    return f"reminder-{hashlib.sha256(key.text.encode()).hexdigest()[:32]}"


def _tasks(said: Collected) -> Iterator[Finding]:
    """Each task arrived in its newest version, and of others there are traces of deleted ones at most."""
    for task_id, task in said.tasks.items():
        known = said.known.get(task_id)
        theirs, ours = (task.epoch, task.version), (known.epoch, known.version) if known else None
        if ours is None:
            yield Finding(Kind.TASK_UNSEEN, str(task_id), "notification-service never saw this task")
        elif ours != theirs:
            kind = Kind.TASK_BEHIND if ours < theirs else Kind.TASK_AHEAD
            detail = f"notification-service has version {_version(ours)}, backend {_version(theirs)}"
            yield Finding(kind, str(task_id), detail)
    for task_id in said.known.keys() - said.tasks.keys():
        if said.known[task_id].deleted:
            continue  # backend was restored from before it was
        yield Finding(Kind.TASK_UNKNOWN, str(task_id), "notification-service has this task, backend does not")


def _wanted_reminders(said: Collected) -> Iterator[Finding]:
    """What a task wants is in the schedule, and not dropped there."""
    for key, instance in _wanted(said):
        row = said.reminders.get(key)
        if row is None:
            yield Finding(
                Kind.REMINDER_MISSING, key.text, "the task wants this reminder, the schedule does not have it"
            )
        elif _is_dropped(row, instance):
            yield Finding(
                Kind.REMINDER_DROPPED, key.text, f"the task wants this reminder, in the schedule it is {row.state}"
            )


def _is_dropped(row: ScheduledReminder, instance: ReminderInstance) -> bool:
    """One that was suppressed and is wanted again when its time has passed stays as it ended."""
    if row.state == "suppressed":
        return not instance.past
    return row.state == "withdrawn" or (row.state == "dispatched" and not row.wanted)


def _scheduled_reminders(said: Collected, grace: dt.timedelta) -> Iterator[Finding]:
    """What is to be sent is wanted by its task, and on time."""
    wanted = {key for key, _ in _wanted(said)}
    for key, row in said.reminders.items():
        waits, sent = row.state == "waiting", row.state == "dispatched"
        if key not in wanted and (waits or (sent and row.wanted)):
            yield Finding(Kind.REMINDER_UNWANTED, key.text, f"it is {row.state}, and no task wants it")
        if waits and row.next_at and row.next_at < said.now - grace:
            yield Finding(Kind.REMINDER_OVERDUE, key.text, f"it was to be sent at {row.next_at:%Y-%m-%d %H:%M:%S} UTC")
        if sent and row.next_at and row.next_at < said.now - grace - REDISPATCH:
            yield Finding(Kind.REMINDER_UNANSWERED, key.text, f"no answer came by {row.next_at:%Y-%m-%d %H:%M:%S} UTC")


def _outcomes_of_schedule(said: Collected) -> Iterator[Finding]:
    """How a reminder ended in the schedule is in the delivery history."""
    for key, row in said.reminders.items():
        recorded = {one.outcome for one in said.outcomes.get(key, ())}
        if row.state in _ENDS and Outcome(row.state) not in recorded:
            told = f"the history says {', '.join(sorted(recorded))}" if recorded else "the history has nothing"
            yield Finding(Kind.OUTCOME_MISSING, key.text, f"it is {row.state} in the schedule, {told}")


def _outcomes_of_history(said: Collected) -> Iterator[Finding]:
    """What the delivery history holds happened to a reminder of the schedule, which knows of it."""
    for key, outcomes in said.outcomes.items():
        row = said.reminders.get(key)
        for one in outcomes:
            if row is None or one.attempt > row.attempt:
                detail = f"attempt {one.attempt} is recorded as {one.outcome}, and the schedule never made it"
                yield Finding(Kind.OUTCOME_UNKNOWN, key.text, detail)
            elif not _applied(one, row):
                detail = f"attempt {one.attempt} is recorded as {one.outcome}, in the schedule it is {row.state}"
                yield Finding(Kind.OUTCOME_UNAPPLIED, key.text, detail)


def _mails(said: Collected) -> Iterator[Finding]:
    """Each delivered reminder is one mail, and each reminder mail a delivered reminder or one still on its way."""
    if said.mails is None:
        return
    counts: Counter[str] = Counter()
    for message_id, count in said.mails.items():
        counts[message_id.partition("@")[0]] += count
    keys = {mail_id(key): key for key in said.reminders.keys() | said.outcomes.keys()}
    for local, key in keys.items():
        at = _delivered_at(said, key)
        kept = said.mails_from is None or (at is not None and at > said.mails_from)
        if at is not None and kept and not counts[local]:
            yield Finding(Kind.MAIL_MISSING, key.text, f"delivered, and {local} is not in the mailbox (deleted there?)")
    for local, count in counts.items():
        if not local.startswith("reminder-"):
            continue
        owner = keys.get(local)
        if count > 1:
            yield Finding(
                Kind.MAIL_REPEATED, owner.text if owner else local, f"{local} is {count} times in the mailbox"
            )
        if owner is None and _fell_into_restore(said, local):
            continue
        if owner is None or not _accounts_for_mail(said, owner):
            detail = f"{local} is in the mailbox, and no delivered reminder accounts for it"
            yield Finding(Kind.MAIL_UNACCOUNTED, owner.text if owner else local, detail)


def _series(said: Collected) -> Iterator[Finding]:
    """Each closed occurrence of a living series has its successor, once."""
    places: defaultdict[tuple[UUID, int], list[UUID]] = defaultdict(list)
    for task in said.tasks.values():
        if task.occurrence:
            places[task.occurrence.series_id, task.occurrence.seq].append(task.task_id)
    for (series_id, seq), holders in places.items():
        if len(holders) > 1:
            subject = f"{series_id}/{seq}"
            yield Finding(Kind.OCCURRENCE_REPEATED, subject, f"tasks {', '.join(sorted(map(str, holders)))}")
    for task in said.tasks.values():
        occurrence = task.occurrence
        if occurrence is None or task.closed_version is None:
            continue
        follower = occurrence.series_id, occurrence.seq + 1
        if task.task_id in said.unfollowed or (follower not in places and _goes_on(task)):
            subject, detail = f"{follower[0]}/{follower[1]}", f"task {task.task_id} is closed and nothing follows it"
            yield Finding(Kind.OCCURRENCE_MISSING, subject, detail)


def _pipeline(said: Collected, grace: dt.timedelta) -> Iterator[Finding]:
    """Nothing is stuck, nothing was given up."""
    for app_id, age in said.outboxes.items():
        if age > grace.total_seconds():
            held = said.paused.get(app_id)
            why = (
                f"its relay is paused by {held.holder} ({held.reason})"
                if held
                else "its outbox holds events that nobody publishes"
            )
            yield Finding(Kind.OUTBOX_STUCK, app_id, why)
    for letter in said.letters:
        detail = f"{letter.app} could not process {letter.event_type or 'an event'} on {letter.topic}: {letter.error}"
        yield Finding(Kind.DEAD_LETTER, str(letter.id), detail)


_ENDS: Final = frozenset({"delivered", "suppressed", "failed", "skipped"})
_MAY_FOLLOW: Final = {  # the states in which a reminder may be after an outcome of its current attempt
    Outcome.DELIVERED: {"delivered"},
    Outcome.SUPPRESSED: {"suppressed", "waiting", "withdrawn", "skipped"},
    Outcome.DEFERRED: {"waiting", "withdrawn", "failed", "skipped"},
    Outcome.FAILED: {"failed"},
    Outcome.SKIPPED: {"skipped"},
}


def _applied(outcome: ReminderOutcome, row: ScheduledReminder) -> bool:
    if row.state == "delivered":
        return True
    if outcome.outcome is not Outcome.DELIVERED and outcome.attempt < row.attempt:
        return True
    return row.state in _MAY_FOLLOW[outcome.outcome]


def _wanted(said: Collected) -> Iterator[tuple[ReminderKey, ReminderInstance]]:
    for task in said.tasks.values():
        for one in task.reminders:
            yield ReminderKey(task.task_id, one.reminder, one.fire_at), one


def _delivered_at(said: Collected, key: ReminderKey) -> dt.datetime | None:
    times = [one.at for one in said.outcomes.get(key, ()) if one.outcome is Outcome.DELIVERED]
    return min(times, default=None)


def _accounts_for_mail(said: Collected, key: ReminderKey) -> bool:
    """Delivered or possibly so; or an attempt was made whose fate nobody could tell (its sender died, say)."""
    row = said.reminders.get(key)
    told = said.outcomes.get(key, ())
    answered = {one.attempt for one in told if one.attempt > 0}
    unanswered = row is not None and row.attempt > len(answered)
    return unanswered or any(one.outcome is Outcome.DELIVERED or one.possibly_sent for one in told)


def _fell_into_restore(said: Collected, local: str) -> bool:
    """Whether a mail was sent between a backup and its restore: whatever asked for it is gone."""
    at = said.mailed_at.get(local)
    return at is not None and any(one.taken_at <= at <= one.restored_at for one in said.restores)


def _goes_on(task: TaskSnapshot) -> bool:
    """Whether the rule of its series has a date after this occurrence, by recurring-service's own reckoning."""
    try:
        following = follow(task)
    except ValueError:
        return True  # nobody can tell, so somebody has to look
    return following is not None and not isinstance(following, SeriesEnded)


def _version(pair: tuple[int, int]) -> str:
    return f"{pair[1]} of epoch {pair[0]}"


def _looked_at(said: Collected) -> dict[str, int]:
    counted = {
        "tasks": len(said.tasks),
        "reminders": len(said.reminders),
        "outcomes": sum(map(len, said.outcomes.values())),
    }
    return counted | ({} if said.mails is None else {"mails": sum(said.mails.values())})


async def collect(api: Api, dapr: Dapr, mailbox: Mailbox | None, *, mailbox_keep: int = MAILBOX_KEEP) -> Collected:
    """Ask everybody. What comes last in the way of an event is asked first, so that most of what moves agrees."""
    backend_outbox = (await api.pipeline()).value.outbox
    mails, mails_from, mailed_at = await _read_mails(mailbox, mailbox_keep) if mailbox else (None, None, {})
    ask = _Questions(dapr)
    outcomes: defaultdict[ReminderKey, list[ReminderOutcome]] = defaultdict(list)
    for outcome in await ask.outcomes():
        outcomes[outcome.key].append(outcome)
    summary = await ask.summary()
    reminders, known = await ask.reminders(), await ask.known_tasks()
    tasks, unfollowed = await ask.snapshots(), await ask.unfollowed(summary.now - SERIES_GRACE)
    waiting = summary.outbox_oldest
    return Collected(
        now=summary.now,
        tasks={task.task_id: task for task in tasks},
        known={task.task_id: task for task in known},
        reminders={row.key: row for row in reminders},
        outcomes=outcomes,
        unfollowed=frozenset(unfollowed),
        mails=mails,
        mails_from=mails_from,
        mailed_at=mailed_at,
        restores=summary.restores,
        outboxes={
            names.BACKEND.app_id: backend_outbox.oldest_seconds,
            names.NOTIFICATION.app_id: (summary.now - waiting).total_seconds() if waiting else 0.0,
        },
        paused={names.BACKEND.app_id: backend_outbox.paused, names.NOTIFICATION.app_id: summary.relay_paused},
        letters=await _open_letters(api),
    )


class _Questions:
    """What is asked of the services through the sidecar, every page of it. Raises `NoAnswerError`."""

    def __init__(self, dapr: Dapr) -> None:
        self._dapr = dapr

    async def outcomes(self) -> list[ReminderOutcome]:
        async def page(last: ReminderOutcome | None) -> Sequence[ReminderOutcome]:
            after = AttemptKey(last.task_id, last.reminder, last.fire_at, last.attempt) if last else None
            query = DeliveriesQuery(after, PAGE)
            return (await self._ask(names.BACKEND, invocation.DELIVERIES, query, Deliveries)).deliveries

        return await _all(page)

    async def summary(self) -> Summary:
        return await self._ask(names.NOTIFICATION, schedule.SUMMARY, {}, Summary)

    async def reminders(self) -> list[ScheduledReminder]:
        async def page(last: ScheduledReminder | None) -> Sequence[ScheduledReminder]:
            query = PageQuery(last.key if last else None, PAGE)
            return (await self._ask(names.NOTIFICATION, schedule.PAGE, query, Reminders)).reminders

        return await _all(page)

    async def known_tasks(self) -> list[KnownTask]:
        async def page(last: KnownTask | None) -> Sequence[KnownTask]:
            query = TasksQuery(last.task_id if last else None, PAGE)
            return (await self._ask(names.NOTIFICATION, schedule.TASKS, query, KnownTasks)).tasks

        return await _all(page)

    async def snapshots(self) -> list[TaskSnapshot]:
        """Every task whole, tombstones included."""

        async def page(last: TaskVersion | None) -> Sequence[TaskVersion]:
            query = TaskVersionsQuery(last.task_id if last else None, PAGE)
            return (await self._ask(names.BACKEND, invocation.TASK_VERSIONS, query, TaskVersions)).tasks

        ids = [task.task_id for task in await _all(page)]
        found: list[TaskSnapshot] = []
        for start in range(0, len(ids), SNAPSHOTS):
            query = SnapshotsQuery(tuple(ids[start : start + SNAPSHOTS]))
            found += (await self._ask(names.BACKEND, invocation.TASK_SNAPSHOTS, query, Snapshots)).tasks
        return found

    async def unfollowed(self, closed_before: dt.datetime) -> list[UUID]:
        async def page(last: UUID | None) -> Sequence[UUID]:
            query = UnfollowedQuery(closed_before, last, PAGE)
            return (await self._ask(names.BACKEND, invocation.UNFOLLOWED, query, Unfollowed)).task_ids

        return await _all(page)

    async def _ask(self, app: names.App, method: str, query: object, kind: type[S]) -> S:
        try:
            answer = await self._dapr.invoke(app.app_id, method, msgspec.json.encode(query))
            return msgspec.json.decode(answer, type=kind)
        except (DaprError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NoAnswerError(f"{app.app_id} could not be asked through the sidecar: {error}") from error


async def _all(page: Callable[[T | None], Awaitable[Sequence[T]]]) -> list[T]:
    """Every row, page by page; a page is asked for after the last row of the one before."""
    found: list[T] = []
    while True:
        rows = await page(found[-1] if found else None)
        if found and rows and rows[-1] == found[-1]:
            raise NoAnswerError("a service answers the same page again and again")
        found += rows
        if len(rows) < PAGE:
            return found


async def _read_mails(mailbox: Mailbox, keep: int) -> tuple[Counter[str], dt.datetime | None, dict[str, dt.datetime]]:
    """How often each Message-ID is there, and when it came first, by the part before the @.

    Between them: since when nothing is missing, if the mailbox has thrown mails away.
    """
    mails: dict[str, client.Mail] = {}
    while True:  # newest first: what arrives meanwhile only shows some of them twice
        try:
            page = (await mailbox.mails(limit=PAGE, start=len(mails))).value.messages
        except UnreachableError as error:
            raise NoAnswerError(f"the mailbox at {error.url} could not be asked ({error.reason})") from error
        fresh = {mail.ID: mail for mail in page if mail.ID not in mails}
        mails |= fresh
        if len(page) < PAGE or not fresh:
            break
    times = [mail.Created for mail in mails.values() if mail.Created]
    counted = Counter(mail.MessageID.strip("<>") for mail in mails.values())
    first = {mail.MessageID.strip("<>").partition("@")[0]: mail.Created for mail in mails.values() if mail.Created}
    return counted, min(times) if len(times) >= keep else None, first  # newest come first: the oldest stands


async def _open_letters(api: Api) -> list[Letter]:
    found: list[Letter] = []
    cursor: str | None = None
    while True:
        page = (await api.letters("open", 500, cursor)).value
        found += page.dead_letters
        cursor = page.next_cursor
        if cursor is None:
            return found


def answer(report: Report) -> client.Answer[Report]:
    """A report as an answer, for those who show answers."""
    return client.Answer(msgspec.json.encode(report), report)
