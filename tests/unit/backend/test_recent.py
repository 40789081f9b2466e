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
