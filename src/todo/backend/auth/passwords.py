"""Passwords of local accounts: argon2id (RFC 9106), away from the event loop, few at a time.

A hash takes 64 MiB and a tenth of a second on purpose, so that guessing costs as much.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from todo.backend.auth.errors import TooManyError
from todo.domain.errors import RuleError

SHORTEST: Final = 12  # characters
LONGEST: Final = 256  # as in the API
WORKERS: Final = 2
MOST_WAITING: Final = 20  # beyond that people are asked to come back, instead of waiting for seconds

_HASHER: Final = PasswordHasher()

T = TypeVar("T")


def hashed(password: str) -> str:
    """What is stored for a new password. Raises `RuleError`."""
    normal = _normal(password)
    if not SHORTEST <= len(normal) <= LONGEST:
        fix = f"use {SHORTEST} to {LONGEST} characters; a few words are easier to keep than a few signs"
        raise RuleError("password", f"it has {len(normal)} characters", fix)
    if any(unicodedata.category(one) == "Cc" for one in normal):
        raise RuleError("password", "it contains control characters", "use what can be typed into a form")
    return _HASHER.hash(normal)


def fits(known: str | None, password: str) -> bool:
    """Whether it is the password behind a hash. Without one it takes as long to say no."""
    normal = _normal(password)
    if known is None:
        _HASHER.hash(normal)
        return False
    try:
        return _HASHER.verify(known, normal)
    except VerifyMismatchError:
        return False


def renewed(known: str, password: str) -> str | None:
    """The hash as it would be made today; None if it is."""
    return _HASHER.hash(_normal(password)) if _HASHER.check_needs_rehash(known) else None


def _normal(password: str) -> str:
    """As RFC 8265 has it: keyboards write the same letter, and a space, in more than one way."""
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in password)
    return unicodedata.normalize("NFC", spaced)


class Hashing:
    """Does the slow part in threads of its own."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(WORKERS, "passwords")
        self._most_waiting = most_waiting
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fits(self, known: str | None, password: str) -> bool:
        """Raises `TooManyError`."""
        return await self._run(lambda: fits(known, password))

    async def renewed(self, known: str, password: str) -> str | None:
        """Raises `TooManyError`."""
        return await self._run(lambda: renewed(known, password))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise TooManyError("too many people are signing in at this moment", 1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
