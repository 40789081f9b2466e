"""The job scheduler, with a channel in place of the network."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from daprlet.app_channel import AppChannel, Reply, new_session
from daprlet.apps import Apps, Replica
from daprlet.database import Database
from daprlet.errors import AppUnreachable
from daprlet.job import InvalidJobError, JobSpec, UnschedulableJobError, read_request, shown
from daprlet.jobs import JobExists, Jobs
from daprlet.metrics import Metrics
from daprlet.resources import Resources
from daprlet.settings import AppSettings


class Channel(AppChannel):
    """Records ticks and answers them from a list; once that is used up, with 200."""

    def __init__(self, *answers: int | Exception) -> None:
        self._client = new_session()
        super().__init__(AppSettings("app", app_port=1), self._client, lambda: None)
        self.answers = list(answers)
        self.ticks: list[tuple[str, bytes]] = []
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None) -> Reply:  # noqa: ASYNC109 - the parent's
        del headers, timeout
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, AppUnreachable):
            self.healthy = False
            raise answer
        self.ticks.append((path, body))
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer, b"")

    async def close(self) -> None:
        await self._client.close()


@asynccontextmanager
async def running(database: Database, *channels: Channel, healthy: bool = True) -> AsyncIterator[tuple[Jobs, Apps]]:
    apps = Apps()
    for channel in channels:
        channel.healthy = healthy
        apps["app"].replicas.append(Replica(channel, Resources(), Metrics("app")))
    jobs = Jobs(database, apps)
    task = asyncio.create_task(jobs.run())
    yield jobs, apps
    await jobs.stop()
    await task
    for channel in channels:
        await channel.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - many different things are waited for
            await asyncio.sleep(0.002)


def stored(database: Database) -> int:
    return int(database.read("SELECT count(*) FROM job")[0][0])


def spec(body: str) -> JobSpec:
    return read_request(body.encode())[0]


PAST = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()


async def test_a_one_shot_job_fires_once_and_is_gone(database: Database) -> None:
    """With its data as the body."""
    channel = Channel()
    async with running(database, channel) as (jobs, _):
        await jobs.schedule("app", "one shot", spec('{"dueTime": "1ms", "data": {"a": 1}}'), overwrite=False)
        await until(lambda: stored(database) == 0)
        assert jobs.get("app", "one shot") is None
    assert channel.ticks == [("/job/one%20shot", b'{"a": 1}')]


async def test_missed_ticks_are_made_up_for_one_after_the_other(database: Database) -> None:
    """Every tick since the first due time, without overlap, up to the wanted number."""
    channel = Channel()
    async with running(database, channel) as (jobs, _):
        asked = spec(f'{{"schedule": "@every 1s", "dueTime": "{PAST}", "repeats": 30}}')
        await jobs.schedule("app", "j", asked, overwrite=False)
        await until(lambda: stored(database) == 0)
    assert len(channel.ticks) == 30
    assert channel.most_at_once == 1


@pytest.mark.parametrize(
    ("policy", "answers", "calls"),
    [
        ("", [500] * 10, 4),
        ('"constant": {"interval": "0.001s", "maxRetries": 5}', [500] * 10, 6),
        ('"constant": {"interval": "0.001s"}', [500] * 30, 31),
        ('"drop": {}', [500] * 10, 1),
        ('"constant": {"interval": "0.001s", "maxRetries": 5}', [500, TimeoutError(), 200], 3),
        ('"constant": {"interval": "0.001s", "maxRetries": 5}', [404], 1),
    ],
)
async def test_failure_policies(
    database: Database, policy: str, answers: list[int | Exception], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three retries by default; a limit, none, or for ever; 404 counts as done."""
    monkeypatch.setattr("daprlet.job.DEFAULT_POLICY.constant.interval", "0.001s")
    channel = Channel(*answers)
    part = f', "failurePolicy": {{{policy}}}' if policy else ""
    async with running(database, channel) as (jobs, _):
        await jobs.schedule("app", "j", spec(f'{{"dueTime": "1ms"{part}}}'), overwrite=False)
        await until(lambda: stored(database) == 0)
    assert len(channel.ticks) == calls


