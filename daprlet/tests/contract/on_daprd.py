"""The suite's worlds on stock daprd: Valkey Streams, SQLite and PostgreSQL state, Dapr's Scheduler."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.engine import engine as real
from tests.engine.resources import component, document, redis_streams, write

from .engine import BUS, PLAIN, SCOPED, SCOPES, STORE, Place, World, shared_documents

POSTGRES_STORE = "store-postgres"
STATE_STORES = (STORE, POSTGRES_STORE)


class Daprd:
    """One daprd per place; the broker and the database live as long as this object."""

    def __init__(self, world: World, places: Sequence[Place], folder: Path) -> None:
        self._world, self._places, self._folder = world, places, folder
        self.resources = folder / "resources"
        self._behind = AsyncExitStack()
        self._engine: real.RealEngine | None = None

    async def start(self, *, apps: bool = True) -> None:
        if self._engine is None:
            self._engine = await self._behind.enter_async_context(await self._prepare())
        else:
            await self._engine.start()
        if apps:
            await self._engine.ready()

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.stop()

    async def kill(self) -> None:
        if self._engine is not None:
            await self._engine.kill()

    async def close(self) -> None:
        await self._behind.aclose()

    async def _prepare(self) -> real.RealEngine:
        broker = await self._behind.enter_async_context(real.valkey(self._folder / "valkey"))
        write(self.resources, shared_documents(self._world, self._folder / "secrets.json"))
        write(self.resources, await self._components(broker))
        tracing = document("v1alpha1", "Configuration", "tracing", {"tracing": {"samplingRate": "1"}})
        write(self._folder, {"config.yaml": tracing})
        return real.RealEngine(
            [self._sidecar(place) for place in self._places],
            self.resources,
            self._folder / "daprd",
            api_token=self._world.api_token,
            app_token=self._world.app_token,
            config=self._folder / "config.yaml",
            jobs=self._world.jobs,
            env=self._world.environment,
        )

    def _sidecar(self, place: Place) -> real.Sidecar:
        health = "/healthz" if place.app.probed else None
        return real.Sidecar(place.app.app_id, place.app_port, place.http_port, health, place.metrics_port)

    async def _components(self, broker_port: int) -> dict[str, dict[str, Any]]:
        documents = {
            "bus.yaml": redis_streams(BUS, broker_port, processing_timeout=self._world.redelivery),
            "plain.yaml": redis_streams(PLAIN, broker_port, processing_timeout=self._world.redelivery),
            "scoped.yaml": redis_streams(SCOPED, broker_port, scopes=SCOPES),
            "store.yaml": component(STORE, "state.sqlite", connectionString=self._folder / "state.db"),
        }
        if self._world.every_store:
            dsn = await self._behind.enter_async_context(real.postgres())
            documents["store-postgres.yaml"] = component(POSTGRES_STORE, "state.postgresql", "v2", connectionString=dsn)
        return documents
