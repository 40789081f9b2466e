"""Events that cannot be processed, published by hand: parked, shown, replayed, and in nobody's way."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from tests.integration.system.world import Json, World, all_of, eventually
from todo.contracts import events, names

OPERATOR: Final = "operator"  # a source of none of our services
TASK_ID: Final = "5f0c8f5e-2f57-4c1c-9d5f-0f2b54c1a001"
DUE: Final = {"task_id": TASK_ID, "reminder": "-PT1H", "fire_at": "2031-05-01T09:00:00Z", "attempt": 1}
REMINDERS: Final = names.TASK_REMINDERS
APP_OF: Final = {  # of each topic, an app that reads it
    names.TASK_EVENTS: names.RECURRING.app_id,
    names.TASK_REMINDERS: names.EMAIL_DELIVERY.app_id,
    names.REMINDER_DELIVERIES: names.NOTIFICATION.app_id,
    names.TASK_OCCURRENCES: names.BACKEND.app_id,
    names.DEAD_LETTERS: names.BACKEND.app_id,
}


def event(kind: str = events.REMINDER_DUE, **attributes: Json) -> Json:
    """A CloudEvent as somebody may write it by hand; None leaves an attribute out."""
    usual = {"specversion": "1.0", "id": str(uuid4()), "source": OPERATOR, "type": kind, "subject": "s", "data": DUE}
    whole: dict[str, Json] = {**usual, **attributes}
    return {name: value for name, value in whole.items() if value is not None}


MADE: Final[Mapping[str, tuple[Json, str]]] = {  # what is published, and a part of the reason that must be told
    "bad schema": (event(data={"task_id": "17"}), "task_id"),
    "unknown type": (event("todo.reminder.invented.v1"), "todo.reminder.invented.v1"),
    "wrong version": (event("todo.reminder.due.v2"), "todo.reminder.due.v2"),
    "no data": (event(data=None), "no data"),
    "1 MB": (event(data=DUE | {"reminder": 1, "text": "x" * 1_000_000}), "reminder"),
    "U+0000": (event(data=DUE | {"reminder": "-PT\u00001H"}), "U+0000"),
    "type lost": (event(events.PROBE), events.PROBE),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def parked(world: World) -> dict[str, Json]:
    """The letter of each bad event."""
    await all_of(*(world.publish_event(REMINDERS, bad) for bad, _ in MADE.values()))
    found = await all_of(*(world.letter(topic=REMINDERS, event_id=bad["id"]) for bad, _ in MADE.values()))
    return dict(zip(MADE, found, strict=True))


@pytest.mark.parametrize("what", MADE)
async def test_a_bad_event_is_parked_with_all_that_a_person_needs(parked: dict[str, Json], what: str) -> None:
    letter, (bad, reason) = parked[what], MADE[what]
    assert (letter["app"], letter["topic"]) == (names.EMAIL_DELIVERY.app_id, REMINDERS)
    assert (letter["event_type"], letter["subject"]) == (bad["type"], "s")
    assert (letter["status"], letter["attempts"], letter["replays"]) == ("open", 1, 0)
    assert reason in letter["error"]


@pytest.mark.parametrize("what", [name for name in MADE if name != "1 MB"])
async def test_its_bytes_are_kept_as_they_came(parked: dict[str, Json], what: str) -> None:
    letter, (bad, _) = parked[what], MADE[what]
    original = letter["body"].encode()
    assert letter["body_encoding"] == "utf-8"
    assert (letter["size"], letter["sha256"]) == (len(original), hashlib.sha256(original).hexdigest())
    assert bad.items() <= json.loads(original).items()


async def test_of_a_large_one_the_head_is_kept_and_a_replay_is_refused(world: World, parked: dict[str, Json]) -> None:
    letter = parked["1 MB"]
    assert letter["size"] > 1_000_000
    assert len(letter["body"]) == events.PARKED_LIMIT
    answer = await world.ask("POST", f"/dead-letters/{letter['id']}/replay")
    assert answer.status == 409
    assert "only the first" in answer.body["detail"]


async def test_a_letter_can_be_discarded(world: World, parked: dict[str, Json]) -> None:
    letter = parked["wrong version"]
    assert (await world.api("POST", f"/dead-letters/{letter['id']}/discard"))["status"] == "discarded"
    assert not await world.letters(id=letter["id"], status="open")


async def test_every_app_parks_what_it_cannot_read(world: World) -> None:
    bad = {topic: event(data={}) for topic in APP_OF}
    await all_of(*(world.publish_event(topic, one) for topic, one in bad.items()))
    for topic, app in APP_OF.items():
        letter = await world.letter(app=app, topic=topic, event_id=bad[topic]["id"])
        assert letter["status"] == "open"


async def test_what_is_no_json_comes_from_the_sidecar_with_its_bytes(world: World) -> None:
    body = b"\xff\xfe not JSON \x00 " + uuid4().bytes
    await world.publish(REMINDERS, body, "application/octet-stream", **{"metadata.rawPayload": "true"})
    fingerprint = hashlib.sha256(body).hexdigest()
    letter = await world.letter(sha256=fingerprint)
    assert (letter["app"], letter["topic"]) == (names.EMAIL_DELIVERY.app_id, REMINDERS)
    assert letter["event_id"] == f"sha256:{fingerprint}"
    assert (letter["body_encoding"], base64.b64decode(letter["body"])) == ("base64", body)
    answer = await world.ask("POST", f"/dead-letters/{letter['id']}/replay")
    assert answer.status == 409


async def test_a_letter_opens_again_when_its_replay_fails_and_closes_when_the_handler_was_mended(world: World) -> None:
    person = await world.person()
    at = "2031-05-01T09:00:00.000123Z"
    async with world.failing_schedule(at):
        task = await person.add(due_at=at, reminders=["PT0S"])
        letter = await world.letter(app=names.NOTIFICATION.app_id, subject=task["id"])
        assert (letter["topic"], letter["event_type"]) == (names.TASK_EVENTS, events.TASK_CREATED)
        assert (letter["attempts"], letter["replays"]) == (3, 0)
        assert "broken for a test" in letter["error"]
        await replayed(world, letter)
        (again,) = await eventually(lambda: world.letters(id=letter["id"], status="open"))
        assert (again["attempts"], again["replays"]) == (6, 1)
    assert await person.steps(task, "schedule") == []
    await replayed(world, letter)
    await person.reached(task, "waiting")
    (closed,) = await world.letters(id=letter["id"])
    assert (closed["status"], closed["replays"]) == ("replayed", 2)
    assert [step["dead_letter"] for step in await person.steps(task, "dead letters")] == [letter["id"]]


async def replayed(world: World, letter: Json) -> None:
    assert (await world.api("POST", f"/dead-letters/{letter['id']}/replay"))["status"] == "replayed"


async def test_events_behind_poison_arrive(world: World) -> None:
    poison = [event(events.TASK_CREATED, data={}, subject="poison") for _ in range(5)]
    entries = [
        {"entryId": str(number), "event": one, "contentType": "application/cloudevents+json"}
        for number, one in enumerate(poison)
    ]
    path = f"/v1.0/publish/bulk/{names.PUBSUB}/{names.TASK_EVENTS}"
    assert (await world.sidecar(names.BACKEND, "POST", path, json=entries)).status == 204
    person = await world.person()
    await person.remind(0)
    await person.one_mail()
    for one in poison:
        for app in (names.NOTIFICATION, names.RECURRING):
            await world.letter(app=app.app_id, event_id=one["id"])


PROBES: Final = (
    {"task_id": "test-123", "user_id": "user-456"},
    {"task_id": "debug-123", "user_id": "user-456", "timestamp": "2026-01-16T12:00:00Z"},
    {"test": "connectivity", "timestamp": "2026-01-16T12:00:00Z"},
)


async def test_the_guides_test_events_are_logged_counted_and_never_mailed_or_kept_as_letters(world: World) -> None:
    app, counter = names.EMAIL_DELIVERY.app_id, f'todo_probe_events_total{{topic="{REMINDERS}"}}'
    before, mails = await world.metric(app, counter), await mail_total(world)
    for probe in PROBES:
        await world.publish(REMINDERS, json.dumps(probe).encode(), "application/json")

    async def logged() -> bool:
        return {"test-123", "debug-123", ""} <= {line["task_id"] for line in world.logged(app, "probe received")}

    await eventually(logged)
    assert await world.metric(app, counter) >= before + len(PROBES)
    letters = {one["event_id"] for one in await world.letters(event_type=events.PROBE)}
    assert letters <= {MADE["type lost"][0]["id"]}
    assert await mail_total(world) == mails


async def mail_total(world: World) -> int:
    return int((await world.ask("GET", f"{world.system.mailbox_url}/api/v1/messages")).body["total"])


async def test_garbage_as_a_jobs_data_does_no_harm(world: World) -> None:
    garbage = {"schedule": "@every 1s", "data": {"\u0000": ["garbage", None, 1e300]}, "overwrite": True}
    path = f"/v1.0/jobs/{names.CHECK_DUE_TASKS}"
    assert (await world.sidecar(names.NOTIFICATION, "POST", path, json=garbage)).status == 204
    person = await world.person()
    await person.remind(0)
    await person.one_mail()


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"data": "x"}'])
async def test_a_jobs_callback_takes_any_body_from_the_sidecar_and_none_from_others(world: World, body: bytes) -> None:
    url = world.service(names.NOTIFICATION.app_id, f"/job/{names.CHECK_DUE_TASKS}")
    token = world.system.data.app_token(names.NOTIFICATION.app_id)
    statuses = [
        (await world.ask("POST", url, data=body, headers=headers)).status
        for headers in ({"dapr-api-token": token}, {}, {"dapr-api-token": "guessed"})
    ]
    assert statuses == [204, 401, 403]


@pytest.mark.parametrize("app", names.APPS, ids=lambda app: str(app.app_id))
async def test_both_subscription_lists_are_the_same_and_name_every_topic_of_the_app(
    world: World, app: names.App
) -> None:
    guides, daprs = await all_of(
        *(world.ask("GET", world.service(app.app_id, path)) for path in ("/events/dapr/subscribe", "/dapr/subscribe"))
    )
    assert guides.status == 200
    assert guides.body == daprs.body
    listed = msgspec.convert([(one["pubsubname"], one["topic"]) for one in daprs.body], list[tuple[str, str]])
    assert {(names.PUBSUB, topic) for topic in app.topics} <= set(listed)
