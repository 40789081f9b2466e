"""Delivery out of the log, with a subscriber in place of the network."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from daprlet.app_channel import AppChannel, new_session
from daprlet.apps import App, Replica
from daprlet.broker import Broker, Limits
from daprlet.database import Database
from daprlet.delivery import SUCCESS, Outcome, Verdict, Verdicts
from daprlet.errors import StorageError
from daprlet.log import Draft, Log, Message
from daprlet.metrics import Metrics
from daprlet.resiliency import ComponentTarget, Policies, PolicyNames, ResiliencySpec, RetrySpec
from daprlet.resources import Component, Resources
from daprlet.settings import AppSettings
from daprlet.subscriptions import Subscription

RETRY, DROP = Verdict(Outcome.RETRY, "no"), Verdict(Outcome.DROP, "never")
UNAVAILABLE = Verdict(Outcome.RETRY, "going down", 503)
UNCOUNTED = Verdict(Outcome.UNCOUNTED)
Answer = Callable[[Message], Verdict]


class Subscriber:
    """Takes deliveries, remembers them and answers as the test says."""

    def __init__(self, answer: Answer = lambda _: SUCCESS) -> None:
        self.answer = answer
        self.bodies: list[bytes] = []
        self.batches: list[int] = []
        self.at_once = self.most_at_once = 0
        self.on: Counter[AppChannel] = Counter()  # at once, by replica
        self.most_on: Counter[AppChannel] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.by_topic: Counter[str] = Counter()

    async def __call__(
        self,
        channel: AppChannel,
        subscription: Subscription,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - the port's
    ) -> Verdicts:
        del timeout
        self.at_once += 1
        self.on[channel] += 1
        self.most_on[channel] = max(self.most_on[channel], self.on[channel])
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        self.on[channel] -= 1
        self.batches.append(len(messages))
        self.bodies += [message.body for message in messages]
        self.by_topic[subscription.topic] += len(messages)
        return {message.id: self.answer(message) for message in messages}


def subscription(topic: str = "t", **more: Any) -> Subscription:  # noqa: ANN401 - fields of a Subscription
    return Subscription("bus", topic, (), f"/{topic}", **more)


def policies(retries: int) -> Policies:
    spec = ResiliencySpec()
    spec.policies.retries = {"r": RetrySpec(duration="1ms", max_retries=retries)}
    spec.targets.components = {"bus": ComponentTarget(PolicyNames(retry="r"))}
    return Policies({"file": spec})


def healthy_replica(session: aiohttp.ClientSession, resources: Resources, *subscriptions: Subscription) -> Replica:
    channel = AppChannel(AppSettings("app", app_port=1), session, lambda: None)
    channel.healthy = True
    channel.programmatic = list(subscriptions)
    replica = Replica(channel, resources, Metrics("app"))
    replica.refresh()
    return replica


@asynccontextmanager
async def running(
    database: Database,
    subscriber: Subscriber,
    *subscriptions: Subscription,
    retries: int = 0,
    **settings: Any,  # noqa: ANN401 - of the component
) -> AsyncIterator[tuple[Broker, Replica]]:
    """A broker with one app that has these subscriptions and one healthy replica."""
    session = new_session()
    app = App("app")
    component = Component("bus", "pubsub.sqlite", "file", {"redeliverInterval": 0.001, **settings}, frozenset())
    replica = healthy_replica(
        session, Resources(pubsubs={"bus": component}, policies=policies(retries)), *subscriptions
    )
    app.replicas.append(replica)
    broker = Broker(Log(database), subscriber)
    await broker.follow(app)
    yield broker, replica
    await broker.stop()
    await session.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - many different things are waited for
            await asyncio.sleep(0.002)


def drafts(count: int) -> list[Draft]:
    return [Draft(b"%d" % number) for number in range(count)]


def unacknowledged(database: Database) -> int:
    (mark,), *_ = database.read("SELECT mark FROM subscription ORDER BY id")
    (newest,), *_ = database.read("SELECT max(id) FROM message")
    (acked,), *_ = database.read("SELECT count(*) FROM ack WHERE message > ?", (mark,))
    return int(newest - mark - acked)


async def test_everything_arrives_once_and_roughly_in_order(database: Database) -> None:
    """Without failures there is one delivery each; what was published before the subscription is included."""
    subscriber = Subscriber()
    log = Log(database)
    await log.append(await log.topic("bus", "t"), drafts(50))
    async with running(database, subscriber, subscription()) as (broker, _):
        await broker.publish("bus", "t", drafts(50))
        await until(lambda: len(subscriber.bodies) == 100)
        await until(lambda: unacknowledged(database) == 0)
    assert subscriber.bodies[:50] == [draft.body for draft in drafts(50)]


@pytest.mark.parametrize(("batch", "limit", "settings"), [(0, 10, {}), (0, 3, {"concurrency": 3}), (7, 2, {})])
async def test_in_flight_is_bounded(database: Database, batch: int, limit: int, settings: dict[str, int]) -> None:
    """While the subscriber holds its answers nothing more is taken out of the log than it may have."""
    subscriber = Subscriber()
    subscriber.gate.clear()
    async with running(database, subscriber, subscription(batch=batch), **settings) as (broker, _):
        await broker.publish("bus", "t", drafts(100))
        await until(lambda: subscriber.at_once == limit)
        subscriber.gate.set()
        await until(lambda: len(subscriber.bodies) == 100)
    assert subscriber.most_at_once == limit
    assert max(subscriber.batches) == (batch or 1)


async def test_a_restart_redelivers_only_what_was_not_acknowledged(database: Database) -> None:
    """The second run begins with the gaps that the first one left."""
    stuck = {b"3", b"17", b"18"}
    first = Subscriber(lambda message: RETRY if message.body in stuck else SUCCESS)
    async with running(database, first, subscription(), redeliverInterval=60) as (broker, _):
        await broker.publish("bus", "t", drafts(40))
        await until(lambda: unacknowledged(database) == len(stuck))
    second = Subscriber()
    async with running(database, second, subscription()):
        await until(lambda: unacknowledged(database) == 0)
    assert sorted(second.bodies) == sorted(stuck)


async def test_a_restart_reaches_what_is_behind_many_acknowledged_ones(database: Database) -> None:
    """A long stretch that was acknowledged out of order is passed over, and then forgotten."""
    first = Subscriber(lambda message: RETRY if message.body == b"0" else SUCCESS)
    async with running(database, first, subscription(), redeliverInterval=60) as (broker, _):
        await broker.publish("bus", "t", drafts(500))
        await until(lambda: unacknowledged(database) == 1)
    log = Log(database)
    await log.append(await log.topic("bus", "t"), [Draft(b"behind")])
    second = Subscriber(lambda message: RETRY if message.body == b"0" and len(second.bodies) < 5 else SUCCESS)
    async with running(database, second, subscription()) as (broker, _):
        await until(lambda: unacknowledged(database) == 0)
        await broker.publish("bus", "t", [Draft(b"last")])
        await until(lambda: b"last" in second.bodies)
        await until(lambda: database.read("SELECT count(*) FROM ack") == [(0,)])
    assert {b"0", b"behind", b"last"} == set(second.bodies)


async def test_retries_then_a_dead_letter_with_the_original_bytes(database: Database) -> None:
    """As many attempts as the policy says, then the bytes on the dead-letter topic."""
    subscriber = Subscriber(lambda _: RETRY)
    async with running(database, subscriber, subscription(dead_letter_topic="dead"), retries=2) as (broker, _):
        await broker.publish("bus", "t", drafts(1))
        await until(lambda: unacknowledged_of(database, "t") == 0)
    assert len(subscriber.bodies) == 3
    assert database.read("SELECT body FROM message ORDER BY id") == [(b"0",), (b"0",)]


def unacknowledged_of(database: Database, topic: str) -> int:
    rows = database.read(
        "SELECT count(*) FROM message JOIN topic ON topic.id = message.topic JOIN subscription ON subscription.topic ="
        " topic.id WHERE name = ? AND message.id > mark",
        (topic,),
    )
    return int(rows[0][0])


async def test_without_dead_letters_it_comes_again_for_ever(database: Database) -> None:
    """The policy ends, the component redelivers: nothing is lost."""
    subscriber = Subscriber()
    subscriber.answer = lambda _: SUCCESS if len(subscriber.bodies) > 30 else RETRY
    async with running(database, subscriber, subscription(), retries=2) as (broker, _):
        await broker.publish("bus", "t", drafts(1))
        await until(lambda: unacknowledged(database) == 0)
    assert len(subscriber.bodies) == 31


async def test_uncounted_failures_use_up_no_attempt(database: Database) -> None:
    """An app that was not reached has not failed: no dead letter, however often it happens."""
    subscriber = Subscriber()
    subscriber.answer = lambda _: SUCCESS if len(subscriber.bodies) > 20 else UNCOUNTED
    async with running(database, subscriber, subscription(dead_letter_topic="dead"), retries=1) as (broker, _):
        await broker.publish("bus", "t", drafts(1))
        await until(lambda: unacknowledged(database) == 0)
    assert database.read("SELECT count(*) FROM message") == [(1,)]


@pytest.mark.parametrize(("last_words", "dead"), [(UNAVAILABLE, 0), (RETRY, 1)])
async def test_an_app_that_goes_down(database: Database, last_words: Verdict, dead: int) -> None:
    """An app that said 5xx and went down has not judged the event; one that never answered may have fallen over it."""
    subscriber = Subscriber()
    async with running(database, subscriber, subscription(dead_letter_topic="dead")) as (broker, replica):

        def goes_down(_: Message) -> Verdict:
            replica.channel.healthy = len(subscriber.bodies) != 1
            return last_words if len(subscriber.bodies) == 1 else SUCCESS

        subscriber.answer = goes_down
        await broker.publish("bus", "t", drafts(1))
        await until(lambda: not replica.channel.healthy)
        replica.channel.healthy = True
        app = broker._consumers["app", 1].app
        app.changed.fire()
        await until(lambda: unacknowledged_of(database, "t") == 0)
    assert len(subscriber.bodies) == 2 - dead
    assert database.read("SELECT count(*) FROM message") == [(1 + dead,)]


async def test_a_retried_message_does_not_hold_back_others(database: Database) -> None:
    """Those behind it are delivered and acknowledged while it waits."""
    subscriber = Subscriber(lambda message: RETRY if message.body == b"0" else SUCCESS)
    async with running(database, subscriber, subscription(), redeliverInterval=60) as (broker, _):
        await broker.publish("bus", "t", drafts(100))
        await until(lambda: unacknowledged(database) == 1)


async def test_dropped_messages_are_dead_letters_at_once(database: Database) -> None:
    """DROP is never retried; in a batch it concerns its own entry only."""
    subscriber = Subscriber(lambda message: DROP if message.body == b"1" else SUCCESS)
    async with running(database, subscriber, subscription(batch=10, dead_letter_topic="dead"), retries=5) as (
        broker,
        _,
    ):
        await broker.publish("bus", "t", drafts(3))
        await until(lambda: unacknowledged_of(database, "t") == 0)
    assert database.read("SELECT body FROM message WHERE id > 3") == [(b"1",)]


async def test_a_storage_failure_loses_no_dead_letter(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not become a dead letter stays unacknowledged whatever else is acknowledged; later it becomes one."""
    monkeypatch.setattr("daprlet.broker._STORE_AGAIN", 0.001)
    healthy = Log.settle
    refused = 0

    async def full(log: Log, *arguments: Any, clean: bool) -> None:  # noqa: ANN401 - those of settle
        nonlocal refused
        if arguments[3]:
            refused += 1
            raise StorageError("disk full")
        await healthy(log, *arguments, clean=clean)

    monkeypatch.setattr(Log, "settle", full)
    subscriber = Subscriber(lambda message: DROP if message.body == b"0" else SUCCESS)
    async with running(database, subscriber, subscription(dead_letter_topic="dead")) as (broker, _):
        await broker.publish("bus", "t", drafts(20))
        await until(lambda: refused > 10 and unacknowledged(database) == 1)
        assert database.read("SELECT mark FROM subscription") == [(0,)]
        monkeypatch.setattr(Log, "settle", healthy)
        await until(lambda: unacknowledged_of(database, "t") == 0)
    assert database.read("SELECT body FROM message WHERE id > 20") == [(b"0",)]


