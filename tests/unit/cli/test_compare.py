"""`compare` finds each kind of disagreement, and nothing where there is none."""

import dataclasses
import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
import pytest

from todo.contracts.events import (
    Occurrence,
    Outcome,
    ReminderInstance,
    ReminderKey,
    ReminderOutcome,
    TaskSnapshot,
)
from todo.contracts.pause import Pause
from todo.contracts.schedule import KnownTask, Restore, ScheduledReminder
from todo.email_delivery.letter import Letters
from todo.email_delivery.mime import Mailbox
from todo.mailbox.app import DEFAULT_KEEP
from todo.operations.client import Letter
from todo.operations.verify import MAILBOX_KEEP, Collected, Finding, Kind, Report, compare, mail_id, settle

NOW = dt.datetime(2030, 1, 1, 12, 0, tzinfo=dt.UTC)
SOON = NOW + dt.timedelta(hours=1)
EARLIER = NOW - dt.timedelta(minutes=1)
TASK = UUID(int=1)
SERIES = UUID(int=99)
KEY = ReminderKey(TASK, "PT0S", SOON)
GRACE = dt.timedelta(seconds=10)


def snapshot(**changes: Any) -> TaskSnapshot:  # noqa: ANN401 - any field
    base = TaskSnapshot(TASK, 1, 1, 3, "t", "open", deleted=False, reminders=(ReminderInstance("PT0S", SOON),))
    return msgspec.structs.replace(base, **changes)


