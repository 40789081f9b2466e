from hypothesis import given
from hypothesis import strategies as st

from todo.backend.auth.limits import Buckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(2, 3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == 0.5
    clock.now += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") == 0.5


def test_what_is_refused_costs_nothing_and_asking_costs_nothing() -> None:
    clock = Clock()
    buckets = Buckets(1, 1, clock=clock)
    assert buckets.wait("a") == 0
    assert buckets.take("a") == 0
    assert [buckets.take("a") for _ in range(5)] == [1] * 5
    assert buckets.wait("a") == 1


def test_callers_do_not_share() -> None:
    buckets = Buckets(1, 1, clock=Clock())
    assert [buckets.take(key) for key in "ab"] == [0, 0]


def test_memory_is_bounded_and_who_asks_most_is_remembered_longest() -> None:
    buckets = Buckets(1, 5, most=10, clock=Clock())
    for number in range(100):
        buckets.take(f"once {number}")
        buckets.take("often")
    assert len(buckets._full_at) == 10
    assert buckets.take("often") > 0


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
    st.sampled_from([0.5, 1.0, 7.0]),
    st.sampled_from([1.0, 4.0, 20.0]),
)
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(
    pauses: list[float], rate: float, burst: float
) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        if buckets.take("a") == 0:
            taken.append(clock.now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-6
