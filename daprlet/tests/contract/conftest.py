import contextlib
import functools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.engine.engine import free_ports
from tests.sidecars import on_daprd, on_daprlet
from tests.sidecars.kafka import running_kafka
from tests.sidecars.recording import RecordingApp
from tests.sidecars.world import Client, Engine, Place, Running, World

from .exceptions import EXCEPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STATE_STORES = {"daprlet": on_daprlet.STATE_STORES, "daprd": on_daprd.STATE_STORES}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=("kafka", "redis"), default="redis", help="what daprd has for a broker")
    with contextlib.suppress(ValueError):  # the engine tests were asked for as well and have it already
        parser.addoption("--engine", choices=sorted(STATE_STORES), help="which sidecar the contract suite runs on")


def engine_of(config: pytest.Config) -> str:
    return str(config.getoption("--engine", None) or os.environ.get("TODO_ENGINE") or "daprlet")


def variant_of(config: pytest.Config) -> str:
    """Return the engine and, for daprd, its broker, as `EXCEPTIONS` names them."""
    engine = engine_of(config)
    return engine if engine == "daprlet" else f"{engine}+{config.getoption('--broker')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run a module's tests on one event loop, and leave out what `EXCEPTIONS` says is different on this engine."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
    names = {engine_of(config), variant_of(config)}
    left_out = [item for item in ours if any((name, test_of(item)) in EXCEPTIONS for name in names)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def test_of(item: pytest.Item) -> str:
    """Return "module::test", without the parameters."""
    return f"{item.path.stem}::{item.name.partition('[')[0]}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `store` on every state store of the engine."""
    if "store" in metafunc.fixturenames:
        metafunc.parametrize("store", STATE_STORES[engine_of(metafunc.config)])


@pytest.fixture(scope="session")
def make_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Callable[[World, Sequence[Place], Path], Engine]]":
    """What runs a world on the chosen engine; a Kafka is there for the whole session."""
    variant = variant_of(request.config)
    if variant == "daprd+kafka":
        with running_kafka(tmp_path_factory.mktemp("kafka")) as address:
            yield functools.partial(on_daprd.Daprd, kafka=address)
    else:
        yield on_daprlet.Daprlet if variant == "daprlet" else on_daprd.Daprd


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_engine: "Callable[[World, Sequence[Place], Path], Engine]",
) -> AsyncIterator[Running]:
    """The test module's WORLD, running on the chosen engine."""
    wanted: World = request.module.WORLD
    folder = tmp_path_factory.mktemp("world")
    async with AsyncExitStack() as stack:
        replicas = [app for app in wanted.apps for _ in range(app.replicas)]
        recording = [await stack.enter_async_context(RecordingApp(app.subscriptions)) for app in replicas]
        ports, metrics = free_ports(len(replicas)), free_ports(len(replicas))
        app_ports = [app.port for app in recording]
        places = [Place(*place) for place in zip(replicas, app_ports, ports, metrics, strict=True)]
        clients = [await stack.enter_async_context(Client(port, wanted.api_token)) for port in ports]
        engine = make_engine(wanted, places, folder)
        stack.push_async_callback(engine.close)
        await engine.start()
        yield Running(engine, places, [app.app_id for app in replicas], recording, clients)


@pytest.fixture
def app(world: Running) -> RecordingApp:
    """The first app of the world."""
    return world.recording[0]


@pytest.fixture
def sidecar(world: Running) -> Client:
    """The client of the first app's sidecar."""
    return world.clients[0]