def row(**changes: Any) -> ScheduledReminder:  # noqa: ANN401 - any field
    base = ScheduledReminder(
        TASK, "PT0S", SOON, "waiting", wanted=True, attempt=0, possibly_sent=0, next_at=SOON, first_dispatched_at=None,
        dispatched_at=None, reason="", traceparent="", updated_at=NOW,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def outcome(said: Outcome, attempt: int = 1, **changes: Any) -> ReminderOutcome:  # noqa: ANN401 - any field
    return msgspec.structs.replace(ReminderOutcome(TASK, "PT0S", SOON, attempt, said, EARLIER), **changes)


def collected(**changes: Any) -> Collected:  # noqa: ANN401 - any field
    agreed: dict[str, Any] = {
        "now": NOW,
        "tasks": {TASK: snapshot()},
        "known": {TASK: KnownTask(TASK, 1, 3, NOW)},
        "reminders": {KEY: row()},
    }
    return Collected(**(agreed | changes))


def ended(state: str, *told: ReminderOutcome, mails: int = 1, **changes: Any) -> Collected:  # noqa: ANN401 - any field
    return collected(
        reminders={KEY: row(**{"state": state, "attempt": 1, "next_at": None} | changes)},
        outcomes={KEY: list(told)} if told else {},
        mails={f"{mail_id(KEY)}@example.org": mails} if mails else {},
    )


def occurrence(seq: int) -> Occurrence:
    return Occurrence(SERIES, seq, seq, 1, "FREQ=DAILY", "UTC", "2030-01-01T09:00:00Z", "due", "each")


def closed(seq: int = 1, **changes: Any) -> TaskSnapshot:  # noqa: ANN401 - any field
    done = snapshot(
        task_id=UUID(int=seq), status="done", reminders=(), due_at=NOW, closed_at=NOW, closed_version=3,
        occurrence=occurrence(seq),
    )  # fmt: skip
    return msgspec.structs.replace(done, **changes)


def series(*tasks: TaskSnapshot, **changes: Any) -> Collected:  # noqa: ANN401 - any field
    known = {task.task_id: KnownTask(task.task_id, task.epoch, task.version, NOW) for task in tasks}
    return Collected(now=NOW, tasks={task.task_id: task for task in tasks}, known=known, **changes)


FOLLOWER = closed(2, status="open", closed_at=None, closed_version=None)
DELIVERED = outcome(Outcome.DELIVERED)
WANTED_TOO_LATE = dataclasses.replace(
    ended("suppressed", outcome(Outcome.SUPPRESSED), mails=0),
    tasks={TASK: snapshot(reminders=(ReminderInstance("PT0S", SOON, past=True),))},
)
LETTER = Letter(7, "email-delivery", "task-reminders", "e", "t", "s", "boom", 3, "open", 0, 1, "", NOW, NOW)


@pytest.mark.parametrize(
    "said",
    [
        collected(),
        ended("delivered", DELIVERED),
        ended("delivered", outcome(Outcome.DEFERRED), outcome(Outcome.DELIVERED, 2), attempt=2),
        ended("failed", outcome(Outcome.FAILED), mails=0),
        ended("failed", outcome(Outcome.FAILED, possibly_sent=True)),
        ended("dispatched", mails=1),
        ended("failed", outcome(Outcome.FAILED, 2), attempt=2),
        ended("dispatched", mails=0),
        WANTED_TOO_LATE,
        series(closed(), FOLLOWER),
        series(closed(), msgspec.structs.replace(FOLLOWER, deleted=True)),
        series(closed(occurrence=msgspec.structs.replace(occurrence(1), rule="FREQ=DAILY;COUNT=1"))),
        collected(outboxes={"backend": 9.0}),
        collected(mails={"newsletter@example.org": 2}),
    ],
    ids=lambda _: "",
)
def test_what_agrees_or_is_on_its_way_is_no_finding(said: Collected) -> None:
    assert compare(said, GRACE) == []


DISAGREEMENTS = [
    (Kind.TASK_UNSEEN, collected(known={})),
    (Kind.TASK_BEHIND, collected(known={TASK: KnownTask(TASK, 1, 2, NOW)})),
    (Kind.TASK_AHEAD, collected(known={TASK: KnownTask(TASK, 2, 1, NOW)})),
    (Kind.TASK_UNKNOWN, collected(known={n: KnownTask(n, 1, 3, NOW) for n in (TASK, UUID(int=5))})),
    (Kind.REMINDER_MISSING, collected(reminders={})),
    (Kind.REMINDER_DROPPED, collected(reminders={KEY: row(state="withdrawn", wanted=False, next_at=None)})),
    (Kind.REMINDER_DROPPED, collected(reminders={KEY: row(state="dispatched", wanted=False, attempt=1)})),
    (Kind.REMINDER_DROPPED, ended("suppressed", outcome(Outcome.SUPPRESSED), mails=0)),
    (Kind.REMINDER_UNWANTED, collected(tasks={TASK: snapshot(reminders=())})),
    (Kind.REMINDER_UNWANTED, collected(tasks={TASK: snapshot(reminders=(ReminderInstance("-PT1H", SOON),))})),
    (Kind.REMINDER_OVERDUE, collected(reminders={KEY: row(next_at=EARLIER)})),
    (
        Kind.REMINDER_UNANSWERED,
        collected(reminders={KEY: row(state="dispatched", attempt=1, next_at=NOW - dt.timedelta(minutes=5))}),
    ),
    (Kind.OUTCOME_MISSING, ended("delivered")),
    (Kind.OUTCOME_MISSING, ended("failed", outcome(Outcome.DEFERRED), mails=0)),
    (Kind.OUTCOME_MISSING, ended("skipped", mails=0)),
    (Kind.OUTCOME_UNKNOWN, collected(outcomes={KEY: [DELIVERED]}, mails={f"{mail_id(KEY)}@x": 1})),
    (Kind.OUTCOME_UNKNOWN, collected(outcomes={ReminderKey(UUID(int=4), "PT0S", SOON): [outcome(Outcome.FAILED)]})),
    (Kind.OUTCOME_UNAPPLIED, ended("dispatched", outcome(Outcome.FAILED))),
    (Kind.OUTCOME_UNAPPLIED, ended("failed", DELIVERED, outcome(Outcome.FAILED, 1))),
    (Kind.MAIL_MISSING, ended("delivered", DELIVERED, mails=0)),
    (Kind.MAIL_REPEATED, ended("delivered", DELIVERED, mails=2)),
    (Kind.MAIL_UNACCOUNTED, ended("failed", outcome(Outcome.FAILED))),
    (Kind.MAIL_UNACCOUNTED, collected(mails={"reminder-0123@example.org": 1})),
    (Kind.OCCURRENCE_MISSING, series(closed())),
    (Kind.OCCURRENCE_MISSING, series(closed(), FOLLOWER, unfollowed=frozenset({UUID(int=1)}))),
    (Kind.OCCURRENCE_REPEATED, series(closed(), FOLLOWER, msgspec.structs.replace(FOLLOWER, task_id=UUID(int=9)))),
    (Kind.OUTBOX_STUCK, collected(outboxes={"backend": 11.0})),
    (Kind.DEAD_LETTER, collected(letters=[LETTER])),
]


@pytest.mark.parametrize(("kind", "said"), DISAGREEMENTS, ids=[str(kind) for kind, _ in DISAGREEMENTS])
def test_each_disagreement_is_found(kind: Kind, said: Collected) -> None:
    assert kind in {finding.kind for finding in compare(said, GRACE)}


def test_an_outbox_that_waits_for_a_pause_says_whose() -> None:
    """And not until when: that moves on between two looks, and only what both find is told."""
    held = Pause(NOW, "todo swap", "from kafka to redis", quiet=True)
    (finding,) = compare(collected(outboxes={"backend": 11.0}, paused={"backend": held}), GRACE)
    assert finding == Finding(Kind.OUTBOX_STUCK, "backend", "its relay is paused by todo swap (from kafka to redis)")


def test_every_kind_is_tried() -> None:
    assert {kind for kind, _ in DISAGREEMENTS} == set(Kind)


def test_mails_that_a_full_mailbox_has_thrown_away_are_not_missed() -> None:
    said = ended("delivered", DELIVERED, mails=0)
    full = Collected(now=NOW, tasks=said.tasks, known=said.known, reminders=said.reminders, outcomes=said.outcomes,
                     mails={}, mails_from=NOW)  # fmt: skip
    assert compare(full, GRACE) == []


def test_a_mailbox_is_full_when_it_holds_as_many_as_it_keeps() -> None:
    assert MAILBOX_KEEP == DEFAULT_KEEP


def test_message_ids_are_those_that_email_delivery_gives() -> None:
    letters = Letters(Mailbox.of("Todo", "todo@example.org"), lambda: NOW)
    assert letters.message_id(KEY) == f"<{mail_id(KEY)}@example.org>"


async def test_what_settles_is_not_told() -> None:
    looks = iter([collected(reminders={}), collected()])

    async def look() -> Collected:
        return next(looks)

    assert await settle(look, wait=30, grace=10) == Report(True, (), {"tasks": 1, "reminders": 1, "outcomes": 0}, 2)  # noqa: FBT003


async def test_what_only_the_last_look_sees_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todo.operations.verify.PAUSE", 0.001)
    others = [ReminderKey(UUID(int=n), "PT0S", SOON) for n in range(10_000)]

    async def look() -> Collected:
        return collected(reminders={KEY: row(), (key := others.pop()): row(task_id=key.task_id)})

    assert (await settle(look, wait=0.05, grace=10)).agree


async def test_what_stays_is_told() -> None:
    async def look() -> Collected:
        return collected(reminders={})

    report = await settle(look, wait=0, grace=10)
    expected = Finding(Kind.REMINDER_MISSING, KEY.text, "the task wants this reminder, the schedule does not have it")
    assert (report.agree, report.findings) == (False, (expected,))


def test_what_fell_between_a_backup_and_its_restore_is_accounted_for() -> None:
    """A mail of that time whose task is gone, and a task that a restored backend lost; nothing of another time."""
    restore = Restore(taken_at=EARLIER, restored_at=NOW)
    for second, kinds in {0: [], 61: [Kind.MAIL_UNACCOUNTED], -1: [Kind.MAIL_UNACCOUNTED]}.items():
        at = EARLIER + dt.timedelta(seconds=second)
        stray = "reminder-0123"
        said = collected(mails={f"{stray}@example.org": 1}, mailed_at={stray: at}, restores=[restore])
        assert [found.kind for found in compare(said, GRACE)] == kinds
    gone = {TASK: KnownTask(TASK, 1, 3, NOW), UUID(int=5): KnownTask(UUID(int=5), 2, 3, NOW, deleted=True)}
    assert compare(collected(known=gone), GRACE) == []
