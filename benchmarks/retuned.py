"""A running system with some settings changed: services and sidecars start again with them, the broker stays."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml
from confluent_kafka.admin import AdminClient

from benchmarks.measure import until
from benchmarks.stage import Stage
from todo.contracts import names
from todo.operations import brokers, topics
from todo.operations.engine import daprd, resources

SERVICES: Final = tuple(app.app_id for app in names.APPS)
SIDECARS: Final = tuple(map(daprd.child_name, SERVICES))


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from the project's own settings; a component's setting that is None is left out of it."""

    services: Mapping[str, str] = field(default_factory=dict)  # environment
    sidecars: Mapping[str, str] = field(default_factory=dict)  # environment
    flags: Mapping[str, str] = field(default_factory=dict)  # of daprd
    component: Mapping[str, str | None] = field(default_factory=dict)
    partitions: int = topics.PARTITIONS  # of the topic that is measured


class Retuned:
    """Starts services and sidecars of a stage anew with a change, from the settings that the stage began with."""

    def __init__(self, stage: Stage) -> None:
        assert stage.system.engine is not None
        self._stage = stage
        self._folder = Path(stage.system.engine.resources)
        self._secrets = Path(stage.system.engine.secrets)
        self._component = resources.current(self._folder)
        self._specs = {name: stage.system.children[name].spec for name in (*SERVICES, *SIDECARS)}
        self._partitions = topics.PARTITIONS

    async def to(self, change: Change) -> None:
        system = self._stage.system
        await self._stage.quiet()
        for group in (SERVICES, SIDECARS):
            await asyncio.gather(*map(system.stop, group))
        component = _with_settings(self._component, change.component)
        resources.place(yaml.safe_dump(component, sort_keys=False).encode(), self._folder)
        if change.partitions != self._partitions:
            await self._partition(change.partitions)
        for name, spec in self._specs.items():
            is_sidecar = name in SIDECARS
            flags = [f"--{flag}={value}" for flag, value in change.flags.items()] if is_sidecar else []
            added = change.sidecars if is_sidecar else change.services
            system.children[name].spec = replace(spec, command=[*spec.command, *flags], env={**spec.env, **added})
        for name in (*SIDECARS, *SERVICES):
            system.supervisor.start_child(name)
        await system.wait_ready(*SIDECARS, *SERVICES)
        await system.wait_flowing()

    async def _partition(self, count: int) -> None:
        """Make the topic anew: partitions can be added, but not taken away."""
        settings = resources.resolved(self._component, self._secrets)
        admin = AdminClient({"bootstrap.servers": settings["brokers"]})
        await asyncio.wrap_future(admin.delete_topics([names.TASK_EVENTS])[names.TASK_EVENTS])
        async with brokers.connected(self._component, settings) as broker:

            async def gone() -> bool:
                return not await broker.topics([names.TASK_EVENTS])

            await until(gone, "the topic is deleted")
            await topics.create(broker, partitions=count)
        self._partitions = count


def _with_settings(component: Mapping[str, Any], changed: Mapping[str, str | None]) -> dict[str, Any]:
    kept = [item for item in component["spec"]["metadata"] if item["name"] not in changed]
    added = [{"name": name, "value": value} for name, value in changed.items() if value is not None]
    return {**component, "spec": {**component["spec"], "metadata": [*kept, *added]}}
