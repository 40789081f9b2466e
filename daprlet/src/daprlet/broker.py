"""Publishing into the log, and one delivery loop per consumer group and topic out of it."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from daprlet.apps import App, Replica
from daprlet.delivery import Attempt, Outcome, Verdict, Verdicts, attempt, expired
from daprlet.errors import StorageError
from daprlet.log import Draft, Log, Message, Position, Retention, ends_log
from daprlet.resources import Component, retention
from daprlet.subscriptions import Subscription

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SWEEP_SECONDS: Final = 30.0
_STORE_AGAIN: Final = 1.0  # seconds until what the storage refused is tried again
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of one subscription is in flight per replica, and the component's own redelivery."""

    concurrency: int = 10
    bulk_concurrency: int = 2
    processing_timeout: float = 60.0
    redeliver_interval: float = 5.0

    @classmethod
    def of(cls, component: Component) -> "Limits":
        get = component.settings.get
        return cls(
            get("concurrency", _STANDARD.concurrency),
            get("bulkConcurrency", _STANDARD.bulk_concurrency),
            get("processingTimeout", _STANDARD.processing_timeout),
            get("redeliverInterval", _STANDARD.redeliver_interval),
        )

    def in_flight(self, subscription: Subscription) -> int:
        return self.bulk_concurrency if subscription.batch else self.concurrency


_STANDARD: Final = Limits()


@dataclass(slots=True)
class _Delivery:
    """Messages that travel together until each is settled."""

    messages: list[Message]


