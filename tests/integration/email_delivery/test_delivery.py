"""Resolve, claim, send, record: the handler with a real mail server, and a state store that fails as real ones do."""

import asyncio
import base64
import datetime as dt
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.support.children import until
from tests.support.smtp import Hangup, SmtpServer
from tests.unit.email_delivery.world import NOW, BackendApp, MemoryState, Time, due, event, outcomes
from todo.contracts import names
from todo.contracts.events import EVENT_PARKED, Outcome, ReminderDue, ReminderOutcome
from todo.dapr.errors import CallRefusedError, SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery import claims as claims_module
from todo.email_delivery.backend import FRESH, Backend
from todo.email_delivery.claims import Claims
from todo.email_delivery.handlers import ReminderMails, park
from todo.email_delivery.lease import LAST_START, LEASE, PATIENCE
from todo.email_delivery.letter import Letters
from todo.email_delivery.mailer import Mailer
from todo.email_delivery.mime import Mailbox
from todo.email_delivery.smtp import Server
from todo.messaging.consumer import Consumer
from todo.messaging.direct import direct_unit
from todo.messaging.unit import DirectUnit

TASK = UUID(int=7)


@dataclass
class World:
    clock: Time
    state: MemoryState
    backend: BackendApp
    server: SmtpServer
    mailers: list[Mailer] = field(default_factory=list)

    def process(self, connections: int = 8) -> ReminderMails:
        """One more replica, or the same one after a restart."""
        mailer = Mailer(Server("127.0.0.1", self.server.port), connections)
        self.mailers.append(mailer)
        letters = Letters(Mailbox.of("To-do", "todo@example.org"), self.clock)
        claims = Claims(self.state, names.STATE_STORE, self.clock)
        return ReminderMails(Backend(self.backend, self.clock), claims, mailer, letters, self.clock)

    @property
    def recipients(self) -> list[str]:
        return [one.recipient for one in self.server.received]


@pytest.fixture(params=[409, 500])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    clock = Time()
    async with SmtpServer().running() as server:
        world = World(clock, MemoryState(clock, request.param), BackendApp(), server)
        yield world
        for mailer in world.mailers:
            await mailer.close()


async def deliver(process: ReminderMails, *dues: ReminderDue) -> list[ReminderOutcome]:
    unit = DirectUnit()
    await process.reminder_due([event(one) for one in dues], unit)
    return outcomes(unit)


def brief(told: list[ReminderOutcome]) -> list[tuple[Outcome, int]]:
    return [(one.outcome, one.attempt) for one in told]


async def never(_: str) -> str | None:
    await asyncio.Event().wait()
    return None


async def hang_up(_: str) -> str | None:
    raise Hangup


async def cut_off(process: ReminderMails, world: World, moment: str) -> None:
    """End a process as kill -9 would, when the server hears that command."""
    task = asyncio.create_task(deliver(process, due(TASK)))
    await until(lambda: any(command.startswith(moment) for command in world.server.commands))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_reminder_becomes_one_mail_and_one_outcome(world: World) -> None:
    """The main job: the right mail to the right person, its outcome told and kept."""
    [told] = await deliver(world.process(), due(TASK))
    [received] = world.server.received
    assert (received.recipient, received.message["Subject"]) == ("ann@example.org", "Reminder: Water the plants")
    assert (told.task_id, told.outcome, told.attempt, told.recipient) == (TASK, "delivered", 1, "ann@example.org")
    assert told.message_id == received.message_id
    assert [entry.outcome for entry in world.state.held()] == [Outcome.DELIVERED]


async def test_an_outcome_continues_the_trace_of_its_event(world: World) -> None:
    """The cause of an outcome is the reminder's event, and its key the task."""
    unit = DirectUnit()
    cause = event(due(TASK))
    await world.process().reminder_due([cause], unit)
    [sent] = unit.emitted
    written = json.loads(sent.envelope)
    assert written["traceparent"].split("-")[1] == cause.traceparent.split("-")[1]
    assert (sent.topic, sent.key, written["source"]) == ("reminder-deliveries", str(TASK), "email-delivery")


