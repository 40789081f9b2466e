import base64
import json

import pytest

from todo.dapr import subscriber

RAW = b"\xff\x00 not JSON"


def bulk(*events: str) -> bytes:
    entries = ",".join(f'{{"entryId":"{number}","event":{event}}}' for number, event in enumerate(events))
    return f'{{"id":"x","entries":[{entries}]}}'.encode()


def test_a_bulk_delivery_is_its_entries_in_their_order() -> None:
    assert subscriber._unpack(bulk('{"id":"a"}', '{"id":"b"}'), raw=False) == (
        ["0", "1"],
        [b'{"id":"a"}', b'{"id":"b"}'],
    )


def test_a_single_delivery_is_one_event() -> None:
    assert subscriber._unpack(b'{"id":"a"}', raw=False) == (None, [b'{"id":"a"}'])


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff", b"[1]", b'{"entries":7}', b"[" * 100_000])
def test_a_body_that_is_no_delivery_is_one_event(body: bytes) -> None:
    assert subscriber._unpack(body, raw=False) == (None, [body])


def test_an_event_of_deep_nesting_does_not_hide_its_batch() -> None:
    deep = "[" * 9_000 + "]" * 9_000
    ids, events = subscriber._unpack(bulk('{"id":"a"}', deep, '{"id":"c"}'), raw=False)
    assert ids == ["0", "1", "2"]
    assert events[1] == deep.encode()


def test_raw_entries_are_the_bytes_of_the_broker() -> None:
    event = json.dumps(base64.b64encode(RAW).decode())
    assert subscriber._unpack(bulk(event), raw=True) == (["0"], [RAW])


def test_a_raw_single_delivery_is_the_bytes_of_the_broker() -> None:
    body = json.dumps({"id": "random", "data_base64": base64.b64encode(RAW).decode()}).encode()
    assert subscriber._unpack(body, raw=True) == (None, [RAW])


@pytest.mark.parametrize("event", ['"%%%"', '"\\u00e9"', '{"id":"a"}', "7", '"AAA"'])
def test_what_should_be_base64_and_is_not_is_kept_as_it_came(event: str) -> None:
    assert subscriber._unpack(bulk(event), raw=True) == (["0"], [event.encode()])
    single = f'{{"data_base64":{event}}}'.encode()
    assert subscriber._unpack(single, raw=True) == (None, [single])


def test_a_batch_gets_one_answer_with_every_entry() -> None:
    assert subscriber._success(["a", "b"]) == {
        "statuses": [{"entryId": "a", "status": "SUCCESS"}, {"entryId": "b", "status": "SUCCESS"}]
    }
    assert subscriber._success(None) == {"status": "SUCCESS"}
