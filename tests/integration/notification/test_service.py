"""The service as a process: what its sidecar finds, and how it ends."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from alembic import command
from alembic.config import Config

from tests.integration.notification.scenario import HOUR, Scenario, firing, prepare, task
from tests.integration.notification.service import Service, free_port, running_service
from tests.integration.notification.sidecar import Sidecar, running_sidecar
from tests.support.postgres import Databases
from todo.contracts import events, names, schedule
from todo.contracts.clock import utc_now
from todo.contracts.events import ReminderKey, TaskSnapshot
from todo.contracts.schedule import KnownTask, KnownTasks, PageQuery, Reminders, Summary, TasksQuery
from todo.messaging.oversized import HEAD, OversizedRows
from todo.messaging.unit import outgoing
from todo.notification.app import MIGRATIONS, SCHEMA

MODULE = "todo.notification"


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running_sidecar() as sidecar:
        yield sidecar


def created(snapshot: TaskSnapshot) -> bytes:
    return outgoing(
        "backend", names.TASK_EVENTS, events.TASK_CREATED, str(snapshot.task_id), snapshot, now=utc_now()
    ).envelope


async def published(sidecar: Sidecar, topic: str, count: int) -> list[events.ReminderDue]:
    async with asyncio.timeout(15):
        while len(found := sidecar.events(topic)) < count:  # noqa: ASYNC110 - the event is another process's
            await asyncio.sleep(0.01)
    return [event.data for event in found]


async def test_a_snapshot_becomes_a_published_reminder_at_its_time(sidecar: Sidecar, migrated_url: str) -> None:
    soon = utc_now() + dt.timedelta(milliseconds=300)
    snapshot = task(firing(soon), firing(utc_now() + HOUR, text="-PT2H"))
    async with running_service(MODULE, sidecar, DATABASE_URL=migrated_url) as service:
        assert (await service.deliver(names.TASK_EVENTS, created(snapshot)))[0] == 200
        while not sidecar.published:
            await service.post(f"/job/{names.CHECK_DUE_TASKS}")
            await asyncio.sleep(0.05)

        (due,) = await published(sidecar, names.TASK_REMINDERS, 1)
        assert (due.task_id, due.fire_at) == (snapshot.task_id, soon)
        assert utc_now() >= soon
        await service.end()

    assert dt.datetime.fromisoformat(sidecar.state[names.LAST_POLL][0]) <= utc_now()


async def test_without_ticks_the_service_looks_by_itself(sidecar: Sidecar, migrated_url: str) -> None:
    async with running_service(MODULE, sidecar, DATABASE_URL=migrated_url) as service:
        await service.deliver(names.TASK_EVENTS, created(task(firing(utc_now()))))

        assert len(await published(sidecar, names.TASK_REMINDERS, 1)) == 1


async def test_what_is_tuned_reaches_the_sidecar_and_the_pool(sidecar: Sidecar, migrated_url: str) -> None:
    async with running_service(
        MODULE,
        sidecar,
        DATABASE_URL=migrated_url,
        TODO_DELIVERY_EVENTS="40",
        TODO_DELIVERY_WAIT_MS="3",
        TODO_DATABASE_POOL="4",
    ) as service:
        _, subscriptions = await service.get("/dapr/subscribe")
        wanted = {"enabled": True, "maxMessagesCount": 40, "maxAwaitDurationMs": 3}
        assert [one["bulkSubscribe"] for one in subscriptions] == [wanted, wanted]
        assert "todo_database_connections_limit 4.0" in await service.text("/metrics")


async def test_the_sidecar_finds_subscriptions_jobs_and_probes(sidecar: Sidecar, migrated_url: str) -> None:
    async with running_service(MODULE, sidecar, DATABASE_URL=migrated_url) as service:
        _, subscriptions = await service.get("/dapr/subscribe")
        assert {one["topic"]: one["deadLetterTopic"] for one in subscriptions} == {
            "task-events": "dead-letters.notification-service.task-events",
            "reminder-deliveries": "dead-letters.notification-service.reminder-deliveries",
        }
        async with asyncio.timeout(10):
            while len(sidecar.jobs) < 3:  # noqa: ASYNC110 - the event is another process's
                await asyncio.sleep(0.01)
        assert {name: job["schedule"] for name, job in sidecar.jobs.items()} == {
            "check-due-tasks": "@every 1s",
            "reconcile-reminders": "@every 60s",
            "reconcile-tasks": "@every 300s",
        }
        for probe in ("/healthz", "/healthz/consume", "/readyz"):
            assert (await service.get(probe))[0] == 200
        for path in ("/events/task-events", "/job/check-due-tasks", f"/{schedule.SUMMARY}"):
            assert (await service.post(path, {}, token=None))[0] == 401
            assert (await service.post(path, {}, token="wrong"))[0] == 403


async def test_a_service_without_its_database_is_alive_not_ready_and_keeps_nothing(sidecar: Sidecar) -> None:
    async with running_service(MODULE, sidecar, DATABASE_URL=f"postgresql://127.0.0.1:{free_port()}/none") as service:
        assert (await service.get("/healthz"))[0] == 200
        status, body = await service.get("/healthz/consume")
        assert (status, list(body["failed"])) == (503, ["database"])
        assert (await service.deliver(names.TASK_EVENTS, created(task())))[0] == 503
        assert (await service.post(f"/job/{names.CHECK_DUE_TASKS}"))[0] == 503
        assert (await service.post(f"/{schedule.SUMMARY}", {}))[0] == 503
        await service.end()


async def test_a_service_before_its_migration_is_not_ready(sidecar: Sidecar, database_url: str) -> None:
    async with running_service(MODULE, sidecar, DATABASE_URL=database_url) as service:
        assert (await service.get("/healthz/consume"))[0] == 503
        assert (await service.deliver(names.TASK_EVENTS, created(task())))[0] == 503
        await asyncio.to_thread(prepare, database_url)
        assert (await service.get("/healthz/consume"))[0] == 200
        assert (await service.deliver(names.TASK_EVENTS, created(task())))[0] == 200


async def test_an_unclean_end_leaves_a_mark_and_a_clean_one_does_not(sidecar: Sidecar, migrated_url: str) -> None:
    port = free_port()
    marks = "SELECT count(*) FROM notification.running"
    connection = await asyncpg.connect(migrated_url)
    try:
        async with running_service(MODULE, sidecar, port=port, DATABASE_URL=migrated_url) as service:
            await service.deliver(names.TASK_EVENTS, created(task()))
            await service.kill()
        assert await connection.fetchval(marks) == 1
        async with running_service(MODULE, sidecar, port=port, DATABASE_URL=migrated_url) as service:
            await service.deliver(names.TASK_EVENTS, created(task()))
            await service.end()
        assert await connection.fetchval(marks) == 0
    finally:
        await connection.close()


async def test_operators_read_the_schedule(sidecar: Sidecar, migrated_url: str) -> None:
    overdue, later = (
        task(firing(utc_now() - HOUR)),
        task(*(firing(utc_now() + HOUR, text=f"-PT{n}H") for n in range(4))),
    )
    async with running_service(MODULE, sidecar, DATABASE_URL=migrated_url) as service:
        await service.deliver(names.TASK_EVENTS, created(overdue), created(later))

        _, body = await service.post(f"/{schedule.REMINDERS}", {"task_ids": [str(later.task_id)]})
        rows = msgspec.convert(body, Reminders).reminders
        assert [(row.task_id, row.state, row.attempt) for row in rows] == [(later.task_id, "waiting", 0)] * 4

        summary = msgspec.convert((await service.post(f"/{schedule.SUMMARY}", {}))[1], Summary)
        assert sum(summary.states.values()) == 5
        assert summary.next_fire == later.reminders[0].fire_at

        seen: list[ReminderKey] = []
        after: ReminderKey | None = None
        while True:
            _, body = await service.post(f"/{schedule.PAGE}", msgspec.to_builtins(PageQuery(after, limit=2)))
            shown = msgspec.convert(body, Reminders).reminders
            seen += [row.key for row in shown]
            if len(shown) < 2:
                break
            after = shown[-1].key
        assert len(set(seen)) == len(seen) == 5
        assert (await service.post(f"/{schedule.PAGE}", {"limit": "many"}))[0] == 400

        known: list[KnownTask] = []
        while page := await known_after(service, known):
            known += page
        assert [(one.task_id, one.epoch, one.version) for one in known] == sorted(
            (one.task_id, 1, 1) for one in (overdue, later)
        )


async def known_after(service: Service, known: list[KnownTask]) -> tuple[KnownTask, ...]:
    query = TasksQuery(known[-1].task_id if known else None, limit=1)
    _, body = await service.post(f"/{schedule.TASKS}", query)
    return msgspec.convert(body, KnownTasks).tasks


async def test_the_migration_runs_once_and_can_be_taken_back(databases: Databases) -> None:
    url = await databases.create()
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'notification'::regnamespace AND relkind = 'r'"
    connection = await asyncpg.connect(url)
    try:
        for _ in range(2):
            await asyncio.to_thread(prepare, url)
            assert await connection.fetchval(tables) == 9
        await asyncio.to_thread(take_back, url)
        assert await connection.fetchval(tables) == 1
    finally:
        await connection.close()


def take_back(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(url=url, schema=SCHEMA)
    command.downgrade(config, "base")


async def test_a_row_too_large_for_the_broker_leaves_as_a_letter_with_its_head(scenario: Scenario) -> None:
    """And a letter that is too large itself gets shorter each time, until nothing is left."""
    oversized = OversizedRows(names.NOTIFICATION.app_id, scenario.database)
    data = events.ReminderDue(task().task_id, "x" * 200_000, utc_now(), 1)
    event = outgoing("notification-service", names.TASK_REMINDERS, events.REMINDER_DUE, "t", data, now=utc_now())
    async with scenario.database.transaction() as tx:
        tx.emit(event)

    sizes = []
    while row := await scenario.database.pool.fetchrow("SELECT * FROM outbox"):
        await oversized.park(row, "413: too large")
        await scenario.database.pool.execute("DELETE FROM outbox WHERE id = $1", row["id"])
        for successor in await scenario.database.pool.fetch("SELECT * FROM outbox"):
            letter = msgspec.json.decode(successor["envelope"])["data"]
            sizes.append(len(msgspec.convert(letter, events.EventParked).body))
            assert successor["topic"] == names.DEAD_LETTERS
            assert letter["size"] == len(event.envelope)
            assert letter["topic"] == names.TASK_REMINDERS

    assert sizes[0] == HEAD
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0
