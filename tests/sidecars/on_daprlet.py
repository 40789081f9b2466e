"""The suite's worlds on daprlet: one process with one HTTP port per place."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.engine.engine import Server
from tests.engine.resources import component, write
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

STATE_STORES = (STORE,)


class Daprlet:
    """Every place is served by one daprlet process; its log, state and jobs are in one folder that survives it."""

    def __init__(self, world: World, places: Sequence[Place], folder: Path) -> None:
        self._world, self._places, self._folder = world, places, folder
        self._server: Server | None = None
        self.resources = folder / "resources"
        write(self.resources, shared_documents(world, folder / "secrets.json"))
        write(self.resources, _components())
        config = configuration(world)
        del config["spec"]["tracing"]  # daprlet exports no traces, and says so to who asks for it
        write(folder, {"dapr.yaml": self._run_file(), "config.yaml": config})

    async def start(self, *, apps: bool = True) -> None:
        run = ["run", "-f", str(self._folder / "dapr.yaml"), "--data-path", str(self._folder / "data")]
        command = [sys.executable, "-m", "daprlet", *run]
        self._server = await Server.start(command, self._folder / "daprlet.log", env=self._environment())
        await asyncio.gather(*(self._server.ready(_health(place, apps=apps), 204) for place in self._places))

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()

    async def kill(self) -> None:
        if self._server is not None:
            await self._server.kill()

    async def close(self) -> None:
        await self.kill()

    def _environment(self) -> dict[str, str]:
        tokens = {"DAPR_API_TOKEN": self._world.api_token, "APP_API_TOKEN": self._world.app_token}
        return {**self._world.environment, **{name: token for name, token in tokens.items() if token}}

    def _run_file(self) -> dict[str, Any]:
        common = {"resourcesPaths": ["resources"], "configFilePath": "config.yaml"}
        return {"version": 1, "common": common, "apps": [_entry(p) for p in self._places]}


def _entry(place: Place) -> dict[str, Any]:
    ports = {"appPort": place.app_port, "daprHTTPPort": place.http_port, "metricsPort": place.metrics_port}
    entry = {"appID": place.app.app_id, **ports}
    if not place.app.probed:
        return entry
    probing = {"appHealthProbeInterval": 1, "appHealthProbeTimeout": 500, "appHealthThreshold": 1}
    return {**entry, "enableAppHealthCheck": True, "appHealthCheckPath": "/healthz", **probing}


def _components() -> dict[str, dict[str, Any]]:
    return {
        "bus.yaml": component(BUS, "pubsub.sqlite", concurrency=20),
        "plain.yaml": component(PLAIN, "pubsub.sqlite", concurrency=20),
        "scoped.yaml": component(SCOPED, "pubsub.sqlite", **SCOPES),
        "store.yaml": component(STORE, "state.sqlite"),
        "shared.yaml": component(SHARED, "state.sqlite", tableName="shared", keyPrefix="none"),
    }


def _health(place: Place, *, apps: bool) -> str:
    return f"http://127.0.0.1:{place.http_port}/v1.0/healthz" + ("" if apps else "/outbound")
