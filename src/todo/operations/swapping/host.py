"""A system on one host: its sidecars watch one folder, and its data folder knows the brokers that run beside it."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from todo.contracts import names
from todo.messaging.database import connect
from todo.messaging.postgres import Connection
from todo.operations import datafolder, find
from todo.operations.datafolder import EngineRun, RunningSystem, write_secret
from todo.operations.engine import daprd, resources, stock
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.engine.resources import ResourceError
from todo.operations.find import Place
from todo.operations.rotation import exclusive
from todo.operations.rotation.authority import RotationError
from todo.operations.swapping.target import Side, Sidecar, SwapError


class HostTarget:
    """`SwapTarget` of the system that runs on a data folder. Raises `SwapError` when there is none on stock Dapr."""

    def __init__(self, data: Path) -> None:
        self._running, self._engine = _running(data)
        self._resources = Path(self._engine.resources)
        self._folder = Path(self._engine.secrets).parent
        self._journal = self._folder / "swap.json"
        self.place: Place = find.find(data=data, environ={"TODO_TOKEN": os.environ.get("TODO_TOKEN", "")})

    async def remembered(self) -> bytes | None:
        try:
            return self._journal.read_bytes()
        except OSError:
            return None

    async def remember(self, content: bytes | None) -> None:
        if content is None:
            self._journal.unlink(missing_ok=True)
        else:
            write_secret(self._journal, content)

    async def sidecars(self) -> Sequence[Sidecar]:
        services = {daprd.child_name(name): url for name, url in self._running.addresses.items()}
        return [Sidecar(one.name, one.app_id, one.url, services[one.name]) for one in self._engine.sidecars]

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        try:
            with exclusive.alone(self._folder):
                yield
        except RotationError as error:
            raise SwapError("another swap or a rotation is under way here: wait for its end") from error

    async def current(self) -> Side:
        with _telling():
            component = resources.current(self._resources)
            content = (self._resources / resources.PUBSUB_FILE).read_bytes()
            return self._side(stock.environment_of(component) or "a component of your own", component, content)

    async def side(self, to: str) -> Side:
        if to not in ENVIRONMENTS:
            return self._own(to)
        values = self._engine.environments.get(to)
        if values is None:
            raise SwapError(
                f"no broker for {to} runs here: start the system with --standby {to}, or give a component file"
            )
        with _telling(), tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "resources"
            resources.render(to, values, place)
            content = (place / resources.PUBSUB_FILE).read_bytes()
            return self._side(to, resources.current(place), content)

    async def restored(self, name: str, content: bytes) -> Side:
        with _telling():
            return self._side(name, yaml.safe_load(content), content)

    async def apply(self, side: Side) -> None:
        resources.place(side.content, self._resources)

    @asynccontextmanager
    async def database(self, schema: str) -> AsyncIterator[Connection]:
        connection = await connect(self._running.database_url, schema)
        try:
            yield connection
        finally:
            await connection.close(timeout=2)

    def _own(self, to: str) -> Side:
        path = Path(to)
        if not path.is_file():
            raise SwapError(f"--to is {to!r}: use one of {', '.join(ENVIRONMENTS)}, or a component file that is there")
        with _telling():
            component = resources.read(path)
            if component["metadata"]["name"] != names.PUBSUB:
                raise SwapError(f"{to}: the component must be named {names.PUBSUB}, which the services publish to")
            return self._side(to, component, path.read_bytes())

    def _side(self, name: str, component: Mapping[str, Any], content: bytes) -> Side:
        return Side(name, component, content, resources.resolved(component, Path(self._engine.secrets)))


def _running(data: Path) -> tuple[RunningSystem, EngineRun]:
    running = datafolder.running_system(data)
    if running is None:
        raise SwapError(f"no system runs on {data}: start it with `todo up --engine dapr`, or name its folder: --data")
    if running.engine is None:
        raise SwapError(f"the system on {data} runs on daprlet, whose broker is a part of it: there is nothing to swap")
    return running, running.engine


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (ResourceError, OSError) as error:
        raise SwapError(str(error)) from error
