"""recurring-service put together: the only place that knows which class does what."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from starlette.applications import Starlette

from todo.contracts import names
from todo.contracts.clock import utc_now
from todo.contracts.events import EventParked
from todo.dapr import client
from todo.dapr.client import Dapr
from todo.dapr.subscriber import Subscription
from todo.messaging import parking
from todo.messaging.consumer import Consumer
from todo.messaging.direct import direct_unit
from todo.messaging.state_sightings import StateSightings
from todo.messaging.unit import DirectUnit
from todo.recurring import handlers
from todo.service import kit
from todo.service.kit import Parts
from todo.service.settings import Settings

APP: Final = names.RECURRING


def create(settings: Settings) -> Starlette:
    """The service."""
    return kit.create_app(settings, compose)


@asynccontextmanager
async def compose(settings: Settings) -> AsyncIterator[Parts]:
    """Everything that one running replica consists of. The clock dates letters and caution, never an occurrence."""
    async with (
        client.connect(settings.sidecar, settings.dapr_token) as dapr,
        _sightings(dapr, settings.instance) as sightings,
    ):
        consumer: Consumer[DirectUnit] = Consumer(
            APP.app_id,
            {names.TASK_EVENTS: handlers.task_event},
            scope=partial(direct_unit, dapr, names.PUBSUB),
            park=_park,
            sightings=sightings,
            clock=utc_now,
        )
        yield Parts(dapr=dapr, subscriptions=[_subscription(topic, consumer) for topic in APP.topics])


def _subscription(topic: str, consumer: Consumer[DirectUnit]) -> Subscription:
    return Subscription(topic, partial(consumer.deliver, topic), names.dead_letter_topic(APP.app_id, topic))


async def _park(letters: Sequence[EventParked], unit: DirectUnit) -> None:
    unit.emit(*(parking.announcement(APP.app_id, letter) for letter in letters))


@asynccontextmanager
async def _sightings(dapr: Dapr, instance: str) -> AsyncIterator[StateSightings]:
    sightings = StateSightings(dapr, names.STATE_STORE, instance, utc_now)
    try:
        yield sightings
    finally:
        await sightings.stop()
