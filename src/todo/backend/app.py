"""The composition root of backend: the only place that knows concrete classes."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI

import todo
from todo.backend import handlers, internal
from todo.backend.api import operators, problems, requests, tasks
from todo.backend.store import letters, people
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.contracts.envelope import Event, Unreadable, decode
from todo.dapr.client import connect
from todo.dapr.subscriber import Subscription
from todo.domain.due import zone_info
from todo.domain.errors import RuleError
from todo.messaging import parking
from todo.messaging.consumer import Consumer
from todo.messaging.database import connect as connect_database
from todo.messaging.database import open_database
from todo.messaging.postgres import Row
from todo.messaging.relay import Relay
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, Transaction
from todo.service import kit
from todo.service.jobs import Job
from todo.service.kit import NotReadyError, Parts
from todo.service.settings import Settings, SettingsError, required

APP: Final = names.BACKEND
SCHEMA: Final = "backend"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
RECONCILE_SERIES_SECONDS: Final = 300


def create_app(settings: Settings) -> FastAPI:
    """The public API, and behind the app token what sidecars call."""
    api = FastAPI(
        title="todo",
        version=todo.__version__,
        summary="Tasks, reminders and recurring tasks; events, dead letters and the pipeline behind them",
    )
    api.include_router(tasks.router, responses=problems.EVERYWHERE)
    api.include_router(operators.router, responses=problems.EVERYWHERE)
    api.add_middleware(requests.BodyLimit)
    api.add_middleware(requests.Traced)
    problems.install(api)
    problems.document(api)

    @contextlib.asynccontextmanager
    async def compose(given: Settings) -> AsyncIterator[Parts]:
        async with _parts(api, given) as parts:
            yield parts

    kit.create_app(settings, compose, api)
    return api


@contextlib.asynccontextmanager
async def _parts(api: FastAPI, settings: Settings) -> AsyncIterator[Parts]:
    url = required(os.environ, "DATABASE_URL")
    database = await open_database(url, SCHEMA, utc_now, max_size=12)
    sightings = DatabaseSightings(database.pool, settings.instance, utc_now)
    epoch = await kit.eventually(lambda: people.epoch(database.pool), "database")
    first = _first_user()
    await kit.eventually(lambda: people.ensure_first(database.pool, *first, utc_now()), "database")
    await kit.eventually(sightings.start, "database")
    async with connect(settings.sidecar, settings.dapr_token) as dapr:
        api.state.backend = requests.Backend(database, dapr, epoch)
        consumer = Consumer(
            APP.app_id,
            handlers.HANDLED | {names.TASK_OCCURRENCES: handlers.occurrences(epoch)},
            scope=database.transaction,
            park=handlers.park,
            sightings=sightings,
            clock=utc_now,
        )
        relay = Relay(
            lambda: connect_database(url, SCHEMA), dapr, names.PUBSUB, SCHEMA, park=_park_row(database), clock=utc_now
        )
        yield Parts(
            dapr=dapr,
            subscriptions=_subscriptions(consumer, database),
            jobs=[
                Job(
                    names.RECONCILE_SERIES,
                    RECONCILE_SERIES_SECONDS,
                    lambda: handlers.reconcile_series(database, epoch, utc_now),
                )
            ],
            internal=internal.routes(database, epoch, _public_url(settings)),
            needs={"database": _database_check(database)},
            background=[relay.run],
        )
    await sightings.stop()
    await database.close()


def _subscriptions(consumer: Consumer[Transaction], database: Database) -> list[Subscription]:
    own = [
        Subscription(topic, _deliver(consumer, topic), names.dead_letter_topic(APP.app_id, topic))
        for topic in APP.topics
    ]
    # What a sidecar gave up on. If even this cannot be taken for half an hour, it goes round once more.
    given_up = [
        Subscription(
            names.dead_letter_topic(app.app_id, topic),
            handlers.undelivered(database, app.app_id, topic),
            names.dead_letter_topic(app.app_id, topic),
            raw=True,
        )
        for app in names.APPS
        for topic in app.topics
    ]
    return [*own, *given_up]


def _deliver(consumer: Consumer[Transaction], topic: str) -> Callable[..., Awaitable[None]]:
    return lambda originals: consumer.deliver(topic, originals)


def _park_row(database: Database) -> Callable[[Row, str], Awaitable[None]]:
    async def park(row: Row, error: str) -> None:
        read = decode(row["envelope"], row["topic"])
        event = (
            read
            if isinstance(read, Event | Unreadable)
            else Unreadable(read.id, "", read.topic, "", 0, row["envelope"], error)
        )
        async with database.transaction() as unit:
            await letters.put(unit.connection, [parking.letter(APP.app_id, event, error, 1, unit.now)], unit.now)

    return park


def _database_check(database: Database) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        try:
            async with database.transaction() as unit:
                await unit.connection.execute("SELECT 1 FROM users LIMIT 1")
        except Exception as error:
            raise NotReadyError(f"{type(error).__name__}") from error

    return check


def _first_user() -> tuple[str, str, str]:
    """Address, name and zone of user 1, made at the first start."""
    email = os.environ.get("TODO_EMAIL", "me@localhost.test")
    zone = os.environ.get("TODO_ZONE", _local_zone())
    try:
        zone_info(zone, "TODO_ZONE")
    except RuleError as error:
        raise SettingsError(str(error)) from error
    return email, os.environ.get("TODO_NAME", email.partition("@")[0]), zone


def _local_zone() -> str:
    """The machine's IANA zone, UTC where it does not say."""
    link = Path("/etc/localtime")
    target = str(link.resolve()) if link.is_symlink() else ""
    return target.partition("zoneinfo/")[2] or "UTC"


def _public_url(settings: Settings) -> str:
    return os.environ.get("TODO_PUBLIC_URL", f"http://{settings.host}:{settings.port}").rstrip("/")
