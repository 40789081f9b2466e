"""One batch, one transaction, one answer.

A batch is decoded, handled in one unit of work and acknowledged whole. When the environment fails, nothing happened
and the sidecar keeps the batch. When the batch itself fails, its events are taken one by one, each in a savepoint;
one that fails three times on its own is parked, and the batch succeeds. After an unclean start events are taken one
by one from the beginning and counted before they are touched: one that was seen three times and never finished
kills the process, and is parked too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import structlog
from structlog.contextvars import bound_contextvars

from todo.contracts import envelope
from todo.contracts.clock import Clock
from todo.contracts.envelope import Event, Probe, Unreadable
from todo.contracts.events import EventParked
from todo.dapr.subscriber import UnavailableError
from todo.messaging import metrics, parking, traced
from todo.messaging.failures import is_environment
from todo.messaging.unit import Scope, Unit

log = structlog.get_logger()

ATTEMPTS: Final = 3

U = TypeVar("U", bound=Unit)

Handler = Callable[[Sequence[Event], U], Awaitable[None]]
Park = Callable[[Sequence[EventParked], U], Awaitable[None]]


class Sightings(Protocol):
    """Remembers, across crashes, which events were begun and not finished."""

    async def is_cautious(self) -> bool:
        """Whether this instance started after an unclean end, a short while ago."""
        ...

    async def begin(self, event_id: str) -> int:
        """Count a sighting durably, before the event is touched; returns how many there were, this one included."""
        ...

    async def take_back(self, event_id: str) -> None:
        """Undo one `begin`: the event was put off, and ended nothing."""
        ...

    async def finish(self, event_id: str) -> None:
        """Forget an event that was finished, one way or the other."""
        ...


class Consumer(Generic[U]):
    """Takes the batches of one app. `scope` opens a unit of work, `park` puts letters where this app puts them."""

    def __init__(  # noqa: PLR0913 - these are a consumer's parts
        self,
        app_id: str,
        handlers: dict[str, Handler[U]],
        *,
        scope: Callable[[], "Scope[U]"],
        park: Park[U],
        sightings: Sightings,
        clock: Clock,
    ) -> None:
        self._app_id = app_id
        self._handlers = handlers
        for topic in handlers:
            metrics.consumed.labels(topic)  # there from the first scrape on: nothing taken in shows as well
        self._scope = scope
        self._park = park
        self._sightings = sightings
        self._clock = clock
        self._begun: dict[str, int] = {}  # sightings counted by this process, which is still alive
        self._counting = asyncio.Lock()  # two deliveries of an event at the same time are one sighting

    async def deliver(self, topic: str, originals: Sequence[bytes]) -> None:
        """Process a batch of one topic, all of it. Raises `UnavailableError`: nothing happened, deliver it again."""
        decoded = [envelope.decode(original, topic) for original in originals]
        events = [item for item in decoded if isinstance(item, Event)]
        strangers = [item for item in decoded if isinstance(item, Unreadable)]
        for probe in (item for item in decoded if isinstance(item, Probe)):
            metrics.probes.labels(topic).inc()
            log.info("probe received", event_id=probe.id, topic=topic, task_id=probe.task_id)
        try:
            with bound_contextvars(topic=topic), traced.processing(topic, events) as spanned:
                await self._process(topic, spanned, strangers)
        except Exception as error:
            _raise_if_environment(error)
            raise

    async def _process(self, topic: str, events: Sequence[Event], strangers: Sequence[Unreadable]) -> None:
        letters = [self._letter(item, item.reason, 1) for item in strangers]
        metrics.consumed.labels(topic).inc(len(events))
        now = self._clock()
        for event in events:
            if event.time:
                metrics.age.labels(topic).observe(max(0.0, (now - event.time).total_seconds()))
        if await self._sightings.is_cautious():
            await self._one_by_one(topic, events)
            events = []
        try:
            async with self._scope() as unit:
                if letters:
                    await self._park(letters, unit)
                if events:
                    await self._handlers[topic](events, unit)
        except Exception as error:
            _raise_if_environment(error)
            log.warning("batch failed, taking its events one by one", events=len(events), exc_info=error)
            await self._isolate(topic, events, letters)
        for event in events:
            trace = envelope.trace_id(event.traceparent)
            log.debug("event handled", event_id=event.id, event_type=event.type, subject=event.subject, trace_id=trace)

    async def _isolate(self, topic: str, events: Sequence[Event], letters: list[EventParked]) -> None:
        async with self._scope() as unit:
            letters += [lost for event in events if (lost := await self._try(topic, event, unit))]
            if letters:
                await self._park(letters, unit)

    async def _try(self, topic: str, event: Event, unit: U) -> EventParked | None:
        """Handle one event in a savepoint, thrice if it fails on its own account; then write its letter."""
        failure: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                async with unit.isolated():
                    await self._handlers[topic]([event], unit)
            except Exception as error:  # noqa: BLE001 - whatever an event does to its handler is the event's own
                _raise_if_environment(error)
                failure = error
            else:
                return None
        return self._letter(event, f"{type(failure).__name__}: {failure}", ATTEMPTS)

    async def _one_by_one(self, topic: str, events: Sequence[Event]) -> None:
        for event in events:
            sightings = await self._sight(event.id)
            try:
                await self._handle_sighted(topic, event, sightings)
            except Exception:
                await self._take_back(event.id)
                raise
            await self._sightings.finish(event.id)
            self._begun.pop(event.id, None)

    async def _handle_sighted(self, topic: str, event: Event, sightings: int) -> None:
        if sightings < ATTEMPTS:
            await self._isolate(topic, [event], [])
            return
        letter = self._letter(event, f"the process ended {sightings - 1} times while handling it", sightings)
        async with self._scope() as unit:
            await self._park([letter], unit)

    async def _take_back(self, event_id: str) -> None:
        """Best effort: what counts is in the way of nobody while this process lives."""
        async with self._counting:
            counted = self._begun.pop(event_id, None)
            if counted is None:
                return
            try:
                await self._sightings.take_back(event_id)
            except Exception as error:
                if not is_environment(error):
                    raise
                self._begun[event_id] = counted
                log.info("a sighting stays counted", event_id=event_id, reason=f"{type(error).__name__}: {error}")

    async def _sight(self, event_id: str) -> int:
        """Count a sighting once in the life of a process: one that is put off here has not ended it."""
        async with self._counting:
            if event_id not in self._begun:
                self._begun[event_id] = await self._sightings.begin(event_id)
            return self._begun[event_id]

    def _letter(self, event: Event | Unreadable, error: str, attempts: int) -> EventParked:
        metrics.parked.labels(event.topic).inc()
        trace = envelope.trace_id(event.traceparent) if isinstance(event, Event) else ""
        log.error(
            "event parked", event_id=event.id, event_type=event.type, trace_id=trace, error=error, attempts=attempts
        )
        return parking.letter(self._app_id, event, error, attempts, self._clock())


def _raise_if_environment(error: Exception) -> None:
    if isinstance(error, UnavailableError):
        raise error
    if is_environment(error):
        raise UnavailableError(f"{type(error).__name__}: {error}") from error
