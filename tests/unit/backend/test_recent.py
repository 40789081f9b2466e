import asyncio

import pytest

from todo.backend.auth.recent import GOOD_FOR, Recent


class Store:
    """What is looked up, on a clock that the test moves; a look-up takes `takes` seconds."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {"a": 1}
        self.asked = 0
        self.now = 0.0
        self.takes = 0.0
        self.recent: Recent[str, int] = Recent(self.look_up, most=5, clock=lambda: self.now)

    async def look_up(self, key: str) -> int | None:
        self.asked += 1
        self.now += self.takes
        return self.rows.get(key)


async def test_what_was_found_is_good_for_a_while() -> None:
    store = Store()
    assert [await store.recent.get("a") for _ in range(3)] == [1, 1, 1]
    assert store.asked == 1


async def test_what_was_taken_back_is_gone_after_that_counted_from_before_the_question() -> None:
    store = Store()
    store.takes = GOOD_FOR / 2
    await store.recent.get("a")
    del store.rows["a"]
    store.now += GOOD_FOR / 2
    assert await store.recent.get("a") is None
    assert "a" not in store.recent


async def test_what_is_not_there_is_asked_for_every_time() -> None:
    store = Store()
    assert await store.recent.get("b") is None
    store.rows["b"] = 2
    assert await store.recent.get("b") == 2


async def test_whoever_was_there_is_known_however_long_ago() -> None:
    store = Store()
    assert "a" not in store.recent
    await store.recent.get("a")
    store.now += 1000
    assert "a" in store.recent


async def test_memory_is_bounded() -> None:
    store = Store()
    store.rows = {str(number): number for number in range(50)}
    for key in store.rows:
        await store.recent.get(key)
    assert len(store.recent._found) <= 5


class Slow:
    """A store whose answers are given by the test, in the order it likes; the question fixes what is answered."""

    def __init__(self) -> None:
        self.row: int | None = 1
        self.now = 0.0
        self.asked: list[asyncio.Future[None]] = []
        self.recent: Recent[str, int] = Recent(self.look_up, clock=lambda: self.now)

    async def look_up(self, _: str) -> int | None:
        row = self.row
        self.asked.append(asyncio.get_running_loop().create_future())
        await self.asked[-1]
        return row

    async def get(self, times: int = 1) -> list[asyncio.Task[int | None]]:
        """Callers who have all come as far as they can."""
        callers = [asyncio.create_task(self.recent.get("a")) for _ in range(times)]
        for _ in range(5):
            await asyncio.sleep(0)
        return callers


async def test_callers_who_come_together_ask_once() -> None:
    store = Slow()
    callers = await store.get(500)
    assert len(store.asked) == 1
    store.asked[0].set_result(None)
    assert await asyncio.gather(*callers) == [1] * 500
    assert not store.recent._asking


async def test_nobody_waits_for_a_question_that_is_too_old_to_believe() -> None:
    """It was asked before the row was taken back, and whoever did that has waited for as long as answers are good."""
    store = Slow()
    (before,) = await store.get()
    store.row = None
    store.now += GOOD_FOR
    (after,) = await store.get()
    assert len(store.asked) == 2
    store.asked[1].set_result(None)
    assert await after is None
    store.asked[0].set_result(None)
    assert await before == 1
    (later,) = await store.get()
    assert len(store.asked) == 3
    store.asked[2].set_result(None)
    assert await later is None


async def test_the_old_question_does_not_end_the_sharing_of_a_younger_one() -> None:
    store = Slow()
    (first,) = await store.get()
    store.now += GOOD_FOR
    callers = await store.get(2)
    store.asked[0].set_result(None)
    await first
    callers += await store.get(2)
    assert len(store.asked) == 2
    store.asked[1].set_result(None)
    assert await asyncio.gather(*callers) == [1] * 4


async def test_one_caller_who_goes_away_takes_no_answer_from_the_others() -> None:
    store = Slow()
    first, second = await store.get(2)
    assert len(store.asked) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.asked[0].set_result(None)
    assert await second == 1


async def test_a_question_that_fails_fails_for_all_and_is_asked_again() -> None:
    store = Slow()
    callers = await store.get(2)
    assert len(store.asked) == 1
    store.asked[0].set_exception(OSError("away"))
    for caller in callers:
        with pytest.raises(OSError, match="away"):
            await caller
    (again,) = await store.get()
    store.asked[1].set_result(None)
    assert await again == 1
