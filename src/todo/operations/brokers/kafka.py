"""Kafka, Redpanda, MSK: what speaks Kafka's protocol. The client blocks, so its calls run in threads."""

import asyncio
import datetime as dt
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it means to export them
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from todo.operations.brokers.broker import BrokerError, Fault, Lag, Topic, Wanted

TIMEOUT: Final = 10.0
NEWEST: Final = 1000  # events of each partition that `holds` looks at
REPLICAS: Final = 3
PASSING: Final = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
}
MECHANISMS: Final = {"SHA-256": "SCRAM-SHA-256", "SHA-512": "SCRAM-SHA-512", "PLAINTEXT": "PLAIN"}
# librdkafka's words for what failed, from the most to the least telling.
FAULTS: Final = (
    (r"unsupported sasl mechanism|mechanism handshake failed", Fault.MECHANISM),
    (r"authentication fail|invalid credentials|sasl authentication error", Fault.CREDENTIALS),
    (r"ssl|certificate|tls|security\.protocol", Fault.TLS),
    (r"failed to resolve|name or service not known", Fault.ADDRESS),
    (r"authorization failed|not authorized", Fault.RIGHTS),
    (r"refused|timed out|disconnected|brokers are down|brokers down|transport|unreachable", Fault.NETWORK),
)
ADVICE: Final = {
    Fault.MECHANISM: "{where} does not take this mechanism ({why}): check saslMechanism",
    Fault.CREDENTIALS: "{where} refuses the credentials ({why}): check saslUsername and saslPassword",
    Fault.TLS: "{where}: TLS fails ({why}): check caCert, the address's name, and whether the listener uses TLS at all",
    Fault.ADDRESS: "{where}: there is no host of that name ({why}): check brokers",
    Fault.RIGHTS: "{where}: this user may not do that ({why}): give it rights on the topics and groups",
    Fault.NETWORK: "{where} does not answer ({why}): check brokers, and that it uses TLS if we do",
    Fault.BROKER: "{where} cannot do that: {why}",
}

