"""The relays of a system, paused together for as long as this process lives."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar

import asyncpg

from todo.messaging import pause
from todo.messaging.pause import HeldError, LostError
from todo.messaging.postgres import Connection
from todo.operations.swapping.target import SCHEMAS, SwapError, SwapTarget

QUIET: Final = 30.0  # seconds that relays have; longer than one publish call, and than a frozen one keeps its lock
_FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

T = TypeVar("T")


def holder() -> str:
    """Who pauses, for people, and for this process alone."""
    return f"todo swap, pid {os.getpid()} on {socket.gethostname()}, {time.time_ns()}"


class Pauses:
    """A pause of each relay. A database that is away for less than a lease ends nothing."""

    def __init__(self, target: SwapTarget, owner: str, reason: str) -> None:
        self._target = target
        self._owner = owner
        self._reason = reason

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Pause every relay and renew it. Raises `SwapError` if another holds one.

        At the end, and after a `SwapError`, they go on. Cut short in any other way, they go on when the lease is over:
        by then the sidecars have loaded whatever is in place.
        """
        await self._begin()
        renewing = asyncio.create_task(self._renew_for_ever())
        try:
            yield
        except SwapError as error:
            lost = await self._lost()
            await self._end()
            if lost is not None:
                raise SwapError(f"{lost} ({error})") from error
            raise
        else:
            await self._end()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def until_quiet(self) -> None:
        """Return once no relay has anything in flight. Raises `SwapError` naming the one that does not say so."""
        deadline = time.monotonic() + QUIET
        for schema in SCHEMAS:
            while not await self._renew(schema):
                if time.monotonic() > deadline:
                    raise SwapError(
                        f"the relay of {schema} does not say that it is quiet: is its service alive? (`todo pipeline`)"
                    )
                await asyncio.sleep(0.05)

    async def confirm(self) -> None:
        """Whether every relay was paused all the time and is quiet; the lease begins anew. Raises `SwapError`."""
        quiet = await asyncio.gather(*(self._renew(schema) for schema in SCHEMAS))
        if not all(quiet):
            raise SwapError("a relay that was quiet is not any more: somebody else touched its pause")

    async def _begin(self) -> None:
        try:
            for schema in SCHEMAS:
                await self._at(schema, partial(pause.begin, schema=schema, holder=self._owner, reason=self._reason))
        except (HeldError, SwapError) as error:
            await self._end()
            raise SwapError(str(error)) from error

    async def _end(self) -> None:
        for schema in SCHEMAS:
            with suppress(SwapError):  # then it ends with its lease
                await self._at(schema, partial(pause.end, schema=schema, holder=self._owner))

    async def _lost(self) -> SwapError | None:
        """What is behind other failures, where it is: a process that was stopped loses its connections too."""
        for schema in SCHEMAS:
            try:
                await self._renew(schema)
            except SwapError as error:
                if isinstance(error.__cause__, LostError):
                    return error
        return None

    async def _renew(self, schema: str) -> bool:
        try:
            return await self._at(schema, partial(pause.renew, holder=self._owner))
        except LostError as error:
            raise SwapError(
                f"the pause of {schema}'s relay ran out (was this process, or the database, stopped?): run it again"
            ) from error

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(pause.LEASE / 5)
            for schema in SCHEMAS:
                with suppress(SwapError):  # who needs the pause asks for it, and is told
                    await self._renew(schema)

    async def _at(self, schema: str, do: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self._target.database(schema) as connection:
                return await do(connection)
        except _FAILURES as error:
            raise SwapError(f"the database of {schema}: {type(error).__name__}: {error}") from error
