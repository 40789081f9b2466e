"""The topics of this system on a broker: which it needs, making them, and what existing ones lack."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

import msgspec

from todo.contracts import names
from todo.operations.brokers import Broker, BrokerError, Fault, Topic, Wanted
from todo.operations.brokers.broker import Lag

PARTITIONS: Final = 3
RETENTION: Final = dt.timedelta(days=7)
DEAD_LETTER_RETENTION: Final = dt.timedelta(days=30)
EVENT_BYTES: Final = 1_048_588  # Kafka's default
LETTER_BYTES: Final = 4_300_000  # 4 MiB, which is what a sidecar sends, and the record around it
KEEP: Final = 1000  # newest entries of a stream that `trim` leaves in any case


class Finding(msgspec.Struct, frozen=True):
    """One topic, and what it lacks; nothing: it is as it should be."""

    name: str
    found: Topic | None
    lacks: tuple[str, ...]


class State(msgspec.Struct, frozen=True):
    """One topic as it is: how much was ever published on it, and what each group has left."""

    name: str
    topic: Topic | None
    published: int
    lag: dict[str, Lag]


def consumed() -> dict[str, tuple[str, ...]]:
    """Each app's topics, dead letters included: they are all backend's."""
    own = {app.app_id: app.topics for app in names.APPS}
    return own | {names.BACKEND.app_id: (*names.BACKEND.topics, *names.dead_letter_topics())}


def wanted(partitions: int = PARTITIONS) -> list[Wanted]:
    """Every topic, in the order of the table; dead letters are kept longer and take larger events."""
    groups = consumed()
    topics = dict.fromkeys(topic for of_app in groups.values() for topic in of_app)
    return [_wanted(topic, partitions, tuple(app for app, own in groups.items() if topic in own)) for topic in topics]


async def create(broker: Broker, *, partitions: int = PARTITIONS) -> list[str]:
    """Make what is absent and return its names. Raises `BrokerError`."""
    return await broker.create(wanted(partitions))


async def check(broker: Broker, *, partitions: int = PARTITIONS) -> list[Finding]:
    """Compare every topic with what is wanted; nothing is changed. Raises `BrokerError`."""
    needed = wanted(partitions)
    found = await broker.topics([one.name for one in needed])
    return [_compared(broker, one, found.get(one.name)) for one in needed]


async def states(broker: Broker) -> list[State]:
    """Every topic with its numbers. Raises `BrokerError`."""
    all_names = [one.name for one in wanted()]
    found, ends, lag = await broker.topics(all_names), await broker.ends(all_names), await broker.lag(consumed())
    return [State(name, found.get(name), ends[name], _of_topic(lag, name)) for name in all_names]


async def trim(broker: Broker, *, keep: int = KEEP) -> dict[str, int]:
    """Delete what every app has acknowledged, on a broker that does not do it itself; entries deleted, by topic."""
    from todo.operations.brokers.redis import RedisBroker  # noqa: PLC0415 - of the extra `engine`

    if not isinstance(broker, RedisBroker):
        raise BrokerError(Fault.BROKER, f"{broker.place} deletes by its topics' retention: there is nothing to trim")
    return {one.name: await broker.trim(one, keep) for one in wanted()}


def _wanted(topic: str, partitions: int, groups: tuple[str, ...]) -> Wanted:
    letters = topic.startswith(names.DEAD_LETTERS)
    retention, size = (DEAD_LETTER_RETENTION, LETTER_BYTES) if letters else (RETENTION, EVENT_BYTES)
    return Wanted(topic, partitions, retention, size, groups)


def _compared(broker: Broker, needed: Wanted, found: Topic | None) -> Finding:
    lacks = ("it does not exist",) if found is None else tuple(broker.missing(needed, found))
    return Finding(needed.name, found, lacks)


def _of_topic(lag: Mapping[tuple[str, str], Lag], name: str) -> dict[str, Lag]:
    return {group: left for (group, topic), left in lag.items() if topic == name}
