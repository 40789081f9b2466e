import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Turns single requests into batched calls: whatever is asked for while a call is under way shares the next one.

    `call` answers in the order of its items; an answer that is an exception is raised for its item alone, and an
    exception of the call is raised for all of them.
    """

    def __init__(self, call: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]) -> None:
        self._call = call
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            # It serves many deliveries: it is no part of the first one's trace, nor logs as that.
            self._worker = asyncio.create_task(self._work(), context=Context())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                for (_, future), answer in zip(batch, await self._answers(batch), strict=True):
                    _settle(future, answer)
        finally:
            self._worker = None

    async def _answers(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> Sequence[Result | Exception]:
        try:
            return await self._call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            return [error] * len(batch)


def _settle(future: asyncio.Future[Result], answer: Result | Exception) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
