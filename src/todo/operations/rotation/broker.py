"""What the logins of all brokers have in common: they are judged by the component that Dapr gets."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from todo.operations import brokers, topics
from todo.operations.brokers import Broker, BrokerError, Fault
from todo.operations.rotation.authority import RotationError, Secret


class BrokerLogins(ABC):
    """The half of `Authority` that asks; `name` is the secret that the component takes its login from."""

    def __init__(self, component: Mapping[str, Any], name: str) -> None:
        self._component = component
        self._name = name

    @abstractmethod
    def login(self, secret: Secret) -> str: ...

    async def check(self, secret: Secret) -> None:
        async with told(), self._let_in(secret) as broker:
            groups = topics.consumed()
            wanted = {topic for of_app in groups.values() for topic in of_app}
            absent = wanted - set(await broker.topics(wanted))  # Kafka hides what a user has no rights on
            if absent:
                names = ", ".join(sorted(absent))
                raise RotationError(
                    f"{self.login(secret)} may not see topics {names} of {broker.place}: give it the old one's rights"
                )
            await broker.members(groups)

    async def is_refused(self, secret: Secret) -> bool:
        async with told():
            try:
                async with self._let_in(secret):
                    return False
            except BrokerError as error:
                if error.fault is not Fault.CREDENTIALS:
                    raise
                return True

    async def users(self, secret: Secret, *, by: Secret) -> list[str]:
        """Nobody: brokers do not tell by which login their clients came."""
        del secret, by
        return []

    def settings(self, secret: Secret) -> dict[str, str]:
        """The component's settings by name, looked up in this secret, which may not be in place yet, or no longer."""
        found = {}
        for item in self._component["spec"].get("metadata") or ():
            ref = item.get("secretKeyRef")
            if ref is None:
                found[item["name"]] = str(item.get("value", ""))
            elif ref["name"] == self._name and (ref.get("key") or ref["name"]) in secret:
                found[item["name"]] = secret[ref.get("key") or ref["name"]]
            else:
                where = f"setting {item['name']} of {self._component['metadata']['name']}"
                raise RotationError(
                    f"{where} is not in secret {self._name}: a component takes its login from one secret"
                )
        return found

    @asynccontextmanager
    async def _let_in(self, secret: Secret) -> AsyncIterator[Broker]:
        async with brokers.connected(self._component, self.settings(secret)) as broker:
            await broker.check()
            yield broker


def secret_of(component: Mapping[str, Any]) -> str | None:
    """The secret that a component takes its login from, None if it has none."""
    refs = [item["secretKeyRef"]["name"] for item in component["spec"].get("metadata") or () if "secretKeyRef" in item]
    return refs[0] if refs else None


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """What a broker has to say ends a rotation."""
    try:
        yield
    except BrokerError as error:
        raise RotationError(str(error)) from error