T = TypeVar("T")
_silent = logging.getLogger(f"{__name__}.client")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class KafkaBroker:
    """`Broker` on a cluster, as Dapr's component `pubsub.kafka` describes it."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._settings = _settings(metadata)
        self._errors: list[KafkaError] = []
        self._made: AdminClient | None = None

    @property
    def place(self) -> str:
        return f"Kafka at {self._settings['bootstrap.servers']}"

    async def check(self) -> None:
        await self._ask(self._reach)

    async def topics(self, names: Collection[str]) -> dict[str, Topic]:
        metadata = await self._ask(lambda: self._admin.list_topics(timeout=TIMEOUT))
        found = {name: metadata.topics[name] for name in names if name in metadata.topics}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in found]
        configs = await self._all(lambda: self._admin.describe_configs(resources)) if resources else {}
        settings = {
            resource.name: {key: entry.value for key, entry in told.items()} for resource, told in configs.items()
        }
        return {name: _topic(name, told, settings[name]) for name, told in found.items()}

    async def create(self, wanted: Sequence[Wanted]) -> list[str]:
        metadata = await self._ask(lambda: self._admin.list_topics(timeout=TIMEOUT))
        replicas = REPLICAS if len(metadata.brokers) >= REPLICAS else 1
        absent = [_new(one, replicas) for one in wanted if one.name not in metadata.topics]
        for name, future in (self._admin.create_topics(absent) if absent else {}).items():
            try:
                await asyncio.wrap_future(future)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._told(error, f"topic {name}: ") from error
        await self._until_led([topic.topic for topic in absent])
        return [topic.topic for topic in absent]

    def missing(self, wanted: Wanted, found: Topic) -> Iterable[str]:
        if (found.partitions or 0) < wanted.partitions:
            yield f"{found.partitions} partitions, {wanted.partitions} are wanted"
        if found.retention is not None and found.retention < wanted.retention:
            yield f"events are kept for {_days(found.retention)}, {_days(wanted.retention)} are wanted"
        if found.message_bytes is not None and found.message_bytes < wanted.message_bytes:
            yield f"events may have {found.message_bytes} bytes, {wanted.message_bytes} are wanted"
        if (found.replication or 1) >= REPLICAS and (found.min_insync or 1) < REPLICAS - 1:
            yield f"min.insync.replicas is {found.min_insync}, {REPLICAS - 1} of {found.replication} are wanted"

    async def lag(self, groups: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Lag]:
        partitions = await self._partitions({topic for topics in groups.values() for topic in topics})
        oldest, newest = await self._oldest(partitions), await self._newest(partitions)
        committed = dict(zip(groups, await asyncio.gather(*map(self._committed, groups)), strict=True))
        found: dict[tuple[str, str], Lag] = {}
        for app, topics in groups.items():
            for topic in topics:
                places = [one for one in partitions if one[0] == topic]
                done = {one: max(committed[app].get(one, 0), oldest[one]) for one in places}
                # What was committed may be younger than the end that was read before.
                found[app, topic] = Lag(sum(max(0, newest[one] - done[one]) for one in places))
        return found

    async def ends(self, names: Collection[str]) -> dict[str, int]:
        newest = await self._newest(await self._partitions(names))
        return {name: sum(offset for (topic, _), offset in newest.items() if topic == name) for name in names}

    async def members(self, groups: Collection[str]) -> dict[str, int]:
        return dict(zip(groups, await asyncio.gather(*map(self._members, groups)), strict=True))

    async def holds(self, topic: str, text: bytes) -> bool:
        partitions = await self._partitions([topic])
        newest, oldest = await self._newest(partitions), await self._oldest(partitions)
        ends = {one: end for one, end in newest.items() if end > oldest[one]}
        return await self._ask(lambda: self._search(ends, text)) if ends else False

    async def close(self) -> None:
        self._made = None  # the client has no other end

    @property
    def _admin(self) -> AdminClient:
        if self._made is None:
            settings: dict[str, Any] = {**self._settings, "error_cb": self._errors.append}
            self._made = AdminClient(settings, logger=_silent)
        return self._made

    def _reach(self) -> None:
        """Ask until it answers. The client tries again whatever is wrong: the first reason it tells ends it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                self._admin.list_topics(timeout=1)
            except KafkaException:
                self._admin.poll(0)
                if self._errors or time.monotonic() > deadline:
                    raise
            else:
                return

    async def _until_led(self, names: Collection[str]) -> None:
        """Wait until every partition of new topics has its leader: a topic can be seen, and used, only then."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            known = (await self._ask(lambda: self._admin.list_topics(timeout=TIMEOUT))).topics
            if all(name in known and all(one.leader >= 0 for one in known[name].partitions.values()) for name in names):
                return
            if time.monotonic() > deadline:
                raise BrokerError(Fault.BROKER, f"{self.place} has no leader for new topics: look into its log")
            await asyncio.sleep(0.05)

    async def _partitions(self, names: Collection[str]) -> list[tuple[str, int]]:
        metadata = await self._ask(lambda: self._admin.list_topics(timeout=TIMEOUT))
        return [
            (name, partition)
            for name in names
            if name in metadata.topics
            for partition in metadata.topics[name].partitions
        ]

    async def _newest(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def _oldest(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    async def _offsets(self, partitions: Sequence[tuple[str, int]], which: OffsetSpec) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*one): which for one in partitions}
        told = await self._all(lambda: self._admin.list_offsets(asked, request_timeout=TIMEOUT))
        return {(place.topic, place.partition): result.offset for place, result in told.items()}

    async def _committed(self, group: str) -> dict[tuple[str, int], int]:
        """What a group has committed; nothing for one that does not exist."""
        asked = [ConsumerGroupTopicPartitions(group)]
        try:
            told = await self._all(lambda: self._admin.list_consumer_group_offsets(asked, request_timeout=TIMEOUT))
        except BrokerError as error:
            if _is_unknown_group(error):
                return {}
            raise
        return {(one.topic, one.partition): one.offset for one in told[group].topic_partitions if one.offset >= 0}

    async def _members(self, group: str) -> int:
        try:
            told = await self._all(lambda: self._admin.describe_consumer_groups([group], request_timeout=TIMEOUT))
        except BrokerError as error:
            if _is_unknown_group(error):
                return 0
            raise
        return len(told[group].members)

    def _search(self, ends: Mapping[tuple[str, int], int], text: bytes) -> bool:
        """Read the newest events of each partition, up to where it ends now."""
        left = dict(ends)
        consumer = Consumer(
            {
                **self._settings,
                "group.id": "todo-operations",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            },
            logger=_silent,
        )
        try:
            consumer.assign([TopicPartition(*one, max(0, end - NEWEST)) for one, end in ends.items()])
            deadline = time.monotonic() + TIMEOUT
            while left and time.monotonic() < deadline:
                for message in consumer.consume(NEWEST, 0.2):
                    if message.error():
                        raise KafkaException(message.error())
                    if text in (message.value() or b""):
                        return True
                    place = str(message.topic()), int(message.partition() or 0)
                    if int(message.offset() or 0) + 1 >= ends[place]:
                        left.pop(place, None)
            return False
        finally:
            consumer.close()

    async def _all(self, ask: Callable[[], Mapping[Any, "Future[T]"]]) -> dict[Any, T]:
        """Every answer; asked again while a partition's leader changes."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            async with self._telling():
                try:
                    return {key: await asyncio.wrap_future(future) for key, future in ask().items()}
                except KafkaException as error:
                    if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                        raise
            await asyncio.sleep(0.1)

    async def _ask(self, call: Callable[[], T]) -> T:
        async with self._telling():
            return await asyncio.to_thread(call)

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        self._errors.clear()
        try:
            yield
        except KafkaException as error:
            if self._made is not None:
                await asyncio.to_thread(self._made.poll, 0)  # the client tells its reasons from there
            raise self._told(error) from error

    def _told(self, error: KafkaException, about: str = "") -> BrokerError:
        """The most telling of what the client has said about this failure."""
        reasons = [_short(one.str()) for one in (*self._errors, error.args[0])]
        for pattern, fault in FAULTS:
            for reason in reasons:
                if re.search(pattern, reason, re.IGNORECASE):
                    return BrokerError(fault, ADVICE[fault].format(where=self.place, why=about + reason))
        return BrokerError(Fault.BROKER, ADVICE[Fault.BROKER].format(where=self.place, why=about + reasons[-1]))


