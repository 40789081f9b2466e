"""One event, one request: what the app's answer does to it."""

from typing import Any
from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, Delivery, Json, RecordingApp, in_order
from tests.sidecars.world import BUS, PLAIN, App, Client, Running, World


def subscription(component: str, topic: str, **more: Json) -> dict[str, Any]:
    return {"pubsubname": component, "topic": topic, "route": f"/{topic}", **more}


RETRIED, AT_ONCE, UNWANTED, ROUTED = "delivery.retried", "delivery.at-once", "delivery.unwanted", "delivery.routed"
DEAD_RETRIED, DEAD_AT_ONCE, DEAD_ROUTED = f"dead.{RETRIED}", f"dead.{AT_ONCE}", f"dead.{ROUTED}"
RULES = {
    "rules": [
        {"match": 'event.type == "special.v1"', "path": "/special"},
        {"match": 'event.data.kind == "big" && event.source == "consumer"', "path": "/big"},
    ],
    "default": "/other",
}
WORLD = World(
    apps=[
        App(
            "consumer",
            [
                subscription(BUS, RETRIED, deadLetterTopic=DEAD_RETRIED),
                subscription(BUS, DEAD_RETRIED),
                subscription(PLAIN, AT_ONCE, deadLetterTopic=DEAD_AT_ONCE),
                subscription(PLAIN, DEAD_AT_ONCE),
                subscription(BUS, UNWANTED),
                {"pubsubname": BUS, "topic": ROUTED, "routes": RULES, "deadLetterTopic": DEAD_ROUTED},
                subscription(BUS, DEAD_ROUTED),
            ],
        )
    ]
)
ATTEMPTS = 1 + WORLD.retry.max_retries
FAILED = Answer(500)


class Scripts:
    """Answers by event id, so that tests share a topic without seeing each other's events."""

    def __init__(self, app: RecordingApp, topic: str) -> None:
        self._app, self._path, self._scripts = app, f"/{topic}", {}
        app.answers(self._path, lambda delivery: self._scripts.get(delivery.json()["id"], in_order(Answer()))(delivery))

    _scripts: dict[str, Any]

    def script(self, *answers: Answer) -> str:
        """Return the id of an event that will be answered like this."""
        event_id = str(uuid4())
        self._scripts[event_id] = in_order(*answers)
        return event_id

    def attempts(self, event_id: str) -> list[Delivery]:
        return with_id(self._app, self._path, event_id)


def with_id(app: RecordingApp, path: str, event_id: str) -> list[Delivery]:
    return [delivery for delivery in app.seen(path) if delivery.json()["id"] == event_id]


async def dead_letter(app: RecordingApp, topic: str, event_id: str) -> Delivery:
    return (await app.until(lambda: with_id(app, f"/{topic}", event_id)))[0]


@pytest.fixture(scope="module")
def scripts(world: Running) -> Scripts:
    return Scripts(world.recording[0], RETRIED)


async def settled(app: RecordingApp, sidecar: Client, scripts: Scripts) -> None:
    """Return when an event published now has used up its retries: an earlier one would have had its own by then."""
    marker = scripts.script(FAILED)
    await sidecar.publish(RETRIED, {}, cloudevent_id=marker)
    await dead_letter(app, DEAD_RETRIED, marker)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(200), id="200"),
        pytest.param(Answer(204), id="204"),
        pytest.param(Answer(202, b"thank you"), id="202 with text"),
        pytest.param(Answer(200, {}), id="200 without a status"),
        pytest.param(Answer(200, {"status": ""}), id="200 with an empty status"),
        pytest.param(Answer(200, {"status": "SUCCESS"}), id="SUCCESS"),
    ],
)
async def test_success_is_delivered_once(app: RecordingApp, sidecar: Client, scripts: Scripts, answer: Answer) -> None:
    """Any 2xx that does not say otherwise acknowledges the event."""
    event_id = scripts.script(answer)
    await sidecar.publish(RETRIED, {}, cloudevent_id=event_id)
    await app.until(lambda: scripts.attempts(event_id))
    await settled(app, sidecar, scripts)
    assert len(scripts.attempts(event_id)) == 1
    assert with_id(app, f"/{DEAD_RETRIED}", event_id) == []


RETRIABLE = [
    pytest.param(Answer(200, {"status": "RETRY"}), id="RETRY"),
    pytest.param(Answer(200, {"status": "success"}), id="a status in lower case"),
    pytest.param(Answer(200, {"status": "ERROR"}), id="an unknown status"),
    pytest.param(Answer(400), id="400"),
    pytest.param(Answer(401), id="401"),
    pytest.param(Answer(422, {"detail": []}), id="422"),
    pytest.param(Answer(429), id="429"),
    pytest.param(Answer(500), id="500"),
    pytest.param(Answer(503), id="503"),
]


