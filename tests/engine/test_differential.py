"""The same generated calls to daprlet and to stock daprd: the same answers, the same deliveries.

What differs on purpose is in `tests/sidecars/differences.py`. The calls depend on the seed alone.
"""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.sidecars import calls, on_daprd, on_daprlet
from tests.sidecars.calls import Generator
from tests.sidecars.differences import KNOWN, Known, unexplained
from tests.sidecars.kafka import running_kafka
from tests.sidecars.twins import Difference, Twin, compare, twin
from tests.sidecars.world import Engine, Place, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20_261_124
SHOWN = 10  # differences told when there are any


@dataclass(frozen=True)
class Twins:
    """daprlet, and stock daprd on both brokers."""

    daprlet: Twin
    redis: Twin
    kafka: Twin

    def other(self, broker: str) -> Twin:
        return self.redis if broker == "redis" else self.kafka


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twins(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twins]:
    folder = tmp_path_factory.mktemp
    async with AsyncExitStack() as stack:
        address = stack.enter_context(running_kafka(folder("broker")))
        on_kafka = functools.partial(on_daprd.Daprd, kafka=address)
        engines: dict[str, Callable[[World, Sequence[Place], Path], Engine]] = {
            "daprlet": on_daprlet.Daprlet,
            "redis": on_daprd.Daprd,
            "kafka": on_kafka,
        }
        yield Twins(
            **{name: await stack.enter_async_context(twin(make, folder(name))) for name, make in engines.items()}
        )


async def differing(twins: Twins, broker: str, generator: Generator, count: int) -> list[Difference]:
    sent = calls.calls(generator, SEED, count)
    return [found for call in sent for found in await compare(twins.daprlet, twins.other(broker), call)]


def told(found: Sequence[Difference]) -> str:
    return "\n".join([f"{len(found)} calls differ:", *map(str, found[:SHOWN])])


@pytest.mark.parametrize(
    ("broker", "generator", "count"),
    [
        pytest.param(broker, generator, count, id=f"{generator.__name__} on {broker}")
        for broker, generator, count in (
            ("redis", calls.addresses, 1000),
            ("redis", calls.state, 3000),
            ("redis", calls.jobs, 2000),
            ("redis", calls.publish, 1500),
            ("redis", calls.publish_bulk, 1000),
            ("redis", calls.large, 4),
            ("kafka", calls.publish, 500),
            ("kafka", calls.publish_bulk, 300),
            ("kafka", calls.large, 4),
        )
    ],
)
async def test_both_do_the_same(twins: Twins, broker: str, generator: Generator, count: int) -> None:
    """Status, error code, body and what is delivered are equal, for sensible, odd and wrong calls."""
    found = unexplained(await differing(twins, broker, generator, count))
    assert not found, told(found)


@pytest.mark.parametrize("known", [pytest.param(known, id=known.name) for known in KNOWN])
async def test_a_known_difference_is_still_one(twins: Twins, known: Known) -> None:
    """A row of the table does not outlive its difference."""
    found = [one for call in known.calls for one in await compare(twins.daprlet, twins.redis, call)]
    assert found, "both do the same now: remove the row"
    assert all(known.explains(one) for one in found), told(found)


async def test_both_tell_the_same_of_themselves(twins: Twins) -> None:
    """The parts of the metadata that an app can depend on."""
    wanted = ("id", "subscriptions", "extended")
    first, second = [(await one.client.get("/v1.0/metadata")).json() for one in (twins.daprlet, twins.redis)]
    for told_by, one in ((first, twins.daprlet), (second, twins.redis)):
        assert told_by["appConnectionProperties"]["port"] == one.app.port
        assert told_by["extended"].pop("daprRuntimeVersion")
        told_by["subscriptions"].sort(key=lambda subscription: subscription["topic"])
    assert {name: first[name] for name in wanted} == {name: second[name] for name in wanted}
    assert first["appConnectionProperties"].keys() == second["appConnectionProperties"].keys()
    assert first["actorRuntime"].keys() <= second["actorRuntime"].keys()
