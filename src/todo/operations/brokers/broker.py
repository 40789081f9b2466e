"""What a swap, `todo topics` and the start of an engine need to know of a broker, whichever it is."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class Fault(StrEnum):
    """What is wrong with a connection; stable, for programs."""

    ADDRESS = "address"  # a name that does not exist
    NETWORK = "network"  # nobody answers there
    TLS = "tls"
    MECHANISM = "mechanism"
    CREDENTIALS = "credentials"
    RIGHTS = "rights"
    SETTING = "setting"  # the component itself
    BROKER = "broker"  # it answers, and cannot do what was asked


class BrokerError(Exception):
    """A broker cannot be used. One line: where, what is wrong, and what to do; never a password."""

    def __init__(self, fault: Fault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class Wanted(msgspec.Struct, frozen=True):
    """A topic as this system needs it. `groups` are the apps that subscribe to it."""

    name: str
    partitions: int
    retention: dt.timedelta
    message_bytes: int
    groups: tuple[str, ...]


class Topic(msgspec.Struct, frozen=True):
    """A topic as the broker has it; None: this kind of broker has no such thing, or no limit."""

    name: str
    partitions: int | None = None
    replication: int | None = None
    min_insync: int | None = None
    retention: dt.timedelta | None = None
    message_bytes: int | None = None
    groups: tuple[str, ...] | None = None


class Lag(msgspec.Struct, frozen=True):
    """What a group has not acknowledged: not delivered yet, or delivered and being worked on.

    Kafka counts both as `waiting`, because it knows only what was committed.
    """

    waiting: int = 0
    in_flight: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.in_flight


class Broker(Protocol):
    """A look into one broker, by the component that Dapr gets. Every method raises `BrokerError` and nothing else.

    A group is an app id. Each answer is one moment's per topic, and no moment's of all topics together.
    """

    @property
    def place(self) -> str:
        """What it is and where, for people."""
        ...

    async def check(self) -> None:
        """Whether it lets us in, with these credentials and over this TLS. The error tells what is wrong apart."""
        ...

    async def topics(self, names: Collection[str]) -> dict[str, Topic]:
        """Those of the topics that exist."""
        ...

    async def create(self, wanted: Sequence[Wanted]) -> list[str]:
        """Make the topics that are absent and return their names; those that exist stay as they are."""
        ...

    def missing(self, wanted: Wanted, found: Topic) -> Iterable[str]:
        """What an existing topic lacks of what is wanted, in words; nothing when it is as good or better."""
        ...

    async def lag(self, groups: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Lag]:
        """What each group has left on each of its topics, by (group, topic).

        A group or topic that does not exist yet has everything left that is there, since groups begin at the oldest.
        """
        ...

    async def ends(self, names: Collection[str]) -> dict[str, int]:
        """How many events were ever published on each topic: it grows with each one and never shrinks."""
        ...

    async def members(self, groups: Collection[str]) -> dict[str, int]:
        """How many consumers each group has now (on Redis all replicas of an app are one)."""
        ...

    async def holds(self, topic: str, text: bytes) -> bool:
        """Whether one of the newest events of a topic contains the bytes."""
        ...

    async def close(self) -> None: ...