@pytest.mark.parametrize("answer", RETRIABLE)
async def test_failure_is_retried_until_it_succeeds(
    app: RecordingApp, sidecar: Client, scripts: Scripts, answer: Answer
) -> None:
    """Every other answer is retried as the policy says; success ends it and nothing is dead-lettered."""
    event_id = scripts.script(answer, Answer())
    await sidecar.publish(RETRIED, {"n": 1}, cloudevent_id=event_id)
    first, second = await app.until(lambda: attempts if len(attempts := scripts.attempts(event_id)) == 2 else [])
    assert first.json() == second.json()
    await settled(app, sidecar, scripts)
    assert len(scripts.attempts(event_id)) == 2
    assert with_id(app, f"/{DEAD_RETRIED}", event_id) == []


@pytest.mark.parametrize("answer", RETRIABLE)
async def test_used_up_retries_end_as_a_dead_letter(
    app: RecordingApp, sidecar: Client, scripts: Scripts, answer: Answer
) -> None:
    """After one attempt and `maxRetries` more the event goes to the dead-letter topic, as it was."""
    event_id = scripts.script(answer)
    await sidecar.publish(RETRIED, {"n": 1}, cloudevent_id=event_id, cloudevent_type="t.v1")
    dead = (await dead_letter(app, DEAD_RETRIED, event_id)).json()
    attempts = scripts.attempts(event_id)
    assert len(attempts) == ATTEMPTS
    original = attempts[0].json()
    carried = ("id", "type", "source", "data", "time", "specversion", "datacontenttype", "topic")
    assert {key: dead[key] for key in carried} == {key: original[key] for key in carried}


@pytest.mark.parametrize(
    "answer", [pytest.param(Answer(200, {"status": "DROP"}), id="DROP"), pytest.param(Answer(404), id="404")]
)
async def test_a_dropped_event_is_a_dead_letter_at_once(
    app: RecordingApp, sidecar: Client, scripts: Scripts, answer: Answer
) -> None:
    """DROP and 404 are not retried; with a dead-letter topic the event goes there."""
    event_id = scripts.script(answer)
    await sidecar.publish(RETRIED, {}, cloudevent_id=event_id)
    await dead_letter(app, DEAD_RETRIED, event_id)
    assert len(scripts.attempts(event_id)) == 1


async def test_without_a_dead_letter_topic_a_dropped_event_is_gone(
    app: RecordingApp, sidecar: Client, scripts: Scripts
) -> None:
    """DROP without a dead-letter topic acknowledges."""
    app.answers(f"/{UNWANTED}", Answer(200, {"status": "DROP"}))
    await sidecar.publish(UNWANTED, {})
    await app.received(f"/{UNWANTED}")
    await settled(app, sidecar, scripts)
    assert len(app.seen(f"/{UNWANTED}")) == 1


async def test_without_a_policy_the_first_failure_is_a_dead_letter(app: RecordingApp, sidecar: Client) -> None:
    """A dead-letter topic alone retries nothing."""
    app.answers(f"/{AT_ONCE}", FAILED)
    event_id = str(uuid4())
    await sidecar.publish(AT_ONCE, {}, component=PLAIN, cloudevent_id=event_id)
    await dead_letter(app, DEAD_AT_ONCE, event_id)
    assert len(with_id(app, f"/{AT_ONCE}", event_id)) == 1


async def test_a_failing_event_does_not_hold_up_others(app: RecordingApp, sidecar: Client, scripts: Scripts) -> None:
    """Events behind one that is being retried are delivered all the same."""
    failing = scripts.script(FAILED)
    others = [scripts.script(Answer()) for _ in range(50)]
    await sidecar.publish(RETRIED, {}, cloudevent_id=failing)
    for event_id in others:
        await sidecar.publish(RETRIED, {}, cloudevent_id=event_id)
    await app.until(lambda: all(scripts.attempts(event_id) for event_id in others))
    await dead_letter(app, DEAD_RETRIED, failing)


@pytest.mark.parametrize(
    ("event_type", "kind", "path"),
    [
        ("special.v1", "big", "/special"),
        ("other.v1", "big", "/big"),
        ("other.v1", "small", "/other"),
    ],
)
async def test_rules_choose_the_path(app: RecordingApp, sidecar: Client, event_type: str, kind: str, path: str) -> None:
    """The first rule that matches the envelope names the path; without a match it is the default."""
    event_id = str(uuid4())
    await sidecar.publish(ROUTED, {"kind": kind}, cloudevent_id=event_id, cloudevent_type=event_type)
    await app.until(lambda: with_id(app, path, event_id))
    assert [p for p in ("/special", "/big", "/other") if with_id(app, p, event_id)] == [path]


async def test_an_event_that_a_rule_cannot_judge_is_a_dead_letter(app: RecordingApp, sidecar: Client) -> None:
    """A rule over an attribute that the event lacks is an error, not "no match"."""
    event_id = str(uuid4())
    await sidecar.publish(ROUTED, {}, cloudevent_id=event_id)
    await dead_letter(app, DEAD_ROUTED, event_id)
    assert [path for path in ("/special", "/big", "/other") if with_id(app, path, event_id)] == []
