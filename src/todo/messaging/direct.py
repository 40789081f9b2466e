"""The unit of work of a service without a database: its effects are idempotent elsewhere, its events are published."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from todo.contracts import names
from todo.dapr.client import Dapr, Message
from todo.dapr.errors import CallRefusedError, DaprError
from todo.dapr.subscriber import UnavailableError
from todo.messaging import calls, oversized, traced
from todo.messaging.unit import DirectUnit, Outgoing

log = structlog.get_logger()


@asynccontextmanager
async def direct_unit(dapr: Dapr, pubsub: str) -> AsyncIterator[DirectUnit]:
    """Run a handler, then publish what it emitted, letters last. Raises `UnavailableError` if that fails."""
    unit = DirectUnit()
    yield unit
    topics = dict.fromkeys(event.topic for event in unit.emitted)
    for topic in sorted(topics, key=lambda topic: topic == names.DEAD_LETTERS):
        events = [event for event in unit.emitted if event.topic == topic]
        for call in calls.pieces(events, lambda event: len(event.envelope)):
            await _publish(dapr, pubsub, topic, call)


async def _publish(dapr: Dapr, pubsub: str, topic: str, events: Sequence[Outgoing]) -> None:
    messages = [Message(str(index), event.envelope, event.key) for index, event in enumerate(events)]
    try:
        with traced.sending(topic, (event.envelope for event in events)):
            refused = await _publish_all(dapr, pubsub, topic, messages)
    except DaprError as error:
        raise UnavailableError(f"publish to {topic}: {error}") from error
    if refused and topic == names.DEAD_LETTERS:
        for index in refused:
            await _publish_letter(dapr, pubsub, events[int(index)])
    elif refused:
        raise UnavailableError(f"publish to {topic}: {len(refused)} refused: {next(iter(refused.values()))}")


async def _publish_all(dapr: Dapr, pubsub: str, topic: str, messages: Sequence[Message]) -> dict[str, str]:
    """One bulk call: the refused entries with their reasons. One refused whole for its size refused each of them."""
    try:
        return await dapr.publish_all(pubsub, topic, messages)
    except CallRefusedError as error:
        if not calls.is_refused_whole(error):
            raise
        return {message.entry_id: str(error) for message in messages}


async def _publish_letter(dapr: Dapr, pubsub: str, letter: Outgoing) -> None:
    """Publish a letter alone; one that is refused for its size is shortened until nothing of its event is left."""
    shorter: Outgoing | None = letter
    while shorter is not None:
        try:
            await dapr.publish(pubsub, shorter.topic, Message("", shorter.envelope, shorter.key))
        except DaprError as error:
            if not calls.is_too_large(error):
                raise UnavailableError(f"publish to {shorter.topic}: {error}") from error
            shorter = oversized.shortened(shorter)
        else:
            return
    log.error("a letter without its bytes is too large for the broker, dropped", subject=letter.key)
