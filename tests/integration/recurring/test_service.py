"""recurring-service as a process beside a sidecar: batches in, what follows out, nothing kept."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.notification.service import free_port, running_service
from tests.integration.notification.sidecar import Sidecar, running_sidecar
from todo.contracts import events, names
from todo.contracts.events import Occurrence, TaskSnapshot
from todo.messaging.unit import outgoing

MODULE = "todo.recurring"
DUE = dt.datetime(2031, 5, 6, 7, 0, tzinfo=dt.UTC)


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running_sidecar() as sidecar:
        yield sidecar


def completed(rule: str = "FREQ=DAILY", *, task_id: UUID | None = None, closed_version: int = 2) -> bytes:
    occurrence = Occurrence(
        series_id=uuid4(),
        seq=1,
        position=1,
        generation=1,
        rule=rule,
        zone="UTC",
        start=DUE.isoformat(),
        mode="due",
        policy="skip",
    )
    snapshot = TaskSnapshot(
        task_id=task_id or uuid4(),
        user_id=1,
        epoch=1,
        version=closed_version,
        title="water the plants",
        status="done",
        deleted=False,
        reminders=(),
        due_at=DUE,
        closed_at=DUE,
        closed_version=closed_version,
        occurrence=occurrence,
    )
    return event_of(snapshot)


def event_of(snapshot: TaskSnapshot) -> bytes:
    subject = str(snapshot.task_id)
    return outgoing(
        "backend", names.TASK_EVENTS, events.TASK_COMPLETED, subject, snapshot, now=DUE, cause=TRACE
    ).envelope


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_every_closed_occurrence_of_a_batch_is_followed(sidecar: Sidecar) -> None:
    async with running_service(MODULE, sidecar) as service:
        status, answer = await service.deliver(
            names.TASK_EVENTS, completed(), completed("FREQ=DAILY;COUNT=1"), completed()
        )

    assert (status, [one["status"] for one in answer["statuses"]]) == (200, ["SUCCESS"] * 3)
    published = sidecar.events(names.TASK_OCCURRENCES)
    assert [event.type for event in published] == [
        "todo.occurrence.due.v1",
        "todo.series.ended.v1",
        "todo.occurrence.due.v1",
    ]
    assert [event.subject for event in published] == [str(event.data.series_id) for event in published]
    assert {event.data.seq for event in published} == {2}
    assert {event.traceparent[:35] for event in published} == {TRACE[:35]}


async def test_a_redelivery_gives_the_same_answer(sidecar: Sidecar) -> None:
    event = completed()
    async with running_service(MODULE, sidecar) as service:
        for _ in range(3):
            await service.deliver(names.TASK_EVENTS, event, event)

    published = sidecar.events(names.TASK_OCCURRENCES)
    assert len(published) == 6
    assert len({event.data for event in published}) == 1


async def test_closed_twice_is_followed_twice_each_by_its_own_version(sidecar: Sidecar) -> None:
    task_id = uuid4()
    async with running_service(MODULE, sidecar) as service:
        await service.deliver(
            names.TASK_EVENTS,
            completed(task_id=task_id, closed_version=2),
            completed(task_id=task_id, closed_version=5),
        )

    assert [event.data.closed_version for event in sidecar.events(names.TASK_OCCURRENCES)] == [2, 5]


async def test_a_bad_rule_is_parked_with_its_reason_and_blocks_nobody(sidecar: Sidecar) -> None:
    bad = completed("FREQ=NEVER")
    async with running_service(MODULE, sidecar) as service:
        status, _ = await service.deliver(names.TASK_EVENTS, completed(), bad, completed())

    assert status == 200
    assert len(sidecar.events(names.TASK_OCCURRENCES)) == 2
    (letter,) = [event.data for event in sidecar.events(names.DEAD_LETTERS)]
    assert (letter.app, letter.topic, letter.attempts) == ("recurring-service", "task-events", 3)
    assert letter.body == bad
    assert "FREQ" in letter.error


async def test_what_cannot_be_published_is_not_answered(sidecar: Sidecar) -> None:
    sidecar.broken.add("publish")
    async with running_service(MODULE, sidecar) as service:
        assert (await service.deliver(names.TASK_EVENTS, completed()))[0] == 503
        sidecar.broken.clear()
        assert (await service.deliver(names.TASK_EVENTS, completed()))[0] == 200

    assert len(sidecar.events(names.TASK_OCCURRENCES)) == 1


async def test_it_starts_without_its_state_store_and_takes_no_event_until_it_has_one(sidecar: Sidecar) -> None:
    sidecar.broken.add("state")
    async with running_service(MODULE, sidecar) as service:
        assert (await service.get("/healthz/consume"))[0] == 200
        assert (await service.deliver(names.TASK_EVENTS, completed()))[0] == 503
        sidecar.broken.clear()
        assert (await service.deliver(names.TASK_EVENTS, completed()))[0] == 200


async def test_an_unclean_end_leaves_a_mark_and_a_clean_one_does_not(sidecar: Sidecar) -> None:
    port = free_port()
    async with running_service(MODULE, sidecar, port=port) as service:
        await service.deliver(names.TASK_EVENTS, completed())
        await service.kill()
    assert [key.partition(":")[0] for key in sidecar.state] == ["running"]

    async with running_service(MODULE, sidecar, port=port) as service:
        await service.deliver(names.TASK_EVENTS, completed(), completed())
        assert len(sidecar.events(names.TASK_OCCURRENCES)) == 3
        assert [key for key in sidecar.state if key.startswith("sighting:")] == []
        await service.end()
    assert sidecar.state == {}


async def test_it_subscribes_to_task_events_only(sidecar: Sidecar) -> None:
    async with running_service(MODULE, sidecar) as service:
        _, subscriptions = await service.get("/dapr/subscribe")
        described: list[dict[str, Any]] = subscriptions

    assert [one["topic"] for one in described] == ["task-events"]
    assert described[0]["deadLetterTopic"] == "dead-letters.recurring-service.task-events"
