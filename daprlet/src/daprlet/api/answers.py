"""Dapr's answers: empty successes, JSON, and errors with a code."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

MAX_BODY: Final = 4 * 1024 * 1024
_DETAIL: Final = "type.googleapis.com/google.rpc."
_encode = msgspec.json.Encoder().encode


class ApiError(Exception):
    """An answer other than success.

    `reason` adds Dapr's machine-readable details with `info` in them, `resource` (its type and name) and `field` what
    these are about.
    """

    def __init__(  # noqa: PLR0913 - the parts of an answer
        self,
        status: int,
        code: str,
        message: str,
        *,
        reason: str = "",
        info: Mapping[str, str] | None = None,
        resource: tuple[str, str] | None = None,
        field: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self._reason = reason
        self._info = info
        self._resource = resource
        self._field = field

    def response(self) -> Response:
        body: dict[str, Any] = {"errorCode": self.code, "message": self.message}
        if self._reason:
            body["details"] = list(self._details())
        return json_response(body, self.status)

    def _details(self) -> Iterator[dict[str, Any]]:
        if self._field:
            violation = {"field": self._field, "description": self.message}
            yield {"@type": f"{_DETAIL}BadRequest", "field_violations": [violation]}
        if self._resource:
            kind, name = self._resource
            description = "" if self._field else self.message
            named = {"description": description, "owner": "", "resource_name": name, "resource_type": kind}
            yield {"@type": f"{_DETAIL}ResourceInfo", **named}
        info = None if self._info is None else dict(self._info)
        yield {"@type": f"{_DETAIL}ErrorInfo", "domain": "dapr.io", "metadata": info, "reason": self._reason}


async def error_response(_: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return error.response()


def nothing_here() -> ApiError:
    """What Dapr says of every address it does not know: it takes them for invocations."""
    message = "failed getting app id either from the URL path or the header dapr-app-id"
    return ApiError(404, "ERR_DIRECT_INVOKE", message)


async def nothing_here_response(_: Request, __: Exception) -> Response:
    return nothing_here().response()


def empty() -> Response:
    return Response(status_code=204)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(body), status, headers, media_type="application/json")


def too_large() -> ApiError:
    return ApiError(413, "ERR_BODY_TOO_LARGE", f"the request body is larger than {MAX_BODY} bytes")


async def read_body(request: Request) -> bytes:
    """The whole body; `ApiError` 413 as soon as it is known to be too large."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise too_large()
    return await _collect(request.stream())


async def _collect(stream: AsyncIterator[bytes]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_BODY:
            raise too_large()
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def metadata(request: Request) -> dict[str, str]:
    """What the query says in `metadata.<key>=<value>`."""
    if not request.scope["query_string"]:
        return {}
    query = request.query_params.multi_items()
    return {name.removeprefix("metadata."): value for name, value in query if name.startswith("metadata.")}
