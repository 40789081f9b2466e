"""Metrics under Dapr's own names, which dashboards and alerts are made of."""

import re
from collections.abc import Mapping

import aiohttp
import pytest

from tests.sidecars.recording import RecordingApp, eventually
from tests.sidecars.world import BUS, STORE, App, Client, Running, World

TOPIC = "metrics.things"
WORLD = World(apps=[App("measured", [{"pubsubname": BUS, "topic": TOPIC, "route": "/things"}])])
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")


async def samples(world: Running) -> list[tuple[str, Mapping[str, str], float]]:
    """Read every sample of the first sidecar: name, labels, value."""
    address = f"http://127.0.0.1:{world.places[0].metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        lines = (await answer.text()).splitlines()
    found = (SAMPLE.match(line) for line in lines)
    return [(m[1], dict(re.findall(r'(\w+)="([^"]*)"', m[2])), float(m[3])) for m in found if m]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("dapr_component_pubsub_egress_count", {"component": BUS, "topic": TOPIC, "success": "true"}),
        ("dapr_component_pubsub_ingress_count", {"component": BUS, "topic": TOPIC, "process_status": "success"}),
        ("dapr_component_state_count", {"component": STORE, "operation": "set", "success": "true"}),
        ("dapr_component_state_count", {"component": STORE, "operation": "get", "success": "true"}),
        ("dapr_component_pubsub_egress_latencies_count", {"component": BUS, "topic": TOPIC, "success": "true"}),
        ("dapr_component_pubsub_ingress_latencies_count", {"component": BUS, "topic": TOPIC}),
        ("dapr_component_state_latencies_count", {"component": STORE, "operation": "set"}),
    ],
)
async def test_work_is_counted(
    world: Running, app: RecordingApp, sidecar: Client, name: str, labels: Mapping[str, str]
) -> None:
    """Publishing, delivering and keeping state are counted and timed, by app, component, topic and outcome."""
    await sidecar.publish(TOPIC, {})
    await app.received("/things")
    await sidecar.post(f"/v1.0/state/{STORE}", [{"key": "k", "value": 1}])
    await sidecar.get(f"/v1.0/state/{STORE}/k")
    wanted = {"app_id": "measured", **labels}

    async def counted() -> bool:
        return any(
            n == name and wanted.items() <= told.items() and value > 0 for n, told, value in await samples(world)
        )

    await eventually(counted)