async def test_a_batch_is_one_question_and_few_claims(world: World) -> None:
    """A hundred reminders: one call to backend, far fewer calls to the store than mails, order kept."""
    dues = [due(UUID(int=number)) for number in range(100)]
    told = await deliver(world.process(), *dues)
    assert [one.task_id for one in told] == [one.task_id for one in dues]
    assert len(world.server.received) == 100
    assert world.backend.asked == [100]
    assert len(world.state.calls) < 150


async def test_no_more_claims_are_held_than_connections(world: World) -> None:
    """What waits for a connection holds nothing: with the server stuck, two claims exist and the rest are free."""
    world.server.on("MESSAGE", never)
    dues = [due() for _ in range(10)]
    task = asyncio.create_task(deliver(world.process(2), *dues))
    await until(lambda: world.server.commands.count("DATA") == 2)
    assert len(world.state.held()) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_slow_recipient_holds_up_nobody_else(world: World) -> None:
    """One mail hangs; every other of its batch is sent and recorded meanwhile."""
    go = asyncio.Event()

    async def slow(recipient: str) -> str | None:
        if recipient == "slow@example.org":
            await go.wait()
        return None

    world.server.on("MESSAGE", slow)
    world.backend.changes[TASK] = {"recipient": "slow@example.org"}
    dues = [due(TASK), *(due() for _ in range(9))]
    task = asyncio.create_task(deliver(world.process(2), *dues))
    await until(lambda: len([entry for entry in world.state.held() if entry.outcome]) == 9)
    go.set()
    assert brief(await task) == [(Outcome.DELIVERED, 1)] * 10


async def test_redelivered_later_or_backwards_nothing_is_sent_again(world: World) -> None:
    """The same batch again, backwards, and three weeks later by a new process: the same outcomes, no mail."""
    dues = [due() for _ in range(5)]
    first = await deliver(world.process(), *dues)
    world.clock.passes(dt.timedelta(days=21).total_seconds())
    again = await deliver(world.process(), *reversed(dues))
    assert list(reversed(again)) == first
    assert len(world.server.received) == 5


async def test_a_delivery_is_told_again_as_that_of_the_attempt_that_made_it(world: World) -> None:
    """Asked for attempt 3 of a mail that attempt 1 sent: the very outcome of attempt 1, so nothing is counted twice."""
    [first] = await deliver(world.process(), due(TASK))
    assert await deliver(world.process(), due(TASK, attempt=3)) == [first]


async def test_two_deliverers_send_one_mail(world: World) -> None:
    """Two replicas get the same event at the same time: one sends, the other leaves it."""
    told = await asyncio.gather(*(deliver(world.process(), due(TASK)) for _ in range(2)))
    assert sorted(len(one) for one in told) == [0, 1]
    assert len(world.server.received) == 1


async def test_twice_in_one_batch_is_one_mail(world: World) -> None:
    told = await deliver(world.process(), due(TASK), due(TASK))
    assert brief(told) == [(Outcome.DELIVERED, 1)]
    assert len(world.server.received) == 1


async def test_killed_after_the_claim_the_next_dispatch_sends(world: World) -> None:
    """Within the lease nobody touches it, after it the next attempt does."""
    world.server.on("MAIL", never)
    await cut_off(world.process(), world, "MAIL")
    world.server.hooks.clear()
    assert await deliver(world.process(), due(TASK)) == []
    world.clock.passes(LEASE.total_seconds())
    assert brief(await deliver(world.process(), due(TASK, attempt=2))) == [(Outcome.DELIVERED, 2)]
    assert len(world.server.received) == 1


async def test_killed_before_the_record_there_is_one_repeat_with_the_same_id(world: World) -> None:
    """The stated exception: the server took the mail, the process died before it wrote so down."""

    async def store_dies(_: str) -> str | None:
        world.state.away |= {"save", "get"}
        return None

    world.server.on("MESSAGE", store_dies)
    task = asyncio.create_task(deliver(world.process(), due(TASK)))
    await until(lambda: len(world.server.received) == 1 and "save" in world.state.calls[2:])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    world.state.away.clear()
    world.server.hooks.clear()
    world.clock.passes(LEASE.total_seconds())
    for attempt in (2, 3, 4):
        await deliver(world.process(), due(TASK, attempt=attempt))
    assert len(world.server.received) == 2
    assert len({one.message_id for one in world.server.received}) == 1


