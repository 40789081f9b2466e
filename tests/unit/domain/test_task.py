import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from todo.domain import task as rules
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.task import Status, Task

NOW = dt.datetime(2026, 7, 15, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=3)
TOMORROW = Due("Europe/Berlin", at=NOW + dt.timedelta(days=1))
AUGUST = Due("UTC", date=dt.date(2026, 8, 1))
SERIES = UUID("00000000-0000-4000-8000-000000000001")

Transition = Callable[[Task, dt.datetime], Task]


def made(**fields: object) -> Task:
    task = Task(
        id=uuid4(), user_id=1, title="Pay rent", created_at=NOW, updated_at=NOW, due=TOMORROW,
        reminders=("-PT1H", "PT0S"), series_id=SERIES, seq=1, scheduled=TOMORROW,
    )  # fmt: skip
    return rules.remind(replace(task, **fields), NOW)  # type: ignore[arg-type]


STATES: dict[str, Task] = {
    "open": made(),
    "done": rules.complete(made(), NOW),
    "skipped": rules.skip(made(), NOW),
    "deleted": rules.delete(made(), NOW),
    "deleted when done": rules.skip(rules.complete(made(), NOW), NOW),
    "withdrawn": rules.delete(made(touched=False), NOW, withdrawn=True),
}
TRANSITIONS: dict[str, Transition] = {
    "complete": rules.complete,
    "skip": rules.skip,
    "reopen": rules.reopen,
    "delete": rules.delete,
    "rename": lambda task, now: rules.edit(task, now, title="Pay the rent"),
    "move": lambda task, now: rules.edit(task, now, due=AUGUST) if task.is_open else task,
    "renew": rules.renew,
}
CHANGES = {  # what each transition does in each state: the status and whether it is deleted, None for nothing at all
    "complete": {"open": ("done", False)},
    "skip": {"open": ("skipped", True), "done": ("done", True)},
    "reopen": {"done": ("open", False)},
    "delete": {"open": ("open", True), "done": ("done", True)},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ["complete", "skip", "reopen", "delete"])
def test_each_transition_changes_the_states_it_is_for_and_no_other(name: str, state: str) -> None:
    before = STATES[state]
    after = TRANSITIONS[name](before, LATER)
    expected = CHANGES[name].get(state)
    if expected is None:
        assert after is before
    else:
        assert (after.status, after.deleted) == expected


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_every_change_is_one_version_more_and_never_earlier(name: str, state: str) -> None:
    """Also when the clock has gone back an hour."""
    before = STATES[state]
    for now in (LATER, NOW - dt.timedelta(hours=1)):
        after = TRANSITIONS[name](before, now)
        if after is not before:
            assert after.version == before.version + 1
            assert after.updated_at >= before.updated_at


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("state", STATES)
def test_a_task_is_closed_exactly_while_it_has_a_closed_version(state: str, name: str) -> None:
    after = TRANSITIONS[name](STATES[state], LATER)
    assert (after.status is Status.OPEN) == (after.closed_version is None) == (after.closed_at is None)
    assert after.closed_version is None or after.closed_version <= after.version


def test_the_closed_version_is_that_of_closing_and_not_the_latest() -> None:
    closed = rules.complete(made(), NOW)
    edited = rules.edit(closed, LATER, title="Paid rent")
    deleted = rules.skip(edited, LATER)
    assert closed.version == closed.closed_version == edited.closed_version == deleted.closed_version
    assert deleted.version == closed.version + 2


def test_closing_again_is_another_closed_version() -> None:
    closed = rules.complete(made(), NOW)
    again = rules.complete(rules.reopen(closed, LATER), LATER)
    assert again.closed_version == again.version == 4


def test_an_edit_that_changes_nothing_is_no_version() -> None:
    task = made()
    assert rules.edit(task, LATER, title=task.title, labels=()) is task


def test_only_an_open_task_has_reminders_that_are_wanted() -> None:
    assert {name: len(task.wanted) for name, task in STATES.items()} == dict.fromkeys(STATES, 0) | {"open": 2}


