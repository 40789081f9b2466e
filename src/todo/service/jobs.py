"""Jobs as wake-ups: the Scheduler says when to look, the database says what there is to do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec.structs import replace

from todo.dapr.client import Dapr, JobSchedule
from todo.dapr.errors import DaprError
from todo.dapr.subscriber import UnavailableError
from todo.messaging.failures import is_environment
from todo.service import metrics

log = structlog.get_logger()

ASSERT_EVERY: Final = 60.0  # seconds between assertions of a registration
PATIENCE: Final = 5  # periods without a tick before the service looks by itself


@dataclass(frozen=True, slots=True)
class Job:
    """A periodic look at the work list: its Dapr job name, its period in seconds, and the look itself."""

    name: str
    period: int
    run: Callable[[], Awaitable[None]]

    @property
    def schedule(self) -> JobSchedule:
        return JobSchedule(schedule=f"@every {self.period}s", overwrite=True)


class Wakeups:
    """One job of this replica. Ticks that arrive together are one look; without ticks it looks by itself."""

    def __init__(self, job: Job) -> None:
        self.job = job
        for counter in (metrics.ticks, metrics.unasked, metrics.failures):
            counter.labels(job.name)  # there from the first scrape on
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()

    async def tick(self) -> None:
        """Look once after this call began. Callers that wait share one look.

        Raises what the look raises, as `UnavailableError` when its environment failed.
        """
        metrics.ticks.labels(self.job.name).inc()
        await self._share_look()

    async def _share_look(self) -> None:
        if self._current is None or self._current.done():
            self._current = asyncio.create_task(self._look())
            await asyncio.shield(self._current)
            return
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._look_after(self._current))
        await asyncio.shield(self._next)

    async def watch(self) -> None:
        """Look without a tick when none has come for `PATIENCE` periods, until cancelled."""
        while True:
            self._looked.clear()
            try:
                async with asyncio.timeout(self.job.period * PATIENCE):
                    await self._looked.wait()
            except TimeoutError:
                log.warning("no tick came, looking without one", job=self.job.name)
                metrics.unasked.labels(self.job.name).inc()
                await self._look_regardless()

    async def keep_registered(self, dapr: Dapr) -> None:
        """Assert the registration now and every minute: a Scheduler that lost its data gets it back.

        A job that is there is left alone: registering it anew would start its period anew, and it would never fire.
        """
        while True:
            try:
                await self._register(dapr)
                delay = ASSERT_EVERY
            except DaprError as error:
                log.warning("job not registered, will try again", job=self.job.name, reason=str(error))
                delay = 1.0
            await asyncio.sleep(delay)

    async def _register(self, dapr: Dapr) -> None:
        wanted = self.job.schedule
        there = await dapr.job_schedule(self.job.name)
        if there != wanted.schedule:  # what is there with another period is replaced, what cannot be told is not
            await dapr.schedule_job(self.job.name, replace(wanted, overwrite=there is not None))

    async def stop(self) -> None:
        """End the looks under way; each is a transaction, or idempotent."""
        looks = [look for look in (self._next, self._current) if look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    async def _look(self) -> None:
        self._looked.set()
        try:
            with metrics.duration.labels(self.job.name).time():
                await self.job.run()
        except Exception as error:
            metrics.failures.labels(self.job.name).inc()
            if is_environment(error) and not isinstance(error, UnavailableError):
                raise UnavailableError(f"{type(error).__name__}: {error}") from error
            raise

    async def _look_after(self, current: asyncio.Task[None]) -> None:
        await asyncio.wait([current])
        self._current, self._next = self._next, None
        await self._look()

    async def _look_regardless(self) -> None:
        try:
            await self._share_look()
        except UnavailableError as error:
            log.warning("look put off", job=self.job.name, reason=str(error))
        except Exception:
            log.exception("look failed", job=self.job.name)  # as one that a tick asked for: the next comes anyway
