"""Jobs: when they fire, what the app is sent, what its answer does, and that one replica gets a tick."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.sidecars.recording import Answer, Json, eventually, in_order
from tests.sidecars.world import App, Client, Reply, Running, World

WORLD = World(apps=[App("worker", replicas=2), App("bystander")], jobs=True)
NEVER = {"dueTime": "1h"}
ONE_RETRY = {"constant": {"interval": "0.1s", "maxRetries": 1}}


@pytest_asyncio.fixture(loop_scope="module")
async def name(world: Running) -> AsyncIterator[str]:
    """A name that no job has, deleted afterwards."""
    unused = f"job-{uuid4().hex[:8]}"
    yield unused
    for sidecar in world.clients:
        await sidecar.delete(f"/v1.0/jobs/{unused}")


async def schedule(sidecar: Client, job_name: str, **job: Json) -> Reply:
    """Schedule a job. It always has data: stock Dapr 1.18 accepts one without, and then never manages to fire it."""
    return await sidecar.post(f"/v1.0/jobs/{job_name}", {"data": {}, **job})


def ticks(world: Running, name: str) -> int:
    """Return how often the job came to any app."""
    return sum(len(app.seen(f"/job/{name}")) for app in world.recording)


async def ticked(world: Running, name: str, count: int = 1) -> int:
    async def enough() -> int:
        return ticks(world, name) if ticks(world, name) >= count else 0

    return await eventually(enough)


async def later(world: Running, due: str = "700ms") -> None:
    """Return after a job scheduled now for `due` from now has fired: what was due before then has too."""
    marker = f"marker-{uuid4().hex[:8]}"
    assert (await schedule(world.sidecar("worker"), marker, dueTime=due)).status == 204
    await ticked(world, marker)


def to_everyone(world: Running, name: str, *answers: Answer) -> None:
    """Answer the job so, whichever replica gets it."""
    script = in_order(*answers)
    for app in world.recording:
        app.answers(f"/job/{name}", script)


@pytest.mark.parametrize(
    ("data", "sent"),
    [({"n": [1, None]}, {"n": [1, None]}), ("text", "text"), (7, 7)],
)
async def test_a_due_job_posts_its_data(world: Running, sidecar: Client, name: str, data: Json, sent: Json) -> None:
    """A one-shot job fires once at its time, as POST /job/<name> with the data as JSON body."""
    reply = await schedule(sidecar, name, dueTime="0s", data=data)
    assert (reply.status, reply.body) == (204, b"")
    await ticked(world, name)
    await later(world)
    assert ticks(world, name) == 1
    (tick,) = [tick for app in world.recording for tick in app.seen(f"/job/{name}")]
    assert (tick.method, tick.headers["content-type"], tick.json()) == ("POST", "application/json", sent)


async def test_a_job_can_be_due_at_an_instant(world: Running, sidecar: Client, name: str) -> None:
    """`dueTime` may be a timestamp."""
    due = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await schedule(sidecar, name, dueTime=due)).status == 204
    await ticked(world, name)


async def test_a_fired_job_is_gone(world: Running, sidecar: Client, name: str) -> None:
    """A one-shot job does not stay behind, so its name is free again."""
    assert (await schedule(sidecar, name, dueTime="0s")).status == 204
    await ticked(world, name)

    async def free() -> bool:
        return (await schedule(sidecar, name, **NEVER)).status == 204

    await eventually(free)


async def test_every_tick_goes_to_one_replica(world: Running, sidecar: Client, name: str) -> None:
    """A repeated job fires once per period in one of the app's replicas, and in no other app."""
    started = datetime.now(UTC)
    assert (await schedule(sidecar, name, schedule="@every 1s", data={})).status == 204
    await ticked(world, name, 3)
    await sidecar.delete(f"/v1.0/jobs/{name}")
    elapsed = (datetime.now(UTC) - started).total_seconds()
    assert ticks(world, name) <= elapsed + 1
    assert world.app("bystander").seen(f"/job/{name}") == []


async def test_a_cron_schedule_has_seconds_first(world: Running, sidecar: Client, name: str) -> None:
    """Six fields, the first of them seconds."""
    assert (await schedule(sidecar, name, schedule="* * * * * *")).status == 204
    await ticked(world, name, 2)