async def test_a_tick_waits_for_a_replica(database: Database) -> None:
    """Without one it is kept; an app that refuses the connection has not failed."""
    channel = Channel(AppUnreachable("refused"))
    async with running(database, channel, healthy=False) as (jobs, apps):
        await jobs.schedule("app", "j", spec('{"dueTime": "1ms", "failurePolicy": {"drop": {}}}'), overwrite=False)
        await until(lambda: jobs._firing)
        for _ in range(2):
            assert channel.ticks == []
            channel.healthy = True
            apps["app"].changed.fire()
            await until(lambda: not channel.healthy or channel.ticks)
        await until(lambda: stored(database) == 0)
    assert len(channel.ticks) == 1


async def test_replicas_share_the_ticks(database: Database) -> None:
    """One replica per tick."""
    channels = Channel(), Channel()
    async with running(database, *channels) as (jobs, _):
        asked = spec(f'{{"schedule": "@every 1s", "dueTime": "{PAST}", "repeats": 40}}')
        await jobs.schedule("app", "j", asked, overwrite=False)
        await until(lambda: stored(database) == 0)
    assert sum(len(channel.ticks) for channel in channels) == 40
    assert all(len(channel.ticks) > 5 for channel in channels)


async def test_a_restart_goes_on_where_it_was(database: Database) -> None:
    """A tick that was not answered comes again, and the count of repeats is kept."""
    first = Channel(200, 200, 200)
    asked = spec(f'{{"schedule": "@every 1s", "dueTime": "{PAST}", "repeats": 10}}')
    async with running(database, first) as (jobs, _):

        def hold_the_fourth() -> bool:
            if len(first.ticks) >= 3:
                first.gate.clear()
            return first.at_once == 1 and not first.gate.is_set()

        await jobs.schedule("app", "j", asked, overwrite=False)
        await until(hold_the_fourth)
    answered = len(first.ticks)
    second = Channel()
    async with running(database, second):
        await until(lambda: stored(database) == 0)
    assert answered + len(second.ticks) == 10


async def test_attempts_survive_a_restart(database: Database) -> None:
    """A tick that has used up two of its three retries has one left."""
    policy = '{"dueTime": "1ms", "failurePolicy": {"constant": {"interval": "0.05s", "maxRetries": 3}}}'
    first = Channel(*[500] * 10)
    async with running(database, first) as (jobs, _):
        await jobs.schedule("app", "j", spec(policy), overwrite=False)
        await until(lambda: database.read("SELECT attempts FROM job") == [(2,)])
    second = Channel(*[500] * 10)
    async with running(database, second):
        await until(lambda: stored(database) == 0)
    assert len(first.ticks) + len(second.ticks) == 4


async def test_an_overwritten_job_is_a_new_one(database: Database) -> None:
    """The answer to the old one's tick does not move the new one."""
    channel = Channel()
    channel.gate.clear()
    async with running(database, channel) as (jobs, _):
        await jobs.schedule("app", "j", spec('{"dueTime": "1ms"}'), overwrite=False)
        await until(lambda: channel.at_once == 1)
        with pytest.raises(JobExists):
            await jobs.schedule("app", "j", spec('{"dueTime": "1h"}'), overwrite=False)
        await jobs.schedule("app", "j", spec('{"dueTime": "1h"}'), overwrite=True)
        channel.gate.set()
        await until(lambda: not jobs._firing)
        assert stored(database) == 1
        assert jobs.get("app", "j") is not None


async def test_ticks_of_a_job_never_overlap(database: Database) -> None:
    """Not even when it is overwritten, and due again, while a tick is out."""
    channel = Channel()
    channel.gate.clear()
    async with running(database, channel) as (jobs, _):
        await jobs.schedule("app", "j", spec('{"dueTime": "1ms"}'), overwrite=False)
        await until(lambda: channel.at_once == 1)
        await jobs.schedule("app", "j", spec('{"dueTime": "1ms"}'), overwrite=True)
        await until(lambda: not jobs._heap)
        channel.gate.set()
        await until(lambda: stored(database) == 0)
    assert (len(channel.ticks), channel.most_at_once) == (2, 1)


async def test_a_deleted_job_does_not_fire(database: Database) -> None:
    """Also when its tick was waiting for a replica; deleting twice is no error."""
    channel = Channel()
    async with running(database, channel, healthy=False) as (jobs, apps):
        await jobs.schedule("app", "j", spec('{"dueTime": "1ms"}'), overwrite=False)
        await until(lambda: jobs._firing)
        await jobs.delete("app", "j")
        await jobs.delete("app", "j")
        channel.healthy = True
        apps["app"].changed.fire()
        await until(lambda: not jobs._firing)
    assert channel.ticks == []


