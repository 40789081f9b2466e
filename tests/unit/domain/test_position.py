import datetime as dt
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo.domain import position
from todo.domain.errors import RuleError

NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
PLACES = st.text(position.DIGITS, min_size=1, max_size=12).filter(lambda text: not text.endswith("0"))


@given(PLACES, PLACES)
def test_between_any_two_there_is_room(one: str, other: str) -> None:
    """Strictly between, never ending in 0, and hardly longer than the two."""
    if one == other:
        return
    low, high = sorted((one, other))
    found = position.between(low, high)
    assert low < found < high
    assert not found.endswith("0")
    assert len(found) <= max(len(low), len(high)) + 1


@given(PLACES)
def test_before_and_behind_anything_there_is_room(one: str) -> None:
    assert position.between(None, one) < one < position.between(one, None)


@given(st.lists(st.integers(0, 1000), max_size=200))
def test_insertions_anywhere_keep_the_order_they_were_made_in(wanted: list[int]) -> None:
    places: list[str] = []
    for number in wanted:
        index = number % (len(places) + 1)
        before = places[index - 1] if index else None
        places.insert(index, position.between(before, places[index] if index < len(places) else None))
    assert places == sorted(set(places))


@pytest.mark.parametrize("behind_the_last", [True, False])
def test_a_thousand_insertions_at_one_place_fit(behind_the_last: bool) -> None:
    low, high = position.at(NOON, uuid4()), position.at(NOON + SECOND, uuid4())
    for _ in range(1000):
        found = position.between(low, high)
        assert low < found < high
        low, high = (found, high) if behind_the_last else (low, found)
    assert len(found) < position.MAX_POSITION / 2


def test_a_gap_that_is_full_is_told_of() -> None:
    low, high = "1", "2"
    while len(high) < position.MAX_POSITION or high[-1] > "1":
        high = position.between(low, high)
    with pytest.raises(RuleError, match="too many things were moved to this place") as refused:
        position.between(low, high)
    assert refused.value.field == "after"


def test_what_is_made_later_comes_behind_and_what_is_moved_to_the_top_later_comes_before() -> None:
    moments = [NOON + number * SECOND for number in range(-5, 5)]
    made = [position.at(moment, uuid4()) for moment in moments]
    topped = [position.top(moment, uuid4()) for moment in moments]
    assert made == sorted(made)
    assert topped == sorted(topped, reverse=True)
    assert max(topped) < min(made)
    assert {len(one) for one in made} == {27}


def test_two_made_at_one_instant_have_places_of_their_own() -> None:
    first, second = UUID(int=1), UUID(int=2)
    assert position.at(NOON, first) < position.at(NOON, second)
    assert position.top(NOON, first) != position.top(NOON, second)