async def test_any_mix_of_answers_loses_nothing(database: Database) -> None:
    """Whatever the subscriber answers, each message ends as accepted or as a dead letter, and the position says so."""
    dice = random.Random(7)  # noqa: S311 - reproducible on purpose
    accepted: Counter[bytes] = Counter()

    def answer(message: Message) -> Verdict:
        verdict = dice.choice([SUCCESS, SUCCESS, RETRY, DROP, UNCOUNTED])
        accepted[message.body] += verdict is SUCCESS
        return verdict

    subscriber = Subscriber(answer)
    async with running(database, subscriber, subscription(batch=9, dead_letter_topic="dead"), retries=1) as (broker, _):
        for _ in range(30):
            await broker.publish("bus", "t", drafts(20))
        await until(lambda: unacknowledged_of(database, "t") == 0)
    dead = database.read("SELECT count(*) FROM message WHERE topic = (SELECT id FROM topic WHERE name = 'dead')")[0][0]
    assert accepted.total() + dead == 600
    assert dead > 0


async def test_an_error_of_our_own_costs_no_message(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivery is begun again."""
    monkeypatch.setattr("daprlet.broker._STANDARD", Limits(redeliver_interval=0.001))
    subscriber = Subscriber()

    def fails_once(_: Message) -> Verdict:
        if len(subscriber.bodies) == 1:
            raise AssertionError("a bug")
        return SUCCESS

    subscriber.answer = fails_once
    async with running(database, subscriber, subscription()) as (broker, _):
        await broker.publish("bus", "t", drafts(1))
        await until(lambda: unacknowledged(database) == 0)
    assert len(subscriber.bodies) == 2


async def test_stop_waits_for_nothing_but_keeps_everything(database: Database) -> None:
    """A delivery that was cut off is delivered again by the next run."""
    subscriber = Subscriber()
    subscriber.gate.clear()
    async with running(database, subscriber, subscription()) as (broker, _):
        await broker.publish("bus", "t", drafts(5))
        await until(lambda: subscriber.at_once == 5)
    again = Subscriber()
    async with running(database, again, subscription()):
        await until(lambda: len(again.bodies) == 5)


async def test_a_stop_while_an_app_subscribes_ends(database: Database) -> None:
    """A consumer whose position is read as the broker stops does not begin: nobody would end it again."""
    subscriber = Subscriber()
    async with running(database, subscriber) as (broker, replica):
        replica.channel.programmatic = [subscription()]
        replica.refresh()
        app = App("app")
        app.replicas.append(replica)
        await broker._log.topic("bus", "t")
        following = asyncio.create_task(broker.follow(app))
        await asyncio.sleep(0)  # it waits for the position now
        async with asyncio.timeout(10):
            await broker.stop()
            await following
        assert not [one for one in broker._running if not one.done()]


async def test_a_failed_read_ends_no_consumer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivery goes on as soon as the log can be read again."""
    monkeypatch.setattr("daprlet.broker._STORE_AGAIN", 0.001)
    reading, failed = Log.page, 0

    def unreadable(*_: object) -> list[Message]:
        nonlocal failed
        failed += 1
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Log, "page", unreadable)
    subscriber = Subscriber()
    async with running(database, subscriber, subscription()) as (broker, _):
        await broker.publish("bus", "t", drafts(3))
        await until(lambda: failed > 2)
        monkeypatch.setattr(Log, "page", reading)
        await until(lambda: len(subscriber.bodies) == 3)


