"""What a swap asks of sidecars and services, and what it tells of them, where they answer late, wrong or not at all."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.waiting import until
from todo.contracts import names
from todo.operations import brokers, topics
from todo.operations.brokers import BrokerError, Fault, Lag
from todo.operations.find import Place
from todo.operations.rotation.calm import Calm
from todo.operations.swapping import figures, following, steps
from todo.operations.swapping.figures import Figures, Meter
from todo.operations.swapping.following import PROBED, Sidecars, grown
from todo.operations.swapping.pauses import Pauses
from todo.operations.swapping.steps import Wish, swap
from todo.operations.swapping.target import Side, Sidecar, SwapError

KIND = "pubsub.kafka"
SIDE = Side("kafka", {"spec": {"type": KIND}}, b"", {})
BACKEND = names.BACKEND.app_id


class System:
    """The sidecar and the services of all apps at one address: an app counts the probes of topics that are alive."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []
        self.seen: Counter[tuple[str, str]] = Counter()
        self.dead: set[tuple[str, str]] = set()
        self.hangs = False
        self.down: set[str] = set()
        self.forgets: set[str] = set()  # topics whose next probe goes to the broker before
        self.lags: dict[tuple[str, str], Lag] = {}
        self.pipeline: dict[str, Any] | None = None
        self.calls: list[str] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"/v1.0/publish/{names.PUBSUB}/{{topic}}", self._publish)
        app.router.add_get("/v1.0/metadata", self._metadata)
        app.router.add_get("/{app}/metrics", self._metrics)
        app.router.add_get("/{app}/readyz", self._ready)
        app.router.add_get("/v1.0/healthz", self._well)
        app.router.add_get("/pipeline", self._pipeline)
        app.router.add_post("/v1.0/invoke/{tail:.*}", self._pages)
        return app

    async def _publish(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(60)
        topic, text = request.match_info["topic"], (await request.json())["task_id"]
        if topic in self.forgets:
            self.forgets.remove(topic)
            return web.Response(status=204)
        self.published.append((topic, text))
        for app in names.APPS:
            if topic in app.topics and (app.app_id, topic) not in self.dead:
                self.seen[app.app_id, topic] += 1
        return web.Response(status=204)

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response({"components": [{"name": names.PUBSUB, "type": KIND}]})

    async def _metrics(self, request: web.Request) -> web.Response:
        app = request.match_info["app"]
        lines = [
            f'todo_probe_events_total{{topic="{topic}"}} {count}'
            for (of, topic), count in self.seen.items()
            if of == app
        ]
        return web.Response(text="\n".join(["# TYPE todo_probe_events_total counter", *lines, ""]))

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if request.match_info["app"] in self.down else 200)

    async def _well(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _pipeline(self, _: web.Request) -> web.Response:
        self.calls.append("pipeline")
        if self.pipeline is None:
            await asyncio.sleep(60)
        return web.json_response(self.pipeline)

    async def _pages(self, _: web.Request) -> web.Response:
        self.calls.append("tasks")
        return web.json_response({"tasks": []})

    def count(self, topic: str) -> int:
        return sum(one == topic for one, _ in self.published)

    # as much of a broker as is asked for
    place = "Kafka at nowhere"

    async def holds(self, topic: str, text: bytes) -> bool:
        return (topic, text.decode()) in self.published

    async def lag(self, _: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Lag]:
        return self.lags

    async def ends(self, asked: Collection[str]) -> dict[str, int]:
        return dict.fromkeys(asked, 1)


class Asked:
    """A system with what asks it."""

    def __init__(self, system: System, http: aiohttp.ClientSession, url: str) -> None:
        self.system = system
        self.broker: Any = system
        self.present = [Sidecar(f"daprd-{one}", one, url, f"{url}/{one}") for one in PROBED]
        self.sidecars = Sidecars(http, self.listed, token=None)
        self.meter = Meter(http, Place(api=url, sidecar=url, mailbox=None, token=None), self.sidecars)

    async def listed(self) -> list[Sidecar]:
        return self.present

    def run(self) -> Any:  # noqa: ANN401 - as much of a run as a step looks at
        return SimpleNamespace(left=self.broker, sidecars=self.sidecars, meter=self.meter)


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    monkeypatch.setattr(following, "POLL", 0.01)
    monkeypatch.setattr(following, "_TIMEOUT", aiohttp.ClientTimeout(total=0.5))
    monkeypatch.setattr(figures, "GLANCE", 0.2)
    system = System()
    server = TestServer(system.app())
    await server.start_server()
    async with aiohttp.ClientSession() as http:
        yield Asked(system, http, str(server.make_url("")).rstrip("/"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await server.close()


async def test_a_whole_system_follows_and_nothing_has_strayed(asked: Asked) -> None:
    await asked.sidecars.follow(SIDE, asked.broker, 10)
    assert not +asked.sidecars.strayed


async def test_a_subscription_that_is_dead_is_not_made_up_for_by_probes_of_another_topic(asked: Asked) -> None:
    """backend has two that are probed; what comes late of the one is no sign of life of the other."""
    asked.system.dead = {(BACKEND, names.TASK_OCCURRENCES)}
    task = asyncio.create_task(asked.sidecars.follow(SIDE, asked.broker, 0.5))
    await until(lambda: asked.system.count(names.TASK_OCCURRENCES) == 2)  # the second is the fresh one
    asked.system.seen[BACKEND, names.REMINDER_DELIVERIES] += 5
    with pytest.raises(SwapError, match=r"do not reach backend \(task-occurrences\): look"):
        await task


AWAY = "http://127.0.0.1:1"


def elsewhere(app: str = BACKEND, *, ending: bool = False) -> Sidecar:
    """One that does not answer."""
    return Sidecar("daprd-elsewhere", app, AWAY, AWAY, ending)


async def test_a_replica_that_goes_is_waited_for_until_it_is_gone(asked: Asked) -> None:
    """While it is on its way out it might still publish to the broker before."""
    asked.present.append(elsewhere(ending=True))
    assert await asked.sidecars.down() == []
    with pytest.raises(SwapError, match="daprd-elsewhere does not answer"):
        await asked.sidecars.follow(SIDE, asked.broker, 0.3)
    before = len(asked.system.published)
    task = asyncio.create_task(asked.sidecars.follow(SIDE, asked.broker, 10))
    await until(lambda: len(asked.system.published) > before)
    assert not task.done()
    asked.present.pop()
    await task
    assert asked.sidecars.restarted == []


async def test_a_replica_that_came_meanwhile_has_to_follow_too(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    there = asked.system.holds

    async def one_comes(topic: str, text: bytes) -> bool:
        if len(asked.present) == len(PROBED):
            asked.present.append(elsewhere())
        return await there(topic, text)

    monkeypatch.setattr(asked.system, "holds", one_comes)
    with pytest.raises(SwapError, match="not every sidecar is on kafka: daprd-elsewhere does not answer"):
        await asked.sidecars.publish(SIDE, asked.broker, 0.3)


async def test_an_app_without_a_replica_is_not_up(asked: Asked) -> None:
    asked.present = [one for one in asked.present if one.app_id != BACKEND]
    assert await asked.sidecars.down() == ["no replica of backend runs"]


async def test_metrics_of_a_replica_that_goes_are_left_out_and_one_that_hides_them_is_told(asked: Asked) -> None:
    asked.present.append(elsewhere())
    with pytest.raises(SwapError, match="does not tell its metrics"):
        await asked.sidecars.metrics()
    asked.present[-1] = elsewhere(ending=True)
    assert len(await asked.sidecars.metrics()) == len(PROBED)


def test_probes_are_counted_by_replica() -> None:
    """A sum would shrink when one goes, and hide what the others have seen."""
    before = {("a", "x", "t"): 5, ("b", "x", "t"): 9, ("c", "x", "u"): 3}
    now = {("a", "x", "t"): 6, ("c", "x", "u"): 1, ("d", "x", "u"): 2}
    assert grown(before, now) == Counter({("x", "t"): 1, ("x", "u"): 3})


async def test_a_sidecar_that_does_not_answer_a_publish_is_named(asked: Asked) -> None:
    """So it is while its broker hangs."""
    asked.system.hangs = True
    with pytest.raises(SwapError, match=r"daprd-backend does not answer a publish \(TimeoutError\)"):
        await asked.sidecars.round_trip()


@pytest.mark.parametrize("drain", [False, True])
async def test_a_broker_that_hangs_is_left_where_it_need_not_be_drained(asked: Asked, *, drain: bool) -> None:
    asked.system.hangs = True
    wish = Wish(to="redis", drain=drain, tell=lambda *_: None)
    if drain:
        with pytest.raises(SwapError, match="does not answer a publish"):
            await steps._before(asked.run(), wish)
    else:
        assert await steps._before(asked.run(), wish) is None


async def test_what_is_left_is_told_whole_and_beside_it_what_may_be_probes(asked: Asked) -> None:
    """A stray probe was read more often than not, and must hide no event."""
    topic = PROBED[BACKEND]
    asked.system.forgets = {topic}
    await asked.sidecars.publish(SIDE, asked.broker, 10)
    assert +asked.sidecars.strayed == Counter({topic: 1})
    asked.system.lags = {("notification-service", topic): Lag(3), ("email-delivery", "task-reminders"): Lag(0, 2)}
    assert await steps._left_behind(asked.run()) == (5, 1)
    asked.system.lags = {("notification-service", topic): Lag(1)}
    assert await steps._left_behind(asked.run()) == (1, 1)
    asked.system.lags = {}
    assert await steps._left_behind(asked.run()) == (0, 0)


PIPELINE = {"outbox": {"depth": 7, "oldest_seconds": 1.0}, "dead_letters": {}, "schedule": None, "sidecar_ready": True}


async def test_a_glance_counts_what_waits_and_no_tasks(asked: Asked) -> None:
    asked.system.pipeline = PIPELINE
    asked.system.lags = {("notification-service", "task-events"): Lag(2)}
    found = await asked.meter.glance(asked.broker)
    assert found == Figures(tasks=None, events=len(topics.wanted()), waiting=7, unread=2, mails=None)
    assert asked.system.calls == ["pipeline"]


async def test_a_glance_that_fails_is_none(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends no swap, and takes no time of the pause."""
    assert await asked.meter.glance(asked.broker) is None

    async def away(_: Collection[str]) -> dict[str, int]:
        raise BrokerError(Fault.NETWORK, "nobody is there")

    asked.system.pipeline = PIPELINE
    monkeypatch.setattr(asked.system, "ends", away)
    assert await asked.meter.glance(asked.broker) is None


def calm(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Calm:
    @contextlib.asynccontextmanager
    async def connected(*_: object) -> AsyncIterator[Any]:
        yield asked.broker

    monkeypatch.setattr(brokers, "connected", connected)

    async def current() -> Side:
        return SIDE

    target: Any = SimpleNamespace(sidecars=asked.listed, place=SimpleNamespace(token=None), current=current)
    return Calm(target, asked.sidecars._http)


async def test_where_a_service_is_down_a_rotation_sees_that_each_sidecar_publishes(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.system.dead = {(BACKEND, names.TASK_OCCURRENCES)}
    assert await calm(asked, monkeypatch).events_flow(5, read=False) == ""
    assert "do not reach backend" in await calm(asked, monkeypatch).events_flow(0.3, read=True)
    asked.system.hangs = True
    assert "does not answer" in await calm(asked, monkeypatch).events_flow(0.3, read=False)


async def test_a_service_that_is_down_is_no_calm_even_if_nothing_waits_for_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def held(_: object) -> AsyncIterator[None]:
        yield

    async def at_once(_: object) -> None:
        pass

    monkeypatch.setattr(Pauses, "held", held)
    monkeypatch.setattr(Pauses, "until_quiet", at_once)
    async with calm(asked, monkeypatch).moment("a test") as disturbed:
        assert disturbed == ""
    asked.system.down = {BACKEND}
    async with calm(asked, monkeypatch).moment("a test") as disturbed:
        assert disturbed.startswith("backend answers 503 at ")


class Standing:
    """A target that stands somewhere, and gives what is wished for."""

    def __init__(self, here: Side, there: Side) -> None:
        self._here, self._there = here, there

    def alone(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    async def remembered(self) -> bytes | None:
        return None

    async def current(self) -> Side:
        return self._here

    async def side(self, _: str) -> Side:
        return self._there


async def test_a_component_that_a_rotation_had_loaded_anew_is_the_same_one() -> None:
    there = Side("redis", {"metadata": {"name": "x"}, "spec": {"type": "pubsub.redis"}}, b"", {})
    shown = {"metadata": {"name": "x"}, "spec": {"type": "pubsub.redis", "initTimeout": "31s"}}
    target: Any = Standing(Side("redis", shown, b"", {}), there)
    assert (await swap(target, Wish(to="redis", tell=lambda *_: None))).moved is False


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_switch_whose_answer_is_lost_is_taken_back(lost: int) -> None:
    """The component may be in place all the same; where the way back is not answered either, that is said."""
    placed: list[str] = []

    async def apply(side: Side) -> None:
        placed.append(side.name)
        if len(placed) <= lost:
            raise SwapError("the API server does not answer")

    async def follow(side: Side, *_: object) -> None:
        assert side.name == "old"

    sidecars = SimpleNamespace(follow=follow, restarted=[])
    broker = SimpleNamespace(place="there")
    run: Any = SimpleNamespace(target=SimpleNamespace(apply=apply), sidecars=sidecars, left=broker, right=broker)
    old, new = (Side(name, {"spec": {"type": KIND}}, b"", {}) for name in ("old", "new"))
    ends = "Everything is back on old" if lost == 1 else "is not known"
    with pytest.raises(SwapError, match=f"does not answer.*{ends}"):
        await steps._switch(run, Wish(to="new", tell=lambda *_: None), old, new)
    assert placed == ["new", "old"]
