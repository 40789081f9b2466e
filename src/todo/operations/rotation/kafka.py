"""Logins of Kafka: SCRAM users."""

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it means to export them
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from todo.operations.brokers.broker import BrokerError, Fault
from todo.operations.brokers.kafka import TIMEOUT, KafkaBroker
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.broker import BrokerLogins, told

USERNAME: Final = "KAFKA_SASL_USERNAME"
PASSWORD: Final = "KAFKA_SASL_PASSWORD"  # noqa: S105 - a key's name
ROUNDS: Final = 8192
SCRAM: Final = {"SHA-256": ScramMechanism.SCRAM_SHA_256, "SHA-512": ScramMechanism.SCRAM_SHA_512}


class KafkaLogins(BrokerLogins):
    """`Authority` on the broker behind a component."""

    def login(self, secret: Secret) -> str:
        return secret[USERNAME]

    def fresh(self, secret: Secret, version: int) -> Secret:
        name = re.sub(r"-v\d+$", "", secret[USERNAME])
        return {**secret, USERNAME: f"{name}-v{version}", PASSWORD: secrets.token_urlsafe(32)}

    def given(self, secret: Secret, username: str, password: str) -> Secret:
        if username == secret[USERNAME]:
            raise RotationError(
                f"--username: {username} is in use, and Kafka knows one password per user: give another user"
            )
        return {**secret, USERNAME: username, PASSWORD: password}

    def beside(self, kept: Secret, current: Secret) -> Secret:
        return {**current, USERNAME: kept[USERNAME], PASSWORD: kept[PASSWORD]}

    async def may_create(self, by: Secret) -> None:
        async with self._administered(by) as broker:
            await broker.mechanisms(by[USERNAME])

    async def create(self, secret: Secret, *, by: Secret) -> None:
        async with self._administered(by) as broker:
            await broker.let_in(secret[USERNAME], secret[PASSWORD])

    async def remove(self, secret: Secret, *, by: Secret) -> None:
        async with self._administered(by) as broker:
            await broker.keep_out(secret[USERNAME])

    @asynccontextmanager
    async def _administered(self, by: Secret) -> AsyncIterator["_Administered"]:
        async with told():
            broker = _Administered(self.settings(by))
            try:
                yield broker
            finally:
                await broker.close()


class _Administered(KafkaBroker):
    """The broker with the calls that change its users."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        super().__init__(metadata)
        self._mechanism = SCRAM.get(metadata.get("saslMechanism", ""))

    async def mechanisms(self, user: str) -> list[ScramMechanism]:
        def ask() -> Any:  # noqa: ANN401 - one future per user, which the client types as one or many
            return self._admin.describe_user_scram_credentials([user], request_timeout=TIMEOUT)

        try:
            found = (await self._all(ask))[user]
        except BrokerError as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.RESOURCE_NOT_FOUND:
                return []
            raise
        return [info.mechanism for info in found.scram_credential_infos]

    async def let_in(self, user: str, password: str) -> None:
        if self._mechanism is None:
            raise BrokerError(Fault.MECHANISM, f"{self.place} has no SCRAM users: make the user there, and give it")
        info = ScramCredentialInfo(self._mechanism, ROUNDS)
        await self._alter(UserScramCredentialUpsertion(user, info, password.encode()))

    async def keep_out(self, user: str) -> None:
        """Give the user a password that nobody knows.

        He is not deleted: at its next start Kafka 4.1.1 may forget every user of that mechanism (docs/rotation.md).
        """
        for mechanism in await self.mechanisms(user):
            info = ScramCredentialInfo(mechanism, ROUNDS)
            await self._alter(UserScramCredentialUpsertion(user, info, secrets.token_bytes(32)))

    async def _alter(self, change: UserScramCredentialUpsertion) -> None:
        await self._all(lambda: self._admin.alter_user_scram_credentials([change], request_timeout=TIMEOUT))
