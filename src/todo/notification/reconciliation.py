"""Makes the bus expendable: compares what backend has with what arrived here, and fetches what did not."""

import datetime as dt
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar
from uuid import UUID

import msgspec
import structlog

from todo.contracts import invocation
from todo.contracts.events import ReminderKey, TaskSnapshot
from todo.contracts.invocation import (
    AttemptKey,
    Deliveries,
    DeliveriesQuery,
    ResolvedReminder,
    ResolvedReminders,
    ResolveReminders,
    Snapshots,
    SnapshotsQuery,
    TaskVersion,
    TaskVersions,
    TaskVersionsQuery,
)
from todo.dapr.errors import DaprError
from todo.dapr.subscriber import UnavailableError
from todo.messaging.failures import is_environment
from todo.messaging.unit import Database
from todo.notification import metrics, store
from todo.notification.handlers import apply_outcomes, apply_snapshots, lose_tasks
from todo.notification.schedule import Reminder, State

log = structlog.get_logger()

PAGE: Final = 1000
CHUNK: Final = 50  # snapshots of 64 KB each stay below the 4 MiB that a sidecar lets through
_UNSEEN: Final = (-1, -1)

Invoke = Callable[[str, bytes], Awaitable[bytes]]  # method of backend and JSON in, JSON out; raises `DaprError`
Answer = TypeVar("Answer", bound=msgspec.Struct)


async def reconcile_tasks(database: Database, invoke: Invoke) -> int:
    """Compare every task, page by page; returns how many were healed. Raises `UnavailableError` with backend away.

    What backend does not mention stays, unless it was seen in an earlier epoch only: a backend that was restored from
    a backup has lost it. In one epoch absence never deletes.
    """
    healed = lost = 0
    after: UUID | None = None
    while True:
        page = await _page(invoke, after)
        known = await _known(database, page)
        if any(ours > (page.epoch, task.version) for task, ours in known):
            _complain(known, await _page(invoke, after))
        for chunk in _chunks([task.task_id for task, ours in known if ours < (page.epoch, task.version)]):
            answer = await _ask(invoke, invocation.TASK_SNAPSHOTS, SnapshotsQuery(chunk), Snapshots)
            healed += await _apply(database, answer.tasks)
        is_last = len(page.tasks) < PAGE
        async with database.transaction() as tx:
            there = [task.task_id for task in page.tasks]
            lost += await lose_tasks(tx, after, None if is_last else there[-1], there, page.epoch)
        if is_last:
            break
        after = _next(page, after)
    metrics.healed.inc(healed)
    if healed:
        log.warning("tasks reconciled", action="reconcile-tasks", tasks=healed)
    if lost:
        log.warning("tasks let go: backend was restored from before they were", action="reconcile-tasks", tasks=lost)
    return healed


async def catch_up(database: Database, invoke: Invoke) -> None:
    """Make up for a restored database, here or at backend; nothing to do when neither was. Raises `UnavailableError`.

    This schedule hears of every outcome that backend knows; backend is told every end anew that it has not heard of.
    """
    here, home, _ = await store.origin(database.pool)
    if here != home:
        outcomes = await _learn_outcomes(database, invoke)
        await store.at_home(database.pool, here)
        log.info("the schedule is in a new place and has asked for every outcome", outcomes=outcomes)
    _, _, known_epoch = await store.origin(database.pool)
    epoch = (await _ask(invoke, invocation.TASK_VERSIONS, TaskVersionsQuery(None, 1), TaskVersions)).epoch
    if epoch > known_epoch:
        await _untell(database)
        async with database.transaction() as tx:
            await store.begin_epoch(tx, epoch)
        log.info("backend is in a new epoch, every end is told again that it has not heard of", epoch=epoch)


async def _untell(database: Database) -> None:
    """Page by page: ends are kept for ever, and there may be millions."""
    after: store.Key | None = (UUID(int=0), "", dt.datetime.min.replace(tzinfo=dt.UTC))
    while after is not None:
        async with database.transaction() as tx:
            after = await store.untell(tx, after, PAGE)


