"""Wakes whoever follows the changes of a user, in this process, whichever replica made them.

One connection listens for what wakes the relay too, and looks who has changes that can be read by now. While a
transaction that began earlier holds newer ones back it looks often, and always now and then, since a notification is
lost with the process that did not send it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from todo.backend import metrics
from todo.backend.auth.errors import TooManyError
from todo.backend.store import changes
from todo.messaging import outbox
from todo.messaging.database import OwnConnection
from todo.messaging.failures import is_environment

log = structlog.get_logger()

Connect = Callable[[], Awaitable[OwnConnection]]

MOST_SEATS: Final = 500
MOST_OF_A_USER: Final = 20
SWEEP: Final = 2.0  # seconds
HELD_BACK: Final = 0.1
PAUSE: Final = 0.03  # between two looks, however often it rings
RETRY: Final = 1.0
COME_BACK: Final = 10.0


class Seat:
    """A place of somebody who follows one user's changes."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def rest(self, seconds: float) -> bool:
        """Until something has happened since the last rest ended, or for so long; whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        has_happened = self._woken.is_set()
        self._woken.clear()
        return has_happened


class Hub:
    """Seats, and who wakes them for as long as `run` runs."""

    def __init__(self, connect: Connect, schema: str) -> None:
        self._connect = connect
        self._channel = outbox.CHANNEL_PREFIX + schema
        self._rung = asyncio.Event()
        self._seats: set[Seat] = set()
        self.is_closing = False

    @contextmanager
    def seat(self, user_id: int) -> Iterator[Seat]:
        """Raises `TooManyError`."""
        self._check_room(user_id)
        seat = Seat(user_id)
        self._seats.add(seat)
        metrics.streams_open.set(len(self._seats))
        try:
            yield seat
        finally:
            self._seats.discard(seat)
            metrics.streams_open.set(len(self._seats))

    def close(self) -> None:
        """Everybody leaves: the process ends."""
        self.is_closing = True
        self._wake_all()

    async def run(self) -> None:
        """Wake seats until cancelled. While the database is away nobody learns of anything, and nothing is lost."""
        while True:
            try:
                await self._session()
            except Exception as error:
                if not is_environment(error):
                    raise
                log.warning("changes are not followed, the database is away", reason=str(error))
            await asyncio.sleep(RETRY)

    async def _session(self) -> None:
        connection = await self._connect()
        try:
            await connection.add_listener(self._channel, lambda *_: self._rung.set())
            edge = await changes.edge(connection)
            self._wake_all()  # whatever was missed
            while not connection.is_outdated():
                self._rung.clear()
                news = await changes.news(connection, edge)
                edge = news.edge
                self._wake(news.users)
                await asyncio.sleep(PAUSE)
                await self._rest(HELD_BACK if news.held else SWEEP)
            log.info("changes are followed anew, the database login changed")
        finally:
            connection.terminate()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()

    def _wake(self, users: frozenset[int]) -> None:
        for seat in self._seats:
            if seat.user_id in users:
                seat.wake()

    def _wake_all(self) -> None:
        for seat in self._seats:
            seat.wake()

    def _check_room(self, user_id: int) -> None:
        if len(self._seats) >= MOST_SEATS:
            raise TooManyError(f"{MOST_SEATS} streams are open here, which is all there may be", COME_BACK)
        if Counter(seat.user_id for seat in self._seats)[user_id] >= MOST_OF_A_USER:
            raise TooManyError(f"this user has {MOST_OF_A_USER} streams open: close some", COME_BACK)
