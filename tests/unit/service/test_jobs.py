import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.waiting import until
from todo.dapr.client import JobSchedule
from todo.dapr.errors import DaprError, SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.service import jobs
from todo.service.jobs import Job, Wakeups


class Look:
    """A look at a work list, which a test may hold or let fail."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def __call__(self) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.failure:
            raise self.failure
        self.ended += 1


@pytest.fixture
def look() -> Look:
    return Look()


@pytest.fixture
def wakeups(look: Look) -> Wakeups:
    return Wakeups(Job("check-due-tasks", 1, look))


@asynccontextmanager
async def running(work: object) -> AsyncIterator[asyncio.Task[None]]:
    task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_tick_looks(look: Look, wakeups: Wakeups) -> None:
    await wakeups.tick()
    await wakeups.tick()
    assert look.ended == 2


async def test_ticks_that_arrive_together_are_one_look_after_the_one_under_way(look: Look, wakeups: Wakeups) -> None:
    """What was written before a tick is seen by a look that began after it."""
    look.gate.clear()
    first = asyncio.create_task(wakeups.tick())
    await until(lambda: look.begun == 1)
    rest = [asyncio.create_task(wakeups.tick()) for _ in range(50)]
    await asyncio.sleep(0)
    look.gate.set()
    await asyncio.gather(first, *rest)
    assert look.ended == 2


async def test_looks_of_one_replica_never_overlap(wakeups: Wakeups, look: Look) -> None:
    look.gate.clear()
    ticks = [asyncio.create_task(wakeups.tick()) for _ in range(3)]
    await until(lambda: look.begun == 1)
    ticks += [asyncio.create_task(wakeups.tick()) for _ in range(3)]
    await asyncio.sleep(0)
    assert look.begun == 1
    look.gate.set()
    await asyncio.gather(*ticks)


async def test_a_caller_that_hangs_up_ends_no_look(look: Look, wakeups: Wakeups) -> None:
    look.gate.clear()
    caller = asyncio.create_task(wakeups.tick())
    await until(lambda: look.begun == 1)
    caller.cancel()
    look.gate.set()
    await until(lambda: look.ended == 1)


async def test_every_caller_learns_of_a_failure_and_the_next_tick_looks_again(look: Look, wakeups: Wakeups) -> None:
    look.failure = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        await wakeups.tick()
    look.failure = None
    await wakeups.tick()
    assert look.ended == 1


@pytest.mark.parametrize("failure", [ConnectionRefusedError(), SidecarAwayError("away"), UnavailableError("away")])
async def test_the_environments_failure_is_unavailable(look: Look, wakeups: Wakeups, failure: Exception) -> None:
    look.failure = failure
    with pytest.raises(UnavailableError):
        await wakeups.tick()


async def test_without_ticks_it_looks_by_itself_and_an_outage_does_not_end_that(
    look: Look, wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)
    look.failure = ConnectionRefusedError()
    async with running(wakeups.watch()) as watching:
        await until(lambda: look.begun > 2)
        assert not watching.done()
        look.failure = None
        await until(lambda: look.ended > 1)


async def test_stopping_ends_what_is_under_way(look: Look, wakeups: Wakeups) -> None:
    look.gate.clear()
    ticks = [asyncio.create_task(wakeups.tick()) for _ in range(3)]
    await until(lambda: look.begun == 1)
    await wakeups.stop()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*ticks, return_exceptions=True))
    assert (look.begun, look.ended) == (1, 0)


class Scheduler:
    """What a sidecar knows of one job; raises what it is told to, once."""

    def __init__(self, there: str | None = None, failure: DaprError | None = None) -> None:
        self.there = there
        self.failure = failure
        self.asked = 0
        self.written: list[JobSchedule] = []

    async def job_schedule(self, _: str) -> str | None:
        self.asked += 1
        return self.there

    async def schedule_job(self, name: str, job: JobSchedule) -> None:
        assert name == "check-due-tasks"
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure
        self.written.append(job)
        self.there = job.schedule


@pytest.mark.parametrize(
    ("there", "overwrites"),
    [(None, [False]), ("@every 1s", []), ("@every 7s", [True])],
    ids=["absent", "the same", "another period"],
)
async def test_a_registration_is_asserted_again_and_again_and_written_only_where_it_differs(
    wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch, there: str | None, overwrites: list[bool]
) -> None:
    """Writing anew what is there would start its period anew."""
    monkeypatch.setattr(jobs, "ASSERT_EVERY", 0.01)
    scheduler = Scheduler(there)
    async with running(wakeups.keep_registered(scheduler)):  # type: ignore[arg-type]  # the two calls it makes
        await until(lambda: scheduler.asked > 3)
    assert [one.overwrite for one in scheduler.written] == overwrites
    assert all((one.schedule, one.failure_policy) == ("@every 1s", {"drop": {}}) for one in scheduler.written)


async def test_a_look_that_fails_on_its_own_account_does_not_end_the_watch(
    look: Look, wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.001)
    look.failure = ValueError("a bug")
    async with running(wakeups.watch()) as watch:
        await until(lambda: look.begun > 2)
        assert not watch.done()


async def test_a_registration_that_was_lost_is_written_again(wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ASSERT_EVERY", 0.01)
    scheduler = Scheduler()
    async with running(wakeups.keep_registered(scheduler)):  # type: ignore[arg-type]  # the two calls it makes
        await until(lambda: len(scheduler.written) == 1)
        scheduler.there = None
        await until(lambda: len(scheduler.written) == 2)


async def test_a_scheduler_that_is_away_is_asked_again(wakeups: Wakeups) -> None:
    scheduler = Scheduler(failure=SidecarAwayError("away"))
    async with running(wakeups.keep_registered(scheduler)):  # type: ignore[arg-type]  # the two calls it makes
        await until(lambda: len(scheduler.written) == 1)
