import asyncio
from collections.abc import Sequence

import pytest

from todo.contracts import spans
from todo.email_delivery.coalesce import Coalescer


class Doubler:
    """Doubles numbers; keeps a call waiting until `go` is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        await self.go.wait()
        if 13 in numbers:
            raise RuntimeError("unlucky")
        return [ValueError("negative") if number < 0 else number * 2 for number in numbers]


async def test_what_is_asked_during_a_call_shares_the_next_one() -> None:
    """One call at a time; each takes everything that piled up."""
    call = Doubler()
    double = Coalescer(call)
    first = [asyncio.create_task(double(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = [asyncio.create_task(double(number)) for number in (3, 4, 5)]
    await asyncio.sleep(0)
    call.go.set()
    assert await asyncio.gather(*first, *second) == [2, 4, 6, 8, 10]
    assert call.batches == [[1, 2], [3, 4, 5]]


async def test_a_failed_call_fails_those_who_shared_it_and_no_others() -> None:
    call = Doubler()
    call.go.set()
    double = Coalescer(call)
    assert [type(one) for one in await asyncio.gather(double(13), double(1), return_exceptions=True)] == [
        RuntimeError,
        RuntimeError,
    ]
    assert await double(1) == 2


async def test_an_answer_that_is_an_exception_is_its_items_own() -> None:
    call = Doubler()
    call.go.set()
    double = Coalescer(call)
    negative, positive = await asyncio.gather(double(-1), double(1), return_exceptions=True)
    assert (type(negative), positive) == (ValueError, 2)


async def test_one_who_stops_waiting_disturbs_nobody() -> None:
    call = Doubler()
    double = Coalescer(call)
    leaving, staying = asyncio.create_task(double(1)), asyncio.create_task(double(2))
    await asyncio.sleep(0)
    leaving.cancel()
    call.go.set()
    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_call_that_many_share_belongs_to_the_trace_of_none() -> None:
    traces: list[str] = []

    async def call(items: Sequence[int]) -> list[int]:
        traces.append(spans.current())
        return list(items)

    coalescer = Coalescer(call)
    with spans.continued("00-" + "a" * 32 + "-" + "b" * 16 + "-01"):
        assert await coalescer(1) == 1
    assert traces == [""]
