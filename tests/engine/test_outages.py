"""What everything depends on goes away and comes back: nothing is lost, nothing happens twice, no dead letters come.

Where a test says "minutes of the policy", it is the real policy of deliveries with its durations divided by a hundred.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Final

import pytest
import pytest_asyncio

from tests.engine.scenario import BROKERS, FACTOR, RECONCILE, EngineBench, engine_bench, for_seconds
from tests.faults.bench import due_in, until
from tests.faults.verdicts import Show, conclude
from todo.contracts import names

SPAN: Final = 8.0  # seconds that the client works in each case
COUNT: Final = 40
REST: Final = 90.0
REST_OF_A_SENDER: Final = 240.0  # what it had claimed when it died is dispatched again after two minutes
TWENTY_MINUTES: Final = 20 * 60 / FACTOR
OFTEN: Final = 50  # deliveries put off in that time, of 240 that the policy has room for
REMINDERS: Final = 10
APPS: Final = [app.app_id for app in names.APPS]
SENDER: Final = ("email-delivery",)  # whose death alone may repeat the mails that it had on their way

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
on_one_broker = pytest.mark.parametrize("running", ["kafka"], indirect=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BROKERS)
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EngineBench]:
    """A system on each broker for all cases; what one case leaves behind is judged with the next as well."""
    async with engine_bench(tmp_path_factory.mktemp("outages"), request.param) as bench:
        yield bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scaled(running: EngineBench) -> EngineBench:
    await running.scale_policy()
    return running


async def test_every_sidecar_has_loaded_the_policy(running: EngineBench) -> None:
    """Without it the first refusal is a dead letter, and daprd says nothing of a Resiliency that it did not load."""
    for app in APPS:
        status, told = await running.ask_sidecar(app, "GET", "/v1.0/metadata")
        assert status == 200
        assert [one["name"] for one in json.loads(told)["resiliencies"]] == ["todo-resiliency"]


@on_one_broker
async def test_a_broker_that_is_away_for_half_a_minute_costs_nothing_but_time(
    running: EngineBench, seed: int, show: Show
) -> None:
    """At the real pace. The API takes every task meanwhile."""
    before = running.ledger.answers.copy()
    await _through(running, "half a minute", for_seconds(running, running.broker, 30.0), seed=seed, show=show)
    assert set(running.ledger.answers - before) == {"200", "201"}


async def test_twenty_minutes_of_the_policy_without_the_broker(scaled: EngineBench, seed: int, show: Show) -> None:
    """What the sidecars had in hand when it went away is neither lost nor a dead letter."""
    await _through(scaled, "broker", for_seconds(scaled, scaled.broker, TWENTY_MINUTES), seed=seed, show=show)


async def test_a_restart_of_postgresql_and_twenty_minutes_of_the_policy_without_it(
    scaled: EngineBench, seed: int, show: Show
) -> None:
    """email-delivery, whose own probe is well, puts its batches off again and again; none becomes a dead letter."""

    async def torment() -> None:
        await scaled.system.stop("postgres")
        await scaled.system.start("postgres")
        await scaled.recovered()
        await _reminders_on_the_broker(scaled, "put off")
        async with scaled.away("postgres"):
            await scaled.system.start(names.EMAIL_DELIVERY.app_id)
            await asyncio.sleep(TWENTY_MINUTES)

    before = scaled.logged("delivery put off")
    await _through(scaled, "database", torment(), seed=seed, show=show)
    assert scaled.logged("delivery put off") - before >= OFTEN


@on_one_broker
async def test_a_minute_without_the_scheduler(scaled: EngineBench, seed: int, show: Show) -> None:
    """Nobody ticks: each service looks by itself, and the ticks that come together afterwards are one look."""
    await _through(scaled, "scheduler", for_seconds(scaled, "scheduler", SPAN), seed=seed, show=show)


async def test_sidecars_are_away_while_their_apps_are_up(scaled: EngineBench, seed: int, show: Show) -> None:
    """`kill -9` of each daprd in turn: its app waits, and works on by itself when it is back."""
    await _through(scaled, "sidecars", _in_turn(scaled, scaled.sidecars()), seed=seed, show=show)


async def test_apps_are_away_while_their_sidecars_are_up(scaled: EngineBench, seed: int, show: Show) -> None:
    """`kill -9` of each service in turn: its sidecar keeps the events for it and retries them."""
    await _through(scaled, "apps", _in_turn(scaled, APPS), seed=seed, show=show, rest=REST_OF_A_SENDER)


@on_one_broker
async def test_sidecars_start_before_their_apps(scaled: EngineBench, seed: int, show: Show) -> None:
    """All four sidecars are up before the first app begins."""
    order = [*scaled.sidecars(), *APPS]
    await asyncio.gather(*(scaled.destroy(name) for name in order))
    for name in order:
        await scaled.system.start(name)
    await _through(scaled, "sidecars first", asyncio.sleep(0), seed=seed, show=show)


@on_one_broker
async def test_apps_start_before_their_sidecars(scaled: EngineBench, seed: int, show: Show) -> None:
    """All four apps have begun anew, and serve, before the first sidecar is there."""
    await asyncio.gather(*(scaled.destroy(name) for name in scaled.sidecars()))
    for app in APPS:
        await scaled.kill(app)
    await scaled.system.wait_ready(*APPS)
    for name in scaled.sidecars():
        await scaled.system.start(name)
    await _through(scaled, "apps first", asyncio.sleep(0), seed=seed, show=show)


async def test_a_broker_that_comes_back_empty_loses_no_reminder_and_no_occurrence(
    scaled: EngineBench, seed: int, show: Show
) -> None:
    """What it held is found by reconciliation: reminders on their way, completions that nobody had heard of."""
    recurring = [await scaled.client.create(f"series lost {number}", due_in(3600), "FREQ=DAILY") for number in range(5)]
    await scaled.quiet(REST)
    deaf = (names.RECURRING.app_id, names.EMAIL_DELIVERY.app_id)
    await scaled.system.stop(names.RECURRING.app_id)
    for task in recurring:
        await scaled.client.complete(task.id)
    await _reminders_on_the_broker(scaled, "lost")
    held = await scaled.backlog()
    await scaled.destroy(scaled.broker)
    await scaled.forget_everything()
    await scaled.system.start(scaled.broker)
    for name in deaf:
        await scaled.system.start(name)
    await scaled.two_minutes_pass()
    await until(lambda: _followed(scaled, "series lost"), 60, "each completed occurrence has its successor", 1.0)
    await scaled.quiet(REST, *RECONCILE)
    await _through(scaled, "empty", asyncio.sleep(0), seed=seed, show=show, seen={"destroyed": held})
    assert {f"{names.TASK_REMINDERS}>email-delivery", f"{names.TASK_EVENTS}>recurring-service"} <= set(held)


async def _reminders_on_the_broker(running: EngineBench, title: str) -> None:
    """Stop email-delivery, and let reminders pile up that are for it."""
    before = len(await running.outside.history(names.TASK_REMINDERS))
    await running.system.stop(names.EMAIL_DELIVERY.app_id)
    for number in range(REMINDERS):
        await running.client.create(f"{title} {number}", due_in(1))
    await running.on_the_broker(names.TASK_REMINDERS, before + REMINDERS)


async def _followed(running: EngineBench, title: str) -> bool | str:
    """Whether each completed task that is called so has a successor; the job that sees to it is woken each time."""
    await running.job(names.BACKEND, names.RECONCILE_SERIES)
    done = {task.title async for task in running.client.tasks(status="done", q=title)}
    missing = done - {task.title async for task in running.client.tasks(status="open", q=title)}
    return f"{len(missing)} have none" if missing else True


async def _in_turn(running: EngineBench, children: list[str]) -> None:
    for child in children:
        await for_seconds(running, child, 2.0, after=0.5)


async def _through(  # noqa: PLR0913 - a case
    running: EngineBench,
    title: str,
    outage: Awaitable[None],
    *,
    seed: int,
    show: Show,
    rest: float = REST,
    seen: Mapping[str, object] | None = None,
) -> None:
    """A client works through an outage; then everything comes to rest and is judged."""
    began = time.monotonic()
    await running.at_work(title, outage, seed=seed, count=COUNT, span=SPAN)
    worked = time.monotonic() - began
    await running.recovered()
    await running.system.wait_flowing()
    await running.quiet(rest)  # without the jobs that would find again what was lost
    timing = {"seconds": f"{worked:.1f} at work, {time.monotonic() - began - worked:.1f} until rest"}
    await conclude(running, f"{running.broker}: {title}", show, excused=SENDER, seen=timing | dict(seen or {}))
