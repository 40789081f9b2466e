"""Resource files with mistakes in them: Dapr ignores most of these, and nobody finds out until events are lost."""

import json
from typing import Any

import pytest

from tests.engine.resources import component, document, inbound_retries
from tests.sidecars.recording import Answer, RecordingApp
from tests.sidecars.world import PLAIN, App, Client, Running, World

TOPIC = "strict.things"
WORLD = World(
    apps=[
        App(
            "careful",
            [
                {"pubsubname": PLAIN, "topic": TOPIC, "route": "/things", "deadLetterTopic": f"dead.{TOPIC}"},
                {"pubsubname": PLAIN, "topic": f"dead.{TOPIC}", "route": "/dead"},
            ],
        )
    ]
)


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(component("more", "secretstores.local.env", prefixx="A"), id="an unknown metadata key"),
        pytest.param(
            document("v1alpha1", "Resiliency", "more", {"policies": {"retry": {}}}), id="an unknown key of a policy"
        ),
        pytest.param(document("v1alpha1", "Resilience", "more", {}), id="an unknown kind"),
    ],
)
async def test_a_mistake_in_a_resource_file_is_refused(world: Running, mistake: dict[str, Any]) -> None:
    """A sidecar does not start on a file that says something it does not know."""
    await world.engine.stop()
    path = world.engine.resources / "mistake.yaml"
    path.write_text(json.dumps(mistake))
    try:
        with pytest.raises(RuntimeError, match=r"mistake\.yaml"):
            await world.engine.start()
    finally:
        path.unlink()
        await world.engine.start()


async def test_a_resiliency_behind_others_in_a_file_is_loaded(
    world: Running, app: RecordingApp, sidecar: Client
) -> None:
    """Where in a file of several documents a policy stands does not matter."""
    app.answers("/things", Answer(500))
    await world.engine.stop()
    retries = inbound_retries(PLAIN, {"policy": "constant", "duration": "50ms", "maxRetries": 2})
    documents = [component(f"extra-{n}", "secretstores.local.env") for n in range(2)]
    text = "\n---\n".join(json.dumps(content) for content in [*documents, retries])
    (world.engine.resources / "many.yaml").write_text(text)
    await world.engine.start()
    await sidecar.publish(TOPIC, {}, component=PLAIN)
    await app.received("/dead")
    assert len(app.seen("/things")) == 3
