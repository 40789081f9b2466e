"""Apps and their replicas: who is there to take a delivery, a tick or an invocation."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from daprlet.app_channel import AppChannel
from daprlet.metrics import Metrics
from daprlet.resources import Component, Resources
from daprlet.subscriptions import Subscription, unique

_log = logging.getLogger(__name__)


def may_use(component: Component, scopes: str, app_id: str, topic: str) -> bool:
    """Dapr's rule for topics: `allowedTopics` first, then `protectedTopics`, then the app's own list in `scopes`."""
    allowed = component.settings.get("allowedTopics")
    if allowed and topic not in allowed:
        return False
    granted = component.settings.get(scopes, {}).get(app_id)
    if granted is None:
        return topic not in component.settings.get("protectedTopics", ())
    return topic in granted


class Signal:
    """Wakes everyone who waits for a change; nobody who looks first and then waits misses one."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def fire(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def wait(self) -> None:
        one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(one)
        await one


class Replica:
    """One running instance of an app behind its own sidecar port."""

    def __init__(self, channel: AppChannel, resources: Resources, metrics: Metrics) -> None:
        self.channel = channel
        self.resources = resources
        self.metrics = metrics
        self.in_flight = 0
        self.stopping = False
        self.subscriptions: dict[tuple[str, str], Subscription] = {}

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count a call that is under way; what is under way is waited for when the run ends."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @property
    def available(self) -> bool:
        return self.channel.healthy and not self.stopping

    def refresh(self) -> None:
        """Take over what the app subscribes to now; what it lists itself comes before what files declare."""
        listed = unique([*self.channel.programmatic, *self.resources.subscriptions])
        self.subscriptions = {one.key: self._with_usable_dead_letters(one) for one in listed if self._allowed(one)}

    def _allowed(self, subscription: Subscription) -> bool:
        component = self.resources.pubsubs.get(subscription.pubsub)
        app_id = self.channel.settings.app_id
        if component is None:
            _log.error("app %s subscribes to %s, a pub/sub it does not have", app_id, subscription.pubsub)
            return False
        if not may_use(component, "subscriptionScopes", app_id, subscription.topic):
            _log.error("app %s is not allowed to subscribe to %s", app_id, subscription.topic)
            return False
        return True

    def _with_usable_dead_letters(self, subscription: Subscription) -> Subscription:
        """Dead letters are published with the app's own rights, as in Dapr: without them nothing is moved."""
        app_id, topic = self.channel.settings.app_id, subscription.dead_letter_topic
        component = self.resources.pubsubs[subscription.pubsub]
        if not topic or may_use(component, "publishingScopes", app_id, topic):
            return subscription
        _log.error("app %s may not publish to its dead-letter topic %s: what fails is tried for ever", app_id, topic)
        return replace(subscription, dead_letter_topic="")


class App:
    """All replicas of one app id."""

    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.replicas: list[Replica] = []
        self.changed = Signal()
        self._turn = 0

    def available(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.available]

    def pick(self, among: Sequence[Replica] | None = None) -> Replica | None:
        """The replica with the least in flight, in turn where several have as little; None when none is available."""
        candidates = self.available() if among is None else among
        if not candidates:
            return None
        self._turn += 1
        start = self._turn % len(candidates)
        return min((*candidates[start:], *candidates[:start]), key=lambda replica: replica.in_flight)

    async def wait_for_one(self, choose: Callable[[], Sequence[Replica]] | None = None) -> Replica:
        """An available replica (of those `choose` returns), as soon as there is one."""
        while True:
            replica = self.pick(choose() if choose else None)
            if replica is not None:
                return replica
            await self.changed.wait()


class Apps:
    """Every app of the run, by id."""

    def __init__(self) -> None:
        self._apps: dict[str, App] = {}

    def __getitem__(self, app_id: str) -> App:
        return self._apps.setdefault(app_id, App(app_id))

    def get(self, app_id: str) -> App | None:
        return self._apps.get(app_id)

    def all(self) -> Sequence[App]:
        return list(self._apps.values())