class Consumer:
    """One consumer group on one topic: reads the log in pages, keeps a bounded number in flight, records what is done.

    Nothing is queued in memory beyond one page and what is in flight. At least once, roughly in order: a message that
    is retried does not hold back those behind it until everything in flight is being retried.
    """

    def __init__(  # noqa: PLR0913 - all of it is needed, and only the broker makes consumers
        self,
        log: Log,
        app: App,
        topic: int,
        key: tuple[str, str],
        position: Position,
        send: Attempt,
        published: Callable[[int], None],
    ) -> None:
        self.app = app
        self.key = key
        self.subscription = position.subscription
        self._name = f"{app.app_id} on {key[1]}"
        self._log = log
        self._topic = topic
        self._send = send
        self._published = published
        self._cursor = position.mark
        self._skip = set(position.acked)
        self._unsettled: set[int] = set()
        self._done: set[int] = set()
        self._acknowledging: asyncio.Task[None] | None = None
        self._highest_ack = max(position.acked, default=0)  # of those stored one by one; 0 when there is none
        self._page: deque[Message] = deque()
        self._more = True  # whether the log may go on behind the cursor
        self._calls: Counter[Replica] = Counter()  # under way
        self._known_limits: dict[Replica, tuple[Component, Limits]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        self._wake.set()

    def published(self) -> None:
        """There may be more in the log."""
        self._more = True
        self.wake()

    def subscribed(self) -> list[Replica]:
        """The available replicas that have this subscription."""
        return [replica for replica in self.app.available() if self.key in replica.subscriptions]

    async def run(self) -> None:
        """Deliver until `stop`; whatever is in flight then goes on in its own task."""
        while not self._stopping:
            self._wake.clear()
            try:
                await self._hand_out()
            except Exception:  # noqa: BLE001 - whatever it was, the consumer must not end for the rest of the run
                _log.exception("%s: the log could not be read and is read again", self._name)
                await asyncio.sleep(_STORE_AGAIN)
            else:
                await self._wake.wait()

    async def _hand_out(self) -> None:
        """Begin deliveries while there is room and something to deliver."""
        while (replica := self._with_room()) is not None and (batch := await self._take(replica)):
            if self._stopping:  # meanwhile: nobody would wait for this delivery
                return
            self._start(batch)

    async def stop(self) -> None:
        """Deliver no more; what is not acknowledged by now is redelivered by the next run."""
        self._stopping = True
        self.wake()
        unfinished = list(self._deliveries)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def _with_room(self) -> Replica | None:
        replicas = [] if self._stopping else self.subscribed()
        if not replicas:
            return None
        room = sum(self._limits(replica).in_flight(replica.subscriptions[self.key]) for replica in replicas)
        return self.app.pick(replicas) if len(self._deliveries) < room else None

    def _roomy(self) -> list[Replica]:
        """The subscribed replicas that may have one more call under way."""
        return [
            one
            for one in self.subscribed()
            if self._calls[one] < self._limits(one).in_flight(one.subscriptions[self.key])
        ]

    async def _take(self, replica: Replica) -> list[Message]:
        """The next batch: what is there, up to what the replica takes at once."""
        wanted, at_least = replica.subscriptions[self.key].batch or 1, self._limits(replica).concurrency
        while self._more and len(self._page) < wanted:
            before = len(self._page)
            self._fill(max(wanted - before, at_least))
            if len(self._page) == before:  # all of it was acknowledged: there may be many such pages
                await asyncio.sleep(0)
        return [self._page.popleft() for _ in range(min(wanted, len(self._page)))]

    def _fill(self, limit: int) -> None:
        """Read on in the log."""
        page = self._log.page(self._topic, self._cursor, limit)
        self._more = not ends_log(page, limit)
        if page:
            self._cursor = page[-1].id
        for message in page:
            if message.id in self._skip:
                self._skip.discard(message.id)
            else:
                self._page.append(message)
                self._unsettled.add(message.id)

    def _start(self, batch: list[Message]) -> None:
        task = asyncio.create_task(self._deliver_somehow(_Delivery(batch)))
        self._deliveries.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self.wake()

    async def _deliver_somehow(self, delivery: _Delivery) -> None:
        """Deliver, and after an error of our own deliver again: it must not cost a message."""
        while True:
            try:
                return await self._deliver(delivery)
            except Exception:  # noqa: BLE001 - whatever it was, the message is not to be lost
                _log.exception("%s: a delivery ended unexpectedly and is begun again", self._name)
                await asyncio.sleep(_STANDARD.redeliver_interval)

    async def _deliver(self, delivery: _Delivery) -> None:
        """Attempt and retry as the policy says, then dead letters or redelivery, until all is settled."""
        delays: Iterator[float] | None = None
        while True:
            replica = await self.app.wait_for_one(self._roomy)
            subscription = replica.subscriptions[self.key]
            policy, limits = replica.resources.policies.inbound(subscription.pubsub), self._limits(replica)
            delays = delays or policy.retry.delays()
            timeout = policy.timeout or limits.processing_timeout
            verdicts = await self._attempt(replica, subscription, delivery.messages, timeout)
            await self._settle_done(delivery, verdicts, subscription)
            if not delivery.messages:
                return
            left = [verdicts[message.id] for message in delivery.messages]
            if any(verdict.outcome is Outcome.UNCOUNTED for verdict in left):
                continue
            delay = next(delays, None) if subscription.batch or policy.retry.retries(left[0].status) else None
            if delay is None and subscription.dead_letter_topic:
                await self._settle(delivery, delivery.messages, delivery.messages, subscription, left[0].reason)
                return
            if delay is None:
                delay, delays = limits.redeliver_interval, None
            _log.debug("%s: %s; tried again in %g s", self._name, left[0].reason, delay)
            await asyncio.sleep(delay)

    async def _attempt(
        self,
        replica: Replica,
        subscription: Subscription,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - passed on
    ) -> Verdicts:
        now = time.time()
        late = {message.id for message in messages if expired(subscription, message, now)}
        verdicts = dict.fromkeys(late, _EXPIRED)
        fresh = [message for message in messages if message.id not in late]
        began = time.perf_counter()
        if fresh:
            with replica.busy(), self._calling(replica):
                verdicts |= await self._send(replica.channel, subscription, fresh, timeout)
        replica.metrics.delivered(subscription, verdicts.values(), time.perf_counter() - began)
        if replica.channel.healthy:
            return verdicts
        # It said that it was going down. A call without an answer counts: the message may be what took the app down.
        return {key: _UNCOUNTED if _unavailable(one) else one for key, one in verdicts.items()}

    @contextlib.contextmanager
    def _calling(self, replica: Replica) -> Iterator[None]:
        self._calls[replica] += 1
        try:
            yield
        finally:
            self._calls[replica] -= 1
            self.app.changed.fire()  # somebody may wait for room

    async def _settle_done(self, delivery: _Delivery, verdicts: Verdicts, subscription: Subscription) -> None:
        done = [m for m in delivery.messages if verdicts[m.id].outcome in (Outcome.SUCCESS, Outcome.DROP)]
        dropped = [message for message in done if verdicts[message.id].outcome is Outcome.DROP]
        reason = verdicts[dropped[0].id].reason if dropped else ""
        if done:
            await self._settle(delivery, done, dropped if subscription.dead_letter_topic else [], subscription, reason)
        if dropped and not subscription.dead_letter_topic:
            _log.warning("%s: %d messages dropped: %s", self._name, len(dropped), reason)

    async def _settle(
        self,
        delivery: _Delivery,
        done: Sequence[Message],
        dead: Sequence[Message],
        subscription: Subscription,
        reason: str,
    ) -> None:
        """Acknowledge `done`, of which `dead` go to the dead-letter topic in the same commit."""
        ids = {message.id for message in done}
        if dead:
            await self._bury(ids, dead, subscription, reason)
        else:
            await self._acknowledge(ids)
        delivery.messages = [message for message in delivery.messages if message.id not in ids]

    async def _acknowledge(self, ids: set[int]) -> None:
        """Record that these are done, together with what else is done in this round of the event loop.

        They count as settled at once: that this could not be stored only means that they are delivered again.
        """
        self._unsettled -= ids
        self._done |= ids
        if self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._acknowledge_collected())
        await asyncio.shield(self._acknowledging)

    async def _acknowledge_collected(self) -> None:
        ids, self._done, self._acknowledging = self._done, set(), None
        await self._stored(ids)

    async def _bury(self, ids: set[int], dead: Sequence[Message], subscription: Subscription, reason: str) -> None:
        """Acknowledge `ids` and move the dead ones over; they count as unsettled until that is stored."""
        pubsub, name = subscription.pubsub, subscription.dead_letter_topic
        topic = await _until_stored(lambda: self._log.topic(pubsub, name), name)
        drafts = [message.draft() for message in dead]
        while not await self._stored(ids, drafts, topic):  # noqa: ASYNC110 - each round is a new try
            await asyncio.sleep(_STORE_AGAIN)
        self._unsettled -= ids
        _log.warning("%s: %d messages to %s: %s", self._name, len(dead), name, reason)
        self._published(topic)

    async def _stored(self, ids: set[int], dead: Sequence[Draft] = (), topic: int = 0) -> bool:
        others = self._unsettled - ids
        mark = min(others) - 1 if others else self._cursor
        above = {one for one in ids if one > mark}
        self._highest_ack = max(self._highest_ack, max(above, default=0))
        try:
            await self._log.settle(self.subscription, mark, above, dead, topic, clean=self._highest_ack > 0)
        except StorageError as error:
            _log.error("%s: an acknowledgement could not be stored: %s", self._name, error)
            return False
        if mark >= self._highest_ack:
            self._highest_ack = 0
        return True

    def _limits(self, replica: Replica) -> Limits:
        component = replica.resources.pubsubs[self.key[0]]
        known = self._known_limits.get(replica)
        if known is None or known[0] is not component:
            known = self._known_limits[replica] = component, Limits.of(component)
        return known[1]


