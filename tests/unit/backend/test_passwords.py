"""How passwords are kept, and that telling takes no longer than it has to, whoever asks."""

import asyncio
import threading
from typing import Any

import pytest

from tests.support.waiting import until
from todo.backend.auth import passwords
from todo.backend.auth.errors import TooManyError
from todo.backend.auth.passwords import Hashing
from todo.domain.errors import RuleError


class Counting:
    """A hasher that counts what it does, and does nothing."""

    def __init__(self) -> None:
        self.worked = 0

    def hash(self, _: str) -> str:
        self.worked += 1
        return ""

    def verify(self, _: str, __: str) -> bool:
        self.worked += 1
        return True


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 257, "twelve\tchars\n", "e\u0301leven char"])
def test_what_is_too_short_too_long_or_cannot_be_typed_is_no_password(password: str) -> None:
    with pytest.raises(RuleError, match="password"):
        passwords.hashed(password)


def test_a_password_fits_its_own_hash_alone_however_its_letters_are_written() -> None:
    known = passwords.hashed("caf\u00e9 au lait ol\u00e9")
    assert known.startswith("$argon2id$")
    assert passwords.fits(known, "cafe\u0301 au\u00a0lait ole\u0301")
    assert not passwords.fits(known, "cafe au lait ole")
    assert passwords.hashed("\U0001f469\u200d\U0001f4bb, a family of emoji")
    assert passwords.renewed(known, "caf\u00e9 au lait ol\u00e9") is None


def test_whether_there_is_an_account_or_not_the_same_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = Counting()
    monkeypatch.setattr(passwords, "_HASHER", hasher)
    assert passwords.fits("known", "a password of a test")
    assert hasher.worked == 1
    assert not passwords.fits(None, "a password of a test")
    assert hasher.worked == 2


async def test_few_are_hashed_at_a_time_and_whoever_comes_beyond_a_queue_is_asked_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = threading.Event()
    running: list[threading.Thread] = []

    async def are_all_busy() -> bool:
        return len(running) == passwords.WORKERS

    def slow(*_: Any) -> bool:  # noqa: ANN401 - whatever
        running.append(threading.current_thread())
        assert let_go.wait(20)
        return True

    monkeypatch.setattr(passwords, "fits", slow)
    with Hashing(most_waiting=4) as hashing:
        asked = [asyncio.create_task(hashing.fits(None, "x")) for _ in range(4)]
        await until(are_all_busy)
        with pytest.raises(TooManyError):
            await hashing.fits(None, "x")
        assert len(running) == passwords.WORKERS
        let_go.set()
        assert await asyncio.gather(*asked) == [True] * 4
        assert await hashing.fits(None, "x")
