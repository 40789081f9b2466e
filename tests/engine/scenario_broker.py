"""A broker as somebody sees it who has no sidecar: bytes put straight onto a topic, all that a topic holds."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import uuid4

import redis.asyncio as redis
from confluent_kafka import Consumer, Producer, TopicPartition

from todo.contracts import names

SECONDS: Final = 20.0
TOPICS: Final = tuple(dict.fromkeys(topic for app in names.APPS for topic in app.topics))


class Outside(Protocol):
    """What tests ask of a broker itself."""

    async def put(self, topic: str, body: bytes, key: str) -> None:
        """Append these bytes to a topic, in the form in which Dapr's component for this broker reads them."""
        ...

    async def history(self, topic: str) -> Sequence[bytes]:
        """All that the topic holds, oldest first where the broker has an order."""
        ...


class Streams:
    """Redis and Valkey: a topic is a stream, its entries have the fields `data` and `metadata`."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        host, _, port = metadata["redisHost"].partition(":")
        self._address: dict[str, Any] = {
            "host": host,
            "port": int(port or 6379),
            "password": metadata.get("redisPassword") or None,
        }

    async def put(self, topic: str, body: bytes, key: str) -> None:
        async with redis.Redis(**self._address) as client:
            await client.xadd(topic, {"data": body, "metadata": json.dumps({"partitionKey": key})})

    async def history(self, topic: str) -> Sequence[bytes]:
        async with redis.Redis(**self._address) as client:
            entries: list[Any] = await client.xrange(topic) or []
            return [fields[b"data"] for _, fields in entries]


class Partitions:
    """Kafka, plaintext."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._servers = metadata["brokers"]

    async def put(self, topic: str, body: bytes, key: str) -> None:
        await asyncio.to_thread(self._put, topic, body, key)

    async def history(self, topic: str) -> Sequence[bytes]:
        return await asyncio.to_thread(self._history, topic)

    def _put(self, topic: str, body: bytes, key: str) -> None:
        failures: list[Any] = []
        producer = Producer({"bootstrap.servers": self._servers})
        producer.produce(topic, body, key=key, on_delivery=lambda error, _: failures.append(error) if error else None)
        assert producer.flush(SECONDS) == 0, "the broker did not take it"
        assert not failures, failures

    def _history(self, topic: str) -> Sequence[bytes]:
        consumer = Consumer({"bootstrap.servers": self._servers, "group.id": f"history-{uuid4()}"})
        try:
            return self._read(consumer, topic)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, topic: str) -> Sequence[bytes]:
        partitions = consumer.list_topics(topic, SECONDS).topics[topic].partitions
        ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), SECONDS) for number in partitions}
        consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in ends.items()])
        wanted = sum(high - low for low, high in ends.values())
        found: list[bytes] = []
        while len(found) < wanted:
            message = consumer.poll(SECONDS)
            assert message is not None, f"{topic}: {len(found)} of {wanted}"
            assert message.error() is None, message.error()
            found.append(message.value() or b"")
        return found


def outside(metadata: Mapping[str, str]) -> Outside:
    """The broker that a component with this metadata speaks to."""
    return Streams(metadata) if "redisHost" in metadata else Partitions(metadata)
