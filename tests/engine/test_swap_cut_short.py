"""Whatever becomes of a swap, the system works on: killed, frozen, refused, or sent to a broker that does not work."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient

from tests.engine.moving import begin, ended, only_probes_left, says, standing, swap
from tests.engine.scenario import EngineBench, engine_bench
from tests.faults.bench import due_in, until
from tests.faults.verdicts import Show, conclude
from todo.contracts import names
from todo.messaging import pause
from todo.messaging.database import connect
from todo.operations import rotate
from todo.operations.client import Task
from todo.operations.swap import Report, SwapError, Wish, swap_host
from todo.operations.verify import Kind

STEPS: Final = ("check", "measure", "pause", "drain", "switch", "follow", "resume", "verify")
MOVED: Final = ("follow", "resume", "verify")  # the switch was made before
OTHER: Final = {"kafka": "redis", "redis": "kafka"}
HURRIED: Final = ("switch", "resume")  # after "drain" and "follow" the pause is waited for as it comes
QUICK: Final = ("--measure", "0")

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineBench]:
    folder = tmp_path_factory.mktemp("cut-short")
    async with engine_bench(
        folder, "kafka", standby=("redis",), durable=False, replicas={"notification-service": 2}
    ) as bench:
        yield bench


async def due_now(bench: EngineBench, title: str, count: int = 3) -> list[Task]:
    return [await bench.client.create(f"{title} {number}", due_in(0)) for number in range(count)]


async def delivered(bench: EngineBench, tasks: Sequence[Task]) -> None:
    """Each has its mail."""

    async def all_of_them() -> bool | str:
        told = [await bench.client.task(task.id) for task in tasks]
        left = [one.title for one in told if {each.state for each in one.reminder_history or ()} != {"delivered"}]
        return f"without a mail: {left}" if left else True

    await until(all_of_them, 60, "every reminder is delivered")


def no_refusals(bench: EngineBench) -> None:
    assert not {status for status in bench.ledger.answers if not status.startswith("2")}, bench.ledger.answers


def other(bench: EngineBench) -> str:
    return OTHER[standing(bench) or ""]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_the_system_comes_back_and_the_next_run_ends_it(
    bench: EngineBench, step: str, show: Show
) -> None:
    to = other(bench)
    process = await begin(bench, "--to", to, *QUICK)
    tasks = await due_now(bench, f"before {step}")
    await says(process, step)
    process.kill()
    await ended(process)
    if step in HURRIED:
        await a_lease_passes(bench)
    tasks += await due_now(bench, f"after {step}")
    await delivered(bench, tasks)
    run = await swap(bench, "--to", to, *QUICK)
    assert (run.code, standing(bench)) == (0, to), run.said
    if step != "switch":
        assert run.report["resumed"] is (step in MOVED)
    assert only_probes_left(run)
    await delivered(bench, await due_now(bench, f"at the end {step}", 1))
    no_refusals(bench)
    await bench.quiet(30)
    await conclude(bench, f"killed at {step}", show, excused=())


async def test_a_swap_that_was_frozen_for_longer_than_its_pause_changes_nothing(bench: EngineBench) -> None:
    """The relays have published meanwhile, so what it knows of the broker is worth nothing."""
    here = standing(bench)
    process = await begin(bench, "--to", other(bench), *QUICK)
    await says(process, "drain")
    process.send_signal(signal.SIGSTOP)
    pipeline = (await bench.api.pipeline()).value
    assert pipeline.schedule is not None
    for held in (pipeline.outbox.paused, pipeline.schedule.relay_paused):
        assert held is not None
        assert held.holder.startswith(f"todo swap, pid {process.pid} on ")
    tasks = await due_now(bench, "while frozen")
    await delivered(bench, tasks)
    process.send_signal(signal.SIGCONT)
    run = await ended(process)
    assert run.code == 1
    assert "ran out" in run.said
    assert standing(bench) == here
    assert await _paused(bench) == []


async def a_lease_passes(bench: EngineBench) -> None:
    """What time does, sooner."""
    connection = await asyncpg.connect(bench.system.database_url)
    for app in (names.BACKEND, names.NOTIFICATION):
        await connection.execute(f"UPDATE {app.schema}.relay_pause SET until = clock_timestamp()")  # noqa: S608
    await connection.close()


async def _paused(bench: EngineBench) -> list[str]:
    """Whose relays are paused now."""
    found = []
    for app in (names.BACKEND, names.NOTIFICATION):
        connection = await connect(bench.system.database_url, app.schema or "")
        if await pause.in_force(connection):
            found.append(app.app_id)
        await connection.close()
    return found


@asynccontextmanager
async def nobody_reads_tasks(bench: EngineBench) -> AsyncIterator[None]:
    """Notification-service cannot write, so what backend publishes stays unread on the broker."""
    lock = await asyncpg.connect(bench.system.database_url)
    try:
        async with lock.transaction():
            await lock.execute("LOCK TABLE notification.tasks IN EXCLUSIVE MODE")
            yield
    finally:
        await lock.close()


async def test_it_waits_for_what_is_not_read_yet_and_not_for_ever(bench: EngineBench) -> None:
    here, to = standing(bench), other(bench)
    async with nobody_reads_tasks(bench):
        tasks = await due_now(bench, "unread", 10)
        await until(lambda: _is_published(bench), 30, "the tasks are on the broker")
        with pytest.raises(SwapError, match=r"is not empty: notification-service has \d+ events of task-events left"):
            await attempt(bench, to)
        assert (standing(bench), await _paused(bench)) == (here, [])
        process = await begin(bench, "--to", to, *QUICK)
        await says(process, "drain")
    run = await ended(process)
    assert (run.code, standing(bench), only_probes_left(run)) == (0, to, True), run.said
    await delivered(bench, tasks)


async def _is_published(bench: EngineBench) -> bool:
    return await bench.outbox(names.BACKEND) == 0 and bool(await bench.backlog())


async def attempt(bench: EngineBench, to: str, *, follow_seconds: float = 60.0) -> Report:
    wish = Wish(to=to, window=0, follow_seconds=follow_seconds, seconds=5, tell=lambda *_: None)
    return await swap_host(bench.system.data.path, wish)


async def test_a_component_that_does_not_work_is_taken_back(bench: EngineBench, tmp_path: Path) -> None:
    """Every daprd ends with such a component; its supervisor starts it again until the one before is back."""
    here = standing(bench)
    broken = _copy(bench, tmp_path, "kafka", initialOffset="sideways")
    if here == "kafka":
        await swap(bench, "--to", "redis", *QUICK)
        here = "redis"
    with pytest.raises(SwapError, match=r"not every sidecar is on .*\. Everything is back on redis"):
        await attempt(bench, str(broken), follow_seconds=20)
    assert standing(bench) == here
    await delivered(bench, await due_now(bench, "after the way back"))
    assert await _paused(bench) == []


def _copy(bench: EngineBench, folder: Path, environment: str, **changed: str) -> Path:
    """The component of an environment, with other settings."""
    import yaml  # noqa: PLC0415

    from todo.operations.engine import resources  # noqa: PLC0415

    resources.render(environment, bench.engine.environments[environment], folder / "resources")
    place = folder / "resources" / resources.PUBSUB_FILE
    component = yaml.safe_load(place.read_text())
    for setting in component["spec"]["metadata"]:
        setting.update({"value": changed[setting["name"]]} if setting["name"] in changed else {})
    place.write_text(yaml.safe_dump(component))
    return place


async def test_a_target_that_is_unknown_unreachable_or_unprepared_is_refused(
    bench: EngineBench, tmp_path: Path
) -> None:
    here = standing(bench)
    with pytest.raises(SwapError, match=r"use one of kafka, kafka-sasl, kafka-sasl-512, redis, or a component file"):
        await attempt(bench, "rabbitmq")
    with pytest.raises(SwapError, match="start the system with --standby kafka-sasl"):
        await attempt(bench, "kafka-sasl")
    nobody = _copy(bench, tmp_path, "kafka", brokers="127.0.0.1:1")
    with pytest.raises(SwapError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await attempt(bench, str(nobody))
    assert standing(bench) == here
    assert (await attempt(bench, here or "")).moved is False


async def test_without_draining_what_is_left_behind_is_told_and_healed(bench: EngineBench, show: Show) -> None:
    await bench.quiet(30)
    async with nobody_reads_tasks(bench):
        tasks = await due_now(bench, "left behind", 10)
        await until(lambda: _is_published(bench), 30, "the tasks are on the broker")
        run = await swap(bench, "--to", other(bench), "--without-draining", "--wait", "3", *QUICK)
    assert run.code == 1
    assert run.report, run.said
    assert not only_probes_left(run)
    assert {one["kind"] for one in run.report["findings"]} >= {Kind.TASK_UNSEEN}
    await bench.job(names.NOTIFICATION, names.RECONCILE_TASKS)
    await delivered(bench, tasks)
    no_refusals(bench)
    await bench.two_minutes_pass()  # an outcome that was left behind is asked for again after these
    await bench.quiet(30)
    await conclude(bench, "without draining", show, excused=())


async def test_a_target_without_its_topics_is_refused_with_the_command_that_makes_them(bench: EngineBench) -> None:
    if standing(bench) == "kafka":
        await swap(bench, "--to", "redis", *QUICK)
    admin = AdminClient({"bootstrap.servers": bench.engine.environments["kafka"]["brokers"]})
    await asyncio.wrap_future(admin.delete_topics([names.TASK_EVENTS])[names.TASK_EVENTS])
    with pytest.raises(SwapError, match=r"task-events: it does not exist\): run `todo topics create --to kafka`"):
        await attempt(bench, "kafka")


async def test_one_at_a_time(bench: EngineBench) -> None:
    with (
        rotate.alone(Path(bench.engine.secrets).parent),
        pytest.raises(SwapError, match="another swap or a rotation is under way"),
    ):
        await attempt(bench, other(bench))
