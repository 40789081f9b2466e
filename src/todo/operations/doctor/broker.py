"""The broker behind the pub/sub component: whether it can be reached, lets us in, and has the topics."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from todo.contracts import names
from todo.operations import brokers, topics
from todo.operations.brokers import Broker, BrokerError, Fault, Lag
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import BrokerLook, Seen

CONNECTS_IN: Final = 3.0
NO_HOST: Final = "there is no host of that name"
REFUSED: Final = "connection refused"
SILENT: Final = f"no answer within {CONNECTS_IN:.0f} s"
NO_ADDRESS: Final = "it is not of the form host:port"
REDIS_PORT: Final = "6379"
PORTS: Final = {
    NO_HOST: Code.BROKER_ADDRESS,
    REFUSED: Code.BROKER_REFUSED,
    SILENT: Code.BROKER_TIMEOUT,
    NO_ADDRESS: Code.BROKER_SETTING,
}
FAULTS: Final = {
    Fault.ADDRESS: Code.BROKER_ADDRESS,
    Fault.NETWORK: Code.BROKER_TIMEOUT,
    Fault.TLS: Code.BROKER_TLS,
    Fault.MECHANISM: Code.BROKER_MECHANISM,
    Fault.CREDENTIALS: Code.BROKER_CREDENTIALS,
    Fault.RIGHTS: Code.BROKER_RIGHTS,
    Fault.SETTING: Code.BROKER_SETTING,
    Fault.BROKER: Code.BROKER_FAILING,
}


async def look(component: Mapping[str, Any], metadata: Mapping[str, str]) -> BrokerLook:
    """Connect to each address, then log in. Only a broker that can be reached is asked for anything."""
    addresses = _addresses(metadata)
    given = ", ".join(addresses)
    ports = dict(zip(addresses, await asyncio.gather(*map(_port, addresses)), strict=True))
    if addresses and all(ports.values()):
        return BrokerLook(place=given, ports=ports)
    try:
        async with brokers.connected(component, metadata) as broker:
            await broker.check()
            return BrokerLook(place=broker.place, ports=ports, topics=await _topics(broker))
    except BrokerError as error:
        return BrokerLook(place=given, ports=ports, error=error)


async def left(
    component: Mapping[str, Any], metadata: Mapping[str, str]
) -> tuple[Mapping[tuple[str, str], Lag], Mapping[str, int]]:
    """What each app has left of its topics, and how much was ever published on each. Raises `BrokerError`."""
    async with brokers.connected(component, metadata) as asked:
        consumed = topics.consumed()
        ends = await asked.ends({topic for of_app in consumed.values() for topic in of_app})
        return await asked.lag(consumed), ends


def told(found: BrokerLook) -> str:
    """What was looked at, in words."""
    return f"{found.place}: login, topics, and what each app has left"


def check(seen: Seen) -> Iterator[Finding]:
    """What keeps us out, told apart; a topic that is not there."""
    broker = seen.broker
    if broker is None:
        return
    reached = not broker.ports or not all(broker.ports.values())
    for address, why in broker.ports.items():
        if why:
            what = f"the broker at {address} cannot be reached: {why}"
            yield found(PORTS.get(why, Code.BROKER_TIMEOUT), address, what, f"tried from {seen.where}", _more(reached))
    if broker.error is not None and reached:
        code, hung_up = FAULTS[broker.error.fault], ""
        if code is Code.BROKER_TIMEOUT and "timed out" not in str(broker.error):
            code, hung_up = (
                Code.BROKER_TLS,
                "it accepts connections and ends them: one side encrypts, the other does not",
            )
        yield found(code, broker.place or names.PUBSUB, str(broker.error), f"tried from {seen.where}", hung_up)
    for one in broker.topics:
        if one.found is None:
            yield found(Code.TOPIC_MISSING, one.name, f"topic {one.name} does not exist", f"{broker.place} was asked")


def _addresses(metadata: Mapping[str, str]) -> list[str]:
    redis = metadata.get("redisHost", "")
    if redis and ":" not in redis:
        redis = f"{redis}:{metadata.get('redisPort') or REDIS_PORT}"
    given = metadata.get("brokers") or redis
    return [one.strip() for one in given.split(",") if one.strip()]


async def _topics(broker: Broker) -> list[topics.Finding]:
    return [one for one in await topics.check(broker) if one.lacks]


def _more(reached: bool) -> str:  # noqa: FBT001 - a fact
    return "others of its addresses answer" if reached else ""


async def _port(address: str) -> str:
    """Why nothing can be sent to the address; nothing if it can."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return NO_ADDRESS
    try:
        async with asyncio.timeout(CONNECTS_IN):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return SILENT
    except OSError as error:
        return _reason(error)
    writer.close()
    return ""


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return NO_HOST
    refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)  # of several addresses
    return REFUSED if refused else error.strerror or type(error).__name__
