"""Our half of Dapr's HTTP API: one pooled client per process.

Sources: Dapr's HTTP reference and what daprd 1.18 really answers (status codes of a missing component, of a lost
first-write, of a job that does not exist differ from the reference; both readings are accepted here).
"""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from todo.contracts import spans
from todo.dapr.errors import CallRefusedError, SidecarAwayError

T = TypeVar("T")

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=2)
_RELOADING: Final = frozenset({"ERR_PUBSUB_NOT_FOUND", "ERR_PUBSUB_NOT_CONFIGURED", "ERR_STATE_STORE_NOT_FOUND"})
_NETWORK: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
_CONTENT: Final = {"content-type": "application/json"}


class Message(msgspec.Struct, frozen=True):
    """One event to publish: a complete CloudEvent as bytes, and the key that keeps an aggregate on one partition."""

    entry_id: str
    envelope: bytes
    partition_key: str


class StateItem(msgspec.Struct, frozen=True):
    """A value read from the state store. `etag` is opaque and changes with every write."""

    value: msgspec.Raw
    etag: str


class JobSchedule(msgspec.Struct, frozen=True, rename="camel"):
    """A job as Dapr's Scheduler takes it; a tick that fails is dropped, for every job here is only a wake-up."""

    schedule: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)  # daprd never calls the app for a job without data
    failure_policy: dict[str, Any] = msgspec.field(default_factory=lambda: {"drop": {}})
    overwrite: bool = False


class _Registered(msgspec.Struct):
    schedule: str = ""


class _BulkItem(msgspec.Struct):
    key: str
    data: msgspec.Raw = msgspec.Raw(b"")
    etag: str = ""
    error: str = ""


class _FailedEntry(msgspec.Struct, rename="camel"):
    entry_id: str
    error: str = ""


class _Failure(msgspec.Struct, rename="camel"):
    error_code: str = ""
    message: str = ""
    failed_entries: list[_FailedEntry] = []


