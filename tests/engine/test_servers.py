"""Kafka and Valkey as the product starts them: each way in, what is refused, and that a restart keeps the data."""

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from todo.operations.engine.kafka import KafkaServer, Listener
from todo.operations.engine.valkey import ValkeyServer

SECONDS: Final = 20
BOTH: Final = {Listener.PLAINTEXT: 0, Listener.SASL_SSL: 0}
QUIET: Final = {"log_level": 0}


def sasl(kafka: KafkaServer, **changed: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": kafka.sasl_bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": kafka.login.username,
        "sasl.password": kafka.login.password,
        "ssl.ca.pem": kafka.ca_certificate(),
        **QUIET,
        **changed,
    }


async def knock(settings: dict[str, Any]) -> bool:
    """Tell whether the broker answers; what it refuses it never answers, so this waits for a while."""

    def ask() -> bool:
        try:
            return bool(AdminClient(settings).list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    return await asyncio.to_thread(ask)


def write(settings: dict[str, Any], topic: str, *values: bytes) -> None:
    producer = Producer(settings)
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(SECONDS) == 0


def read(settings: dict[str, Any], topic: str, count: int) -> list[bytes]:
    group = {"group.id": secrets.token_hex(4), "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | group)
    consumer.subscribe([topic])
    try:
        return sorted(message.value() or b"" for message in _messages(consumer, count))
    finally:
        consumer.close()


def _messages(consumer: Consumer, count: int) -> Iterator[Message]:
    for _ in range(count):
        message = consumer.poll(SECONDS)
        assert message is not None
        assert message.error() is None
        yield message


async def test_kafka_lets_in_who_shows_its_password_over_tls(tmp_path: Path) -> None:
    """Both SCRAM mechanisms and the open listener work; a wrong password, a strange CA and PLAIN do not."""
    async with KafkaServer(tmp_path / "kafka", BOTH) as kafka:
        assert await knock({"bootstrap.servers": kafka.bootstrap})
        assert await knock(sasl(kafka))
        assert await knock(sasl(kafka, **{"sasl.mechanism": "SCRAM-SHA-512"}))
        assert not await knock(sasl(kafka, **{"sasl.password": "wrong"}))
        assert not await knock(sasl(kafka, **{"sasl.mechanism": "PLAIN"}))
        other = KafkaServer(tmp_path / "other", {Listener.SASL_SSL: 0})
        assert not await knock(sasl(kafka, **{"ssl.ca.pem": other.ca_certificate()}))


async def test_kafka_keeps_its_data_and_its_users(tmp_path: Path) -> None:
    """What was written before kill -9 is there after the restart, and after a stop; emptied, it is a new broker."""
    async with KafkaServer(tmp_path, {Listener.SASL_SSL: 0}, users={"ada": "lovelace"}) as kafka:
        ada = sasl(kafka)
        admin = AdminClient(kafka.admin_client())
        await asyncio.to_thread(admin.create_topics([NewTopic("kept", 3)])["kept"].result, SECONDS)
        await asyncio.to_thread(write, ada, "kept", b"one", b"two")
        await kafka.supervisor.kill("kafka")
        await kafka.supervisor.wait_ready()
        assert await asyncio.to_thread(read, ada, "kept", 2) == [b"one", b"two"]
    async with KafkaServer(tmp_path, {Listener.SASL_SSL: 0}) as kafka:
        settings = sasl(kafka, **{"sasl.username": "ada", "sasl.password": "lovelace"})
        assert await asyncio.to_thread(read, settings, "kept", 2) == [b"one", b"two"]
        await kafka.supervisor.stop_child("kafka")
        shutil.rmtree(tmp_path / "log")
        kafka.supervisor.start_child("kafka")
        await kafka.supervisor.wait_ready()
        assert "kept" not in AdminClient(kafka.admin_client()).list_topics(timeout=SECONDS).topics


async def test_a_topic_is_not_made_by_a_misspelling(tmp_path: Path) -> None:
    """Publishing to a topic that was not created fails, unless the broker is told to create topics by itself."""
    async with (
        KafkaServer(tmp_path / "strict") as strict,
        KafkaServer(tmp_path / "lax", auto_create_topics=True) as lax,
    ):
        await asyncio.to_thread(write, {"bootstrap.servers": lax.bootstrap}, "typo", b"x")
        settings = {"bootstrap.servers": strict.bootstrap, "message.timeout.ms": 3000, **QUIET}
        failed: list[object] = []
        producer = Producer(settings)
        producer.produce("typo", b"x", on_delivery=lambda error, _: failed.append(error))
        await asyncio.to_thread(producer.flush, SECONDS)
        assert [str(error.code()) for error in failed if error is not None] != []  # type: ignore[attr-defined]


async def test_valkey_wants_its_password_and_keeps_its_data(tmp_path: Path) -> None:
    async with ValkeyServer(tmp_path) as valkey:
        async with Redis(port=valkey.port) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        client: Any  # redis-py leaves commands untyped
        async with Redis(port=valkey.port, password=valkey.password) as client:
            await client.set("kept", "yes")
            await client.execute_command("ACL", "SETUSER", "default", ">second")
            await client.execute_command("ACL", "SAVE")
    async with ValkeyServer(tmp_path) as valkey, Redis(port=valkey.port, password="second") as client:
        assert await client.get("kept") == b"yes"
