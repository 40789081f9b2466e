"""What looks into a broker says the same of Kafka, of Kafka behind TLS and SCRAM, and of Valkey."""

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer
from redis.asyncio import Redis

from tests.support.waiting import until
from todo.operations import brokers, ports, topics
from todo.operations.brokers import Broker, BrokerError, Fault, Lag, Topic, Wanted
from todo.operations.brokers.redis import RedisBroker
from todo.operations.engine.kafka import KafkaServer, Listener
from todo.operations.engine.valkey import ValkeyServer

KINDS: Final = ("kafka", "kafka-sasl", "valkey")
KAFKA: Final = {"spec": {"type": "pubsub.kafka"}}
REDIS: Final = {"spec": {"type": "pubsub.redis"}}
WEEK: Final = dt.timedelta(days=7)
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Client(ABC):
    """Publishes and consumes as a sidecar would, one event at a time."""

    @abstractmethod
    async def publish(self, topic: str, *bodies: bytes) -> None: ...

    @abstractmethod
    async def take(self, topic: str, group: str, count: int, *, acknowledged: int) -> None:
        """Get `count` events and acknowledge the first ones; the others stay with the consumer, which is alive."""

    @abstractmethod
    async def close(self) -> None: ...


class KafkaClient(Client):
    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = {**settings, "log_level": "0"}
        self._consumers: list[Consumer] = []

    async def publish(self, topic: str, *bodies: bytes) -> None:
        producer = Producer(self._settings)
        for body in bodies:
            producer.produce(topic, body)
        assert await asyncio.to_thread(producer.flush, 20) == 0

    async def take(self, topic: str, group: str, count: int, *, acknowledged: int) -> None:
        settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": "false"}
        consumer = Consumer({**self._settings, **settings})
        self._consumers.append(consumer)
        consumer.subscribe([topic])
        got = 0
        while got < count:
            for message in await asyncio.to_thread(consumer.consume, 1, 0.5):
                assert message.error() is None
                got += 1
                if got <= acknowledged:
                    await asyncio.to_thread(lambda read: consumer.commit(message=read, asynchronous=False), message)

    async def close(self) -> None:
        for consumer in self._consumers:
            await asyncio.to_thread(consumer.close)


class RedisClient(Client):
    def __init__(self, server: ValkeyServer) -> None:
        self._redis: Any = Redis(host="127.0.0.1", port=server.port, password=server.password)

    async def publish(self, topic: str, *bodies: bytes) -> None:
        for body in bodies:
            await self._redis.xadd(topic, {"data": body})

    async def take(self, topic: str, group: str, count: int, *, acknowledged: int) -> None:
        ((_, entries),) = await self._redis.xreadgroup(group, group, {topic: ">"}, count=count)
        assert len(entries) == count
        for entry, _ in entries[:acknowledged]:
            await self._redis.xack(topic, group, entry)

    async def delete(self, topic: str, position: int) -> None:
        entries = await self._redis.xrange(topic)
        await self._redis.xdel(topic, entries[position][0])

    async def length(self, topic: str) -> int:
        return int(await self._redis.xlen(topic))

    async def close(self) -> None:
        await self._redis.aclose()


@dataclass
class Bench:
    """A broker, a client beside it, and a topic that no other test uses."""

    kind: str
    broker: Broker
    client: Client
    metadata: dict[str, str]
    topic: str = ""
    app: str = ""  # a group of its own: one whose member does not answer would be waited for

    def wanted(self, *groups: str, partitions: int = 2) -> Wanted:
        return Wanted(self.topic, partitions, WEEK, 1_000_000, groups)

    async def left(self, group: str) -> Lag:
        return (await self.broker.lag({group: [self.topic]}))[group, self.topic]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[KafkaServer, ValkeyServer]]:
    folder = tmp_path_factory.mktemp("brokers")
    listeners = {Listener.PLAINTEXT: 0, Listener.SASL_SSL: 0}
    async with KafkaServer(folder / "kafka", listeners) as kafka, ValkeyServer(folder / "valkey") as valkey:
        yield kafka, valkey


