"""The to-do system on stock daprd and a real broker, with the ledger and the judge of the fault suite outside of it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml

from tests.engine.scenario_broker import Outside, outside
from tests.faults.bench import Bench, bench_of, in_turn, until
from tests.faults.workload import Plan, plans, work
from todo.contracts import names
from todo.messaging.postgres import Connection
from todo.operations import brokers, ports, topics
from todo.operations.brokers import BrokerError
from todo.operations.datafolder import EngineRun
from todo.operations.engine import resources

BROKERS: Final = {"kafka": "kafka", "redis": "valkey"}  # the environments of these tests, and the child that each is
KEPT: Final = {"kafka": "kafka/log", "valkey": "valkey/data"}  # where each keeps what it was told
RECONCILE: Final = ((names.NOTIFICATION, names.RECONCILE_TASKS), (names.BACKEND, names.RECONCILE_SERIES))
FACTOR: Final = 100  # the durations of the scaled policy are so many times shorter, its counts the same
_REAL, _SCALED = "duration: 5s", "duration: 50ms"
_TAKEN_OVER: Final = {"processingTimeout": "5000", "redeliverInterval": "500"}  # what a dead sidecar had read, on Redis
_TIME_PASSES: Final = (
    "UPDATE notification.reminders SET next_at = next_at - make_interval(mins => 2) WHERE state = 'dispatched'"
)


@dataclass(slots=True)
class EngineBench(Bench):
    """A bench whose sidecars are daprd and whose broker is a real one."""

    @property
    def engine(self) -> EngineRun:
        assert self.system.engine is not None
        return self.system.engine

    @property
    def broker(self) -> str:
        """The child that is the broker."""
        return next(child for child in BROKERS.values() if child in self.system.children)

    @property
    def outside(self) -> Outside:
        """The broker as somebody without a sidecar sees it."""
        return outside(self._component()[1])

    def sidecars(self, app_id: str = "") -> list[str]:
        """The children that are sidecars, of one app or of all."""
        return [name for name in self.system.children if name.startswith(f"daprd-{app_id}")]

    async def backlog(self) -> dict[str, int]:
        try:
            async with brokers.connected(*self._component()) as broker:
                left = await broker.lag(topics.consumed())
        except BrokerError as error:
            return {str(error): 1}
        return {f"{topic}>{group}": lag.total for (group, topic), lag in left.items() if lag.total}

    async def ask_sidecar(self, name: str, method: str, path: str, **request: Any) -> tuple[int, bytes]:  # noqa: ANN401
        """A request to the sidecar of a service, by the service's own name, as its operator."""
        url = f"http://127.0.0.1:{self.system.ports[ports.sidecar(name)]}{path}"
        headers = {"dapr-api-token": self.system.data.api_token} | request.pop("headers", {})
        async with self.http.request(method, url, headers=headers, **request) as answer:
            return answer.status, await answer.read()

    def logged(self, event: str) -> int:
        """How often all processes together have logged this."""
        return (self.system.data.path.parent / "log").read_text().count(f'"event":"{event}"')

    async def scale_policy(self) -> None:
        """Let every sidecar retry a hundred times as fast, as often as ever. daprd reads a Resiliency at its start."""
        for name in self.sidecars():
            await self.system.stop(name)
        policy, pubsub = (Path(self.engine.resources) / name for name in ("resiliency.yaml", "pubsub.yaml"))
        assert policy.read_text().count(_REAL) == 1
        policy.write_text(policy.read_text().replace(_REAL, _SCALED))
        component = yaml.safe_load(pubsub.read_text())
        for setting in component["spec"]["metadata"]:
            setting.update({"value": _TAKEN_OVER[setting["name"]]} if setting["name"] in _TAKEN_OVER else {})
        pubsub.write_text(yaml.safe_dump(component))
        for name in self.sidecars():
            await self.system.start(name)
        await self.system.wait_flowing()

    @asynccontextmanager
    async def away(self, child: str) -> AsyncIterator[None]:
        """`kill -9`, and a new start at the end."""
        await self.destroy(child)
        try:
            yield
        finally:
            await self.system.start(child)

    async def forget_everything(self) -> None:
        """Destroy what the broker keeps; it must be away."""
        kept = self.system.data.path / "engine" / KEPT[self.broker]
        assert kept.is_dir(), kept
        shutil.rmtree(kept)

    async def two_minutes_pass(self) -> None:
        """Let the schedule believe that it has waited long enough for the answers that it waits for."""
        connection: Connection = await asyncpg.connect(self.system.database_url)
        try:
            await connection.execute(_TIME_PASSES)
        finally:
            await connection.close()

    async def at_work(self, title: str, meanwhile: Awaitable[None], *, seed: int, count: int, span: float) -> None:
        """A client works for `span` seconds, whatever happens `meanwhile`."""
        await in_turn([work(self.client, titled(title, plans(seed, count, span=span))), meanwhile])

    async def on_the_broker(self, topic: str, count: int) -> None:
        """Wait until the outboxes are empty and the topic holds so many events."""

        async def there() -> bool | str:
            left = await self.outbox(names.NOTIFICATION) + await self.outbox(names.BACKEND)
            found = len(await self.outside.history(topic))
            return True if left == 0 and found >= count else f"{found} there, {left} in the outboxes"

        await until(there, 30, f"{count} events on {topic}")

    def _component(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The broker's component now in place, and its metadata with the secrets looked up."""
        component = resources.current(Path(self.engine.resources))
        return component, resources.resolved(component, Path(self.engine.secrets))


def engine_bench(folder: Path, broker: str, **options: Any) -> AbstractAsyncContextManager[EngineBench]:  # noqa: ANN401
    """The whole system on stock daprd with that broker."""
    return bench_of(EngineBench, folder, engine="dapr", broker=broker, **options)


def titled(title: str, planned: Sequence[Plan]) -> list[Plan]:
    """The same plans for tasks whose titles nobody else uses on this system."""
    return [replace(plan, title=f"{title} {plan.title}") for plan in planned]


async def for_seconds(running: EngineBench, child: str, seconds: float, *, after: float = 2.0) -> None:
    """One child is away for so long, a while after the start of the work."""
    await asyncio.sleep(after)
    async with running.away(child):
        await asyncio.sleep(seconds)
