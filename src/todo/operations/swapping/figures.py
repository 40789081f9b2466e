"""The numbers of a system on its broker, before, during and after a swap."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import aiohttp
import msgspec

from todo.contracts import invocation, names
from todo.contracts.invocation import TaskVersion, TaskVersions, TaskVersionsQuery
from todo.dapr.client import Dapr, connect
from todo.dapr.errors import DaprError, SidecarAwayError
from todo.operations.brokers import Broker
from todo.operations.client import Api, Mailbox, RefusedError, UnreachableError
from todo.operations.find import Place
from todo.operations.swapping import draining
from todo.operations.swapping.following import Sidecars
from todo.operations.swapping.target import SwapError

PAGE: Final = 1000
PATIENCE: Final = 5.0  # seconds
GLANCE: Final = 2.0  # seconds of a pause that numbers are worth
PROBES: Final = 5
BUCKET: Final = "event_publish_duration_seconds_bucket"


class Figures(msgspec.Struct, frozen=True):
    """Counts, and times in milliseconds; None: not measured, or nothing was published meanwhile."""

    tasks: int | None
    events: int  # ever published on the broker
    waiting: int  # in the outboxes
    unread: int  # on the broker, of all apps together
    mails: int | None
    publish_p50: float | None = None  # of the relays' calls, from the services' `event_publish_duration`
    publish_p95: float | None = None
    probe_published: float | None = None  # one event, up to the broker's acknowledgement
    probe_arrived: float | None = None  # the same, up to its service; None: later than a measurement waits


class Meter:
    """Measures one system."""

    def __init__(self, http: aiohttp.ClientSession, place: Place, sidecars: Sidecars) -> None:
        self._http = http
        self._place = place
        self._sidecars = sidecars

    async def glance(self, broker: Broker) -> Figures | None:
        """The counts that cost nothing, which the tasks do not; None if they are not to be had at once."""
        try:
            return await self._count(broker, seconds=GLANCE)
        except SwapError:
            return None

    async def _count(self, broker: Broker, tasks: int | None = None, seconds: float | None = None) -> Figures:
        """`seconds` is what the services have for their part; a broker has its client's time limit."""
        try:
            async with asyncio.timeout(seconds):
                waiting, mails = await self._waiting(), await self._mails()
        except (UnreachableError, RefusedError, TimeoutError) as error:
            raise SwapError(f"the system could not be counted: {error}") from error
        events = sum((await draining.ends_of(broker)).values())
        unread = sum(lag.total for lag in (await draining.left_on(broker)).values())
        return Figures(tasks, events, waiting, unread, mails)

    async def _waiting(self) -> int:
        pipeline = (await Api(self._http, self._place.api, self._place.api_token).pipeline()).value
        return pipeline.outbox.depth + (pipeline.schedule.outbox_depth if pipeline.schedule else 0)

    async def measure(self, broker: Broker, seconds: float) -> Figures:
        """Counts, and times from so many seconds of what goes on and some probes. Raises `SwapError`."""
        began, before = time.monotonic(), await self._buckets()
        trips = await self._trips(began + seconds)
        published = await self._buckets()
        published.subtract(before)
        counts = await self._count(broker, await self._tasks())
        return msgspec.structs.replace(
            counts,
            publish_p50=quantile(published, 0.5),
            publish_p95=quantile(published, 0.95),
            probe_published=_median([one for one, _ in trips]),
            probe_arrived=_median([one for _, one in trips if one is not None]),
        )

    async def _trips(self, until: float) -> list[tuple[float, float | None]]:
        """Some round trips; one that takes too long is the last, or its probe would be taken for the next one."""
        trips = [await self._sidecars.round_trip()]
        while trips[-1][1] is not None and (len(trips) < PROBES or time.monotonic() < until):
            trips.append(await self._sidecars.round_trip())
        return trips

    async def _buckets(self) -> Counter[float]:
        counted: Counter[float] = Counter()
        for samples in await self._sidecars.metrics():
            for name, labels, value in samples:
                if name == BUCKET:
                    counted[float(labels["le"])] += round(value)
        return counted

    async def _tasks(self) -> int:
        """Tasks that backend has ever made, deleted ones included, page by page."""
        counted, after = 0, None
        try:
            async with connect(self._place.sidecar, self._place.token) as dapr:
                while True:
                    page = await self._page(dapr, after)
                    counted += len(page)
                    if len(page) < PAGE:
                        return counted
                    after = page[-1].task_id
        except (DaprError, msgspec.DecodeError) as error:
            raise SwapError(f"the tasks could not be counted: {error}") from error

    async def _page(self, dapr: Dapr, after: UUID | None) -> Sequence[TaskVersion]:
        """One page; a sidecar that has just started or found its app slow refuses to call it for a moment."""
        query = msgspec.json.encode(TaskVersionsQuery(after, PAGE))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = await dapr.invoke(names.BACKEND.app_id, invocation.TASK_VERSIONS, query)
            except SidecarAwayError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return msgspec.json.decode(answer, type=TaskVersions).tasks

    async def _mails(self) -> int | None:
        if self._place.mailbox is None:
            return None
        return (await Mailbox(self._http, self._place.mailbox).mails(limit=1)).value.total


def quantile(buckets: Mapping[float, int], wanted: float) -> float | None:
    """Estimate a quantile in milliseconds from cumulative buckets in seconds, as if spread evenly inside each."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if total <= 0:
        return None
    low, below = 0.0, 0
    for high in bounds:
        if buckets[high] >= wanted * total:
            if math.isinf(high):
                return round(low * 1000, 2)
            share = (wanted * total - below) / (buckets[high] - below) if buckets[high] > below else 1.0
            return round((low + (high - low) * share) * 1000, 2)
        low, below = high, buckets[high]
    return None


def _median(seconds: list[float]) -> float | None:
    return round(sorted(seconds)[len(seconds) // 2] * 1000, 2) if seconds else None
