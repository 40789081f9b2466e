"""Whether every sidecar has followed to another broker, and every service gets events from there.

Asked by probes: events of Dapr's default type, which services log, count and ignore.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
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

Samples: TypeAlias = list[tuple[str, dict[str, str], float]]  # name, labels, value
Counts: TypeAlias = Mapping[tuple[str, str, str], int]  # by replica, app and topic


class Sidecars:
    """The sidecars of a system and the services beside them, over HTTP. `present` tells which there are now."""

    def __init__(
        self, http: aiohttp.ClientSession, present: Callable[[], Awaitable[Sequence[Sidecar]]], token: str | None
    ) -> None:
        self._http = http
        self._present = present
        self._headers = {"dapr-api-token": token} if token else {}
        self.restarted: list[str] = []
        self.strayed: Counter[str] = Counter()  # our own probes by topic that went to the broker before, read or not

    async def check(self) -> None:
        """Whether every service and every sidecar is up. Raises `SwapError` naming those that are not."""
        down = await self.down()
        if down:
            raise SwapError(f"{'; '.join(down)}: the system must be whole before it is moved")

    async def down(self) -> list[str]:
        """What is not up, in words. Replicas on their way out do not count."""
        staying = await self._staying()
        states = await asyncio.gather(*(self._state(one) for one in staying))
        absent = {app.app_id for app in names.APPS} - {one.app_id for one in staying}
        return [state for state in states if state] + [f"no replica of {app} runs" for app in sorted(absent)]

    async def follow(self, side: Side, broker: Broker, seconds: float) -> None:
        """Wait until each sidecar publishes to this broker, and each app gets events from there. Raises `SwapError`."""
        deadline = time.monotonic() + seconds
        await self.publish(side, broker, seconds)
        await self._until_consumed(side, deadline)

    async def publish(self, side: Side, broker: Broker, seconds: float) -> None:
        """The first half of `follow`: wait until each sidecar publishes to this broker. Raises `SwapError`.

        Those that came meanwhile are asked too, and those that are gone are not.
        """
        deadline = time.monotonic() + seconds
        asked: set[str] = set()
        while fresh := [one for one in await self._present() if one.name not in asked]:
            missing = await asyncio.gather(*(self._until_there(one, side, broker, deadline) for one in fresh))
            if any(missing):
                reasons = "; ".join(reason for reason in missing if reason)
                raise SwapError(f"after {seconds:.0f} s not every sidecar is on {side.name}: {reasons}")
            asked |= {one.name for one in fresh}

    async def round_trip(self) -> tuple[float, float | None]:
        """Publish one probe for email-delivery; seconds until the broker had it, and until the service had it.

        None: not within `ROUND_TRIP`, because it stands behind what else the service has to do.
        """
        receivers = [one for one in await self._staying() if one.app_id == names.EMAIL_DELIVERY.app_id]
        arrival = names.EMAIL_DELIVERY.app_id, names.TASK_REMINDERS
        before = await self._probes_seen(receivers)
        began = time.monotonic()
        await self._publish(await self._of(names.BACKEND), names.TASK_REMINDERS, f"swap-{uuid4()}")
        published = time.monotonic()
        while not grown(before, await self._probes_seen(receivers))[arrival]:
            if time.monotonic() > published + ROUND_TRIP:
                return published - began, None
            await asyncio.sleep(0.005)
        return published - began, time.monotonic() - began

    async def metrics(self) -> list[Samples]:
        """The samples of each service's metrics. Raises `SwapError` while one that stays does not tell them."""
        return list((await self._metrics(await self._staying())).values())

    async def _probes_seen(self, asked: Sequence[Sidecar]) -> Counts:
        """How many probes each of these replicas has counted."""
        app_of = {one.name: one.app_id for one in asked}
        return {
            (replica, app_of[replica], labels["topic"]): round(value)
            for replica, samples in (await self._metrics(asked)).items()
            for name, labels, value in samples
            if name == "todo_probe_events_total"
        }

    async def _metrics(self, asked: Sequence[Sidecar]) -> dict[str, Samples]:
        """By replica; one that does not answer because it is gone, or goes, is left out."""
        told = await asyncio.gather(*(self._text(one) for one in asked), return_exceptions=True)
        found: dict[str, Samples] = {}
        for one, text in zip(asked, told, strict=True):
            if isinstance(text, str):
                found[one.name] = _samples(text)
            elif not isinstance(text, _AWAY):
                raise text
            elif one.name in {staying.name for staying in await self._staying()}:
                raise SwapError(f"a service does not tell its metrics: {type(text).__name__} {text}") from text
        return found

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
        """Empty once the sidecar is there, or gone; else why not. One that does not get there is restarted once."""
        stuck_from = time.monotonic() + STUCK
        while True:
            reason = await self._why_not(one, side, broker)
            if not reason or await self._is_gone(one):
                return ""
            if time.monotonic() > deadline:
                return f"{one.name} {reason}"
            if time.monotonic() > stuck_from and one.name not in self.restarted and not one.ending:
                self.restarted.append(one.name)
                await self._restart(one)
            await asyncio.sleep(POLL)

    async def _is_gone(self, one: Sidecar) -> bool:
        """Not, where nobody can tell: then the deadline decides."""
        try:
            return all(other.name != one.name for other in await self._present())
        except SwapError:
            return False

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
        before = await self._probes_seen(await self._staying())
        for topic in PROBED.values():
            await self._publish(await self._of(names.BACKEND), topic, f"swap-{uuid4()}")
        while True:
            seen = grown(before, await self._probes_seen(await self._staying()))
            behind = [f"{app} ({topic})" for app, topic in wanted if not seen[app, topic]]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise SwapError(
                    f"on {side.name} events do not reach {', '.join(behind)}: look into their sidecars' logs"
                )
            await asyncio.sleep(POLL)

    async def _staying(self) -> list[Sidecar]:
        return [one for one in await self._present() if not one.ending]

    async def _of(self, app: names.App) -> Sidecar:
        for one in await self._staying():
            if one.app_id == app.app_id:
                return one
        raise SwapError(f"no replica of {app.app_id} runs")


def grown(before: Counts, now: Counts) -> Counter[tuple[str, str]]:
    """What replicas have counted since, by app and topic; one that was started anew has begun at nothing."""
    found: Counter[tuple[str, str]] = Counter()
    for (replica, app, topic), count in now.items():
        known = before.get((replica, app, topic), 0)
        found[app, topic] += count - known if count >= known else count
    return found


def _samples(text: str) -> Samples:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
