"""Outcomes may be lost with a broker's data: notification-service asks which ends backend has heard of."""

import msgspec
import pytest

from tests.integration.notification.scenario import HOUR, MINUTE, NOON, Scenario, firing, task
from todo.contracts.events import Outcome, ReminderOutcome
from todo.contracts.invocation import ResolvedReminder, ResolvedReminders, ResolveReminders
from todo.dapr.errors import SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.notification import polling


class Backend:
    """What backend answers; it knows these attempts."""

    def __init__(self, *answered: int) -> None:
        self.answered = answered
        self.asked = 0

    async def __call__(self, _: str, body: bytes) -> bytes:
        self.asked += 1
        asked = msgspec.json.decode(body, type=ResolveReminders)
        found = tuple(ResolvedReminder(key, answered=self.answered) for key in asked.reminders)
        return msgspec.json.encode(ResolvedReminders(found))


async def delivered(scenario: Scenario) -> None:
    """One reminder that was mailed two minutes ago and more."""
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    row = await scenario.row(snapshot)
    await scenario.settle(row, Outcome.DELIVERED, message_id="<one@todo>")
    scenario.pass_time(3 * MINUTE)


async def test_an_end_backend_never_heard_of_is_told_again_until_it_has(scenario: Scenario) -> None:
    await delivered(scenario)
    for _ in range(2):
        await polling.reconcile_reminders(scenario.database, Backend())
        (event,) = await scenario.publish()
        told: ReminderOutcome = event.data
        assert (told.outcome, told.attempt, told.message_id) == (Outcome.DELIVERED, 1, "<one@todo>")
    await polling.reconcile_reminders(scenario.database, Backend(1))
    assert await scenario.publish() == []


async def test_an_end_backend_has_heard_of_is_asked_about_once(scenario: Scenario) -> None:
    await delivered(scenario)
    backend = Backend(1)
    for _ in range(3):
        await polling.reconcile_reminders(scenario.database, backend)
        scenario.pass_time(HOUR)
    assert backend.asked == 1
    assert await scenario.publish() == []


async def test_nothing_is_told_again_while_the_outbox_holds_what_was_told(scenario: Scenario) -> None:
    await delivered(scenario)
    await polling.reconcile_reminders(scenario.database, Backend())
    backend = Backend()
    await polling.reconcile_reminders(scenario.database, backend)
    assert backend.asked == 0
    assert len(await scenario.publish()) == 1


async def test_a_backend_that_is_away_leaves_it_for_the_next_look(scenario: Scenario) -> None:
    await delivered(scenario)

    async def away(_: str, __: bytes) -> bytes:
        raise SidecarAwayError("503")

    with pytest.raises(UnavailableError):
        await polling.reconcile_reminders(scenario.database, away)
    await polling.reconcile_reminders(scenario.database, Backend())
    assert len(await scenario.publish()) == 1
