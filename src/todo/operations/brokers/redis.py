"""Redis and Valkey Streams: a topic is a stream, a group a consumer group on it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from todo.operations.brokers.broker import BrokerError, Fault, Lag, Topic, Wanted

TIMEOUT: Final = 5.0
NEWEST: Final = 1000  # entries that `holds` looks at
PAGE: Final = 1000
PORT: Final = "6379"

Entry = tuple[bytes, dict[bytes, bytes]]


class RedisBroker:
    """`Broker` on one server, as Dapr's component `pubsub.redis` describes it."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        address = metadata.get("redisHost", "")
        host, _, port = address.rpartition(":") if ":" in address else (address, "", metadata.get("redisPort") or PORT)
        if not host or not port.isdecimal():
            raise BrokerError(Fault.SETTING, f"redisHost is {address!r}: write it as host:port")
        self._address = f"{host}:{port}"
        self._client = redis.asyncio.Redis(
            host=host,
            port=int(port),
            db=int(metadata.get("redisDB") or 0),
            username=metadata.get("redisUsername") or None,
            password=metadata.get("redisPassword") or None,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            ssl=metadata.get("enableTLS", "").lower() == "true",
        )

    @property
    def place(self) -> str:
        return f"Redis at {self._address}"

    async def check(self) -> None:
        async with self._asking():
            await self._call("PING")
            role = await self._call("ROLE")
            if role[0] == b"slave":
                message = f"{self.place} is a replica and takes no writes: name the primary in redisHost"
                raise BrokerError(Fault.BROKER, message)

    async def topics(self, names: Collection[str]) -> dict[str, Topic]:
        async with self._asking():
            found = {name: await self._groups(name) for name in names}
        return {
            name: Topic(name, groups=tuple(group["name"].decode() for group in groups))
            for name, groups in found.items()
            if groups is not None
        }

    async def create(self, wanted: Sequence[Wanted]) -> list[str]:
        """Make each stream with its groups, which begin at the oldest entry: a group that is known is waited for."""
        names = [one.name for one in wanted]
        existing = await self.topics(names)
        async with self._asking():
            for one in wanted:
                for group in one.groups:
                    await self._create_group(one.name, group)
        return [name for name in names if name not in existing]

    def missing(self, wanted: Wanted, found: Topic) -> Iterable[str]:
        return [f"group {group} is not there" for group in wanted.groups if group not in (found.groups or ())]

    async def lag(self, groups: Mapping[str, Collection[str]]) -> dict[tuple[str, str], Lag]:
        found: dict[tuple[str, str], Lag] = {}
        async with self._asking():
            for topic in {topic for topics in groups.values() for topic in topics}:
                known = {group["name"].decode(): group for group in await self._groups(topic) or ()}
                for app in (app for app, topics in groups.items() if topic in topics):
                    found[app, topic] = await self._lag(topic, known.get(app))
        return found

    async def ends(self, names: Collection[str]) -> dict[str, int]:
        async with self._asking():
            return {name: await self._entries_added(name) for name in names}

    async def members(self, groups: Collection[str]) -> dict[str, int]:
        """The most consumers that a group has on any stream."""
        found = dict.fromkeys(groups, 0)
        async with self._asking():
            async for key in self._client.scan_iter(_type="stream"):
                for group in await self._groups(key.decode()) or ():
                    name = group["name"].decode()
                    if name in found:
                        found[name] = max(found[name], group["consumers"])
        return found

    async def holds(self, topic: str, text: bytes) -> bool:
        async with self._asking():
            entries: list[Entry] = await self._call("XREVRANGE", topic, "+", "-", "COUNT", NEWEST)
        return any(text in value for _, fields in entries for value in _values(fields))

    async def trim(self, wanted: Wanted, keep: int) -> int:
        """Delete what every group of a topic has acknowledged, but not the newest `keep`; returns how many went.

        Nothing while a group that should be there is not: it would begin at the oldest entry that is left.
        """
        async with self._asking():
            groups = {group["name"].decode(): group for group in await self._groups(wanted.name) or ()}
            if not wanted.groups or any(group not in groups for group in wanted.groups):
                return 0
            newest: list[Entry] = await self._call("XREVRANGE", wanted.name, "+", "-", "COUNT", keep)
            if len(newest) < keep:
                return 0
            bounds = [await self._first_needed(wanted.name, group) for group in groups.values()]
            lowest = min([*bounds, *([_parsed(newest[-1][0])] if newest else [])])
            return int(await self._call("XTRIM", wanted.name, "MINID", "=", f"{lowest[0]}-{lowest[1]}"))

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, *words: Any) -> Any:  # noqa: ANN401 - Redis answers with whatever the command says
        return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def _groups(self, topic: str) -> list[dict[str, Any]] | None:
        """What XINFO GROUPS says, None without the stream. Groups of strangers are among them."""
        try:
            return list(await self._client.xinfo_groups(topic))
        except ResponseError as error:
            if "no such key" in str(error):
                return None
            raise

    async def _create_group(self, topic: str, group: str) -> None:
        try:
            await self._client.xgroup_create(topic, group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _lag(self, topic: str, group: Mapping[str, Any] | None) -> Lag:
        if group is None:
            return Lag(await self._client.xlen(topic))
        waiting = group.get("lag")
        if waiting is None:  # after a deletion in the middle the server cannot tell; the entries behind can be counted
            waiting = await self._count_after(topic, group["last-delivered-id"])
        return Lag(waiting, group["pending"])

    async def _count_after(self, topic: str, entry: bytes) -> int:
        counted, after = 0, entry
        while True:
            page: list[Entry] = await self._call("XRANGE", topic, b"(" + after, "+", "COUNT", PAGE)
            counted += len(page)
            if len(page) < PAGE:
                return counted
            after = page[-1][0]

    async def _entries_added(self, topic: str) -> int:
        try:
            return int((await self._client.xinfo_stream(topic))["entries-added"])
        except ResponseError as error:
            if "no such key" in str(error):
                return 0
            raise

    async def _first_needed(self, topic: str, group: Mapping[str, Any]) -> tuple[int, int]:
        """The first entry that a group has not acknowledged, or the first it may get next."""
        if group["pending"]:
            pending = await self._call("XPENDING", topic, group["name"])
            oldest = pending["min"] if isinstance(pending, dict) else pending[1]
            if oldest is not None:  # else all that was in hand has been acknowledged since
                return _parsed(oldest)
        milliseconds, number = _parsed(group["last-delivered-id"])
        return milliseconds, number + 1

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> BrokerError:
        """Tell what is wrong apart. A client shows the cause of a lost connection only as what it came from."""
        where, text = self.place, str(error).rstrip(".")
        causes = list(_causes(error))
        if isinstance(error, AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
            why = "it wants a password" if "HELLO must be called" in text or "NOAUTH" in text else text
            return BrokerError(
                Fault.CREDENTIALS, f"{where} refuses the credentials ({why}): check redisUsername and redisPassword"
            )
        if isinstance(error, NoPermissionError):
            return BrokerError(Fault.RIGHTS, f"{where}: this user may not do that ({text}): give it rights on streams")
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return BrokerError(
                Fault.TLS, f"{where}: TLS fails ({text}): check enableTLS and who signed the certificate"
            )
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return BrokerError(Fault.ADDRESS, f"{where}: there is no host of that name: check redisHost")
        if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError | asyncio.TimeoutError):
            hint = "check redisHost, that the server runs, and enableTLS"
            return BrokerError(Fault.NETWORK, f"{where} does not answer ({text}): {hint}")
        return BrokerError(Fault.BROKER, f"{where} cannot do that: {text}")


def _parsed(entry: bytes) -> tuple[int, int]:
    milliseconds, number = entry.split(b"-")
    return int(milliseconds), int(number)


def _values(fields: Any) -> list[bytes]:  # noqa: ANN401 - a dict or a flat list, by the protocol's version
    return list(fields.values()) if isinstance(fields, dict) else list(fields)


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
