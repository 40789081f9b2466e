"""notification-service put together: the only place that knows which class does what."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from starlette.applications import Starlette

from todo.contracts import names
from todo.contracts.clock import Clock, utc_now
from todo.contracts.events import EventParked
from todo.dapr import client
from todo.dapr.client import Dapr
from todo.dapr.subscriber import Subscription, UnavailableError
from todo.messaging import parking
from todo.messaging.consumer import Consumer
from todo.messaging.database import Where, connect, follow, open_database
from todo.messaging.oversized import OversizedRows
from todo.messaging.relay import Relay
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, Transaction
from todo.notification import api, handlers, polling
from todo.notification.polling import LastPoll
from todo.notification.reconciliation import catch_up, reconcile_tasks
from todo.service import kit
from todo.service.jobs import Job
from todo.service.kit import NotReadyError, Parts
from todo.service.settings import Settings, database_url

log = structlog.get_logger()

APP: Final = names.NOTIFICATION
SCHEMA: Final = APP.schema or ""
MIGRATIONS: Final = Path(__file__).parent / "migrations"
REVISION: Final = "0004"  # the oldest this code can work with
POOL: Final = 8  # connections, at most
CLOSING: Final = 5.0  # seconds for connections to finish


def create(settings: Settings) -> Starlette:
    """The service. Raises `SettingsError` when nothing says where the database is."""
    return kit.create_app(settings, partial(compose, url=database_url()))


@asynccontextmanager
async def compose(settings: Settings, *, url: Where, clock: Clock = utc_now) -> AsyncIterator[Parts]:
    """Everything that one running replica consists of."""
    async with (
        client.connect(settings.sidecar, settings.dapr_token) as dapr,
        _database(url, clock, settings) as database,
        _sightings(database, settings.instance) as sightings,
        _last_poll(dapr) as last_poll,
    ):
        consumer: Consumer[Transaction] = Consumer(
            APP.app_id,
            {names.TASK_EVENTS: handlers.task_event, names.REMINDER_DELIVERIES: handlers.delivery_outcome},
            scope=database.transaction,
            park=_park,
            sightings=sightings,
            clock=clock,
        )
        yield Parts(
            dapr=dapr,
            subscriptions=[_subscription(topic, consumer) for topic in APP.topics],
            jobs=_jobs(database, dapr, last_poll),
            internal=api.routes(database),
            needs={"database": partial(_check, database)},
            gauges=[partial(polling.gauge_oldest_due, database)],
            background=[_relay(url, dapr, database, settings).run, partial(follow, url, database.pool)],
        )


def _jobs(database: Database, dapr: Dapr, last_poll: LastPoll) -> list[Job]:
    ask_backend = partial(dapr.invoke, names.BACKEND.app_id)

    async def tasks() -> None:
        await catch_up(database, ask_backend)
        await reconcile_tasks(database, ask_backend)

    return [
        Job(names.CHECK_DUE_TASKS, 1, partial(polling.check_due_tasks, database, last_poll.record)),
        Job(names.RECONCILE_REMINDERS, 60, partial(polling.reconcile_reminders, database, ask_backend)),
        Job(names.RECONCILE_TASKS, 300, tasks),
    ]


def _relay(url: Where, dapr: Dapr, database: Database, settings: Settings) -> Relay:
    return Relay(
        partial(connect, url, SCHEMA),
        dapr,
        names.PUBSUB,
        SCHEMA,
        park=OversizedRows(APP.app_id, database).park,
        clock=database.clock,
        batch=settings.relay_batch,
    )


def _subscription(topic: str, consumer: Consumer[Transaction]) -> Subscription:
    return Subscription(topic, partial(consumer.deliver, topic), names.dead_letter_topic(APP.app_id, topic))


async def _park(letters: Sequence[EventParked], unit: Transaction) -> None:
    unit.emit(*(parking.announcement(APP.app_id, letter) for letter in letters))


async def _check(database: Database) -> None:
    """Whether the database answers and has the tables this code needs."""
    try:
        async with database.transaction() as tx:
            revision: str | None = await tx.connection.fetchval("SELECT version_num FROM alembic_version")
    except UnavailableError as error:
        raise NotReadyError(str(error)) from error
    if revision is None or revision < REVISION:
        raise NotReadyError(f"the database is at revision {revision}, {REVISION} is needed: run `migrate`")


@asynccontextmanager
async def _database(url: Where, clock: Clock, settings: Settings) -> AsyncIterator[Database]:
    database = await open_database(url, SCHEMA, clock, max_size=settings.database_pool or POOL)
    try:
        yield database
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await database.close()
        database.pool.terminate()


@asynccontextmanager
async def _sightings(database: Database, instance: str) -> AsyncIterator[DatabaseSightings]:
    sightings = DatabaseSightings(database.pool, instance, database.clock)
    try:
        yield sightings
    finally:
        await sightings.stop()


@asynccontextmanager
async def _last_poll(dapr: Dapr) -> AsyncIterator[LastPoll]:
    last_poll = LastPoll(dapr)
    try:
        yield last_poll
    finally:
        await last_poll.close()