def test_reopening_skips_what_passed_meanwhile() -> None:
    opened = rules.reopen(rules.complete(made(), NOW), NOW + dt.timedelta(days=2))
    assert [one.past for one in opened.wanted] == [True, True]


def test_reopening_brings_no_dismissed_reminder_back() -> None:
    snoozed = rules.snooze(made(), NOW, LATER, "-PT1H")
    opened = rules.reopen(rules.complete(snoozed, NOW), NOW)
    assert [one.reminder for one in opened.wanted] == ["PT0S", "2026-07-15T15:00:00Z"]


def test_reminders_of_a_closed_task_are_decided_when_it_opens_again() -> None:
    closed = rules.edit(rules.complete(made(), NOW), NOW, reminders=("-PT2H",))
    assert [one.reminder for one in rules.reopen(closed, NOW).wanted] == ["-PT2H"]


def test_moving_due_moves_relative_reminders_only() -> None:
    fixed = "2026-07-16T08:00:00Z"
    task = made(reminders=("-PT1H", fixed))
    moved = rules.edit(task, NOW, due=Due("Europe/Berlin", at=NOW + dt.timedelta(days=3)))
    assert task.instances[0].fire_at != moved.instances[0].fire_at
    assert task.instances[1] == moved.instances[1]


def test_snoozing_dismisses_the_reminder_it_replaces() -> None:
    snoozed = rules.snooze(made(), NOW, LATER, "-pt60m")
    assert [(one.reminder, one.dismissed) for one in snoozed.instances] == [
        ("-PT1H", True),
        ("PT0S", False),
        ("2026-07-15T15:00:00Z", False),
    ]


def test_snoozing_to_an_instant_that_is_a_reminder_already_still_dismisses() -> None:
    task = made(reminders=("-PT1H", "2026-07-15T15:00:00Z"))
    snoozed = rules.snooze(task, NOW, LATER, "-PT1H")
    assert [one.dismissed for one in snoozed.instances] == [True, False]
    assert snoozed.version == 2


def test_snoozing_the_same_again_is_no_version() -> None:
    snoozed = rules.snooze(made(), NOW, LATER, "-PT1H")
    assert rules.snooze(snoozed, NOW, LATER, "-PT1H") is snoozed


def test_a_snoozed_snooze_moves_so_that_a_task_can_be_snoozed_for_ever() -> None:
    task = rules.snooze(made(), NOW, LATER, None)
    for hours in range(4, 40):
        task = rules.snooze(task, NOW, NOW + dt.timedelta(hours=hours), task.reminders[-1])
    assert task.reminders == ("-PT1H", "PT0S", "2026-07-17T03:00:00Z")


def test_a_task_can_be_snoozed_for_ever_although_no_reminder_is_named() -> None:
    task = made()
    for hours in range(40):
        now = NOW + dt.timedelta(hours=hours)
        task = rules.snooze(task, now, now + dt.timedelta(minutes=30), None)
    assert len(task.reminders) == 20
    assert task.reminders[:2] == ("-PT1H", "PT0S")
    assert task.reminders[-1] == "2026-07-17T03:30:00Z"


def test_a_snooze_drops_no_reminder_that_is_still_to_come() -> None:
    task = made()
    for hours in range(18):
        task = rules.snooze(task, NOW, LATER + dt.timedelta(hours=hours), None)
    with pytest.raises(RuleError, match="there are 21"):
        rules.snooze(task, NOW, NOW + dt.timedelta(days=3), None)


@pytest.mark.parametrize("state", ["done", "skipped"])
def test_the_due_of_a_closed_task_stays_for_its_successor_was_dated_by_it(state: str) -> None:
    before = STATES[state]
    with pytest.raises(RuleError) as refused:
        rules.edit(before, LATER, due=AUGUST)
    assert (refused.value.field, refused.value.fix) == ("due_at", "reopen it first")
    assert rules.edit(before, LATER, title="Paid", labels=("home",), due=before.due).title == "Paid"