def sasl(server: KafkaServer, **changed: str) -> dict[str, str]:
    return {
        "brokers": server.sasl_bootstrap,
        "authType": "password",
        "saslMechanism": "SHA-512",
        "saslUsername": server.login.username,
        "saslPassword": server.login.password,
        "caCert": server.ca_certificate(),
    } | changed


def redis_metadata(server: ValkeyServer, **changed: str) -> dict[str, str]:
    return {"redisHost": server.address, "redisPassword": server.password} | changed


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def made(request: pytest.FixtureRequest, servers: tuple[KafkaServer, ValkeyServer]) -> AsyncIterator[Bench]:
    kafka, valkey = servers
    metadata = {
        "kafka": {"brokers": kafka.bootstrap, "authType": "none"},
        "kafka-sasl": sasl(kafka),
        "valkey": redis_metadata(valkey),
    }[request.param]
    client = RedisClient(valkey) if request.param == "valkey" else KafkaClient({"bootstrap.servers": kafka.bootstrap})
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            brokers.connected(REDIS if request.param == "valkey" else KAFKA, metadata)
        )
        stack.push_async_callback(client.close)
        yield Bench(request.param, broker, client, metadata)


@pytest.fixture
def bench(made: Bench) -> Bench:
    made.topic, made.app = f"topic-{uuid4()}", f"app-{uuid4()}"
    return made


async def test_a_broker_that_lets_us_in_is_fine(bench: Bench) -> None:
    await bench.broker.check()
    assert "127.0.0.1:" in bench.broker.place


async def test_a_topic_is_made_once_and_usable_at_once(bench: Bench) -> None:
    assert await bench.broker.topics([bench.topic]) == {}
    assert await bench.broker.create([bench.wanted(bench.app)]) == [bench.topic]
    await bench.client.publish(bench.topic, b"kept")
    assert await bench.broker.create([bench.wanted(bench.app)]) == []
    found = (await bench.broker.topics([bench.topic, "no such topic"]))[bench.topic]
    assert list(bench.broker.missing(bench.wanted(bench.app), found)) == []
    assert await bench.left(bench.app) == Lag(1)


async def test_what_a_topic_lacks_is_told(bench: Bench) -> None:
    await bench.broker.create([bench.wanted()])
    if bench.kind == "valkey":
        await bench.client.publish(bench.topic, b"made by its first event")
    found = (await bench.broker.topics([bench.topic]))[bench.topic]
    more = Wanted(bench.topic, 3, WEEK * 2, 2_000_000, (bench.app,))
    assert list(bench.broker.missing(more, found)) == (
        [f"group {bench.app} is not there"]
        if bench.kind == "valkey"
        else [
            "2 partitions, 3 are wanted",
            "events are kept for 7 days, 14 days are wanted",
            "events may have 1000000 bytes, 2000000 are wanted",
        ]
    )
    cluster = Topic(bench.topic, 3, replication=3, min_insync=1, groups=(bench.app,))
    told = list(bench.broker.missing(more, cluster))
    assert told == ([] if bench.kind == "valkey" else ["min.insync.replicas is 1, 2 of 3 are wanted"])


async def test_lag_is_what_was_not_acknowledged(bench: Bench) -> None:
    await bench.broker.create([bench.wanted(bench.app, "other", partitions=1)])
    await bench.client.publish(bench.topic, *(b"event" for _ in range(5)))
    assert (await bench.left(bench.app)).total == 5
    await bench.client.take(bench.topic, bench.app, 3, acknowledged=1)
    left = await bench.left(bench.app)
    assert left == (Lag(2, 2) if bench.kind == "valkey" else Lag(4))
    assert left.total == 4
    assert (await bench.left("other")).total == 5


async def test_acknowledged_to_the_end_is_no_lag(bench: Bench) -> None:
    await bench.broker.create([bench.wanted(bench.app, partitions=1)])
    await bench.client.publish(bench.topic, b"first", b"second")
    await bench.client.take(bench.topic, bench.app, 2, acknowledged=2)
    await until(lambda: _is_done(bench))


async def _is_done(bench: Bench) -> bool:
    return await bench.left(bench.app) == Lag()