async def test_a_lost_answer_to_the_record_repeats_nothing(world: World) -> None:
    """The outcome was kept though nobody said so."""
    world.state.deaf.add("save")
    assert brief(await deliver(world.process(), due(TASK))) == [(Outcome.DELIVERED, 1)]
    world.state.deaf.clear()
    assert brief(await deliver(world.process(), due(TASK, attempt=2))) == [(Outcome.DELIVERED, 1)]
    assert len(world.server.received) == 1


async def test_what_cannot_be_recorded_is_told_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store stays away until the lease ends: the mail was delivered, and that is what is told."""
    monkeypatch.setattr(claims_module, "_PAUSES", (0.001,))

    async def store_dies(_: str) -> str | None:
        world.state.away |= {"save", "get"}
        return None

    world.server.on("MESSAGE", store_dies)
    task = asyncio.create_task(deliver(world.process(), due(TASK)))
    await until(lambda: len(world.state.calls) > 6)
    world.clock.passes(LEASE.total_seconds())
    assert brief(await task) == [(Outcome.DELIVERED, 1)]


async def test_a_claim_lost_to_another_is_not_overwritten(world: World) -> None:
    """Our lease ended while the server took its time: the outcome is told, the other's claim stays."""

    async def time_flies(_: str) -> str | None:
        world.clock.passes(LEASE.total_seconds())
        world.server.on("MESSAGE", never)
        other = asyncio.create_task(deliver(world.process(), due(TASK, attempt=2)))
        others.append(other)
        await until(lambda: world.server.commands.count("DATA") == 2)
        return None

    others: list[asyncio.Task[list[ReminderOutcome]]] = []
    world.server.on("MESSAGE", time_flies)
    assert brief(await deliver(world.process(), due(TASK))) == [(Outcome.DELIVERED, 1)]
    assert [(entry.attempt, entry.outcome) for entry in world.state.held()] == [(2, None)]
    others[0].cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_frozen_past_its_lease_it_does_not_send(world: World) -> None:
    """The machine slept between the claim and DATA: nothing leaves, nothing is told, the claim stays."""

    async def sleeps(_: str) -> str | None:
        world.clock.passes(LAST_START.total_seconds() + 1)
        return None

    world.server.on("DATA", sleeps)
    assert await deliver(world.process(), due(TASK)) == []
    assert world.server.received == []
    assert len(world.state.held()) == 1


@pytest.mark.parametrize(
    ("moment", "reply"), [("RCPT", "451 4.7.1 greylisted"), ("GREETING", "554 no"), ("MAIL", "535 5.7.8 log in")]
)
async def test_a_refusal_for_now_leaves_the_claim_to_the_next_attempt(world: World, moment: str, reply: str) -> None:
    """Deferred, with the reason, and kept; the next attempt need not wait for the lease."""
    process = world.process()
    world.server.on(moment, reply)
    [told] = await deliver(process, due(TASK))
    assert (told.outcome, told.possibly_sent) == (Outcome.DEFERRED, False)
    assert told.reason
    assert [(entry.attempt, entry.outcome) for entry in world.state.held()] == [(1, Outcome.DEFERRED)]
    world.server.hooks.clear()
    assert brief(await deliver(process, due(TASK, attempt=2))) == [(Outcome.DELIVERED, 2)]


async def test_a_mail_that_was_put_off_is_told_again_and_not_sent_again_at_its_attempt(world: World) -> None:
    """Ten redeliveries, because telling failed, are one mail at the server; so are those of earlier attempts."""
    world.server.on("MESSAGE", hang_up)
    [first] = await deliver(world.process(), due(TASK, attempt=2))
    assert (first.outcome, first.possibly_sent) == (Outcome.DEFERRED, True)
    for attempt in (1, 2, 2, 2):
        world.clock.passes(LEASE.total_seconds())
        assert await deliver(world.process(), due(TASK, attempt=attempt)) == [first]
    assert world.server.commands.count("DATA") == 1