async def _learn_outcomes(database: Database, invoke: Invoke) -> int:
    learned, after = 0, None
    while True:
        query = DeliveriesQuery(after, PAGE)
        page = (await _ask(invoke, invocation.DELIVERIES, query, Deliveries)).deliveries
        if page:
            async with database.transaction() as tx:
                await apply_outcomes(tx, [(outcome, "") for outcome in page])
            last = page[-1]
            after = AttemptKey(last.task_id, last.reminder, last.fire_at, last.attempt)
        learned += len(page)
        if len(page) < PAGE:
            return learned


async def heard_of(invoke: Invoke, ended: Sequence[Reminder]) -> list[bool]:
    """Of each ended reminder, whether backend has heard how. Raises `UnavailableError`."""
    keys = tuple(ReminderKey(*row.key) for row in ended)
    answer = await _ask(invoke, invocation.RESOLVE_REMINDERS, ResolveReminders(keys), ResolvedReminders)
    known = {one.key: one for one in answer.reminders}
    return [key in known and _has_heard(known[key], row) for key, row in zip(keys, ended, strict=True)]


def _has_heard(known: ResolvedReminder, row: Reminder) -> bool:
    """An attempt that backend knows may be known as put off: that it delivered or failed must be known as such."""
    if known.delivered_at is not None:
        return True
    if row.state is State.DELIVERED:
        return False
    return bool(known.failed) if row.state is State.FAILED else row.attempt in known.answered


async def _page(invoke: Invoke, after: UUID | None) -> TaskVersions:
    return await _ask(invoke, invocation.TASK_VERSIONS, TaskVersionsQuery(after, PAGE), TaskVersions)


async def _known(database: Database, page: TaskVersions) -> list[tuple[TaskVersion, tuple[int, int]]]:
    """Each task of a page with the (epoch, version) that was seen here, before everything where none was."""
    async with database.transaction() as tx:
        known = await store.versions(tx, [task.task_id for task in page.tasks])
    return [(task, known.get(task.task_id, _UNSEEN)) for task in page.tasks]


def _complain(known: Sequence[tuple[TaskVersion, tuple[int, int]]], page: TaskVersions) -> None:
    """Tell of tasks of which backend lost what was seen here: nothing here can mend that.

    `page` was asked for after they were looked at: what arrived since the first page is in it.
    """
    theirs = {task.task_id: (page.epoch, task.version) for task in page.tasks}
    for task, ours in known:
        if ours > theirs.get(task.task_id, ours):
            metrics.regressions.inc()
            log.error(
                "backend has an older task than was seen here",
                task_id=task.task_id,
                ours=ours,
                theirs=theirs[task.task_id],
            )


async def _apply(database: Database, snapshots: Sequence[TaskSnapshot]) -> int:
    """Apply a chunk in one transaction; if one snapshot breaks it, all but that one."""
    try:
        async with database.transaction() as tx:
            return await apply_snapshots(tx, ((snapshot, "") for snapshot in snapshots))
    except Exception as error:
        if is_environment(error):
            raise
        log.warning("a chunk of snapshots failed, taking them one by one", exc_info=error)
    return sum([await _apply_alone(database, snapshot) for snapshot in snapshots])


async def _apply_alone(database: Database, snapshot: TaskSnapshot) -> int:
    try:
        async with database.transaction() as tx:
            return await apply_snapshots(tx, [(snapshot, "")])
    except Exception as error:
        if is_environment(error):
            raise
        log.exception("snapshot cannot be applied", task_id=snapshot.task_id)
        return 0


async def _ask(invoke: Invoke, method: str, query: msgspec.Struct, answer: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(await invoke(method, msgspec.json.encode(query)), type=answer)
    except (DaprError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnavailableError(f"backend, {method}: {type(error).__name__}: {error}") from error


def _chunks(task_ids: Sequence[UUID]) -> Iterator[tuple[UUID, ...]]:
    return (tuple(task_ids[start : start + CHUNK]) for start in range(0, len(task_ids), CHUNK))


def _next(page: TaskVersions, after: UUID | None) -> UUID:
    last = page.tasks[-1].task_id
    if after is not None and last <= after:
        raise UnavailableError(f"backend, {invocation.TASK_VERSIONS}: its pages do not advance past {after}")
    return last
