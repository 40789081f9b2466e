"""The parts of a swap that decide by themselves: when a broker is drained, and what a histogram says."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from todo.operations.brokers import BrokerError, Fault, Lag
from todo.operations.brokers.broker import Broker
from todo.operations.swapping import draining, journal
from todo.operations.swapping.draining import drain
from todo.operations.swapping.figures import Figures, quantile
from todo.operations.swapping.host import HostTarget
from todo.operations.swapping.journal import Entry
from todo.operations.swapping.target import SwapError

A = ("backend", "dead-letters")


class Scripted:
    """A broker whose every answer is the next one of a list; the last one stays."""

    place = "Kafka at nowhere"

    def __init__(self, ends: Sequence[int], left: Sequence[int]) -> None:
        self._ends: Iterator[int] = iter([*ends, *[ends[-1]] * 100])
        self._left: Iterator[int] = iter([*left, *[left[-1]] * 100])
        self.looks = 0

    async def ends(self, _: Collection[str]) -> dict[str, int]:
        return {"dead-letters": next(self._ends)}

    async def lag(self, _: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Lag]:
        self.looks += 1
        left = next(self._left)
        if left < 0:
            raise BrokerError(Fault.NETWORK, "Kafka at nowhere does not answer")
        return {A: Lag(left), ("backend", "task-occurrences"): Lag()}


def scripted(ends: Sequence[int], left: Sequence[int]) -> tuple[Scripted, Broker]:
    broker = Scripted(ends, left)
    return broker, broker  # type: ignore[return-value]  # as much of one as draining asks for


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "POLL", 0.0)


@pytest.mark.parametrize(
    ("ends", "left", "looks"),
    [
        ([5], [0], 2),
        ([5], [3, 1, 0], 4),
        ([5], [0, 1, 0], 4),  # one empty look in between is not two in a row
        ([5, 6, 6], [0], 3),  # published between two counts, and read before anybody looked
        ([5, 5, 6, 7, 7, 7], [0], 5),
    ],
)
async def test_a_broker_is_drained_when_twice_in_a_row_nothing_is_left_and_nothing_was_published(
    ends: list[int], left: list[int], looks: int
) -> None:
    counted, broker = scripted(ends, left)
    await drain(broker, 60)
    assert counted.looks == looks


async def test_what_is_not_read_in_time_is_named() -> None:
    _, broker = scripted([5], [3])
    with pytest.raises(
        SwapError, match=r"after 0 s Kafka at nowhere is not empty: backend has 3 events of dead-letter"
    ):
        await drain(broker, 0)


async def test_what_is_published_without_end_is_no_drained_broker() -> None:
    _, broker = scripted(range(200), [0])
    with pytest.raises(SwapError, match="events are still being published"):
        await drain(broker, 0)


async def test_a_broker_that_goes_away_is_told() -> None:
    _, broker = scripted([5], [-1])
    with pytest.raises(SwapError, match="Kafka at nowhere does not answer"):
        await drain(broker, 60)


@pytest.mark.parametrize(
    ("buckets", "p50"),
    [
        ({}, None),
        ({0.001: 0, math.inf: 0}, None),
        ({0.001: 10, math.inf: 10}, 0.5),  # evenly inside the first bucket
        ({0.001: 0, 0.002: 10, math.inf: 10}, 1.5),
        ({0.001: 4, 0.002: 8, 0.01: 10, math.inf: 10}, 1.25),
        ({0.001: 0, 0.002: 0, math.inf: 10}, 2.0),  # beyond the last bound: no more than that is known
    ],
)
def test_a_quantile_of_a_histogram(buckets: dict[float, int], p50: float | None) -> None:
    assert quantile(buckets, 0.5) == p50


async def test_a_journal_is_read_as_it_was_written_and_nonsense_is_none(tmp_path: Path) -> None:
    place = tmp_path / "swap.json"
    target = HostTarget.__new__(HostTarget)  # of a system that nobody asks for here
    target._journal = place
    assert await journal.read(target) is None
    entry = Entry("redis", "kafka", "kind: Component", Figures(tasks=1, events=2, waiting=3, unread=4, mails=None))
    await journal.write(target, entry)
    assert await journal.read(target) == entry
    assert place.stat().st_mode & 0o777 == 0o600
    place.write_text("{}")
    assert await journal.read(target) is None
    await journal.forget(target)
    await journal.forget(target)
    assert not place.exists()