async def test_repeats_bound_a_schedule(world: Running, sidecar: Client, name: str) -> None:
    """A schedule with `repeats` ends after that many ticks."""
    assert (await schedule(sidecar, name, schedule="@every 1s", repeats=2)).status == 204
    await ticked(world, name, 2)
    await later(world, "1500ms")
    assert ticks(world, name) == 2


async def test_a_deleted_job_fires_no_more(world: Running, sidecar: Client, name: str) -> None:
    """Delete ends a schedule; deleting what is not there is fine."""
    assert (await schedule(sidecar, name, schedule="@every 1s")).status == 204
    await ticked(world, name)
    assert (await sidecar.delete(f"/v1.0/jobs/{name}")).status == 204
    before = ticks(world, name)
    await later(world, "1500ms")
    assert ticks(world, name) <= before + 1
    assert (await sidecar.delete(f"/v1.0/jobs/{name}")).status == 204


async def test_a_name_is_taken_once(sidecar: Client, name: str) -> None:
    """Scheduling a name that exists is 409, unless it says `overwrite`."""
    assert (await schedule(sidecar, name, **NEVER, data=1)).status == 204
    assert (await schedule(sidecar, name, **NEVER, data=2)).status == 409
    assert value(await sidecar.get(f"/v1.0/jobs/{name}")) == 1
    assert (await schedule(sidecar, name, **NEVER, data=3, overwrite=True)).status == 204
    assert value(await sidecar.get(f"/v1.0/jobs/{name}")) == 3


def value(reply: Reply) -> Json:
    assert reply.status == 200
    return reply.json()["data"]["value"]


async def test_a_job_can_be_read(sidecar: Client, name: str) -> None:
    """What was scheduled is told again."""
    assert (await schedule(sidecar, name, schedule="@every 1h", repeats=5, data={"a": 1})).status == 204
    reply = await sidecar.get(f"/v1.0/jobs/{name}")
    job = reply.json()
    assert (job["name"], job["schedule"], job["repeats"]) == (name, "@every 1h", 5)
    assert job["data"]["value"] == {"a": 1}


async def test_a_job_belongs_to_its_app(world: Running, name: str) -> None:
    """Another app does not see the job, and its own of the same name is another job."""
    assert (await schedule(world.sidecar("worker"), name, **NEVER)).status == 204
    assert (await world.sidecar("bystander").get(f"/v1.0/jobs/{name}")).status == 500
    assert (await schedule(world.sidecar("bystander"), name, **NEVER)).status == 204


async def test_a_missing_job_cannot_be_read(sidecar: Client, name: str) -> None:
    """Reading what is not there is 500: stock Dapr says so."""
    assert (await sidecar.get(f"/v1.0/jobs/{name}")).status == 500


async def test_a_job_has_a_time(sidecar: Client, name: str) -> None:
    """A job with neither schedule nor due time is refused."""
    assert (await schedule(sidecar, name, data={})).status == 400


async def test_the_name_is_in_the_address_only(sidecar: Client, name: str) -> None:
    """A name in the body is refused."""
    assert (await schedule(sidecar, name, **NEVER, name=name)).status == 400


async def test_an_interval_is_in_seconds(sidecar: Client, name: str) -> None:
    """The interval of a failure policy is JSON's protobuf duration ("0.1s"), not one with a unit of choice."""
    policy = {"constant": {"interval": "100ms", "maxRetries": 1}}
    assert (await schedule(sidecar, name, **NEVER, failurePolicy=policy)).status == 400
    assert (await sidecar.get(f"/v1.0/jobs/{name}")).status == 500


@pytest.mark.parametrize(
    "job",
    [
        pytest.param({"schedule": "often"}, id="no schedule"),
        pytest.param({"schedule": "@every soon"}, id="no duration"),
        pytest.param({"schedule": "* * * * *"}, id="five fields"),
        pytest.param({"dueTime": "tomorrow"}, id="no time"),
    ],
)
async def test_a_bad_time_is_refused(sidecar: Client, name: str, job: dict[str, str]) -> None:
    """What is no time is an error, and nothing is scheduled."""
    assert (await schedule(sidecar, name, **job)).status in (400, 500)
    assert (await sidecar.get(f"/v1.0/jobs/{name}")).status == 500


