"""`/v1.0/publish` and `/v1.0/publish/bulk`."""

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daprlet import go_json
from daprlet.api.answers import ApiError, empty, json_response, metadata, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.apps import may_use
from daprlet.envelope import (
    CLOUD_EVENTS,
    InvalidCloudEventError,
    Origin,
    header_fields,
    is_text,
    media_type,
    trace_parent,
    wrap,
)
from daprlet.errors import MALFORMED, StorageError
from daprlet.log import Draft
from daprlet.resiliency import carry_out

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class BulkEntry(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    entry_id: str = ""
    event: msgspec.Raw = msgspec.Raw(b"null")
    content_type: str = ""
    metadata: dict[str, str] | None = None


class PublishApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def routes(self) -> list[Route]:
        bulk = [f"/{version}/publish/bulk/{{pubsub:segment}}/{{topic:rest}}" for version in ("v1.0", "v1.0-alpha1")]
        return [
            *(Route(path, self.publish_bulk, methods=["POST", "PUT"]) for path in bulk),
            Route("/v1.0/publish/{pubsub:segment}/{topic:rest}", self.publish, methods=["POST", "PUT"]),
        ]

    async def publish(self, request: Request) -> Response:
        pubsub, topic = self._target(request)
        given = metadata(request)
        body = await read_body(request)
        if _raw(pubsub, given):
            draft = Draft(body, raw=True, headers=header_fields(given))
        else:
            content_type = request.headers.get("content-type", "")
            draft = self._wrap(body, content_type, given, self._origin(request, pubsub, topic))
        self._check_allowed(pubsub, topic)
        began = time.perf_counter()
        stored = await self._store(pubsub, topic, [draft])
        self._sidecar.metrics.published(pubsub, topic, time.perf_counter() - began, success=not stored)
        if stored:
            reason, about = "DAPR_PUBSUB_PUBLISH_MESSAGE", {"topic": topic, "error": stored}
            message = _failed(pubsub, topic, stored)
            raise _error(500, "ERR_PUBSUB_PUBLISH_MESSAGE", message, reason, pubsub, about)
        return empty()

    async def publish_bulk(self, request: Request) -> Response:
        pubsub, topic = self._target(request)
        given = metadata(request)
        raw = _raw(pubsub, given)
        entries, bodies = self._entries(await read_body(request), pubsub, topic)
        drafts = [
            self._draft(request, entry, body, given, pubsub, topic, raw=raw)
            for entry, body in zip(entries, bodies, strict=True)
        ]
        self._check_allowed(pubsub, topic)
        began = time.perf_counter()
        failure = await self._store(pubsub, topic, drafts) if drafts else ""
        took = time.perf_counter() - began
        self._sidecar.metrics.bulk_published(pubsub, topic, 0 if failure else len(drafts), took, success=not failure)
        if failure:
            failed = [{"entryId": entry.entry_id, "error": failure} for entry in entries]
            return json_response({"failedEntries": failed, "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"}, 500)
        return empty()

    def _target(self, request: Request) -> tuple[str, str]:
        """The pub/sub and topic of the path; the pub/sub is checked to exist."""
        pubsub, topic = request.path_params["pubsub"], request.path_params["topic"]
        if pubsub not in self._sidecar.resources.pubsubs:
            reason, info = "DAPR_PUBSUB_NOT_FOUND", self._about()
            raise ApiError(404, "ERR_PUBSUB_NOT_FOUND", f"pubsub {pubsub} is not found", reason=reason, info=info)
        return pubsub, topic

    def _check_allowed(self, pubsub: str, topic: str) -> None:
        component, app_id = self._sidecar.resources.pubsubs[pubsub], self._sidecar.app_id
        if not may_use(component, "publishingScopes", app_id, topic):
            message = f"topic {topic} is not allowed for app id {app_id}"
            about = {"topic": topic, "error": message}
            raise _error(403, "ERR_PUBSUB_FORBIDDEN", message, "DAPR_PUBSUB_FORBIDDEN", pubsub, about)

    def _about(self, error: str = "") -> dict[str, str]:
        return {"appID": self._sidecar.app_id, **({"error": error} if error else {})}

    def _origin(self, request: Request, pubsub: str, topic: str) -> Origin:
        headers = request.headers
        trace = trace_parent(headers.get("traceparent"))
        return Origin(self._sidecar.app_id, pubsub, topic, trace, headers.get("tracestate", ""))

    def _wrap(self, body: bytes, content_type: str, given: Mapping[str, str], origin: Origin) -> Draft:
        try:
            return wrap(body, content_type, given, origin)
        except InvalidCloudEventError as error:
            code, reason = "ERR_PUBSUB_CLOUD_EVENTS_SER", "DAPR_PUBSUB_CLOUD_EVENT_CREATION"
            about = self._about(str(error))
            raise _error(500, code, "cannot create cloudevent", reason, origin.pubsub, about) from error

    def _entries(self, body: bytes, pubsub: str, topic: str) -> tuple[list[BulkEntry], list[bytes]]:
        """The entries of a bulk request and the payload of each; all of them are checked before any is published."""
        try:
            entries = go_json.decode(body, list[BulkEntry])
        except MALFORMED as error:
            message = f"error when unmarshaling the request for topic {topic} pubsub {pubsub}: {error}"
            raise self._unserializable(message, "DAPR_PUBSUB_UNMARSHAL_EVENTS", pubsub) from error
        seen: set[str] = set()
        bodies = []
        for entry in entries:
            try:
                bodies.append(_event_bytes(bytes(entry.event), entry.content_type))
            except MALFORMED as error:
                message = (
                    f"error when marshalling cloud event envelope for topic {topic} pubsub {pubsub}: error: {error}"
                )
                raise self._unserializable(
                    message, "DAPR_PUBSUB_MARSHAL_ENVELOPE", pubsub, f"error: {error}"
                ) from error
            if not entry.entry_id or entry.entry_id in seen:
                why = "entryId is duplicated or not present for entry"
                message = f"error marshaling events to bytes for topic {topic} pubsub {pubsub}. error: {why}"
                raise self._unserializable(message, "DAPR_PUBSUB_MARSHAL_EVENTS", pubsub, why)
            seen.add(entry.entry_id)
        return entries, bodies

    def _draft(  # noqa: PLR0913 - what an entry inherits from its request
        self,
        request: Request,
        entry: BulkEntry,
        body: bytes,
        given: Mapping[str, str],
        pubsub: str,
        topic: str,
        *,
        raw: bool,
    ) -> Draft:
        # Dapr lets the request's metadata reach only the entries that have some of their own.
        merged = {} if entry.metadata is None else {**given, **entry.metadata}
        if raw:
            return Draft(body, raw=True, headers=header_fields(merged))
        return self._wrap(body, entry.content_type, merged, self._origin(request, pubsub, topic))

    def _unserializable(self, message: str, reason: str, pubsub: str, error: str = "") -> ApiError:
        return _error(400, "ERR_PUBSUB_EVENTS_SER", message, reason, pubsub, self._about(error))

    async def _store(self, pubsub: str, topic: str, drafts: list[Draft]) -> str:
        """Why the drafts could not be stored; empty when they were."""
        policy = self._sidecar.resources.policies.outbound(pubsub, "Pubsub")
        try:
            await carry_out(policy, lambda: self._sidecar.broker.publish(pubsub, topic, drafts))
        except StorageError as error:
            return str(error)
        return ""


def _raw(pubsub: str, given: Mapping[str, str]) -> bool:
    text = given.get("rawPayload", "")
    if text and text not in _BOOLEANS:
        why = f"rawPayload value must be a valid boolean: actual is '{text}'"
        message = f"failed deserializing metadata. Error: {why}"
        raise _error(400, "ERR_PUBSUB_REQUEST_METADATA", message, "DAPR_PUBSUB_METADATA_DESERIALIZATION", pubsub, given)
    return _BOOLEANS.get(text, False)


def _event_bytes(event: bytes, content_type: str) -> bytes:
    """The payload an entry's `event` stands for under its content type; ValueError when they do not fit."""
    kind = media_type(content_type)
    if kind in ("application/json", CLOUD_EVENTS):
        return go_json.as_doubles(event)  # as in Dapr, where a single event keeps its digits
    value: Any = msgspec.json.decode(event)
    if not isinstance(value, str) or not (is_text(content_type) or kind == "application/octet-stream"):
        raise ValueError("mismatch between contentType and event")
    if is_text(content_type):
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"unable to decode base64 application/octet-stream data: {error}") from error


def _error(  # noqa: PLR0913 - the parts of an answer
    status: int, code: str, message: str, reason: str, pubsub: str, about: Mapping[str, str]
) -> ApiError:
    return ApiError(status, code, message, reason=reason, info=about, resource=("pubsub", pubsub))


def _failed(pubsub: str, topic: str, why: str) -> str:
    return f"error when publishing to topic {topic} in pubsub {pubsub}: {why}"