async def test_a_replica_that_is_left_alone_gets_no_more_than_its_own(database: Database) -> None:
    """What the others had in flight waits for room on the survivor."""
    subscriber = Subscriber()
    subscriber.gate.clear()
    async with running(database, subscriber, subscription(), concurrency=3) as (broker, replica):
        app = broker._consumers["app", 1].app
        twin = healthy_replica(replica.channel._session, replica.resources, subscription())
        app.replicas.append(twin)
        subscriber.answer = lambda _: UNCOUNTED if len(subscriber.bodies) <= 6 else SUCCESS
        await broker.publish("bus", "t", drafts(30))
        await until(lambda: subscriber.at_once == 6)
        twin.channel.healthy = False
        subscriber.gate.set()
        subscriber.gate.clear()
        await until(lambda: len(subscriber.bodies) == 6 and subscriber.on[replica.channel] == 3)
        subscriber.gate.set()
        await until(lambda: unacknowledged(database) == 0)
    assert subscriber.most_on == {replica.channel: 3, twin.channel: 3}


async def test_an_idle_consumer_reads_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was not full says that the log ends there: it is not asked again before the next publish."""
    reading, pages = Log.page, 0

    def counted(log: Log, topic: int, after: int, limit: int) -> list[Message]:
        nonlocal pages
        pages += 1
        return reading(log, topic, after, limit)

    subscriber = Subscriber()
    async with running(database, subscriber, subscription()) as (broker, _):
        monkeypatch.setattr(Log, "page", counted)
        for number in range(20):
            await broker.publish("bus", "t", drafts(1))
            await until(lambda: len(subscriber.bodies) == number + 1)  # noqa: B023 - awaited here
        await until(lambda: unacknowledged(database) == 0)
    assert pages <= 21  # one before the first publish


async def test_a_long_stretch_that_was_acknowledged_does_not_hold_up_the_rest(database: Database) -> None:
    """Others have their turn between the pages that a restarted consumer passes over."""
    log = Log(database)
    topic = await log.topic("bus", "t")
    await log.append(topic, drafts(2000))
    position = await log.position("app", topic)
    await log.settle(position.subscription, 0, range(1, 2000))
    subscriber = Subscriber()
    turns = 0
    async with running(database, subscriber, subscription()):
        while not subscriber.bodies:
            turns += 1
            await asyncio.sleep(0)
    assert turns > 100
