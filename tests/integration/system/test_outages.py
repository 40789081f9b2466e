"""What the probes of each service say, and that they say the truth when something is away."""

from typing import Final

import pytest

from tests.integration.system.world import Answer, Person, World, all_of, eventually
from todo.contracts import names
from todo.operations.system import DAPRLET, POSTGRES

WITH_DATABASE: Final = [app.app_id for app in names.APPS if app.schema]
WITHOUT: Final = [app.app_id for app in names.APPS if not app.schema]
PROBES: Final = ("/healthz", "/readyz", "/healthz/consume")
EVERYWHERE: Final = ("todo_events_consumed_total", "todo_outbox_depth", "todo_relay_leading")
METRICS: Final = {
    names.BACKEND.app_id: ("event_publish_duration_seconds_bucket", "todo_events_published_total"),
    names.NOTIFICATION.app_id: ("todo_reminders_dispatched_total", "todo_reminder_lateness_seconds_bucket"),
    names.EMAIL_DELIVERY.app_id: ("todo_mails_total", "todo_mail_send_duration_seconds_bucket"),
    names.RECURRING.app_id: (),
}


async def probe(world: World, name: str, path: str) -> Answer:
    return await world.ask("GET", world.service(name, path))


async def statuses(world: World, name: str) -> list[int]:
    return [(await probe(world, name, path)).status for path in PROBES]


async def mailed(person: Person) -> None:
    await person.remind(0)
    await person.one_mail()


async def test_all_three_probes_of_every_service_answer_200_while_all_is_well(world: World) -> None:
    for app in names.APPS:
        assert await statuses(world, app.app_id) == [200, 200, 200]
        assert (await probe(world, app.app_id, "/readyz")).body == {"status": "ready", "failed": {}}


async def test_without_postgresql_those_who_need_it_are_neither_ready_nor_consuming_and_recover(world: World) -> None:
    await world.system.stop(POSTGRES)
    try:
        found = {name: await statuses(world, name) for name in (*WITH_DATABASE, *WITHOUT)}
        told = (await probe(world, WITH_DATABASE[0], "/readyz")).body
    finally:
        await world.system.start(POSTGRES)
    assert all(found[name] == [200, 503, 503] for name in WITH_DATABASE), found
    assert all(found[name] == [200, 200, 200] for name in WITHOUT), found
    assert told["status"] == "unavailable"
    assert list(told["failed"]) == ["database"]
    for name in WITH_DATABASE:
        await eventually(lambda name=name: _well(world, name))  # type: ignore[misc]  # bound now
    await mailed(await world.person())


async def _well(world: World, name: str) -> bool:
    return await statuses(world, name) == [200, 200, 200]


async def test_without_sidecars_the_api_accepts_tasks_says_it_is_degraded_and_sends_later(world: World) -> None:
    person = await world.person()
    await world.system.stop(DAPRLET)
    try:
        answers = await all_of(*(probe(world, app.app_id, "/readyz") for app in names.APPS))
        task = await person.remind(0)
        waiting = await person.steps(task, "outbox")
        pipeline = await world.api("GET", "/pipeline")
    finally:
        await world.system.start(DAPRLET)
    assert [answer.status for answer in answers] == [200] * len(names.APPS)
    assert all("sidecar" in answer.body["degraded"] for answer in answers)
    assert [step["what"] for step in waiting] == [f"waits to be published to {names.TASK_EVENTS}"]
    assert (pipeline["sidecar_ready"], pipeline["schedule"]) == (False, None)
    assert pipeline["outbox"]["depth"] >= 1
    await person.one_mail()


@pytest.mark.parametrize("name", METRICS)
async def test_each_service_exposes_its_metrics(world: World, name: str) -> None:
    await mailed(await world.person())
    text = (await probe(world, name, "/metrics")).body
    samples = {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {*EVERYWHERE, *METRICS[name]} <= samples
