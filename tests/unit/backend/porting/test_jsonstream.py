import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.backend.porting.files import NOW
from todo.backend.porting import jsonstream
from todo.backend.porting.entries import BrokenFileError, Reading
from todo.backend.porting.jsonstream import JsonStream

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def stream(text: str | bytes) -> JsonStream:
    octets = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return JsonStream(io.BytesIO(octets), Reading("UTC", NOW, "", len(octets)))


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]), st.integers(1, 9))
def test_items_come_one_by_one_however_the_file_is_cut(items: list[object], indent: int | None, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "_CHUNK", chunk)
        document = stream(json.dumps(items, indent=indent))
        assert [document.value() for _ in document.items()] == items
        document.end()


@given(st.dictionaries(st.text(), JSON, max_size=6), st.integers(1, 9))
def test_what_is_not_wanted_is_passed_over(fields: dict[str, object], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "_CHUNK", chunk)
        document = stream(json.dumps([fields, "end"], indent=1))
        items = document.items()
        next(items)
        names = []
        for name in document.keys():  # noqa: SIM118 - no dict
            names.append(name)
            document.skip()
        assert names == list(fields)
        next(items)
        assert document.value() == "end"
        assert document.line == json.dumps([fields, "end"], indent=1).count("\n")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "ends too early"),
        ("[1,\n2", 2, "ends too early"),
        ("[1,\n2,\n", 3, "ends too early"),
        ('[1,\n"a', 2, "no JSON"),
        ("[1,\n\n2 3]", 3, "where"),
        ("[NaN]", 1, "too large"),
        ("[" + "9" * 5000 + "]", 1, "too large"),
        ("[" + "[" * 100_000 + "]", 1, "nested"),
        ("{}", 1, "where"),
        (b"[\n\xff]", 1, "UTF-8"),
        ("[1]\nx", 2, "follows"),
    ],
)
def test_what_is_no_json_is_told_with_its_line(text: str | bytes, line: int, problem: str) -> None:
    document = stream(text)
    with pytest.raises(BrokenFileError) as broken:
        _drain(document)
    assert problem in broken.value.problem
    assert broken.value.line == line


def _drain(document: JsonStream) -> None:
    for _ in document.items():
        document.value()
    document.end()


def test_a_value_longer_than_any_task_is_refused_and_may_be_passed_over_in_parts() -> None:
    long = json.dumps([["x" * 1000] * 3000])
    with pytest.raises(BrokenFileError, match="characters"):
        _drain(stream(long.replace('["x', '["y', 1).removesuffix("]]") + "]"))
    document = stream(long)
    for _ in document.items():
        document.skip()
    document.end()


def test_passing_over_ends_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonstream, "_MOST_SKIPPED", 100)
    stream(json.dumps([0] * 99)).skip()
    with pytest.raises(BrokenFileError, match="more than 100 values"):
        stream(json.dumps([0] * 100)).skip()
