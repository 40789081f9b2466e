"""What an inbound policy can say besides how often: statuses, growing pauses, a timeout."""

import asyncio
from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, RecordingApp
from tests.sidecars.world import BUS, App, Client, Retry, World

TOPIC = "policies.things"
WORLD = World(
    apps=[
        App(
            "choosy",
            [
                {"pubsubname": BUS, "topic": TOPIC, "route": "/things", "deadLetterTopic": f"dead.{TOPIC}"},
                {"pubsubname": BUS, "topic": f"dead.{TOPIC}", "route": "/dead"},
            ],
        )
    ],
    retry=Retry(kind="exponential", statuses="429,500-599"),
    timeout="1s",
)


async def attempts_until_dead(app: RecordingApp, sidecar: Client, answer: Answer) -> int:
    """Publish an event that is always answered so; return how often it came before it was a dead letter."""
    event_id = str(uuid4())
    app.answers("/things", answer)
    await sidecar.publish(TOPIC, {}, cloudevent_id=event_id)
    await app.until(lambda: [d for d in app.seen("/dead") if d.json()["id"] == event_id])
    return len([d for d in app.seen("/things") if d.json()["id"] == event_id])


@pytest.mark.parametrize(("status", "attempts"), [(503, 3), (429, 3), (422, 1), (400, 1)])
async def test_only_matching_statuses_are_retried(
    app: RecordingApp, sidecar: Client, status: int, attempts: int
) -> None:
    """What the policy does not name is a dead letter at once."""
    assert await attempts_until_dead(app, sidecar, Answer(status)) == attempts


async def test_an_answer_that_takes_too_long_is_a_failure(app: RecordingApp, sidecar: Client) -> None:
    """The timeout ends an attempt, and the next one follows."""
    assert await attempts_until_dead(app, sidecar, Answer(after=asyncio.Event())) == 3
