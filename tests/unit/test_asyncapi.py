"""The catalogue of events is current, whole and agrees with the other places that say who publishes what."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import yaml

from tests.integration.system.json_schema import Checker
from todo.contracts import events, names
from todo.contracts.envelope import encode, new_trace
from todo.contracts.events import EventParked, Occurrence, ReminderDue, ReminderInstance, ReminderOutcome, TaskSnapshot
from todo.operations import asyncapi
from todo.operations.asyncapi import SENDS, document, message_name, render

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 3, 1, 9, 30, 0, 5, tzinfo=dt.UTC)
SNAPSHOT = TaskSnapshot(
    task_id=uuid4(),
    user_id=1,
    epoch=1,
    version=2,
    title="Pay rent",
    status="done",
    deleted=False,
    reminders=(ReminderInstance("-PT1H", NOW),),
    due_at=NOW,
    zone="Europe/Berlin",
    closed_at=NOW,
    closed_version=2,
    occurrence=Occurrence(uuid4(), 1, 1, 1, "FREQ=DAILY", "UTC", "2026-03-01", "due", "skip", scheduled="2026-03-01"),
)
EXAMPLES: list[tuple[str, events.EventData]] = [
    (events.TASK_COMPLETED, SNAPSHOT),
    (events.REMINDER_DUE, ReminderDue(uuid4(), "-PT1H", NOW, 1)),
    (
        "todo.reminder.failed.v1",
        ReminderOutcome(uuid4(), "PT0S", NOW, 2, events.Outcome.FAILED, NOW, recipient="a@b.c"),
    ),
    (events.EVENT_PARKED, EventParked("backend", "t", "e", "", "", b"\xff\0", 2, "0", "why", 1, NOW)),
]


def faults(kind: str, event: Any) -> list[str]:  # noqa: ANN401 - JSON
    whole = document()
    return Checker(whole).faults(event, whole["components"]["messages"][message_name(kind)]["payload"])


def written(kind: str, data: events.EventData) -> dict[str, Any]:
    """An event as our services write it."""
    original = encode(
        event_id=uuid4(),
        event_type=kind,
        source=names.BACKEND.app_id,
        subject="s",
        time=NOW,
        traceparent=new_trace(),
        data=msgspec.json.encode(data),
    )
    return msgspec.json.decode(original, type=dict[str, Any])


def references(part: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_the_committed_document_is_current() -> None:
    committed = (ROOT / "docs" / "events.asyncapi.yaml").read_text()
    assert committed == render(), "run: python -m todo.operations.asyncapi > docs/events.asyncapi.yaml"
    assert yaml.safe_load(committed) == document()


def test_every_reference_points_to_something() -> None:
    whole = document()
    found = set(references(whole))
    assert len(found) > 30
    for reference in found:
        Checker(whole).resolve(reference)


def test_every_topic_and_type_is_told_of_and_published_by_somebody() -> None:
    assert asyncapi.TOPICS.keys() == events.TOPIC_TYPES.keys()
    assert asyncapi.TYPES.keys() == {kind for kinds in events.TOPIC_TYPES.values() for kind in kinds}
    told = {(topic, kind) for topics in SENDS.values() for topic, kinds in topics.items() for kind in kinds}
    assert told == {(topic, kind) for topic, kinds in events.TOPIC_TYPES.items() for kind in kinds}


def test_the_embedded_brokers_scopes_let_each_service_publish_just_what_the_document_says() -> None:
    """And its sidecar the dead letters, which are moved with the app's rights."""
    component = yaml.safe_load((ROOT / "local" / "resources" / "pubsub.yaml").read_text())
    scopes = next(item["value"] for item in component["spec"]["metadata"] if item["name"] == "publishingScopes")
    allowed = dict(entry.split("=") for entry in scopes.replace(" ", "").split(";"))
    told = {
        app.app_id: {*SENDS[app.app_id], *(names.dead_letter_topic(app.app_id, topic) for topic in app.topics)}
        for app in names.APPS
        if app is not names.BACKEND
    }
    assert {app_id: set(topics.split(",")) for app_id, topics in allowed.items()} == told


@pytest.mark.parametrize(("kind", "data"), EXAMPLES)
def test_what_a_service_writes_fits(kind: str, data: events.EventData) -> None:
    assert faults(kind, written(kind, data)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "2"}, "data: version: '2' is no integer"),
        ({"due_at": "2026-03-01T09:30:00"}, "is no date-time"),
        ({"task_id": "17"}, "task_id: '17' is no uuid"),
        ({"reminders": [{"reminder": "-PT1H"}]}, "fire_at is missing"),
        ({"occurrence": {}}, "series_id is missing"),
    ],
)
def test_what_does_not_fit_is_found(change: dict[str, Any], said: str) -> None:
    event = written(events.TASK_COMPLETED, SNAPSHOT)
    event["data"] |= change
    assert said in str(faults(events.TASK_COMPLETED, event))


def test_a_missing_attribute_of_the_envelope_is_found() -> None:
    event = written(events.TASK_COMPLETED, SNAPSHOT)
    del event["traceid"]
    assert faults(events.TASK_COMPLETED, event | {"type": events.TASK_CREATED}) == [
        "traceid is missing",
        f"type: '{events.TASK_CREATED}' is not '{events.TASK_COMPLETED}'",
    ]
