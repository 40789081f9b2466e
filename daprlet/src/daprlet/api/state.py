"""`/v1.0/state`."""

import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet.api.answers import ApiError, empty, json_response, metadata, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.errors import MALFORMED, StorageError
from daprlet.state import FIRST_WRITE, Delete, EtagMismatch, Item, Operation, StateStore, Upsert

_SEPARATOR: Final = "||"
_MAX_TTL: Final = 2**31 - 1


class Options(msgspec.Struct):
    concurrency: str = ""
    consistency: str = ""


class SetRequest(msgspec.Struct):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")
    etag: str | None = None
    metadata: dict[str, str] | None = None
    options: Options = msgspec.field(default_factory=Options)


class BulkGetRequest(msgspec.Struct):
    keys: list[str] = []
    metadata: dict[str, str] | None = None
    parallelism: int = 10


class TransactionOperation(msgspec.Struct):
    operation: str = ""
    request: SetRequest = msgspec.field(default_factory=SetRequest)


class Transaction(msgspec.Struct):
    operations: list[TransactionOperation] = []
    metadata: dict[str, str] | None = None


class StateApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route("/v1.0/state/{store}/bulk", self.bulk_get, methods=["POST", "PUT"]),
            Route("/v1.0/state/{store}/transaction", self.transact, methods=["POST", "PUT"]),
            Route("/v1.0/state/{store}/{key:path}", self.get, methods=["GET"]),
            Route("/v1.0/state/{store}/{key:path}", self.delete, methods=["DELETE"]),
            Route("/v1.0/state/{store}", self.save, methods=["POST", "PUT"]),
        ]

    async def get(self, request: Request) -> Response:
        name, store = self._store(request)
        key = self._stored_key(name, request.path_params["key"])
        began = time.perf_counter()
        item = store.get(key)
        self._sidecar.metrics.state(name, "get", time.perf_counter() - began, success=True)
        if item is None:
            return empty()
        return Response(item.value, headers=_item_headers(item), media_type="application/json")

    async def save(self, request: Request) -> Response:
        name, store = self._store(request)
        wanted = _decode(await read_body(request), list[SetRequest] | None) or []
        given = metadata(request)
        if not all(one.key for one in wanted):
            raise ApiError(400, "ERR_MALFORMED_REQUEST", '"key" is a required field')
        keyed = [(self._stored_key(name, one.key), one) for one in wanted]
        failing = f"failed saving state in state store {name}: "
        try:
            upserts = [_upsert(key, one, given) for key, one in keyed]
        except ValueError as error:
            raise ApiError(500, "ERR_STATE_SAVE", f"{failing}{error}") from error
        await self._run(name, "set", "ERR_STATE_SAVE", failing, lambda: store.apply_each(upserts))
        return empty()

    async def delete(self, request: Request) -> Response:
        name, store = self._store(request)
        key = request.path_params["key"]
        operation = Delete(self._stored_key(name, key), request.headers.get("if-match") or None)
        failing = f"failed deleting state with key {key}: "
        await self._run(name, "delete", "ERR_STATE_DELETE", failing, lambda: store.apply(operation))
        return empty()

    async def bulk_get(self, request: Request) -> Response:
        name, store = self._store(request)
        keys = _decode(await read_body(request), BulkGetRequest).keys
        began = time.perf_counter()
        found = [(key, store.get(self._stored_key(name, key))) for key in keys]
        self._sidecar.metrics.state(name, "bulk_get", time.perf_counter() - began, success=True)
        return json_response([_bulk_entry(key, item) for key, item in found])

    async def transact(self, request: Request) -> Response:
        name, store = self._store(request)
        transaction = _decode(await read_body(request), Transaction)
        given = {**(transaction.metadata or {}), **metadata(request)}
        failing = "error while executing state transaction: "
        keyed = [(self._stored_key(name, one.request.key), one) for one in transaction.operations]
        try:
            operations = [_operation(key, one, given) for key, one in keyed]
        except ValueError as error:
            raise ApiError(500, "ERR_STATE_TRANSACTION", f"{failing}{error}") from error
        code = "ERR_STATE_TRANSACTION"
        await self._run(name, "transaction", code, failing, lambda: store.transact(operations), conflict=500)
        return empty()

    def _store(self, request: Request) -> tuple[str, StateStore]:
        name = request.path_params["store"]
        info = {"appID": self._sidecar.app_id}
        if not self._sidecar.states:
            message = f"state store {name} is not configured"
            code, reason = "ERR_STATE_STORE_NOT_CONFIGURED", "DAPR_STATE_NOT_CONFIGURED"
            raise ApiError(500, code, message, reason=reason, info=info)
        store = self._sidecar.states.get(name)
        if store is None:
            message = f"state store {name} is not found"
            raise ApiError(400, "ERR_STATE_STORE_NOT_FOUND", message, reason="DAPR_STATE_NOT_FOUND", info=info)
        return name, store

    def _stored_key(self, store: str, key: str) -> str:
        """The key with the store's prefix; the separator is forbidden in it."""
        if _SEPARATOR in key:
            message = f"input key/keyPrefix '{key}' can't contain '{_SEPARATOR}'"
            raise ApiError(400, "ERR_MALFORMED_REQUEST", message, reason="DAPR_STATE_ILLEGAL_KEY")
        strategy = self._sidecar.resources.states[store].settings.get("keyPrefix") or "appid"
        prefix = self._prefix(strategy, store)
        return f"{prefix}{_SEPARATOR}{key}" if prefix else key

    def _prefix(self, strategy: str, store: str) -> str:
        app_id, namespace = self._sidecar.app_id, os.environ.get("NAMESPACE", "")
        by_strategy = {
            "appid": app_id,
            "name": store,
            "none": "",
            "namespace": f"{namespace}.{app_id}" if namespace else app_id,
        }
        return by_strategy.get(strategy.lower(), strategy)

    async def _run(  # noqa: PLR0913 - one place that times, counts and translates
        self,
        store: str,
        operation: str,
        code: str,
        failing: str,
        action: Callable[[], Awaitable[None]],
        conflict: int = 409,
    ) -> None:
        began = time.perf_counter()
        success = False
        try:
            await action()
            success = True
        except EtagMismatch as error:
            raise ApiError(conflict, code, f"{failing}{error}") from error
        except StorageError as error:
            raise ApiError(500, code, f"{failing}{error}") from error
        finally:
            self._sidecar.metrics.state(store, operation, time.perf_counter() - began, success=success)