async def test_a_mail_that_was_put_off_is_taken_over_by_one_next_attempt(world: World) -> None:
    """Two replicas get the next attempt at the same time: one sends."""
    world.server.on("RCPT", "451 4.7.1 greylisted")
    await deliver(world.process(), due(TASK))
    world.server.hooks.clear()
    told = await asyncio.gather(*(deliver(world.process(), due(TASK, attempt=2)) for _ in range(2)))
    assert sorted(map(brief, told)) == [[], [(Outcome.DELIVERED, 2)]]
    assert len(world.server.received) == 1


@pytest.mark.parametrize(("moment", "possibly_sent"), [("MESSAGE", True), ("MAIL", False)])
async def test_what_was_put_off_and_is_not_wanted_any_more_is_suppressed(
    world: World, moment: str, possibly_sent: bool
) -> None:
    """The next attempt is not wanted: that an earlier one was possibly sent is told with it."""
    world.server.on(moment, hang_up)
    await deliver(world.process(), due(TASK))
    world.backend.changes[TASK] = {"suppressed": "The task was completed."}
    [told] = await deliver(world.process(), due(TASK, attempt=2))
    assert (told.outcome, told.attempt, told.possibly_sent) == (Outcome.SUPPRESSED, 2, possibly_sent)


async def test_a_connection_lost_after_the_message_is_told_as_such(world: World) -> None:
    """Put off, possibly sent, and sent again with the same Message-ID."""
    world.server.on("MESSAGE", hang_up)
    [told] = await deliver(world.process(), due(TASK))
    assert (told.outcome, told.possibly_sent) == (Outcome.DEFERRED, True)
    world.server.hooks.clear()
    [second] = await deliver(world.process(), due(TASK, attempt=2))
    assert (second.outcome, second.message_id) == (Outcome.DELIVERED, told.message_id)


async def test_a_refusal_for_good_is_kept(world: World) -> None:
    """Failed with the server's words; asked again, the same is told without asking the server."""
    world.server.on("RCPT", "550 5.1.1 no such mailbox")
    [first] = await deliver(world.process(), due(TASK))
    assert (first.outcome, "no such mailbox" in first.reason) == (Outcome.FAILED, True)
    world.server.hooks.clear()
    [again] = await deliver(world.process(), due(TASK, attempt=2))
    assert (again.outcome, again.reason, again.attempt) == (Outcome.FAILED, first.reason, 2)
    assert world.server.received == []


async def test_what_is_not_wanted_any_more_is_not_sent(world: World) -> None:
    """Suppressed with backend's reason; no claim is made."""
    world.backend.changes[TASK] = {"suppressed": "The task was completed."}
    [told] = await deliver(world.process(), due(TASK))
    assert (told.outcome, told.reason, told.possibly_sent) == (Outcome.SUPPRESSED, "The task was completed.", False)
    assert (world.server.received, world.state.calls) == ([], ["get"])


async def test_what_was_recorded_and_never_told_is_told_although_it_is_not_wanted_any_more(world: World) -> None:
    """Its sender died before it published, and then the task was completed."""
    [unheard] = await deliver(world.process(), due(TASK))
    world.backend.changes[TASK] = {"suppressed": "The task was completed."}
    [told] = await deliver(world.process(), due(TASK))
    assert (told.outcome, told.at, told.message_id) == (Outcome.DELIVERED, unheard.at, unheard.message_id)


async def test_what_a_dead_sender_had_begun_is_told_as_possibly_sent(world: World) -> None:
    """It died between the server's taking of the mail and the record, and then the task was completed."""
    world.server.on("MESSAGE", never)
    await cut_off(world.process(), world, "DATA")
    world.backend.changes[TASK] = {"suppressed": "The task was completed."}
    [told] = await deliver(world.process(), due(TASK))
    assert (told.outcome, told.possibly_sent) == (Outcome.SUPPRESSED, True)
    assert told.message_id is not None


