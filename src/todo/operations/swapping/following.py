"""Whether every sidecar has followed to another broker, and every service gets events from there.

Asked by probes: events of Dapr's default type, which services log, count and ignore.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from todo.contracts import names
from todo.operations.brokers import Broker, BrokerError
from todo.operations.swapping.target import Side, Sidecar, SwapError

POLL: Final = 0.1
STUCK: Final = 15.0  # seconds after which a sidecar is restarted; a reload takes two
ROUND_TRIP: Final = 10.0  # seconds a probe has
# Where each app may publish; together they reach every app.
PROBED: Final = {
    names.BACKEND.app_id: names.TASK_EVENTS,
    names.NOTIFICATION.app_id: names.TASK_REMINDERS,
    names.EMAIL_DELIVERY.app_id: names.REMINDER_DELIVERIES,
    names.RECURRING.app_id: names.TASK_OCCURRENCES,
}
_AWAY: Final = (aiohttp.ClientError, TimeoutError, OSError)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


class Sidecars:
    """The sidecars of a system and the services beside them, over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, sidecars: Sequence[Sidecar], token: str | None) -> None:
        self._http = http
        self._all = sidecars
        self._headers = {"dapr-api-token": token} if token else {}
        self.restarted: list[str] = []
        self.strayed: Counter[str] = Counter()  # our own probes by topic that went to the broker before, read or not

    async def check(self) -> None:
        """Whether every service and every sidecar is up. Raises `SwapError` naming those that are not."""
        down = await self.down()
        if down:
            raise SwapError(f"{'; '.join(down)}: the system must be whole before it is moved")

    async def down(self) -> list[str]:
        """What is not up, in words."""
        states = await asyncio.gather(*(self._state(one) for one in self._all))
        return [state for state in states if state]

    async def follow(self, side: Side, broker: Broker, seconds: float) -> None:
        """Wait until each sidecar publishes to this broker, and each app gets events from there. Raises `SwapError`."""
        deadline = time.monotonic() + seconds
        await self.publish(side, broker, seconds)
        await self._until_consumed(side, deadline)

    async def publish(self, side: Side, broker: Broker, seconds: float) -> None:
        """The first half of `follow`: wait until each sidecar publishes to this broker. Raises `SwapError`."""
        deadline = time.monotonic() + seconds
        missing = await asyncio.gather(*(self._until_there(one, side, broker, deadline) for one in self._all))
        if any(missing):
            reasons = "; ".join(reason for reason in missing if reason)
            raise SwapError(f"after {seconds:.0f} s not every sidecar is on {side.name}: {reasons}")

    async def round_trip(self) -> tuple[float, float | None]:
        """Publish one probe for email-delivery; seconds until the broker had it, and until the service had it.

        None: not within `ROUND_TRIP`, because it stands behind what else the service has to do.
        """
        app = names.EMAIL_DELIVERY.app_id
        arrival = app, names.TASK_REMINDERS
        before = (await self.probes_seen(app))[arrival]
        began = time.monotonic()
        await self._publish(self._of(names.BACKEND), names.TASK_REMINDERS, f"swap-{uuid4()}")
        published = time.monotonic()
        while (await self.probes_seen(app))[arrival] <= before:
            if time.monotonic() > published + ROUND_TRIP:
                return published - began, None
            await asyncio.sleep(0.005)
        return published - began, time.monotonic() - began

    async def probes_seen(self, *only: str) -> Counter[tuple[str, str]]:
        """How many probes were counted by (app, topic), all replicas together. Raises `SwapError` while one is away."""
        asked = [one for one in self._all if not only or one.app_id in only]
        counts: Counter[tuple[str, str]] = Counter()
        for one, samples in zip(asked, await self.metrics(asked), strict=True):
            for name, labels, value in samples:
                if name == "todo_probe_events_total":
                    counts[one.app_id, labels["topic"]] += round(value)
        return counts

    async def metrics(self, asked: Sequence[Sidecar] = ()) -> list[list[tuple[str, dict[str, str], float]]]:
        """The samples of each service's metrics: name, labels, value."""
        try:
            texts = await asyncio.gather(*(self._text(one) for one in asked or self._all))
        except _AWAY as error:
            raise SwapError(f"a service does not tell its metrics: {type(error).__name__} {error}") from error
        return [
            [
                (sample.name, sample.labels, sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            ]
            for text in texts
        ]

    async def _text(self, one: Sidecar) -> str:
        async with self._http.get(f"{one.service_url}/metrics", timeout=_TIMEOUT) as answer:
            return await answer.text()

    async def _state(self, one: Sidecar) -> str:
        for url, wanted, what in (
            (f"{one.service_url}/readyz", 200, one.app_id),
            (f"{one.url}/v1.0/healthz", 204, one.name),
        ):
            try:
                async with self._http.get(url, timeout=_TIMEOUT) as answer:
                    if answer.status != wanted:
                        return f"{what} answers {answer.status} at {url}"
            except _AWAY as error:
                return f"{what} does not answer at {url} ({type(error).__name__})"
        return ""

    async def _until_there(self, one: Sidecar, side: Side, broker: Broker, deadline: float) -> str:
        """Empty once the sidecar is there; else why not. One that does not get there by itself is restarted once."""
        stuck_from = time.monotonic() + STUCK
        while True:
            reason = await self._why_not(one, side, broker)
            if not reason or time.monotonic() > deadline:
                return f"{one.name} {reason}" if reason else ""
            if time.monotonic() > stuck_from and one.name not in self.restarted:
                self.restarted.append(one.name)
                await self._restart(one)
            await asyncio.sleep(POLL)

    async def _restart(self, one: Sidecar) -> None:
        """End a sidecar at once; who runs it starts it again, and then it loads what is in place.

        daprd 1.18.2 closes a component only when its deliveries have ended: while a handler cannot do its work, that is
        when the policy's retries are used up. What it had in hand is not acknowledged, and delivered again.
        """
        headers = {**self._headers, "dapr-force-shutdown": "true"}
        with contextlib.suppress(*_AWAY):  # it may end before it answers
            async with self._http.post(f"{one.url}/v1.0/shutdown", headers=headers, timeout=_TIMEOUT):
                pass

    async def _why_not(self, one: Sidecar, side: Side, broker: Broker) -> str:
        """A component of the same type says nothing in the metadata: a probe through it must reach the broker."""
        text, topic = f"swap-{uuid4()}", PROBED[one.app_id]
        try:
            loaded = await self._loaded(one)
            if loaded != side.type:
                return f"has {loaded or 'no component'} loaded"
            await self._publish(one, topic, text)
            self.strayed[topic] += 1  # for as long as it is seen nowhere
            if not await broker.holds(topic, text.encode()):
                return "still publishes to the broker before"
        except _AWAY as error:
            return f"does not answer ({type(error).__name__})"
        except (SwapError, BrokerError) as error:
            return str(error)
        self.strayed[topic] -= 1
        return ""

    async def _loaded(self, one: Sidecar) -> str:
        async with self._http.get(f"{one.url}/v1.0/metadata", headers=self._headers, timeout=_TIMEOUT) as answer:
            told: dict[str, Any] = await answer.json()
        return next((each["type"] for each in told.get("components", ()) if each["name"] == names.PUBSUB), "")

    async def _publish(self, one: Sidecar, topic: str, text: str) -> None:
        """The guide's test event: JSON with a `task_id`, which Dapr wraps."""
        url = f"{one.url}/v1.0/publish/{names.PUBSUB}/{topic}"
        try:
            async with self._http.post(url, json={"task_id": text}, headers=self._headers, timeout=_TIMEOUT) as answer:
                if answer.status != 204:  # noqa: PLR2004 - HTTP
                    raise SwapError(f"cannot publish ({answer.status} {(await answer.text())[:200]})")
        except _AWAY as error:  # with a broker that hangs, so does its sidecar's answer
            raise SwapError(f"{one.name} does not answer a publish ({type(error).__name__})") from error

    async def _until_consumed(self, side: Side, deadline: float) -> None:
        """A probe on each topic, and each app must count it on each of its topics."""
        wanted = [(app.app_id, topic) for app in names.APPS for topic in app.topics if topic in PROBED.values()]
        before = await self.probes_seen()
        for topic in PROBED.values():
            await self._publish(self._of(names.BACKEND), topic, f"swap-{uuid4()}")
        while True:
            now = await self.probes_seen()
            behind = [f"{app} ({topic})" for app, topic in wanted if now[app, topic] <= before[app, topic]]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise SwapError(
                    f"on {side.name} events do not reach {', '.join(behind)}: look into their sidecars' logs"
                )
            await asyncio.sleep(POLL)

    def _of(self, app: names.App) -> Sidecar:
        return next(one for one in self._all if one.app_id == app.app_id)