def _is_unknown_group(error: BrokerError) -> bool:
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND


def _settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The client's settings, from the component's; the reading is Dapr's, but for what Dapr takes without a word."""
    brokers = metadata.get("brokers", "")
    if not brokers:
        raise BrokerError(Fault.SETTING, "brokers is empty: give host:port, several with commas between them")
    settings: dict[str, Any] = {
        "bootstrap.servers": brokers,
        "client.id": "todo",
        "socket.connection.setup.timeout.ms": 5000,
        "allow.auto.create.topics": False,
    }
    auth = metadata.get("authType", "")
    if auth not in {"none", "password"}:
        raise BrokerError(Fault.SETTING, f"authType is {auth!r}: none and password are known here")
    plain = auth == "none" or metadata.get("disableTls", "").lower() == "true"
    settings["security.protocol"] = f"{'SASL_' if auth == 'password' else ''}{'PLAINTEXT' if plain else 'SSL'}"
    if auth == "password":
        settings |= _credentials(metadata)
    if not plain and metadata.get("caCert"):
        settings["ssl.ca.pem"] = metadata["caCert"]
    if not plain and metadata.get("skipVerify", "").lower() == "true":
        settings["enable.ssl.certificate.verification"] = False
    return settings


def _credentials(metadata: Mapping[str, str]) -> dict[str, Any]:
    mechanism = metadata.get("saslMechanism", "")
    if mechanism not in MECHANISMS:
        known = ", ".join(MECHANISMS)
        message = f"saslMechanism is {mechanism!r}, which Dapr takes for PLAINTEXT without a word: use one of {known}"
        raise BrokerError(Fault.MECHANISM, message)
    for name in ("saslUsername", "saslPassword"):
        if not metadata.get(name):
            raise BrokerError(Fault.CREDENTIALS, f"{name} is empty, and authType password needs it")
    return {
        "sasl.mechanisms": MECHANISMS[mechanism],
        "sasl.username": metadata["saslUsername"],
        "sasl.password": metadata["saslPassword"],
    }


def _topic(name: str, told: Any, settings: Mapping[str, str | None]) -> Topic:  # noqa: ANN401 - the client's TopicMetadata
    replicas = [len(partition.replicas) for partition in told.partitions.values()]
    kept = int(settings.get("retention.ms") or -1)
    return Topic(
        name,
        partitions=len(told.partitions),
        replication=min(replicas, default=None),
        min_insync=int(settings.get("min.insync.replicas") or 1),
        retention=dt.timedelta(milliseconds=kept) if kept >= 0 else None,
        message_bytes=int(settings.get("max.message.bytes") or 0) or None,
    )


def _new(wanted: Wanted, replicas: int) -> NewTopic:
    config = {
        "retention.ms": str(int(wanted.retention.total_seconds() * 1000)),
        "max.message.bytes": str(wanted.message_bytes),
        "min.insync.replicas": str(max(1, replicas - 1)),
    }
    return NewTopic(wanted.name, num_partitions=wanted.partitions, replication_factor=replicas, config=config)


def _days(kept: dt.timedelta) -> str:
    return f"{kept.total_seconds() / 86400:g} days"


def _short(reason: str) -> str:
    """A reason without the client's thread names and pointers to its documentation."""
    return re.sub(r"^\S*://\S+: ", "", reason.split(" (after ", 1)[0]).strip().rstrip(":.")