async def test_what_backend_knows_as_delivered_is_told_again(world: World) -> None:
    """The state store was lost, backend was not: no second mail."""
    before = NOW - dt.timedelta(hours=3)
    world.backend.changes[TASK] = {"delivered_at": before, "ended_attempt": 1}
    [told] = await deliver(world.process(), due(TASK, attempt=2))
    assert (told.outcome, told.at, told.attempt) == (Outcome.DELIVERED, before, 1)
    assert (world.server.received, world.state.calls) == ([], [])


async def test_what_backend_knows_as_given_up_is_told_again(world: World) -> None:
    """The current attempt ends as failed with backend's reason; no claim is made and no mail sent."""
    world.backend.changes[TASK] = {"failed": "It was given up.", "ended_attempt": 1}
    [told] = await deliver(world.process(), due(TASK, attempt=2))
    assert (told.outcome, told.reason, told.attempt) == (Outcome.FAILED, "It was given up.", 2)
    assert (world.server.received, world.state.calls) == ([], [])


async def test_an_address_that_is_none_fails(world: World) -> None:
    """Nothing to retry: the owner is told, and the address gets nowhere near the mail server."""
    world.backend.changes[TASK] = {"recipient": "ann@example.org>\r\nRCPT TO:<eve@example.org"}
    assert brief(await deliver(world.process(), due(TASK))) == [(Outcome.FAILED, 1)]
    assert world.server.commands == []


@pytest.mark.parametrize("error", [SidecarAwayError("500"), CallRefusedError(404, "", "no such route")])
async def test_without_backend_nothing_is_held(world: World, error: Exception) -> None:
    """The batch is kept by the sidecar; no claim was made, no mail sent."""
    world.backend.error = error
    with pytest.raises(UnavailableError):
        await deliver(world.process(), due(TASK))
    assert (world.state.calls, world.server.received) == ([], [])


async def test_without_the_state_store_nothing_is_sent(world: World) -> None:
    world.state.away |= {"save", "get"}
    with pytest.raises(UnavailableError):
        await deliver(world.process(), due(TASK))
    assert world.server.commands == []


async def test_an_answer_that_grew_old_is_asked_for_anew(world: World) -> None:
    """The second mail waits for the first; by then its task is done, and it is not sent."""
    late = UUID(int=8)

    async def time_passes(_: str) -> str | None:
        world.clock.passes(FRESH.total_seconds())
        world.backend.changes[late] = {"suppressed": "The task was completed."}
        return None

    world.server.on("MESSAGE", time_passes)
    told = await deliver(world.process(1), due(TASK), due(late))
    assert [one.outcome for one in told] == [Outcome.DELIVERED, Outcome.SUPPRESSED]
    assert len(world.server.received) == 1


async def test_what_a_slow_server_leaves_undone_is_left_to_the_next_dispatch(world: World) -> None:
    """The sidecar is answered in time: what was begun is told, the rest is neither claimed nor sent."""

    async def time_passes(_: str) -> str | None:
        world.clock.passes(PATIENCE.total_seconds() + 1)
        return None

    world.server.on("MESSAGE", time_passes)
    told = await deliver(world.process(1), due(TASK), due(), due())
    assert [one.task_id for one in told] == [TASK]
    assert len(world.server.received) == len(world.state.held()) == 1


async def test_a_batch_that_was_never_begun_is_kept(world: World) -> None:
    """All connections were busy with other batches: nothing is lost, the sidecar brings it again."""
    process = world.process(1)
    async with process.mailer.lane():
        task = asyncio.create_task(deliver(process, due(TASK)))
        await until(lambda: world.backend.asked == [1])
        await asyncio.sleep(0)
        world.clock.passes(PATIENCE.total_seconds() + 1)
    with pytest.raises(UnavailableError):
        await task
    assert (world.server.received, world.state.calls) == ([], [])


