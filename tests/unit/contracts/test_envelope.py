import base64
import datetime as dt
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo.contracts import envelope, events, names
from todo.contracts.envelope import Event, Probe, Unreadable, child_trace, decode, encode, new_trace
from todo.contracts.events import Outcome, ReminderDue, ReminderOutcome

NOW = dt.datetime(2026, 7, 15, 12, tzinfo=dt.UTC)
DUE = ReminderDue(uuid4(), "-PT1H", NOW, 1)
TOPIC = names.TASK_REMINDERS
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DATA = msgspec.to_builtins(DUE)


def written(**attributes: Any) -> bytes:  # noqa: ANN401 - JSON, or whatever the tested code takes
    """An envelope around `DUE` as another producer may write it; None leaves an attribute out."""
    usual = {"specversion": "1.0", "id": "e1", "type": events.REMINDER_DUE, "subject": "s", "data": DATA}
    return json.dumps({k: v for k, v in (usual | attributes).items() if v is not None}).encode()


def unreadable(original: bytes, topic: str = TOPIC) -> Unreadable:
    read = decode(original, topic)
    assert isinstance(read, Unreadable), read
    assert read.original == original
    return read


def test_what_is_written_is_read() -> None:
    original = encode(
        event_id="e1", event_type=events.REMINDER_DUE, source="a", subject="s", time=NOW, traceparent=TRACE,
        data=msgspec.json.encode(DUE), replay=3,
    )  # fmt: skip
    assert decode(original, TOPIC) == Event("e1", events.REMINDER_DUE, TOPIC, "s", DUE, TRACE, 3, original, NOW)


@pytest.mark.parametrize(
    "attributes",
    [
        {"data": DATA},
        {"data": json.dumps(DATA)},
        {"data": None, "data_base64": base64.b64encode(json.dumps(DATA).encode()).decode()},
        {"data": DATA | {"a field of a newer producer": 1}},
        {"data": DATA, "tracestate": "x", "topic": "other", "pubsubname": "p", "time": "no time"},
    ],
)
def test_data_is_read_as_object_as_string_and_as_base64(attributes: dict[str, Any]) -> None:
    read = decode(written(**attributes), TOPIC)
    assert isinstance(read, Event)
    assert read.data == DUE


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"data": None}, "no data"),
        ({"data": "null"}, "Expected"),
        ({"data": ""}, "truncated"),
        ({"data": 7}, "Expected `object`"),
        ({"data": "no JSON"}, "malformed"),
        ({"data": DATA | {"attempt": "1"}}, "attempt"),
        ({"data": {"task_id": "17"}}, "task_id"),
        ({"data": {}}, "missing required field"),
        ({"data": None, "data_base64": "%%%"}, "not base64"),
        ({"data": None, "data_base64": "\u00e9"}, "not base64"),
        ({"data": None, "data_base64": "AAAA"}, "malformed"),
        ({"type": "todo.reminder.due.v2"}, "does not belong to topic"),
        ({"type": events.TASK_CREATED}, "does not belong to topic"),
        ({"type": None}, "does not belong to topic"),
        ({"replay": -1}, "not a CloudEvent"),
        ({"replay": 2**40}, "not a CloudEvent"),
        ({"id": 5}, "not a CloudEvent"),
    ],
)
def test_what_cannot_be_read_says_why(attributes: dict[str, Any], reason: str) -> None:
    assert reason in unreadable(written(**attributes)).reason


def test_json_null_is_no_data() -> None:
    original = written(data=None)[:-1] + b',"data":null}'
    assert "no data" in unreadable(original).reason


@pytest.mark.parametrize(
    "original",
    [
        b"",
        b"\x00",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        b'"text"',
        b"[" * 100000,
        b'{"data":' + b"[" * 50000,
        b'{"x":' * 50000 + b"1" + b"}" * 50000,
        b'{"id":"\\ud800"}',
        b"{" * 7,
    ],
)
def test_bytes_that_are_no_event_are_named_by_their_hash(original: bytes) -> None:
    read = unreadable(original)
    assert read.id == envelope.fingerprint(original)
    assert read.reason.startswith("not a CloudEvent") or "does not belong" in read.reason or "no data" in read.reason


def test_an_event_on_the_wrong_topic_keeps_its_id_and_type() -> None:
    read = unreadable(written(), names.TASK_EVENTS)
    assert (read.id, read.type, read.subject) == ("e1", events.REMINDER_DUE, "s")


