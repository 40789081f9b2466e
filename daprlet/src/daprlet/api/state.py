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

from daprlet import go_json
from daprlet.api.answers import ApiError, empty, json_response, metadata, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.errors import MALFORMED, StorageError
from daprlet.resiliency import carry_out
from daprlet.state import FIRST_WRITE, Delete, EtagMismatch, Item, Operation, StateStore, Upsert

_SEPARATOR: Final = "||"
_MAX_TTL: Final = 2**31 - 1


class Options(msgspec.Struct, forbid_unknown_fields=True):
    concurrency: str = ""
    consistency: str = ""


class SetRequest(msgspec.Struct, forbid_unknown_fields=True):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")
    etag: str | None = None
    metadata: dict[str, str] | None = None
    options: Options = msgspec.field(default_factory=Options)


class BulkGetRequest(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[str] = []
    metadata: dict[str, str] | None = None
    parallelism: int = 10


class TransactionOperation(msgspec.Struct, forbid_unknown_fields=True):
    operation: str = ""
    request: msgspec.Raw = msgspec.Raw(b"{}")


class Transaction(msgspec.Struct, forbid_unknown_fields=True):
    operations: list[TransactionOperation] = []
    metadata: dict[str, str] | None = None


class StateApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        return [
            Route("/v1.0/state/{store:segment}/bulk", self.bulk_get, methods=["POST", "PUT"]),
            Route("/v1.0/state/{store:segment}/transaction", self.transact, methods=["POST", "PUT"]),
            Route("/v1.0/state/{store:segment}/{key:segment}", self.get, methods=["GET"]),
            Route("/v1.0/state/{store:segment}/{key:segment}", self.delete, methods=["DELETE"]),
            Route("/v1.0/state/{store:segment}", self.save, methods=["POST", "PUT"]),
            Route("/v1.0-alpha1/state/{store:segment}/query", self.query, methods=["POST", "PUT"]),
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
        wanted = _doubled(_decode(await read_body(request), list[SetRequest]))
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
        stored = self._stored_key(name, key)
        failing = f"failed deleting state with key {key}: "
        asked = request.query_params
        try:
            _check_options(Options(asked.get("concurrency", ""), asked.get("consistency", "")))
        except ValueError as error:
            raise ApiError(500, "ERR_STATE_DELETE", f"{failing}{error}") from error
        operation = Delete(stored, request.headers.get("if-match") or None)
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
        given = metadata(request)  # what the body says of the whole transaction reaches no operation, as in Dapr
        asked = [self._asked(name, one) for one in transaction.operations]
        code, failing = "ERR_STATE_TRANSACTION", "error while executing state transaction: "
        try:
            operations = [_operation(kind, key, one, given) for kind, key, one in asked]
        except ValueError as error:
            raise ApiError(500, code, f"{failing}{error}") from error
        await self._run(name, "transaction", code, failing, lambda: store.transact(operations), conflict=500)
        return empty()

    def _asked(self, store: str, one: TransactionOperation) -> tuple[str, str, SetRequest]:
        """What an operation does, to which stored key, with what."""
        if one.operation not in ("upsert", "delete"):
            message = f"operation type {one.operation} not supported"
            raise ApiError(400, "ERR_NOT_SUPPORTED_STATE_OPERATION", message)
        (asked,) = _doubled([_decode(bytes(one.request), SetRequest)])
        return one.operation, self._stored_key(store, asked.key), asked

    async def query(self, request: Request) -> Response:
        """Queries are for stores that can be queried; `state.sqlite` cannot, in Dapr either."""
        name, _ = self._store(request)
        message, reason = "state store does not support querying", "DAPR_STATE_QUERYING_NOT_SUPPORTED"
        raise ApiError(500, "ERR_STATE_STORE_NOT_SUPPORTED", message, reason=reason, resource=("state", name))

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
            why = f"input key/keyPrefix '{key}' can't contain '{_SEPARATOR}'"
            message = f"api error: code = InvalidArgument desc = {why}"
            code, reason, resource = "ERR_MALFORMED_REQUEST", "DAPR_STATE_ILLEGAL_KEY", ("state", store)
            raise ApiError(400, code, message, reason=reason, resource=resource, field=key)
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
            await carry_out(self._sidecar.resources.policies.outbound(store, "Statestore"), action)
            success = True
        except EtagMismatch as error:
            raise ApiError(conflict, code, f"{failing}{error}") from error
        except StorageError as error:
            raise ApiError(500, code, f"{failing}{error}") from error
        finally:
            self._sidecar.metrics.state(store, operation, time.perf_counter() - began, success=success)


def _decode(body: bytes, kind: Any) -> Any:  # noqa: ANN401 - what `kind` says
    try:
        return go_json.decode(body, kind)
    except MALFORMED as error:
        raise ApiError(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error}") from error


def _doubled(requests: list[SetRequest]) -> list[SetRequest]:
    """The requests with the numbers of their values as Dapr keeps them."""
    for one in requests:
        try:
            one.value = msgspec.Raw(go_json.as_doubles(bytes(one.value)))
        except ValueError as error:
            raise ApiError(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error}") from error
    return requests


def _check_options(options: Options) -> None:
    if options.concurrency not in ("", "first-write", "last-write"):
        raise ValueError(f"unrecognized concurrency model '{options.concurrency}'")
    if options.consistency not in ("", "strong", "eventual"):
        raise ValueError(f"unrecognized consistency model '{options.consistency}'")


def _upsert(key: str, request: SetRequest, given: dict[str, str]) -> Upsert:
    _check_options(request.options)
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


def _operation(kind: str, key: str, request: SetRequest, given: dict[str, str]) -> Operation:
    if kind == "upsert":
        return _upsert(key, request, given)
    _check_options(request.options)
    return Delete(key, request.etag or None)


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
