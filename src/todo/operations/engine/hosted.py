"""The brokers that run on this host, by environment: Kafka in the open, Kafka with TLS and SCRAM, Valkey."""

import asyncio
import dataclasses
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from todo.operations import brokers, topics
from todo.operations.brokers import BrokerError
from todo.operations.datafolder import write_secret
from todo.operations.engine import environments
from todo.operations.engine.environments import KAFKA_SECRETS, KAFKA_SECRETS_MSK, REDIS_SECRETS
from todo.operations.engine.kafka import KafkaServer, Listener
from todo.operations.engine.secrets import Secrets
from todo.operations.engine.valkey import ValkeyServer
from todo.operations.supervisor import ChildSpec

CONTROLLER: Final = "-controller"
KAFKA: Final = "kafka"
KAFKA_SASL: Final = "kafka-sasl"
VALKEY: Final = "valkey"
# Two environments share a server: it speaks both SCRAM mechanisms.
SERVERS: Final = {
    environments.KAFKA.name: KAFKA,
    environments.KAFKA_SASL.name: KAFKA_SASL,
    environments.KAFKA_SASL_512.name: KAFKA_SASL,
    environments.REDIS.name: VALKEY,
}
USERS: Final = {KAFKA_SECRETS: "todo", KAFKA_SECRETS_MSK: "todo-msk"}  # two, so that each is rotated by itself


class BrokerChoiceError(RuntimeError):
    """The broker that was asked for cannot be this folder's; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """A broker of ours: its child, and the values with which an environment's component reaches it."""

    child: ChildSpec
    values: Mapping[str, str]


class Addresses:
    """Where the brokers of ours were last, by server: they have other ports at each start."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, str] = json.loads(place.read_bytes()) if place.exists() else {}

    def of(self, server: str) -> str | None:
        return self._known.get(server)

    def save(self, new: Mapping[str, str]) -> None:
        self._known |= new
        write_secret(self._place, json.dumps(self._known, indent=2).encode())


def further_ports(server: str) -> list[str]:
    return [server] if server == VALKEY else [server, server + CONTROLLER]


@dataclass(frozen=True, slots=True)
class Making:
    """Makes brokers below a folder; their passwords and addresses go into the file behind the secret store."""

    folder: Path
    numbers: Mapping[str, int]
    store: Secrets
    addresses: Addresses

    def hosted(self, environment: str) -> Hosted:
        """The environment's broker. Raises BrokerChoiceError where its secret is another broker's."""
        makers = {KAFKA: self._kafka, KAFKA_SASL: self._kafka_sasl, VALKEY: self._valkey}
        return makers[SERVERS[environment]]()

    def _kafka(self) -> Hosted:
        listeners = {Listener.PLAINTEXT: self.numbers[KAFKA]}
        kafka = KafkaServer(self.folder / KAFKA, listeners, controller=self.numbers[KAFKA + CONTROLLER])
        metadata = {"brokers": kafka.bootstrap, "authType": "none"}
        child = _with_topics(kafka.child(KAFKA), "pubsub.kafka", lambda: metadata)
        return Hosted(child, {"brokers": kafka.bootstrap})

    def _kafka_sasl(self) -> Hosted:
        logins = {}
        for secret, username in USERS.items():
            self._refuse_foreign(secret)
            kept = self.store.keep(secret, KAFKA_SASL_USERNAME=username, KAFKA_SASL_PASSWORD=fresh_password())
            logins[kept["KAFKA_SASL_USERNAME"]] = kept["KAFKA_SASL_PASSWORD"]
        kafka = KafkaServer(
            self.folder / KAFKA_SASL,
            {Listener.SASL_SSL: self.numbers[KAFKA_SASL]},
            users=logins,
            controller=self.numbers[KAFKA_SASL + CONTROLLER],
        )
        authority = kafka.ca_certificate()
        for secret in USERS:
            self.store.of(secret).update(KAFKA_BOOTSTRAP_SERVERS=kafka.sasl_bootstrap, KAFKA_CA_CERT=authority)
        metadata = {
            "brokers": kafka.sasl_bootstrap,
            "authType": "password",
            "saslMechanism": "SHA-512",
            "saslUsername": kafka.admin.username,
            "saslPassword": kafka.admin.password,
            "caCert": authority,
        }
        return Hosted(_with_topics(kafka.child(KAFKA_SASL), "pubsub.kafka", lambda: metadata), {})

    def _valkey(self) -> Hosted:
        password = self.store.keep(REDIS_SECRETS, REDIS_PASSWORD=fresh_password())["REDIS_PASSWORD"]
        valkey = ValkeyServer(self.folder / VALKEY, self.numbers[VALKEY], password=password)

        def metadata() -> dict[str, str]:  # a rotation may have changed it since
            now = Secrets(self.store.place).of(REDIS_SECRETS)["REDIS_PASSWORD"]
            return {"redisHost": valkey.address, "redisPassword": now}

        child = _with_topics(valkey.child(VALKEY), "pubsub.redis", metadata)
        return Hosted(child, {"redisHost": valkey.address})

    def _refuse_foreign(self, secret: str) -> None:
        there = self.store.of(secret).get("KAFKA_BOOTSTRAP_SERVERS")
        if there not in {None, self.addresses.of(KAFKA_SASL)}:
            raise BrokerChoiceError(
                f"{self.store.place}: the secret {secret} is for {there}, a broker of your own: give the component "
                "that uses it another secret name, or remove this one"
            )


def fresh_password() -> str:
    return secrets.token_urlsafe(32)


def _with_topics(child: ChildSpec, kind: str, metadata: Callable[[], Mapping[str, str]]) -> ChildSpec:
    """Count the broker as ready when its topics are there too, which a new or emptied one lacks."""
    answers = child.ready
    making: asyncio.Task[None] | None = None

    async def make() -> None:
        async with brokers.connected({"spec": {"type": kind}}, metadata()) as broker:
            await topics.create(broker)

    async def ready(pid: int) -> bool:
        nonlocal making
        if answers is not None and not await answers(pid):
            return False
        making = making or asyncio.create_task(make())
        try:
            await asyncio.shield(making)  # it may take longer than a probe
        except BrokerError:
            making = None
            return False
        making = None
        return True

    return dataclasses.replace(child, ready=ready)
