import itertools
from uuid import uuid4

import msgspec

from tests.integration.backend.scenario import NOON, Scenario, outcome
from todo.backend.internal import resolve_reminders
from todo.backend.store import deliveries
from todo.contracts.events import Outcome, ReminderKey
from todo.domain.due import Due


async def history(scenario: Scenario) -> list[tuple[int, str, str]]:
    rows = await scenario.database.pool.fetch("SELECT attempt, outcome, reason FROM deliveries ORDER BY attempt")
    return [(row["attempt"], row["outcome"], row["reason"]) for row in rows]


async def test_outcomes_are_kept_per_attempt_although_the_task_may_be_gone(scenario: Scenario) -> None:
    task_id = uuid4()
    await scenario.tell(
        outcome(task_id, Outcome.DEFERRED, reason="greylisted"), outcome(task_id, Outcome.DELIVERED, attempt=2)
    )
    assert await history(scenario) == [(1, "deferred", "greylisted"), (2, "delivered", "")]


async def test_whichever_word_about_an_attempt_comes_first_delivered_stands(scenario: Scenario) -> None:
    """In every order of arrival, and however often."""
    for order in itertools.permutations(range(4)):
        task_id = uuid4()
        said = [
            outcome(task_id, Outcome.DEFERRED, minutes=0),
            outcome(task_id, Outcome.DELIVERED, minutes=3, reason="late"),
            outcome(task_id, Outcome.FAILED, minutes=2),
            outcome(task_id, Outcome.DELIVERED, minutes=1, reason="early"),
        ]
        for index in order:
            await scenario.tell(said[index])
        await scenario.tell(*said, *said[::-1])
    assert await history(scenario) == [(1, "delivered", "early")] * 24


async def test_of_two_ends_the_first_said_stands_in_either_order_and_in_one_batch(scenario: Scenario) -> None:
    first, second = uuid4(), uuid4()
    for task_id, order in ((first, 1), (second, -1)):
        said = [outcome(task_id, Outcome.FAILED, minutes=1, reason="a"), outcome(task_id, Outcome.FAILED, minutes=2)]
        await scenario.tell(*said[::order])
        for one in said[::order]:
            await scenario.tell(one)
    assert await history(scenario) == [(1, "failed", "a")] * 2


async def test_an_end_beats_a_delay_whichever_comes_first(scenario: Scenario) -> None:
    for kind in (Outcome.FAILED, Outcome.SUPPRESSED, Outcome.SKIPPED):
        first, second = uuid4(), uuid4()
        for task_id, order in ((first, 1), (second, -1)):
            for one in [outcome(task_id, Outcome.DEFERRED), outcome(task_id, kind, minutes=1)][::order]:
                await scenario.tell(one)
        found = await scenario.database.pool.fetch(
            "SELECT outcome FROM deliveries WHERE task_id = ANY($1)", [first, second]
        )
        assert [row["outcome"] for row in found] == [kind, kind]


async def test_an_attempt_number_that_no_column_takes_is_parked_and_its_neighbours_are_kept(scenario: Scenario) -> None:
    task_id = uuid4()
    await scenario.tell(outcome(task_id, Outcome.FAILED, attempt=2**40), outcome(task_id, Outcome.DELIVERED))
    assert await history(scenario) == [(1, "delivered", "")]
    (letter,) = await scenario.database.pool.fetch("SELECT * FROM dead_letters")
    assert (letter["app"], letter["attempts"], letter["status"]) == ("backend", 3, "open")


class TestResolving:
    """What email-delivery asks at the last moment."""

    async def test_a_wanted_reminder_has_its_reader_and_text(self, scenario: Scenario) -> None:
        task = await scenario.create(None, notes="twice")
        (one,) = await resolve_reminders(
            scenario.database.pool, (self._key(task.id, task.wanted[0].fire_at),), "http://x"
        )
        assert (one.suppressed, one.delivered_at) == ("", None)
        assert (one.recipient, one.recipient_name, one.zone) == ("ada@example.test", "Ada", "Europe/Berlin")
        assert (one.title, one.notes, one.url) == ("Water the plants", "twice", f"http://x/tasks/{task.id}?user_id=1")

    async def test_a_delivered_one_is_said_to_be_although_its_task_is_gone(self, scenario: Scenario) -> None:
        task_id = uuid4()
        await scenario.tell(outcome(task_id, Outcome.DELIVERED, minutes=5))
        (one,) = await resolve_reminders(scenario.database.pool, (self._key(task_id),), "")
        assert one.delivered_at is not None

    async def test_what_is_no_longer_wanted_says_why_and_the_order_is_kept(self, scenario: Scenario) -> None:
        done = await scenario.complete(await scenario.create(None))
        deleted = await scenario.create(None)
        await scenario.delete(deleted)
        moved = await scenario.create(None)
        before = moved.wanted[0].fire_at
        await scenario.edit(moved, due=Due("UTC", at=NOON.replace(year=2032)))
        keys = (
            self._key(moved.id, before),
            self._key(done.id, done.instances[0].fire_at),
            self._key(uuid4()),
            self._key(deleted.id, before),
        )
        resolved = await resolve_reminders(scenario.database.pool, keys, "")
        assert [one.key for one in resolved] == list(keys)
        assert [one.suppressed for one in resolved] == [
            "the reminder was moved, dismissed or removed",
            "the task was completed",
            "the task was deleted",
            "the task was deleted",
        ]

    def _key(self, task_id: object, fire_at: object = NOON) -> ReminderKey:
        return msgspec.convert({"task_id": task_id, "reminder": "PT0S", "fire_at": fire_at}, ReminderKey)


async def test_the_whole_history_can_be_paged(scenario: Scenario) -> None:
    task_ids = sorted(uuid4() for _ in range(5))
    await scenario.tell(*(outcome(task_id, Outcome.DELIVERED) for task_id in task_ids))
    first = await deliveries.page(scenario.database.pool, None, 3)
    last = first[-1]
    place = (last["task_id"], last["reminder"], last["fire_at"], last["attempt"])
    second = await deliveries.page(scenario.database.pool, place, 3)
    assert [row["task_id"] for row in [*first, *second]] == task_ids