def test_a_megabyte_is_read_like_anything_else() -> None:
    outcome = ReminderOutcome(uuid4(), "PT0S", NOW, 1, Outcome.FAILED, NOW, reason="x" * 2**20)
    original = written(type=events.outcome_type(Outcome.FAILED), data=msgspec.to_builtins(outcome))
    read = decode(original, names.REMINDER_DELIVERIES)
    assert isinstance(read, Event)
    assert read.data == outcome


@pytest.mark.parametrize(
    ("text", "stored"),
    [(r"\u0000", False), (r"a\\\u0000", False), (r"\\u0000", True), (r"\\\\u0000", True), (r"\u0001", True)],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_an_escaped_nul_is_refused_and_an_escaped_backslash_is_not(text: str, stored: bool, as_text: bool) -> None:
    data = json.dumps(DATA).replace("-PT1H", text)
    original = written(data="@").replace(b'"@"', (json.dumps(data) if as_text else data).encode())
    assert isinstance(decode(original, TOPIC), Event) is stored


@pytest.mark.parametrize("strange", ["", "x" * 201, "a\x00b", "\n"])
def test_an_id_that_could_be_no_key_gives_way_to_the_hash(strange: str) -> None:
    original = written(id=strange)
    read = decode(original, TOPIC)
    assert isinstance(read, Event)
    assert read.id == envelope.fingerprint(original)


@pytest.mark.parametrize(
    ("data", "task_id"),
    [
        ({"task_id": 17, "title": "x"}, "17"),
        ({"task_id": "y" * 100}, "y" * 64),
        ({"hello": "world"}, ""),
        ("just text", ""),
        ([1, 2], ""),
        (7, ""),
    ],
)
@pytest.mark.parametrize("topic", [topic for topic in events.TOPIC_TYPES if topic != names.DEAD_LETTERS])
def test_an_operators_event_is_a_probe(topic: str, data: object, task_id: str) -> None:
    assert decode(written(type=events.PROBE, data=data), topic) == Probe("e1", topic, task_id)


def test_a_probe_without_data_is_parked() -> None:
    assert "no data" in unreadable(written(type=events.PROBE, data=None)).reason


def test_ours_without_its_type_is_parked_and_not_taken_for_a_probe() -> None:
    assert "does not belong" in unreadable(written(type=events.PROBE)).reason


@given(st.binary(), st.sampled_from([*events.TOPIC_TYPES, "stranger"]))
def test_no_bytes_make_it_raise(original: bytes, topic: str) -> None:
    decode(original, topic)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
attributes = st.sampled_from(["id", "type", "subject", "replay", "data", "data_base64", "traceparent", "topic"])
types = st.sampled_from([kind for kinds in events.TOPIC_TYPES.values() for kind in kinds] + [events.PROBE])


@given(st.dictionaries(attributes, json_values | types), st.sampled_from([*events.TOPIC_TYPES]))
def test_no_attributes_make_it_raise(given_attributes: dict[str, Any], topic: str) -> None:
    read = decode(json.dumps(given_attributes).encode(), topic)
    assert read.id
    assert len(read.id) <= envelope.MAX_ID


@pytest.mark.parametrize("field", list(DATA))
@given(value=json_values)
def test_no_data_makes_it_raise(field: str, value: object) -> None:
    decode(written(data=DATA | {field: value}), TOPIC)


def test_a_child_continues_the_trace_with_a_span_of_its_own() -> None:
    child = child_trace(TRACE)
    assert child[:36] == TRACE[:36]
    assert child[36:52] != TRACE[36:52]
    assert child_trace(child)[:36] == TRACE[:36]


@pytest.mark.parametrize(
    "strange",
    [
        "",
        "garbage",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{'0a' * 16}-{'0' * 16}-01",
        f"00-{'zz' * 16}-{'0a' * 8}-01",
        TRACE.upper(),
        TRACE + "\x00",
        TRACE[:-3],
    ],
)
def test_what_is_no_trace_context_starts_a_new_one_and_is_not_kept(strange: str) -> None:
    assert child_trace(child_trace(strange))[:36] != TRACE[:36]
    read = decode(written(traceparent=strange), TOPIC)
    assert isinstance(read, Event)
    assert read.traceparent == ""


def test_new_traces_differ_and_are_sampled() -> None:
    assert new_trace() != new_trace()
    assert new_trace().endswith("-01")
