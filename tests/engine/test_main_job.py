"""The main job once more, on stock Dapr and every broker: the same programs, another engine."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.engine.systems import on_dapr
from tests.integration.system.world import Json, World, eventually
from tests.support.children import Recorder
from todo.contracts import events, names
from todo.operations.demo import place_of
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.up import running_system
from todo.operations.verify import verify
from todo.service.jobs import PATIENCE

LONG_AGO: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENVIRONMENTS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    log = Recorder()
    async with running_system(on_dapr(request.param), log) as system, aiohttp.ClientSession() as http:
        yield World(system, http, log)


async def test_a_reminder_that_is_due_becomes_exactly_one_mail(world: World) -> None:
    person = await world.person()
    task = await person.remind(1, "Pay rent")
    mail = await person.one_mail()
    assert (mail["Subject"], [to["Address"] for to in mail["To"]]) == ("Reminder: Pay rent", [person.email])
    await person.reached(task, "delivered")
    (attempt,) = await person.attempts(task)
    assert attempt["outcome"] == "delivered"
    await world.through()
    assert await person.mail_count() == 1


async def test_the_scheduler_ticks_and_the_service_need_not_look_by_itself(world: World) -> None:
    app, no_tick = names.NOTIFICATION, "no tick came, looking without one"

    async def last_poll(after: dt.datetime = LONG_AGO) -> dt.datetime | None:
        answer = await world.sidecar(app, "GET", f"/v1.0/state/{names.STATE_STORE}/{names.LAST_POLL}")
        found = dt.datetime.fromisoformat(answer.body) if answer.status == 200 else after
        return found if found > after else None

    before, first = len(world.logged(app.app_id, no_tick)), await eventually(last_poll)
    assert first
    later = first + dt.timedelta(seconds=PATIENCE + 1)
    await eventually(lambda: last_poll(later))
    assert len(world.logged(app.app_id, no_tick)) == before


async def test_one_trace_runs_from_the_request_to_the_mail(world: World) -> None:
    person = await world.person()
    task = await person.remind(0)
    await person.attempts(task)
    traces = {step["trace"].split("-")[1] for step in (await person.why(task))["timeline"] if "trace" in step}
    assert len(traces) == 1


async def test_a_recurring_task_that_is_completed_gets_its_successor(world: World) -> None:
    person = await world.person()
    due = dt.datetime(2031, 3, 1, 9, tzinfo=dt.UTC)
    first = await person.add(due_at=due.isoformat(), recurrence={"rule": "FREQ=WEEKLY"})
    await person.do(first, "complete")
    (second,) = await eventually(person.tasks)
    assert second["recurrence"]["seq"] == 2
    assert dt.datetime.fromisoformat(second["due_at"]) == due + dt.timedelta(weeks=1)


async def test_a_bad_event_is_parked_and_one_behind_it_arrives(world: World) -> None:
    bad = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "operator",
        "type": events.TASK_CREATED,
        "subject": "s",
        "data": {"task_id": "17"},
    }
    await world.publish_event(names.TASK_EVENTS, bad)
    person = await world.person()
    await person.remind(0)
    await person.one_mail()
    for app in (names.NOTIFICATION, names.RECURRING):
        letter = await world.letter(app=app.app_id, event_id=bad["id"])
        assert (letter["topic"], letter["status"], letter["attempts"]) == (names.TASK_EVENTS, "open", 1)
        assert bad.items() <= json.loads(letter["body"]).items()


async def test_a_parked_event_is_replayed_once_its_handler_was_mended(world: World) -> None:
    person = await world.person()
    at = "2031-05-01T09:00:00.000123Z"
    async with world.failing_schedule(at):
        task = await person.add(due_at=at, reminders=["PT0S"])
        letter = await world.letter(app=names.NOTIFICATION.app_id, subject=task["id"])
        assert letter["attempts"] == 3
    await world.api("POST", f"/dead-letters/{letter['id']}/replay")
    await person.reached(task, "waiting")
    (closed,) = await world.letters(id=letter["id"])
    assert (closed["status"], closed["replays"]) == ("replayed", 1)


async def test_what_is_no_json_comes_as_a_letter_from_the_sidecar(world: World) -> None:
    body = b"not JSON \x00\xff " + uuid4().bytes
    await world.publish(names.TASK_REMINDERS, body, "application/octet-stream", **{"metadata.rawPayload": "true"})
    letter = await world.letter(app=names.EMAIL_DELIVERY.app_id, topic=names.TASK_REMINDERS)
    assert letter["size"] == len(body)


async def test_the_guides_test_event_is_logged_and_never_kept_as_a_letter(world: World) -> None:
    body = {"task_id": "debug-123", "user_id": "user-456", "timestamp": "2026-01-16T12:00:00Z"}
    await world.publish(names.TASK_REMINDERS, json.dumps(body).encode(), "application/json")

    async def logged() -> list[Json]:
        lines = world.logged(names.EMAIL_DELIVERY.app_id, "probe received")
        return [line for line in lines if line["task_id"] == "debug-123"]

    assert await eventually(logged)
    assert await world.letters(event_type=events.PROBE) == []


async def test_in_the_end_all_services_and_the_mailbox_agree(world: World) -> None:
    for letter in await world.letters(status="open"):
        await world.api("POST", f"/dead-letters/{letter['id']}/discard")
    report = await verify(place_of(world.system), wait=20)
    assert report.findings == ()
    assert report.looked_at