async def test_a_group_that_never_came_has_everything_left(bench: Bench) -> None:
    await bench.broker.create([bench.wanted()])
    await bench.client.publish(bench.topic, b"first", b"second")
    assert await bench.left("nobody") == Lag(2)
    empty = f"{bench.topic}-absent"
    assert await bench.broker.lag({"nobody": [empty]}) == {("nobody", empty): Lag()}


async def test_ends_count_every_event_ever_published(bench: Bench) -> None:
    await bench.broker.create([bench.wanted(bench.app)])
    assert await bench.broker.ends([bench.topic, "no such topic"]) == {bench.topic: 0, "no such topic": 0}
    await bench.client.publish(bench.topic, b"first", b"second")
    if isinstance(bench.client, RedisClient):
        await bench.client.delete(bench.topic, 0)
    assert await bench.broker.ends([bench.topic]) == {bench.topic: 2}


async def test_an_event_is_found_by_what_it_contains(bench: Bench) -> None:
    await bench.broker.create([bench.wanted(bench.app)])
    assert not await bench.broker.holds(bench.topic, b"needle")
    await bench.client.publish(bench.topic, *(f"straw {number}".encode() for number in range(30)), b"a needle in it")
    assert await bench.broker.holds(bench.topic, b"needle")
    assert not await bench.broker.holds(bench.topic, b"thread")


async def test_members_are_the_consumers_of_a_group(bench: Bench) -> None:
    group = bench.app
    await bench.broker.create([bench.wanted(group, partitions=1)])
    await bench.client.publish(bench.topic, b"event")
    assert await bench.broker.members([group, "nobody"]) == {group: 0, "nobody": 0}
    await bench.client.take(bench.topic, group, 1, acknowledged=1)
    assert await bench.broker.members([group, "nobody"]) == {group: 1, "nobody": 0}


async def test_redis_counts_what_is_left_when_the_server_cannot(servers: tuple[KafkaServer, ValkeyServer]) -> None:
    """After a deletion behind a group's place, XINFO GROUPS has no lag."""
    bench, client = await _valkey(servers)
    await bench.broker.create([bench.wanted(bench.app)])
    await client.publish(bench.topic, *(b"event" for _ in range(6)))
    await client.take(bench.topic, bench.app, 2, acknowledged=2)
    await client.delete(bench.topic, 3)
    assert await bench.left(bench.app) == Lag(3)
    await _close(bench)


async def test_redis_is_trimmed_of_what_every_group_has_acknowledged(
    servers: tuple[KafkaServer, ValkeyServer],
) -> None:
    bench, client = await _valkey(servers)
    assert isinstance(bench.broker, RedisBroker)
    wanted = bench.wanted("slow", "quick")
    await client.publish(bench.topic, *(b"event" for _ in range(10)))
    assert await bench.broker.trim(wanted, 1) == 0, "trimmed before its groups were there"
    await bench.broker.create([wanted])
    await client.take(bench.topic, "quick", 10, acknowledged=10)
    assert await bench.broker.trim(wanted, 1) == 0, "trimmed what a group has not read"
    await client.take(bench.topic, "slow", 6, acknowledged=4)
    assert await bench.broker.trim(wanted, 8) == 2, "the newest were not kept"
    assert await bench.broker.trim(wanted, 1) == 2
    assert await client.length(bench.topic) == 6, "an entry in flight or unread is gone"
    assert await bench.left("slow") == Lag(4, 2)
    assert await bench.broker.trim(bench.wanted(), 0) == 0
    await _close(bench)


async def _valkey(servers: tuple[KafkaServer, ValkeyServer]) -> tuple[Bench, RedisClient]:
    metadata = redis_metadata(servers[1])
    client = RedisClient(servers[1])
    return Bench("valkey", brokers.connect(REDIS, metadata), client, metadata, f"topic-{uuid4()}", "app"), client


async def _close(bench: Bench) -> None:
    await bench.client.close()
    await bench.broker.close()


