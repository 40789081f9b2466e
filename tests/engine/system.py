"""The to-do system, its programs unchanged, on stock daprd, Valkey, Scheduler and PostgreSQL."""

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.engine.engine import RealEngine, Sidecar, postgres, valkey
from tests.engine.resources import todo_resources
from todo.contracts import names
from todo.operations import ports
from todo.operations.datafolder import DataFolder
from todo.operations.logs import LogSink
from todo.operations.runfile import HEALTH_PATH
from todo.operations.supervisor import ChildSpec, Supervisor
from todo.operations.system import DAPRLET, HANDED_OUT, Composition, System
from todo.operations.up import UpOptions

APP_TOKEN: Final = "the same for all apps"  # noqa: S105 - one engine, one token; known to nobody else
PLAIN: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}


@asynccontextmanager
async def system_on_daprd(folder: Path, sink: LogSink) -> AsyncIterator[System]:
    """Start everything, one daprd beside each service, and wait until events and jobs can flow."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(valkey(folder / "valkey"))
        database = await stack.enter_async_context(postgres())
        data = stack.enter_context(DataFolder(folder / "data"))
        composition = Composition(_options(folder / "data", database), data)
        sidecars = [_sidecar(app, composition) for app in names.APPS]
        resources = todo_resources(folder / "resources", broker_port=broker, database=database)
        engine = RealEngine(sidecars, resources, folder / "daprd", api_token=data.api_token, app_token=APP_TOKEN)
        await stack.enter_async_context(engine)
        specs = [_without_daprlet(spec) for spec in composition.specs() if spec.name != DAPRLET]
        supervisor = Supervisor(specs, sink)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        await engine.ready()
        addresses = {spec.name: spec.address for spec in specs if spec.address.startswith("http")}
        yield System(supervisor, data, composition.ports, addresses, database)


def _options(folder: Path, database: str) -> UpOptions:
    tokens = {app.app_id: {"APP_API_TOKEN": APP_TOKEN} for app in names.APPS}
    environ = PLAIN | {"DATABASE_URL": database}
    return UpOptions(data=folder, free_ports=True, environ=environ, extra_env=tokens, log_format="json")


def _sidecar(app: names.App, composition: Composition) -> Sidecar:
    own, dapr = composition.ports[app.app_id], composition.ports[ports.sidecar(app.app_id)]
    return Sidecar(app.app_id, own, dapr, HEALTH_PATH)


def _without_daprlet(spec: ChildSpec) -> ChildSpec:
    return dataclasses.replace(spec, after=[name for name in spec.after if name != DAPRLET])
