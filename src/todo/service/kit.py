"""What all four services are made of besides their own handlers: callbacks, probes, metrics, tasks, main."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from todo.contracts.names import App
from todo.dapr import subscriber
from todo.dapr.client import Dapr
from todo.dapr.subscriber import Subscription
from todo.messaging.failures import is_environment
from todo.service import logs, tracing
from todo.service.jobs import Job, Wakeups
from todo.service.settings import Settings, SettingsError, database_url, read_settings

log = structlog.get_logger()

KEEP_ALIVE: Final = 75  # seconds; longer than our clients keep an idle connection
DRAIN: Final = 10  # seconds for requests in flight at shutdown
CHECK_TIMEOUT: Final = 2.0
GAUGED: Final = 10.0  # seconds
START_FAILED: Final = 3  # exit code; the log says why


class NotReadyError(Exception):
    """A check failed; the message says what is away, for an operator."""


Check = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Parts:
    """One running service: what its sidecar may call, what must work, and what runs beside the requests."""

    dapr: Dapr
    subscriptions: Sequence[Subscription]
    jobs: Sequence[Job] = ()
    internal: Sequence[Route] = ()  # invocation only: behind the app token
    needs: dict[str, Check] = field(default_factory=dict)  # own dependencies, by name; each raises `NotReadyError`
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    gauges: Sequence[Callable[[], Awaitable[None]]] = ()  # looks that keep a metric current, every `GAUGED` seconds
    wind_down: Callable[[], None] = lambda: None  # called when shutdown begins, before requests in flight are drained


T = TypeVar("T")
Compose = Callable[[Settings], contextlib.AbstractAsyncContextManager[Parts]]


def create_app(settings: Settings, compose: Compose, app: Starlette | None = None) -> Starlette:
    """The ASGI application of a service. Its parts are made when it starts and end when it stops.

    Raises `SettingsError` when traces are asked for that cannot be had.
    """
    app = app or Starlette()
    tracing.collector()

    @contextlib.asynccontextmanager
    async def lifespan(running: Starlette) -> AsyncIterator[None]:
        with tracing.exporting(settings):
            async with compose(settings) as parts, _background(parts) as wakeups:
                running.state.parts = parts
                running.router.routes.extend(_routes(settings, parts, wakeups))
                yield

    app.router.lifespan_context = lifespan
    return app


async def eventually(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Do what a start needs, as soon as the environment lets it: a service may start before its database."""
    while True:
        try:
            return await call()
        except Exception as error:
            if not is_environment(error):
                raise
            log.warning("start waits", what=what, reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(1)


class _Server(uvicorn.Server):
    """Tells the service that its shutdown begins."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("service stopping")
        parts: Parts = self._app.state.parts
        parts.wind_down()
        await super().shutdown(sockets)


def run(app: App, create: Callable[[Settings], Starlette], settings: Settings, *, drain: int = DRAIN) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight end, for `drain` seconds at most."""
    logs.configure(app.app_id, settings.log_format, settings.log_level)
    log.info("service starting", app_id=app.app_id, address=f"http://{settings.host}:{settings.port}")
    application = create(settings)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=drain,
        server_header=False,
    )
    server = _Server(config, application)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, once everything has ended
        server.run()
    if not server.started:
        sys.exit(START_FAILED)


def main(
    app: App, create: Callable[[Settings], Starlette], *, migrations: Path | None = None, drain: int = DRAIN
) -> None:
    """What `python -m` of a service does: serve, or `migrate` the schema of one that has `migrations`.

    Settings that cannot work end it with one clear line.
    """
    try:
        match sys.argv[1:]:
            case []:
                run(app, create, read_settings(app), drain=drain)
            case ["migrate"] if migrations and app.schema:
                from todo.messaging.migrations import migrate  # noqa: PLC0415 - SQLAlchemy is not for serving processes

                migrate(database_url(), app.schema, migrations)
            case _:
                sys.stderr.write(f"usage: python -m {app.module}{' [migrate]' if migrations else ''}\n")
                sys.exit(2)
    except SettingsError as error:
        sys.exit(f"error: {error}")


def _routes(settings: Settings, parts: Parts, wakeups: dict[str, Wakeups]) -> list[Route]:
    jobs = {name: wakeup.tick for name, wakeup in wakeups.items()}
    subscriptions = [
        replace(one, batch_size=settings.delivery_events, wait_ms=settings.delivery_wait_ms)
        for one in parts.subscriptions
    ]
    guarded = [
        Route(route.path, subscriber.guarded(settings.app_token, route.endpoint), methods=list(route.methods or ()))
        for route in parts.internal
    ]
    return [
        *subscriber.routes(subscriptions, jobs, settings.app_token),
        *guarded,
        Route("/healthz", _alive),
        Route("/healthz/consume", _probe(parts, with_sidecar=False)),
        Route("/readyz", _probe(parts, with_sidecar=True)),
        Route("/metrics", _metrics),
    ]


@contextlib.asynccontextmanager
async def _background(parts: Parts) -> AsyncIterator[dict[str, Wakeups]]:
    wakeups = {job.name: Wakeups(job) for job in parts.jobs}
    work = [
        *(start() for start in parts.background),
        *(_gauged(look) for look in parts.gauges),
        *(wakeup.watch() for wakeup in wakeups.values()),
        *(wakeup.keep_registered(parts.dapr) for wakeup in wakeups.values()),
    ]
    tasks = [asyncio.create_task(_must_not_end(one)) for one in work]
    try:
        yield wakeups
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(wakeup.stop() for wakeup in wakeups.values()), return_exceptions=True)


async def _gauged(look: Callable[[], Awaitable[None]]) -> None:
    """Look now and then; while what is looked at is away, the metric stays as it was."""
    while True:
        try:
            await look()
        except Exception as error:
            if not is_environment(error):
                raise
            log.debug("a metric stays as it was", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(GAUGED)


async def _must_not_end(work: Coroutine[Any, Any, None]) -> None:
    """Background work ends only by cancellation; if it fails, the process stops so that its supervisor sees it."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("background work failed, the service stops")
        os.kill(os.getpid(), signal.SIGTERM)
        raise


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


def _probe(parts: Parts, *, with_sidecar: bool) -> Callable[[Request], Awaitable[Response]]:
    """`/readyz` tells of the sidecar too but does not fail by it: the API accepts work while the broker is away."""

    async def probe(_: Request) -> Response:
        failed = {name: reason for name, check in parts.needs.items() if (reason := await _reason(check))}
        body: dict[str, Any] = {"status": "unavailable" if failed else "ready", "failed": failed}
        if with_sidecar and not await _sidecar_ready(parts.dapr):
            body["degraded"] = {"sidecar": "away: events wait in the outbox"}
        return JSONResponse(body, status_code=503 if failed else 200)

    return probe


async def _sidecar_ready(dapr: Dapr) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await dapr.is_ready()
    except TimeoutError:
        return False


async def _reason(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except NotReadyError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT:.0f} s"
    return None


async def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