async def refusal(component: dict[str, dict[str, str]], metadata: dict[str, str]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        async with brokers.connected(component, metadata) as broker:
            await broker.check()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("changed", "fault", "words"),
    [
        ({"saslPassword": "wrong"}, Fault.CREDENTIALS, "check saslUsername and saslPassword"),
        ({"saslPassword": ""}, Fault.CREDENTIALS, "saslPassword is empty"),
        ({"saslMechanism": "PLAINTEXT"}, Fault.MECHANISM, "does not take this mechanism"),
        ({"saslMechanism": "SCRAM-SHA-256"}, Fault.MECHANISM, "use one of SHA-256, SHA-512"),
        ({"caCert": ""}, Fault.TLS, "check caCert"),
        ({"brokers": "no-such-host.invalid:9092"}, Fault.ADDRESS, "no host of that name"),
        ({"brokers": ""}, Fault.SETTING, "brokers is empty"),
        ({"authType": "sasl_ssl"}, Fault.SETTING, "authType is 'sasl_ssl'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_kafkas_faults_are_told_apart(
    servers: tuple[KafkaServer, ValkeyServer], changed: dict[str, str], fault: Fault, words: str
) -> None:
    error = await refusal(KAFKA, sasl(servers[0], **changed))
    assert error.fault is fault
    assert words in str(error)
    assert servers[0].login.password not in str(error)


async def test_kafka_without_an_answer_and_without_tls(servers: tuple[KafkaServer, ValkeyServer]) -> None:
    kafka, _ = servers
    (nobody,) = ports.free(1)
    assert (await refusal(KAFKA, sasl(kafka, brokers=f"127.0.0.1:{nobody}"))).fault is Fault.NETWORK
    assert (await refusal(KAFKA, sasl(kafka, brokers=kafka.bootstrap))).fault is Fault.TLS
    plain = {"brokers": kafka.sasl_bootstrap, "authType": "none"}
    assert "uses TLS if we do" in str(await refusal(KAFKA, plain))


@pytest.mark.parametrize(
    ("changed", "fault", "words"),
    [
        ({"redisPassword": "wrong"}, Fault.CREDENTIALS, "check redisUsername and redisPassword"),
        ({"redisPassword": ""}, Fault.CREDENTIALS, "wants a password"),
        ({"redisHost": "no-such-host.invalid:6379"}, Fault.ADDRESS, "check redisHost"),
        ({"redisHost": "nonsense:port"}, Fault.SETTING, "write it as host:port"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
async def test_redis_faults_are_told_apart(
    servers: tuple[KafkaServer, ValkeyServer], changed: dict[str, str], fault: Fault, words: str
) -> None:
    error = await refusal(REDIS, redis_metadata(servers[1], **changed))
    assert error.fault is fault
    assert words in str(error)
    assert servers[1].password not in str(error)


async def test_redis_without_an_answer_and_with_a_strangers_tls(servers: tuple[KafkaServer, ValkeyServer]) -> None:
    kafka, valkey = servers
    (nobody,) = ports.free(1)
    assert (await refusal(REDIS, redis_metadata(valkey, redisHost=f"127.0.0.1:{nobody}"))).fault is Fault.NETWORK
    stranger = redis_metadata(valkey, redisHost=kafka.sasl_bootstrap, enableTLS="true")
    assert (await refusal(REDIS, stranger)).fault is Fault.TLS


async def test_no_other_component_is_looked_into() -> None:
    with pytest.raises(BrokerError, match=r"nothing here looks into pubsub\.sqlite"):
        brokers.connect({"spec": {"type": "pubsub.sqlite"}}, {})


async def test_every_topic_of_the_system_is_made_and_then_as_it_should_be(made: Bench) -> None:
    absent = {finding.name for finding in await topics.check(made.broker) if finding.lacks == ("it does not exist",)}
    assert set(await topics.create(made.broker)) == absent
    assert [finding for finding in await topics.check(made.broker) if finding.lacks] == []
    states = {state.name: state for state in await topics.states(made.broker)}
    assert set(states["task-events"].lag) == {"notification-service", "recurring-service"}
    assert set(states["dead-letters.email-delivery.task-reminders"].lag) == {"backend"}
    assert {state.published for state in states.values()} == {0}
    letters = states["dead-letters.email-delivery.task-reminders"].topic
    assert letters is not None
    if made.kind != "valkey":
        assert (letters.partitions, letters.retention) == (3, dt.timedelta(days=30))
        assert letters.message_bytes is not None
        assert letters.message_bytes > 4 * 1024 * 1024
