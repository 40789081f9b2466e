"""Events whose time is over before they are delivered."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.sidecars.recording import RecordingApp, every_entry
from tests.sidecars.world import BUS, App, Client, World

SINGLE, BULK, DEAD = "expiry.single", "expiry.bulk", "dead.expiry"
BATCHES = {"enabled": True, "maxMessagesCount": 10, "maxAwaitDurationMs": 20}
WORLD = World(
    apps=[
        App(
            "late-riser",
            [
                {"pubsubname": BUS, "topic": SINGLE, "route": "/single", "deadLetterTopic": DEAD},
                {"pubsubname": BUS, "topic": BULK, "route": "/bulk", "deadLetterTopic": DEAD, "bulkSubscribe": BATCHES},
                {"pubsubname": BUS, "topic": DEAD, "route": "/dead", "metadata": {"rawPayload": "true"}},
            ],
        )
    ]
)


def came(app: RecordingApp, path: str, event_id: str) -> bool:
    return any(event_id.encode() in delivery.body for delivery in app.seen(path))


async def dead(app: RecordingApp, event_id: str) -> dict[str, Any]:
    """Wait for the dead letter: the envelope as bytes, in which the id is to be found."""

    def found() -> list[dict[str, Any]]:
        letters = [json.loads(base64.b64decode(d.json()["data_base64"])) for d in app.seen("/dead")]
        return [letter for letter in letters if letter["id"] == event_id]

    return (await app.until(found))[0]


@pytest.mark.parametrize("topic", [SINGLE, BULK])
async def test_an_event_that_is_over_is_a_dead_letter(app: RecordingApp, sidecar: Client, topic: str) -> None:
    """It is never delivered; one that is not over yet is, and in time."""
    app.answers("/bulk", every_entry("SUCCESS"))
    over, behind = str(uuid4()), str(uuid4())
    assert (await sidecar.publish(topic, {}, cloudevent_id=over, ttlInSeconds="0")).status == 204
    assert (await sidecar.publish(topic, {}, cloudevent_id=behind, ttlInSeconds="3600")).status == 204
    path = topic.replace("expiry.", "/")
    await app.until(lambda: came(app, path, behind))
    assert "expiration" in await dead(app, over)
    assert not came(app, path, over)


async def test_an_expiration_of_the_publisher_counts(app: RecordingApp, sidecar: Client) -> None:
    """An own envelope can say when it is over."""
    event_id = str(uuid4())
    own = {"id": event_id, "specversion": "1.0", "type": "t", "source": "s", "expiration": "2020-01-01T00:00:00Z"}
    headers = {"Content-Type": "application/cloudevents+json"}
    assert (await sidecar.publish(SINGLE, own, headers=headers)).status == 204
    await dead(app, event_id)
    assert not came(app, "/single", event_id)
