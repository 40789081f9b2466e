import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo.domain.errors import RuleError
from todo.domain.views import between, check_name


@given(st.lists(st.floats(0, 1), max_size=60))
def test_there_is_a_place_between_any_two(places: list[float]) -> None:
    """However views are moved about, their positions stay apart, in order, and can be divided again."""
    order: list[str] = []
    for place in places:
        index = round(place * len(order))
        low, high = order[index - 1] if index else "", order[index] if index < len(order) else None
        order.insert(index, between(low, high))
        assert order == sorted(set(order))
        assert not any(position.endswith("0") for position in order)


def test_positions_grow_slowly() -> None:
    """A thousand views added at the end, or at the front, have short positions."""
    last, first = "", "1"
    for _ in range(1000):
        last = between(last, None)
    for _ in range(100):
        first = between("", first)
    assert len(last) < 40
    assert len(first) < 40


@pytest.mark.parametrize(
    ("name", "problem"), [(" \n", "empty"), ("x" * 101, "101 characters"), ("a\x00", "nobody can see")]
)
def test_a_name_that_is_none_is_refused(name: str, problem: str) -> None:
    """A view is called by a line of text that can be seen."""
    with pytest.raises(RuleError, match=problem):
        check_name(name)


def test_a_name_is_one_line() -> None:
    """Space is not what makes a name another one."""
    assert check_name("  At \n home ") == "At home"