def _decode(body: bytes, kind: Any) -> Any:  # noqa: ANN401 - what `kind` says
    try:
        return msgspec.json.decode(body, type=kind)
    except MALFORMED as error:
        raise ApiError(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error}") from error


def _upsert(key: str, request: SetRequest, given: dict[str, str]) -> Upsert:
    if request.options.concurrency not in ("", "first-write", "last-write"):
        raise ValueError(f"unrecognized concurrency model '{request.options.concurrency}'")
    if request.options.consistency not in ("", "strong", "eventual"):
        raise ValueError(f"unrecognized consistency model '{request.options.consistency}'")
    return Upsert(
        key,
        bytes(request.value),
        request.etag or None,
        request.options.concurrency == FIRST_WRITE,
        _ttl({**(request.metadata or {}), **given}.get("ttlInSeconds", "")),
    )


def _ttl(text: str) -> int | None:
    """Seconds; None for none, 0 and -1, all of which mean for ever."""
    if not text:
        return None
    try:
        seconds = int(text)
    except ValueError as error:
        raise ValueError(f"error parsing TTL: incorrect value for metadata 'ttlInSeconds': {text}") from error
    if not -1 <= seconds <= _MAX_TTL:
        raise ValueError("error parsing TTL: incorrect value for metadata 'ttlInSeconds': must be -1 or greater")
    return seconds if seconds > 0 else None


def _operation(key: str, one: TransactionOperation, given: dict[str, str]) -> Operation:
    if one.operation == "upsert":
        return _upsert(key, one.request, given)
    if one.operation == "delete":
        return Delete(key, one.request.etag or None)
    message = f"operation type {one.operation} not supported"
    raise ApiError(400, "ERR_NOT_SUPPORTED_STATE_OPERATION", message)


def _expire_time(item: Item) -> str:
    moment = datetime.fromtimestamp(item.expires or 0, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _item_headers(item: Item) -> dict[str, str]:
    headers = {"ETag": item.etag}
    if item.expires is not None:
        headers["metadata.ttlExpireTime"] = _expire_time(item)
    return headers


def _bulk_entry(key: str, item: Item | None) -> dict[str, Any]:
    if item is None:
        return {"key": key}
    entry: dict[str, Any] = {"key": key, "data": msgspec.Raw(item.value), "etag": item.etag}
    if item.expires is not None:
        entry["metadata"] = {"ttlExpireTime": _expire_time(item)}
    return entry