def _unavailable(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.RETRY and verdict.status is not None and verdict.status >= _SERVER_ERROR


_EXPIRED: Final = Verdict(Outcome.DROP, "expired")
_UNCOUNTED: Final = Verdict(Outcome.UNCOUNTED, "the app went down meanwhile")


async def _until_stored(write: Callable[[], Awaitable[T]], what: str) -> T:
    """Try a write until the storage takes it: without it nothing of `what` could be delivered."""
    while True:
        try:
            return await write()
        except StorageError as error:
            _log.error("%s: storage does not take writes: %s", what, error)
            await asyncio.sleep(_STORE_AGAIN)


class Broker:
    """All topics and consumers of a run."""

    def __init__(self, log: Log, send: Attempt = attempt) -> None:
        self._log = log
        self._send = send
        self._consumers: dict[tuple[str, int], Consumer] = {}  # by app id and topic
        self._by_topic: dict[int, list[Consumer]] = {}
        self._running: list[asyncio.Task[None]] = []
        self._retention: dict[str, Retention] = {}
        self._lock = asyncio.Lock()
        self._stopping = False

    async def publish(self, pubsub: str, topic: str, drafts: Sequence[Draft]) -> None:
        """Append all of `drafts` or none (`StorageError`); durable when this returns."""
        number = await self._log.topic(pubsub, topic)
        await self._log.append(number, drafts)
        self._published(number)

    def add_component(self, component: Component) -> None:
        self._retention[component.name] = retention(component)

    async def follow(self, app: App) -> None:
        """Give every subscription of the app's replicas its consumer; called whenever one of them changed."""
        async with self._lock:
            for replica in app.replicas:
                for key in replica.subscriptions:
                    await self._ensure(app, key)
        for consumer in self._consumers.values():
            if consumer.app is app:
                consumer.wake()

    async def _ensure(self, app: App, key: tuple[str, str]) -> None:
        topic = await _until_stored(lambda: self._log.topic(*key), key[1])
        if (app.app_id, topic) in self._consumers:
            return
        position = await _until_stored(lambda: self._log.position(app.app_id, topic), key[1])
        if self._stopping:  # asked after the last await: nobody would stop a consumer that begins now
            return
        consumer = Consumer(self._log, app, topic, key, position, self._send, self._published)
        self._consumers[app.app_id, topic] = consumer
        self._by_topic.setdefault(topic, []).append(consumer)
        self._running.append(asyncio.create_task(consumer.run()))
        _log.info("app %s is subscribed to %s on %s", app.app_id, key[1], key[0])

    def _published(self, topic: int) -> None:
        for consumer in self._by_topic.get(topic, ()):
            consumer.published()

    async def sweep(self) -> None:
        """Apply retention from time to time, for as long as the run lasts."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                deleted = await self._log.sweep(self._live(), self._retention, _SWEEP_SECONDS)
            except (StorageError, sqlite3.Error) as error:
                _log.error("retention could not be applied: %s", error)
                continue
            if deleted:
                _log.debug("retention deleted %d messages", deleted)

    def _live(self) -> list[int]:
        return [
            one.subscription
            for one in self._consumers.values()
            if any(one.key in r.subscriptions for r in one.app.replicas)
        ]

    async def stop(self) -> None:
        """End all deliveries."""
        self._stopping = True
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers.values()))
        await asyncio.gather(*self._running, return_exceptions=True)
