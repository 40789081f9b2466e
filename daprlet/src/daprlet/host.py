"""One run: every sidecar, the shared storage behind them, and how they begin and end together."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from daprlet import jobs, log
from daprlet.api.app import metrics_app, sidecar_app
from daprlet.api.sidecar import Sidecar
from daprlet.app_channel import AppChannel, new_session
from daprlet.apps import Apps, Replica
from daprlet.broker import Broker
from daprlet.chaos import Chaos
from daprlet.datafolder import DataFolder
from daprlet.delivery import attempt
from daprlet.jobs import Jobs
from daprlet.log import Log
from daprlet.metrics import Metrics
from daprlet.reload import ResourceWatch
from daprlet.resources import Resources, load
from daprlet.serving import Listener
from daprlet.settings import AppSettings, RunSettings
from daprlet.state import StateStore
from daprlet.state_stores import StateStores, open_database

_log = logging.getLogger(__name__)

_POLL: Final = 0.02


class Host:
    """Opens the data folder, checks every resource file, takes every port; only then does anything run.

    Raises `SetupError` from its constructor for whatever is wrong. `start` and `stop` are called on one event loop.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._resources = [load(app.app_id, app.resources, app.configuration) for app in settings.apps]
        with contextlib.ExitStack() as undo:
            self._folder = DataFolder(settings.data_path)
            undo.callback(self._folder.close)
            self._listeners = [self._listen(app.dapr_http_port, "the Dapr HTTP port") for app in settings.apps]
            self._metrics = [
                self._listen(app.metrics_port, "the metrics port") if app.metrics_port else None
                for app in settings.apps
            ]
            self._database = open_database(self._folder.database, log.SCHEMA + jobs.SCHEMA)
            self._stores = StateStores(self._folder, self._database)
            self._new_stores = [
                store for resources in self._resources for store in self._stores.add(resources.states.values())
            ]
            undo.pop_all()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleaning: dict[str, asyncio.Task[None]] = {}  # by store
        self.finished = asyncio.Event()
        self.sidecars: list[Sidecar] = []

    @property
    def ports(self) -> list[int]:
        """The Dapr HTTP port of every app, in the order of the settings."""
        return [listener.port for listener in self._listeners]

    async def start(self) -> None:
        self._stores.start()
        self._apps = Apps()
        self._session = new_session()
        seed = self._settings.chaos_seed
        self._broker = Broker(Log(self._database), attempt if seed is None else Chaos(seed))
        self._jobs = Jobs(self._database, self._apps)
        for app, resources, listener, metrics in zip(
            self._settings.apps, self._resources, self._listeners, self._metrics, strict=True
        ):
            self._start_sidecar(app, resources, listener, metrics)
        self._spawn(self._jobs.run())
        self._spawn(self._broker.sweep())
        self._clean_up(self._new_stores)

    async def stop(self) -> None:
        """End deliveries and ticks, wait for those under way, then close the ports and write what is left."""
        self.drain()
        await self._drained([sidecar.replica for sidecar in self.sidecars])
        await self._broker.stop()
        await self._jobs.stop()
        for listener in (*self._listeners, *filter(None, self._metrics)):
            await listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        await self._stores.close()
        self._folder.close()

    def drain(self) -> None:
        """Begin no more deliveries and ticks, and say so to whoever asks for health; publishing still works."""
        for sidecar in self.sidecars:
            sidecar.draining = True
            sidecar.replica.stopping = True

    async def _drained(self, replicas: Sequence[Replica]) -> None:
        deadline = time.monotonic() + self._settings.graceful_seconds
        while any(one.in_flight for one in replicas) and time.monotonic() < deadline:  # noqa: ASYNC110 - once a run
            await asyncio.sleep(_POLL)

    def _start_sidecar(
        self, settings: AppSettings, resources: Resources, listener: Listener, metrics: Listener | None
    ) -> None:
        app = self._apps[settings.app_id]

        def changed() -> None:
            replica.refresh()
            app.changed.fire()
            self._spawn(self._broker.follow(app))

        channel = AppChannel(settings, self._session, changed)
        replica = Replica(channel, resources, Metrics(settings.app_id))
        app.replicas.append(replica)
        for component in resources.pubsubs.values():
            self._broker.add_component(component)
        stores = self._stores.of(resources.states.values())
        ports = [one for one in (listener, metrics) if one is not None]
        shut_down = functools.partial(self._shut, replica, ports)
        sidecar = Sidecar(settings, replica, self._apps, self._broker, self._jobs, stores, shut_down)
        self.sidecars.append(sidecar)
        listener.serve(sidecar_app(sidecar))
        if metrics is not None:
            metrics.serve(metrics_app(replica.metrics))
        self._spawn(channel.supervise())
        self._spawn(ResourceWatch(settings, resources, lambda new: self._reload(sidecar, new, changed)).watch())
        _log.info(
            "app %s: Dapr API on port %d, app port %s", settings.app_id, listener.port, settings.app_port or "none"
        )

    def _reload(self, sidecar: Sidecar, resources: Resources, changed: Callable[[], None]) -> None:
        """Let one sidecar go on with other resources; what is under way ends as it began."""
        added = self._stores.add(resources.states.values())
        self._stores.start()
        self._clean_up(added)
        for component in resources.pubsubs.values():
            self._broker.add_component(component)
        sidecar.replica.resources = resources
        sidecar.states = self._stores.of(resources.states.values())
        changed()

    def _clean_up(self, stores: Iterable[StateStore]) -> None:
        """Let stores delete what is expired, each in place of the one that had its name before."""
        for store in stores:
            if (earlier := self._cleaning.get(store.name)) is not None:
                earlier.cancel()
            self._cleaning[store.name] = self._spawn(store.clean_up())

    def _shut(self, replica: Replica, ports: Sequence[Listener]) -> None:
        """One sidecar was asked to end: it delivers no more and closes its ports; the run ends with the last."""
        for sidecar in self.sidecars:
            if sidecar.replica is replica:
                sidecar.draining = True
        replica.stopping = True
        if all(one.draining for one in self.sidecars):
            self.finished.set()
        else:
            self._spawn(self._leave(replica, ports))

    async def _leave(self, replica: Replica, ports: Sequence[Listener]) -> None:
        await self._drained([replica])
        for listener in ports:
            await listener.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a background task ended unexpectedly", exc_info=error)

    def _listen(self, port: int, what: str) -> Listener:
        return Listener(self._settings.listen_address, port, what)
