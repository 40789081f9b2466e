"""Invocations of an app for which there is a retry policy."""

from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, in_order
from tests.sidecars.world import App, Retry, Running, World

WORLD = World(apps=[App("patient"), App("moody")], invoked=Retry(max_retries=2, statuses="500-599"))


@pytest.mark.parametrize(
    ("answers", "status", "calls"),
    [
        pytest.param([Answer(503), Answer(200)], 200, 2, id="a failure and a success"),
        pytest.param([Answer(503)], 503, 3, id="failures alone"),
        pytest.param([Answer(404)], 404, 1, id="a status that is not matched"),
        pytest.param([Answer(200)], 200, 1, id="a success"),
    ],
)
async def test_what_failed_is_asked_again(world: Running, answers: list[Answer], status: int, calls: int) -> None:
    """As often as the policy says; the last answer is the caller's, with its body."""
    path = f"/{uuid4().hex}"
    world.app("moody").answers(path, in_order(*(Answer(one.status, b"said") for one in answers)))
    reply = await world.sidecar("patient").post(f"/v1.0/invoke/moody/method{path}", {"n": 1})
    assert (reply.status, reply.body) == (status, b"said")
    seen = world.app("moody").seen(path)
    assert [call.json() for call in seen] == [{"n": 1}] * calls