class Dapr:
    """The sidecar of this app. Every method raises `SidecarAwayError` or `CallRefusedError`, and nothing else."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base = base_url.rstrip("/")

    async def publish(self, pubsub: str, topic: str, message: Message) -> None:
        """Publish one event; returns once the broker has it."""
        await self._call(
            "POST",
            f"/v1.0/publish/{pubsub}/{topic}",
            body=message.envelope,
            headers={"content-type": "application/cloudevents+json"},
            query={"metadata.partitionKey": message.partition_key},
        )

    async def publish_all(self, pubsub: str, topic: str, messages: Sequence[Message]) -> dict[str, str]:
        """Publish a batch; returns the entries the broker did not take, with its reasons. Those absent are stored."""
        body = msgspec.json.encode(
            [
                {
                    "entryId": message.entry_id,
                    "event": msgspec.Raw(message.envelope),
                    "contentType": "application/cloudevents+json",
                    "metadata": {"partitionKey": message.partition_key},
                }
                for message in messages
            ]
        )
        status, answer = await self._send("POST", f"/v1.0/publish/bulk/{pubsub}/{topic}", body, _CONTENT, {})
        if status < 300:  # noqa: PLR2004 - HTTP
            return {}
        failure = _failure(answer)
        if failure.failed_entries:
            return {entry.entry_id: entry.error for entry in failure.failed_entries}
        raise _error(status, failure)

    async def get_state(self, store: str, keys: Sequence[str]) -> dict[str, StateItem]:
        """Read several keys; absent and expired ones are absent from the answer."""
        if not keys:
            return {}
        body = msgspec.json.encode({"keys": list(keys), "parallelism": 16})
        answer = await self._call("POST", f"/v1.0/state/{store}/bulk", body=body)
        items = _decode(answer or b"[]", list[_BulkItem])
        broken = next((item.error for item in items if item.error), None)
        if broken:
            raise SidecarAwayError(f"state store {store}: {broken}")
        return {item.key: StateItem(item.data, item.etag) for item in items if item.etag and bytes(item.data)}

    async def save_state(self, store: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write entries as Dapr takes them (`key`, `value`, `etag`, `metadata`, `options`).

        A lost race answers 409 or 500 depending on the store, and several keys are not one claim: whoever needs to
        know who won reads back.
        """
        await self._call("POST", f"/v1.0/state/{store}", body=msgspec.json.encode(list(entries)))

    async def delete_state(self, store: str, key: str, etag: str) -> None:
        """Delete a key if it still has that ETag."""
        await self._call(
            "DELETE",
            f"/v1.0/state/{store}/{quote(key, safe='')}",
            headers={"if-match": etag},
            query={"concurrency": "first-write"},
        )

    async def schedule_job(self, name: str, job: JobSchedule) -> None:
        """Create or replace a job of this app."""
        await self._call("POST", f"/v1.0/jobs/{name}", body=msgspec.json.encode(job))

    async def job_schedule(self, name: str) -> str | None:
        """The schedule a job of this app is registered with, None if it cannot be told."""
        try:
            return _decode(await self._call("GET", f"/v1.0/jobs/{name}"), _Registered).schedule
        except (SidecarAwayError, CallRefusedError):  # daprd answers 500 for a job that is not there
            return None

    async def secret(self, store: str, name: str) -> dict[str, str]:
        """Read one secret: its keys and values."""
        answer = await self._call("GET", f"/v1.0/secrets/{store}/{quote(name, safe='')}")
        return _decode(answer, dict[str, str])

    async def invoke(self, app_id: str, method: str, data: bytes) -> bytes:
        """POST JSON to another app's method through the sidecars and return its answer."""
        return await self._call("POST", f"/v1.0/invoke/{app_id}/method/{method}", body=data)

    async def metadata(self) -> dict[str, Any]:
        """What the sidecar has loaded: components, subscriptions, app health."""
        answer = await self._call("GET", "/v1.0/metadata")
        return _decode(answer, dict[str, Any])

    async def is_ready(self) -> bool:
        """Whether the sidecar can take calls, whatever it thinks of this app's port."""
        try:
            await self._call("GET", "/v1.0/healthz/outbound")
        except (SidecarAwayError, CallRefusedError):
            return False
        return True

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = _CONTENT,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        status, answer = await self._send(method, path, body, headers, query or {})
        if status < 300:  # noqa: PLR2004 - HTTP
            return answer
        raise _error(status, _failure(answer))

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> tuple[int, bytes]:
        if trace := spans.current():
            headers = {**headers, "traceparent": trace}
        try:
            async with self._http.request(
                method, f"{self._base}{path}", data=body, headers=headers, params=query
            ) as response:
                return response.status, await response.read()
        except _NETWORK as error:
            raise SidecarAwayError(f"{method} {path}: {type(error).__name__} {error}") from error


@asynccontextmanager
async def connect(base_url: str, api_token: str | None) -> AsyncIterator[Dapr]:
    """Open the process's one client to its sidecar; does not wait for it."""
    headers = {"dapr-api-token": api_token} if api_token else {}
    connector = aiohttp.TCPConnector(limit=64, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, headers=headers) as http:
        yield Dapr(http, base_url)


def sidecar_url(environ: Mapping[str, str] = os.environ) -> str:
    """Where the sidecar listens, from the variables that Dapr's injector, its CLI and daprlet set."""
    endpoint = environ.get("DAPR_HTTP_ENDPOINT")
    return endpoint or f"http://127.0.0.1:{environ.get('DAPR_HTTP_PORT', '3500')}"


def ttl(duration: dt.timedelta) -> dict[str, str]:
    """State metadata that lets an entry expire (Dapr's name for it is `ttlInSeconds`, at least one)."""
    return {"ttlInSeconds": str(max(1, round(duration.total_seconds())))}


def _decode(answer: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SidecarAwayError(f"what answered is no sidecar: {error}") from error


def _failure(answer: bytes) -> _Failure:
    try:
        return msgspec.json.decode(answer, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Failure(message=answer[:200].decode(errors="replace"))


def _error(status: int, failure: _Failure) -> SidecarAwayError | CallRefusedError:
    if status >= 500 or status in {408, 429} or failure.error_code in _RELOADING:  # noqa: PLR2004 - HTTP
        return SidecarAwayError(f"{status} {failure.error_code} {failure.message}".strip())
    return CallRefusedError(status, failure.error_code, failure.message)
