"""What Go makes of JSON that is not quite right; the differential test holds this against Dapr itself."""

import json
from typing import Any

import msgspec
import pytest

from daprlet import go_json
from daprlet.errors import MALFORMED


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    tags: dict[str, str] | None = None


class Outer(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    some_name: str = ""
    keys: list[str] = []
    inner: Inner = msgspec.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"someName": "a", "keys": ["k"]}', Outer("a", ["k"])),
        (b'{"SOMENAME": "a", "unknown": 1}', Outer("a")),
        (b'{"someName": null, "keys": null, "inner": null}', Outer()),
        (b'{"keys": [null], "inner": {"tags": {"a": null}}}', Outer("", [""], Inner({"a": ""}))),
        (b' {"someName": "a"} and more', Outer("a")),
        (b'{"someName": "\\ud800"}', Outer("\ufffd")),
        (b'{"someName": "\xe2\x82"}', Outer("\ufffd\ufffd")),
        (b"null", Outer()),
    ],
)
def test_what_go_takes(body: bytes, found: Outer) -> None:
    """Names in any case, null for anything, what follows, and U+FFFD for each byte that is no UTF-8."""
    assert go_json.decode(body, Outer) == found


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"someName": 1}', b'{"keys": {}}', b"NaN", b"{'a': 1}", b"[" * 9999]
)
def test_what_go_does_not_take(body: bytes) -> None:
    """No JSON, or of another shape."""
    with pytest.raises(MALFORMED):
        go_json.decode(body, Outer)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("9223372036854775807", 9223372036854775807 // 1000 * 1000 + 193 * 1000 - 192000),
        (
            '{"a": [12345678901234567890, "12345678901234567890"]}',
            {"a": [12345678901234567000, "12345678901234567890"]},
        ),
        ("[1E2, 1.5e300, -1.25e-7]", [100, 1.5e300, -1.25e-7]),
        ('"00-4bf92f3577b34da6a3ce929d0e0e4736-1e5"', "00-4bf92f3577b34da6a3ce929d0e0e4736-1e5"),
    ],
)
def test_numbers_become_doubles(value: str, found: Any) -> None:  # noqa: ANN401 - JSON
    """And are written with all their digits up to 1e21, as Go does; what is in quotes stays."""
    assert json.loads(go_json.as_doubles(value.encode())) == found


def test_no_double_is_endless() -> None:
    with pytest.raises(ValueError, match="too large"):
        go_json.as_doubles(b"[1e400]")