async def test_a_job_ends_with_its_time_to_live(database: Database) -> None:
    """Ticks after it do not come, and the job is gone."""
    channel = Channel()
    due = datetime.now(UTC) - timedelta(seconds=3)
    async with running(database, channel) as (jobs, _):
        asked = spec(f'{{"schedule": "@every 1s", "dueTime": "{due.isoformat()}", "ttl": "4500ms"}}')
        await jobs.schedule("app", "j", asked, overwrite=False)
        await until(lambda: stored(database) == 0)
    assert 4 <= len(channel.ticks) <= 5


async def test_a_clock_that_is_set_back_delays_no_interval(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals go on; what is due at an instant waits for that instant."""
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, perf_counter=time.perf_counter)
    monkeypatch.setattr("daprlet.jobs.time", clock)
    async with running(database, channel := Channel()) as (jobs, _):
        instant = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        await jobs.schedule("app", "instant", JobSpec(due_time=instant), overwrite=False)
        await jobs.schedule("app", "interval", JobSpec(schedule="@every 1s"), overwrite=False)
        await jobs.schedule("app", "after", JobSpec(due_time="2s"), overwrite=False)
        clock.time = lambda: time.time() - 3600
        await until(lambda: [path for path, _ in channel.ticks].count("/job/interval") == 3)
        await until(lambda: ("/job/after", b"") in channel.ticks)
        assert ("/job/instant", b"") not in channel.ticks
        clock.time = time.time
        await until(lambda: ("/job/instant", b"") in channel.ticks)


async def test_a_job_that_ends_before_it_fires_is_over(database: Database) -> None:
    """It is accepted, takes the place of the one it overwrites, and is not there."""
    async with running(database, Channel()) as (jobs, _):
        await jobs.schedule("app", "j", JobSpec(schedule="@every 1h"), overwrite=False)
        await jobs.schedule("app", "j", JobSpec(schedule="@yearly", ttl="1s"), overwrite=True)
        assert jobs.get("app", "j") is None
        assert stored(database) == 0


@pytest.mark.parametrize(
    "body",
    [
        *('{"dueTime": "1s", "repeats": -1}', '{"dueTime": "1s", "overwrite": "yes"}', '{"dueTime": 5}', "{", "[]"),
        '{"dueTime": "1s", "failurePolicy": {"constant": {"interval": "1m"}}}',
    ],
)
def test_requests_that_are_no_jobs(body: str) -> None:
    """Refused as malformed."""
    with pytest.raises(InvalidJobError):
        spec(body)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("j", '{"schedule": "* * * * *"}'),
        ("j", '{"dueTime": "soon"}'),
        ("j", '{"dueTime": "1s", "ttl": "2s"}'),
        ("j", '{"dueTime": "1s", "repeats": 2}'),
        ("j", '{"schedule": "@every 1s", "repeats": 0}'),
        ("j", '{"schedule": "@every 1s", "dueTime": "1h", "ttl": "2020-01-01T00:00:00Z"}'),
        ("j", '{"dueTime": "99999999999h"}'),
        ("j", '{"schedule": "@every 99999999999999h"}'),
        *((name, '{"dueTime": "1s"}') for name in ("a/b", "a#b", "..", "", "a\nb")),
    ],
)
async def test_jobs_that_cannot_be_scheduled(database: Database, name: str, body: str) -> None:
    """Refused by the scheduler, and nothing is stored."""
    async with running(database) as (jobs, _):
        with pytest.raises(UnschedulableJobError):
            await jobs.schedule("app", name, spec(body), overwrite=False)
    assert stored(database) == 0


def test_a_job_is_shown_as_dapr_shows_it() -> None:
    """Data is wrapped as protobuf's JSON has it; snake case names are understood."""
    shown_job = shown("j", spec('{"due_time": "1h", "data": [1], "failure_policy": {"drop": {}}}'))
    job = msgspec.json.decode(msgspec.json.encode(shown_job))
    data = {"@type": "type.googleapis.com/google.protobuf.Value", "value": [1]}
    assert job == {"name": "j", "dueTime": "1h", "data": data, "failurePolicy": {"drop": {}}}
