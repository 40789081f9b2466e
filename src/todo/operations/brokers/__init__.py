"""What looks into a broker. The clients come with the extra `engine`, and are imported when they are needed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from todo.operations.brokers.broker import Broker, BrokerError, Fault, Lag, Topic, Wanted

__all__ = ["Broker", "BrokerError", "Fault", "Lag", "Topic", "Wanted", "connect", "connected"]


def connect(component: Mapping[str, Any], metadata: Mapping[str, str]) -> Broker:
    """The broker behind a component, whose metadata was looked up; nothing is sent yet, `close` it in the end.

    Raises `BrokerError` for a component that no broker here fits, or whose settings cannot work.
    """
    kind = component["spec"]["type"]
    try:
        if kind == "pubsub.kafka":
            from todo.operations.brokers.kafka import KafkaBroker  # noqa: PLC0415 - of the extra `engine`

            return KafkaBroker(metadata)
        if kind == "pubsub.redis":
            from todo.operations.brokers.redis import RedisBroker  # noqa: PLC0415 - of the extra `engine`

            return RedisBroker(metadata)
    except ImportError as error:
        message = f"the client for {kind} is not installed ({error.name}): install todo[engine]"
        raise BrokerError(Fault.SETTING, message) from error
    raise BrokerError(Fault.SETTING, f"nothing here looks into {kind}: pubsub.kafka and pubsub.redis are known")


@asynccontextmanager
async def connected(component: Mapping[str, Any], metadata: Mapping[str, str]) -> AsyncIterator[Broker]:
    """`connect`, closed at the end."""
    broker = connect(component, metadata)
    try:
        yield broker
    finally:
        await broker.close()