@pytest.mark.parametrize(
    ("task", "until", "instead_of", "field"),
    [
        (STATES["done"], LATER, None, "task"),
        (STATES["deleted"], LATER, None, "task"),
        (STATES["open"], NOW, None, "until"),
        (STATES["open"], dt.datetime(2200, 1, 2, tzinfo=dt.UTC), None, "until"),
        (STATES["open"], LATER, "-PT2H", "reminder"),
        (STATES["open"], LATER, "soon", "reminder"),
    ],
)
def test_a_snooze_that_makes_no_sense_is_refused(
    task: Task, until: dt.datetime, instead_of: str | None, field: str
) -> None:
    with pytest.raises(RuleError) as refused:
        rules.snooze(task, NOW, until, instead_of)
    assert refused.value.field == field


def test_a_successor_takes_everything_but_fixed_reminders_and_is_untouched() -> None:
    before = made(reminders=("-PT1H", "2026-07-16T08:00:00Z"), labels=("home",), notes="cash", priority=2)
    due = Due("Europe/Berlin", at=NOW + dt.timedelta(days=8))
    after = rules.successor(before, 2, due, NOW)
    assert (after.title, after.notes, after.labels, after.priority) == ("Pay rent", "cash", ("home",), 2)
    assert (after.reminders, after.due, after.scheduled, after.touched) == (("-PT1H",), due, due, False)
    assert [one.fire_at for one in after.wanted] == [NOW + dt.timedelta(days=7, hours=23)]


def test_the_id_of_an_occurrence_follows_from_series_and_number() -> None:
    due = Due("UTC", at=LATER)
    assert rules.successor(made(), 2, due, NOW).id == rules.successor(made(), 2, due, LATER).id
    assert rules.occurrence_id(SERIES, 2) != rules.occurrence_id(SERIES, 3)


@pytest.mark.parametrize("name", ["complete", "rename", "move", "renew", "reopen"])
def test_whatever_a_person_does_to_an_occurrence_touches_it(name: str) -> None:
    before = made(touched=False)
    before = rules.complete(before, NOW) if name == "reopen" else before
    assert TRANSITIONS[name](before, LATER).touched


def test_a_withdrawn_occurrence_comes_back_untouched_as_its_predecessor_is_now() -> None:
    due = Due("Europe/Berlin", at=NOW + dt.timedelta(days=9))
    before = STATES["withdrawn"]
    anew = rules.successor(made(title="Pay more rent", reminders=("-PT2H",)), 2, due, LATER)
    back = rules.revive(before, anew, LATER)
    assert (back.is_open, back.withdrawn, back.touched, back.due, back.version) == (True, False, False, due, 3)
    assert (back.id, back.created_at, back.title) == (before.id, before.created_at, "Pay more rent")
    assert [one.fire_at for one in back.wanted] == [due.moment - dt.timedelta(hours=2)]


@pytest.mark.parametrize(
    ("said", "title"),
    [("  Pay\r\nrent\t now ", "Pay rent now"), ("<b>bold</b>", "<b>bold</b>"), ("x" * 500, "x" * 500)],
)
def test_a_title_is_one_line(said: str, title: str) -> None:
    assert rules.check_title(said) == title


@pytest.mark.parametrize("said", ["", " \n\t", "x" * 501, "x" * 10_000, "a\x00b", "a\x1b[31mb", "\ud800"])
def test_titles_that_are_none_are_refused(said: str) -> None:
    with pytest.raises(RuleError) as refused:
        rules.check_title(said)
    assert refused.value.field == "title"
    str(refused.value).encode()


def test_notes_keep_their_lines() -> None:
    assert rules.check_notes("a\n\tb\r\n") == "a\n\tb\r\n"


@pytest.mark.parametrize("notes", ["x" * 20_001, "a\x00", "\udfff", "\x07"])
def test_notes_that_cannot_be_kept_are_refused(notes: str) -> None:
    with pytest.raises(RuleError, match="notes"):
        rules.check_notes(notes)


def test_labels_are_single_and_clean() -> None:
    assert rules.check_labels([" home ", "home", "at  work"]) == ("home", "at work")


@pytest.mark.parametrize("labels", [[""], [" "], ["x" * 51], ["a\x00"], ["\ud800"], [str(n) for n in range(21)]])
def test_labels_that_are_none_are_refused(labels: list[str]) -> None:
    with pytest.raises(RuleError, match="labels"):
        rules.check_labels(labels)
