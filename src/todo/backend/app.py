"""The composition root of backend: the only place that knows concrete classes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

import todo
from todo.backend import handlers, internal, metrics
from todo.backend.api import (
    bulk,
    changes,
    filters,
    gate,
    lists,
    me,
    operators,
    porting,
    problems,
    quick,
    requests,
    session,
    tasks,
    undo,
    views,
    web,
)
from todo.backend.auth.callers import Authenticator
from todo.backend.auth.sessions import Site
from todo.backend.auth.settings import AuthSettings, OidcSettings, read_auth
from todo.backend.auth.signing_in import SigningIn
from todo.backend.hub import Hub
from todo.backend.store import letters, people
from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.contracts.envelope import Event, Unreadable, decode
from todo.dapr.client import connect
from todo.dapr.subscriber import Subscription, UnavailableError
from todo.domain.due import zone_info
from todo.domain.errors import RuleError
from todo.messaging import parking
from todo.messaging.consumer import Consumer
from todo.messaging.database import OwnConnection, Where, follow, open_database
from todo.messaging.database import connect as connect_database
from todo.messaging.postgres import Connection, Pool, Row
from todo.messaging.relay import Relay
from todo.messaging.sightings import DatabaseSightings
from todo.messaging.unit import Database, Transaction
from todo.service import kit
from todo.service.jobs import Job
from todo.service.kit import NotReadyError, Parts
from todo.service.settings import Settings, SettingsError, database_url

if TYPE_CHECKING:
    from todo.backend.auth.code_flow import CodeFlow
    from todo.backend.auth.oidc import Provider
    from todo.backend.auth.passwords import Hashing

APP: Final = names.BACKEND
SCHEMA: Final = "backend"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
RECONCILE_SERIES_SECONDS: Final = 300
POOL: Final = 12  # connections, at most
CLOSING: Final = 5.0  # seconds for connections to finish

# FastAPI's own spans and logs hold what callers sent. Ours (service/tracing.py) hold names, ids and counts.
_NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

FirstUser = tuple[str, str, str]  # address, name and zone


def create_app(settings: Settings) -> FastAPI:
    """The public API, and behind the app token what sidecars call. Raises `SettingsError`."""
    url, first, auth = database_url(), _first_user(), read_auth(settings.auth)
    site = Site(_public_url(settings))
    api = FastAPI(
        title="todo",
        version=todo.__version__,
        summary="Tasks, reminders and recurring tasks; events, dead letters and the pipeline behind them",
        telemetry=_NO_TELEMETRY,
    )
    for part in (bulk, tasks, undo, lists, filters, views, quick, changes, porting, me, session, operators):
        api.include_router(part.router, responses=problems.EVERYWHERE)
    api.router.routes.extend(web.routes(web.read_files()))
    api.add_middleware(requests.BodyLimit)
    if auth:
        api.add_middleware(gate.KnownCallers, site=site)
    else:
        api.add_middleware(gate.LocalCallers)
    api.add_middleware(requests.Traced)
    problems.install(api)
    problems.document(api, session_cookie=site.session_cookie if auth else None)
    api.state.site = site

    @contextlib.asynccontextmanager
    async def compose(given: Settings) -> AsyncIterator[Parts]:
        async with _parts(api, given, url, first, auth) as parts:
            yield parts

    kit.create_app(settings, compose, api)
    return api


class MovedError(Exception):
    """The database is another one than when this process started: a failover, or a restored backup."""


class Epoch:
    """The database's epoch, as this process works in it: found once, when the database is reached first."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._found: int | None = None

    def __call__(self) -> int:
        """Raises `UnavailableError` until it was found."""
        if self._found is None:
            raise UnavailableError("the database was not reached yet")
        return self._found

    async def find(self) -> None:
        self._found = await people.epoch(self._pool)

    async def check(self, connection: Connection) -> None:
        """Raises `MovedError`: versions are counted anew there, so only a process with a new epoch may go on."""
        if not await people.is_current(connection, self()):
            raise MovedError("the database was failed over or restored: backend starts again, in a new epoch")


