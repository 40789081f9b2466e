"""The suite's worlds on stock daprd: Valkey Streams or Kafka, SQLite and PostgreSQL state, Dapr's Scheduler."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from tests.engine import engine as real
from tests.engine.resources import component, redis_streams, write
from tests.sidecars.world import (
    BUS,
    PLAIN,
    SCOPED,
    SCOPES,
    SHARED,
    STORE,
    Place,
    World,
    configuration,
    shared_documents,
)

POSTGRES_STORE = "store-postgres"
STATE_STORES = (STORE, POSTGRES_STORE)
_MOST = 5 * 1024 * 1024  # more than the API takes, which is what Kafka's component must take
_SESSION = "6s"  # what a broker allows at least


class Daprd:
    """One daprd per place. The database lives as long as this object, and so does Valkey unless there is a Kafka.

    `kafka` is the address of a broker that is there already: one for all worlds, whose topics have names of their own.
    """

    def __init__(self, world: World, places: Sequence[Place], folder: Path, kafka: str = "") -> None:
        self._world, self._places, self._folder, self._kafka = world, places, folder, kafka
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
        write(self.resources, shared_documents(self._world, self._folder / "secrets.json"))
        write(self.resources, await self._pubsubs())
        write(self.resources, await self._stores())
        write(self._folder, {"config.yaml": configuration(self._world)})
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

    async def _pubsubs(self) -> dict[str, dict[str, Any]]:
        if self._kafka:
            wanted = {BUS: {}, PLAIN: {}, SCOPED: SCOPES}
            return {f"{name}.yaml": self._on_kafka(name, scopes) for name, scopes in wanted.items()}
        port = await self._behind.enter_async_context(real.valkey(self._folder / "valkey"))
        return {
            "bus.yaml": redis_streams(BUS, port, processing_timeout=self._world.redelivery),
            "plain.yaml": redis_streams(PLAIN, port, processing_timeout=self._world.redelivery),
            "scoped.yaml": redis_streams(SCOPED, port, scopes=SCOPES),
        }

    def _on_kafka(self, name: str, scopes: Mapping[str, str]) -> dict[str, Any]:
        """Each component has a group of its own, so that members of one group subscribe to the same topics.

        A dead member is noticed within the session timeout; `backOffDuration` is how soon Kafka's component tries again
        what failed and has no dead-letter topic.
        """
        return component(
            name,
            "pubsub.kafka",
            brokers=self._kafka,
            authType="none",
            initialOffset="oldest",
            consumerGroup="{appID}." + name,
            sessionTimeout=_SESSION,
            heartbeatInterval="300ms",
            backOffDuration="500ms",
            maxMessageBytes=_MOST,
            **scopes,
        )

    async def _stores(self) -> dict[str, dict[str, Any]]:
        files = {STORE: self._folder / "state.db", SHARED: self._folder / "shared.db"}
        for file in files.values():
            _in_wal_mode(file)
        documents = {
            "store.yaml": component(STORE, "state.sqlite", connectionString=files[STORE]),
            "shared.yaml": component(SHARED, "state.sqlite", connectionString=files[SHARED], keyPrefix="none"),
        }
        if self._world.every_store:
            dsn = await self._behind.enter_async_context(real.postgres())
            documents["store-postgres.yaml"] = component(POSTGRES_STORE, "state.postgresql", "v2", connectionString=dsn)
        return documents


def _in_wal_mode(file: Path) -> None:
    """Two daprds that open a new file at once both turn it to WAL mode; no busy timeout covers that, and one ends."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