async def test_a_failed_tick_is_retried_as_its_policy_says(world: Running, sidecar: Client, name: str) -> None:
    """A constant policy with one retry calls twice, then the tick is over."""
    to_everyone(world, name, Answer(500))
    assert (await schedule(sidecar, name, dueTime="0s", failurePolicy=ONE_RETRY)).status == 204
    await ticked(world, name, 2)
    await later(world)
    assert ticks(world, name) == 2


async def test_a_retry_that_succeeds_is_the_last(world: Running, sidecar: Client, name: str) -> None:
    """Success ends the retries."""
    to_everyone(world, name, Answer(500), Answer())
    policy = {"constant": {"interval": "0.1s", "maxRetries": 5}}
    assert (await schedule(sidecar, name, dueTime="0s", failurePolicy=policy)).status == 204
    await ticked(world, name, 2)
    await later(world)
    assert ticks(world, name) == 2


async def test_a_dropped_tick_is_not_retried(world: Running, sidecar: Client, name: str) -> None:
    """With the policy `drop` a failed tick is over."""
    to_everyone(world, name, Answer(500))
    assert (await schedule(sidecar, name, dueTime="0s", failurePolicy={"drop": {}})).status == 204
    await ticked(world, name)
    await later(world)
    assert ticks(world, name) == 1


async def test_a_failed_tick_does_not_end_a_schedule(world: Running, sidecar: Client, name: str) -> None:
    """The next period comes whatever became of this one."""
    to_everyone(world, name, Answer(500))
    assert (await schedule(sidecar, name, schedule="@every 1s", failurePolicy={"drop": {}})).status == 204
    await ticked(world, name, 2)


async def test_not_found_is_no_failure(world: Running, sidecar: Client, name: str) -> None:
    """An app that does not know the job (404) is not asked again for this tick."""
    to_everyone(world, name, Answer(404))
    assert (await schedule(sidecar, name, dueTime="0s", failurePolicy=ONE_RETRY)).status == 204
    await ticked(world, name)
    await later(world)
    assert ticks(world, name) == 1


async def test_ticks_of_a_job_do_not_overlap(world: Running, sidecar: Client, name: str) -> None:
    """The next tick waits until this one is answered."""
    answered = asyncio.Event()
    to_everyone(world, name, Answer(after=answered), Answer())
    assert (await schedule(sidecar, name, schedule="@every 1s")).status == 204
    await ticked(world, name)
    await later(world, "1500ms")
    assert ticks(world, name) == 1
    answered.set()
    await ticked(world, name, 2)


async def test_the_alpha_address_is_the_same(world: Running, sidecar: Client, name: str) -> None:
    """Both addresses schedule."""
    assert (await sidecar.post(f"/v1.0-alpha1/jobs/{name}", {"dueTime": "0s", "data": {}})).status == 204
    await ticked(world, name)


async def test_a_job_without_data_fires(world: Running, sidecar: Client, name: str) -> None:
    """Data is optional."""
    assert (await sidecar.post(f"/v1.0/jobs/{name}", {"dueTime": "0s"})).status == 204
    await ticked(world, name)


async def test_what_was_due_while_nobody_was_there_comes_afterwards(world: Running, sidecar: Client, name: str) -> None:
    """A one-shot job whose time came while every sidecar was dead fires when one is back."""
    due = datetime.now(UTC) + timedelta(milliseconds=1500)
    assert (await schedule(sidecar, name, dueTime="1500ms")).status == 204
    await world.engine.kill()
    assert ticks(world, name) == 0

    async def is_past() -> bool:
        return datetime.now(UTC) > due + timedelta(milliseconds=500)

    await eventually(is_past)
    await world.engine.start()
    await ticked(world, name)


async def test_jobs_survive_the_sidecar(world: Running, sidecar: Client, name: str) -> None:
    """A job that was answered 204 fires after kill -9 and restart of the sidecar."""
    assert (await schedule(sidecar, name, schedule="@every 1s")).status == 204
    await world.engine.kill()
    before = ticks(world, name)
    await world.engine.start()
    await ticked(world, name, before + 1)
