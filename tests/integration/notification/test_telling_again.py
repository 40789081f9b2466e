"""Outcomes may be lost with a broker's data: notification-service asks which ends backend has heard of."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from tests.integration.notification.scenario import HOUR, MINUTE, NOON, Scenario, firing, task
from todo.contracts import names
from todo.contracts.events import Outcome, ReminderOutcome, TaskSnapshot
from todo.contracts.invocation import ResolvedReminder, ResolvedReminders, ResolveReminders
from todo.dapr.errors import SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.messaging.unit import Outgoing
from todo.notification import handlers, polling


class Backend:
    """What backend answers; this is what it has heard of every reminder."""

    def __init__(self, **heard: Any) -> None:  # noqa: ANN401 - any field
        self.heard = heard
        self.asked = 0

    async def __call__(self, _: str, body: bytes) -> bytes:
        self.asked += 1
        asked = msgspec.json.decode(body, type=ResolveReminders)
        found = tuple(ResolvedReminder(key, **self.heard) for key in asked.reminders)
        return msgspec.json.encode(ResolvedReminders(found))


DELIVERED: dict[str, Any] = {"answered": (1,), "delivered_at": NOON}


async def ended(scenario: Scenario, outcome: Outcome = Outcome.DELIVERED, **fields: object) -> TaskSnapshot:
    """One reminder that ended two minutes ago and more."""
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    await scenario.settle(await scenario.row(snapshot), outcome, **fields)
    scenario.pass_time(3 * MINUTE)
    return snapshot


async def test_an_end_backend_never_heard_of_is_told_again_until_it_has(scenario: Scenario) -> None:
    """Each time it is the same event: were it parked, it would be one dead letter."""
    await ended(scenario, message_id="<one@todo>")
    ids = set()
    for _ in range(2):
        await polling.reconcile_reminders(scenario.database, Backend())
        (event,) = await scenario.publish()
        ids.add(event.id)
        told: ReminderOutcome = event.data
        assert (told.outcome, told.attempt, told.message_id) == (Outcome.DELIVERED, 1, "<one@todo>")
        scenario.pass_time(HOUR)
    assert len(ids) == 1
    await polling.reconcile_reminders(scenario.database, Backend(**DELIVERED))
    assert await scenario.publish() == []


async def test_an_end_backend_does_not_take_is_told_with_growing_pauses_up_to_an_hour(scenario: Scenario) -> None:
    await ended(scenario)
    told = []
    for minute in range(300):
        await polling.reconcile_reminders(scenario.database, Backend())
        told += [minute for _ in await scenario.publish()]
        scenario.pass_time(MINUTE)
    pauses = [after - before for before, after in pairwise(told)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (3, 60)
    assert len(told) < 12


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DELIVERED])
async def test_an_attempt_that_backend_knows_as_put_off_is_not_its_end(scenario: Scenario, outcome: Outcome) -> None:
    """backend has the DEFERRED of the last attempt, and the end that followed was lost."""
    await ended(scenario, outcome)
    await polling.reconcile_reminders(scenario.database, Backend(answered=(1,)))
    (event,) = await scenario.publish()
    assert event.data.outcome is outcome


@pytest.mark.parametrize(
    ("outcome", "heard"),
    [
        (Outcome.FAILED, {"answered": (1,), "failed": "no such mailbox"}),
        (Outcome.FAILED, DELIVERED),
        (Outcome.SUPPRESSED, {"answered": (1,)}),
        (Outcome.DELIVERED, DELIVERED),
    ],
)
async def test_an_end_backend_has_heard_of_is_asked_about_once(
    scenario: Scenario, outcome: Outcome, heard: dict[str, Any]
) -> None:
    await ended(scenario, outcome)
    backend = Backend(**heard)
    for _ in range(3):
        await polling.reconcile_reminders(scenario.database, backend)
        scenario.pass_time(HOUR)
    assert backend.asked == 1
    assert await scenario.publish() == []


async def test_one_that_is_never_heard_of_keeps_no_other_from_its_turn(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of two, and five that backend does not know: each is told again at the first look."""
    monkeypatch.setattr(handlers, "CLAIM", 2)
    tasks = {str((await ended(scenario)).task_id) for _ in range(5)}
    await polling.reconcile_reminders(scenario.database, Backend())
    assert {event.subject for event in await scenario.publish()} == tasks


async def test_an_event_stuck_in_the_outbox_holds_up_no_other_end(scenario: Scenario) -> None:
    """What cannot be published there is another task's."""
    stuck, other = await ended(scenario), await ended(scenario)
    async with scenario.database.transaction() as tx:
        tx.emit(Outgoing(names.REMINDER_DELIVERIES, str(stuck.task_id), b"{}"))
    await polling.reconcile_reminders(scenario.database, Backend())
    keys = [row["key"] for row in await scenario.database.pool.fetch("DELETE FROM outbox RETURNING key")]
    assert sorted(keys) == sorted([str(stuck.task_id), str(other.task_id)])


async def test_nothing_is_told_again_while_the_outbox_holds_what_was_told(scenario: Scenario) -> None:
    await ended(scenario)
    await polling.reconcile_reminders(scenario.database, Backend())
    backend = Backend()
    await polling.reconcile_reminders(scenario.database, backend)
    assert backend.asked == 0
    assert len(await scenario.publish()) == 1


async def test_a_backend_that_is_away_leaves_it_for_the_next_look(scenario: Scenario) -> None:
    await ended(scenario)

    async def away(_: str, __: bytes) -> bytes:
        raise SidecarAwayError("503")

    with pytest.raises(UnavailableError):
        await polling.reconcile_reminders(scenario.database, away)
    await polling.reconcile_reminders(scenario.database, Backend())
    assert len(await scenario.publish()) == 1