async def test_a_service_that_stops_ends_what_it_began_and_begins_nothing(world: World) -> None:
    """One mail is with a slow server, another waits for its connection: the first is told, the second left."""
    go = asyncio.Event()

    async def slow(_: str) -> str | None:
        await go.wait()
        return None

    world.server.on("MESSAGE", slow)
    process = world.process(1)
    task = asyncio.create_task(deliver(process, due(TASK), due()))
    await until(lambda: "DATA" in world.server.commands)
    process.mailer.wind_down()
    go.set()
    assert [one.task_id for one in await task] == [TASK]
    assert len(world.server.received) == len(world.state.held()) == 1
    with pytest.raises(UnavailableError):
        await deliver(process, due())


async def test_a_failure_of_one_cuts_no_other_off(world: World) -> None:
    """The claims go away in the middle: mails under way end, are recorded, and told when the batch comes again."""
    dues = [due(UUID(int=number)) for number in range(6)]

    async def store_dies(_: str) -> str | None:
        if len(world.server.received) == 2:
            world.state.away.add("get")
        return None

    world.server.on("MESSAGE", store_dies)
    process = world.process(2)
    with pytest.raises(UnavailableError):
        await deliver(process, *dues)
    world.state.away.clear()
    world.server.hooks.clear()
    sent = len(world.server.received)
    assert 2 < sent < 6
    world.clock.passes(LEASE.total_seconds())
    assert brief(await deliver(process, *dues)) == [(Outcome.DELIVERED, 1)] * 6
    assert len(world.server.received) == 6


async def test_no_address_is_logged(world: World) -> None:
    """One line per mail with its numbers; the server's words are there without anyone's address."""
    world.server.on("RCPT", "550 5.1.1 <ann@example.org>: no such mailbox")
    with capture_logs() as logs:
        await deliver(world.process(), due(TASK), due())
    lines = [line for line in logs if line["event"] == "mail"]
    assert len(lines) == 2
    assert lines[0].keys() >= {"event_id", "task_id", "reminder", "attempt", "outcome", "milliseconds"}
    assert "ann@" not in str(logs)
    assert "no such mailbox" in lines[0]["reason"]


class Calm:
    async def is_cautious(self) -> bool:
        return False

    async def begin(self, event_id: str) -> int:
        raise AssertionError(event_id)

    async def take_back(self, event_id: str) -> None:
        raise AssertionError(event_id)

    async def finish(self, event_id: str) -> None:
        raise AssertionError(event_id)


class Publisher:
    """A sidecar that takes every event."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    async def publish_all(self, _pubsub: str, topic: str, messages: list[object]) -> dict[str, str]:
        self.published += [(topic, message.envelope) for message in messages]  # type: ignore[attr-defined]
        return {}


async def test_poison_is_parked_and_its_batch_is_mailed(world: World) -> None:
    """Bytes that are no event, and a reminder whose mail cannot be written, become letters; the rest become mails."""
    process, publisher = world.process(), Publisher()
    world.backend.changes[TASK] = {"due_at": None, "due_date": "not a date"}
    consumer = Consumer[DirectUnit](
        names.EMAIL_DELIVERY.app_id,
        {names.TASK_REMINDERS: process.reminder_due},
        scope=lambda: direct_unit(publisher, names.PUBSUB),  # type: ignore[arg-type]
        park=park,
        sightings=Calm(),
        clock=world.clock,
    )
    good, bad = event(due()), event(due(TASK))
    await consumer.deliver(names.TASK_REMINDERS, [b"\xff", bad.original, good.original])
    told = [json.loads(envelope) for topic, envelope in publisher.published if topic == names.REMINDER_DELIVERIES]
    letters = [json.loads(envelope) for topic, envelope in publisher.published if topic == names.DEAD_LETTERS]
    assert [one["subject"] for one in told] == [good.subject]
    assert {one["type"] for one in letters} == {EVENT_PARKED}
    assert {base64.b64decode(one["data"]["body"]) for one in letters} == {b"\xff", bad.original}
    assert len(world.server.received) == 1
