"""One server without the rest of the system: for tests and tools."""

from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from todo.operations.logs import Silence
from todo.operations.supervisor import ChildSpec, Supervisor


class Alone(ABC):
    """A server that runs while its context is entered, under a supervisor of its own, and is ready then."""

    supervisor: Supervisor
    _held: AsyncExitStack

    @abstractmethod
    def child(self) -> ChildSpec:
        """How it runs, here or among others."""

    async def __aenter__(self) -> Self:
        """Start it. Raises ChildFailedError."""
        self.supervisor = Supervisor([self.child()], Silence())
        async with AsyncExitStack() as unfinished:
            unfinished.push_async_callback(self.supervisor.stop)
            await self.supervisor.start()
            self._held = unfinished.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._held.aclose()