@contextlib.asynccontextmanager
async def _parts(
    api: FastAPI, settings: Settings, url: Where, first: FirstUser, auth: AuthSettings | None
) -> AsyncIterator[Parts]:
    async with (
        _database(url, settings.database_pool or POOL) as database,
        _sightings(database, settings.instance) as sightings,
        connect(settings.sidecar, settings.dapr_token) as dapr,
        _provider(auth.oidc if auth else None, api.state.site) as (provider, code_flow),
        _hashing(auth) as hashing,
    ):
        epoch = Epoch(database.pool)
        consumer = Consumer(
            APP.app_id,
            handlers.HANDLED | {names.TASK_OCCURRENCES: handlers.occurrences(epoch)},
            scope=database.transaction,
            park=handlers.park,
            sightings=sightings,
            clock=utc_now,
        )
        relay = Relay(
            partial(_reconnect, url, epoch),
            dapr,
            names.PUBSUB,
            SCHEMA,
            park=_park_row(database),
            clock=utc_now,
            batch=settings.relay_batch,
        )
        api.state.hub = hub = Hub(partial(_reconnect, url, epoch), SCHEMA)

        async def begin() -> None:
            """Do what needs the database as soon as it is there; meanwhile routes answer 503 and probes say why."""
            await kit.eventually(epoch.find, "database")
            await kit.eventually(lambda: people.ensure_first(database.pool, *first, utc_now()), "database")
            await kit.eventually(sightings.start, "database")
            api.state.backend = requests.Backend(database, dapr, epoch())
            if auth and hashing:
                api.state.authenticator = authenticator = Authenticator(database, auth, provider)
                api.state.signing_in = SigningIn(database, auth, hashing, authenticator, code_flow)
            await asyncio.gather(relay.run(), hub.run())

        yield Parts(
            dapr=dapr,
            subscriptions=_subscriptions(consumer, database),
            jobs=[
                Job(
                    names.RECONCILE_SERIES,
                    RECONCILE_SERIES_SECONDS,
                    lambda: handlers.reconcile_series(database, epoch(), utc_now),
                )
            ],
            internal=internal.routes(database, epoch, _public_url(settings)),
            needs={"database": _database_check(database, api)},
            gauges=[partial(_count_letters, database)],
            background=[begin, partial(follow, url, database.pool), *([provider.run] if provider else [])],
            wind_down=hub.close,
        )


@contextlib.asynccontextmanager
async def _database(url: Where, pool: int) -> AsyncIterator[Database]:
    database = await open_database(url, SCHEMA, utc_now, max_size=pool)
    try:
        yield database
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await database.close()
        database.pool.terminate()


@contextlib.asynccontextmanager
async def _provider(
    settings: OidcSettings | None, site: Site
) -> "AsyncIterator[tuple[Provider | None, CodeFlow | None]]":
    if settings is None:
        yield None, None
        return
    from todo.backend.auth.code_flow import CodeFlow  # noqa: PLC0415 - the same
    from todo.backend.auth.oidc import Provider  # noqa: PLC0415 - cryptography, for those who have a provider

    async with aiohttp.ClientSession() as http:
        provider = Provider(http, settings)
        client = settings.client
        yield provider, CodeFlow(http, provider, client, site.url + session.CALLBACK) if client else None


@contextlib.asynccontextmanager
async def _hashing(auth: AuthSettings | None) -> "AsyncIterator[Hashing | None]":
    if auth is None:
        yield None
        return
    from todo.backend.auth.passwords import Hashing  # noqa: PLC0415 - argon2, for those who have passwords

    with Hashing() as hashing:
        yield hashing


@contextlib.asynccontextmanager
async def _sightings(database: Database, instance: str) -> AsyncIterator[DatabaseSightings]:
    sightings = DatabaseSightings(database.pool, instance, utc_now)
    try:
        yield sightings
    finally:
        await sightings.stop()


async def _reconnect(url: Where, epoch: Epoch) -> OwnConnection:
    """A connection of its own, for the relay or the hub. Its loss is how a failover shows."""
    connection = await connect_database(url, SCHEMA)
    try:
        await epoch.check(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


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


async def _count_letters(database: Database) -> None:
    metrics.open_letters.set(await letters.count_open(database.pool))


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


def _database_check(database: Database, api: FastAPI) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        try:
            async with database.transaction() as unit:
                await unit.connection.execute("SELECT 1 FROM users LIMIT 1")
        except Exception as error:
            raise NotReadyError(f"{type(error).__name__}") from error
        if not hasattr(api.state, "backend"):
            raise NotReadyError("reached just now, starting")

    return check


def _first_user() -> FirstUser:
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
