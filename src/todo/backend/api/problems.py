"""Errors as RFC 9457 problem documents: a stable type, what is wrong, where, the fix. No traces, no secrets."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from todo.backend.api.models import Problem
from todo.backend.auth.errors import ForbiddenError, ProviderAwayError, TooManyError, UnauthenticatedError
from todo.backend.commands import ConflictError, NotFoundError, StaleError
from todo.dapr import metrics
from todo.dapr.subscriber import UnavailableError
from todo.domain.errors import RuleError
from todo.messaging.failures import is_environment

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "bad request",
    401: "not authenticated",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    408: "request timeout",
    409: "conflict",
    412: "changed meanwhile",
    413: "too large",
    415: "unsupported media type",
    422: "invalid input",
    428: "precondition required",
    429: "too many requests",
    500: "internal error",
    503: "unavailable",
}
EVERYWHERE: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": _TITLES[status]} for status in (401, 403, 422, 429, 503)
}
_FIXES: Final = {
    "missing": "give it",
    "extra_forbidden": "remove it, or check its spelling",
    "json_invalid": "send a JSON object",
    "model_attributes_type": "send a JSON object, with content-type: application/json",
    "dict_type": "send a JSON object, with content-type: application/json",
    "string_type": "give text",
    "string_unicode": "remove the half character (a lone surrogate)",
    "string_too_long": "use at most {max_length} characters",
    "string_too_short": "use at least {min_length} character",
    "string_pattern_mismatch": "write it as in the OpenAPI document at /openapi.json",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "int_from_float": "give a whole number",
    "greater_than_equal": "use {ge} or more",
    "less_than_equal": "use {le} or less",
    "list_type": "give a list",
    "enum": "use {expected}",
    "literal_error": "use {expected}",
    "uuid_parsing": "give the id as the API returned it",
    "not_iso_8601": "write it like {example}",
    "datetime_parsing": "write it like 2026-03-01T09:00:00+01:00, in a year of four digits",
    "datetime_from_date_parsing": "write it like 2026-03-01T09:00:00+01:00, in a year of four digits",
    "date_parsing": "write it like 2026-03-01, in a year of four digits",
    "date_from_datetime_parsing": "write it like 2026-03-01, in a year of four digits",
}
_BAD_REQUEST: Final = 400
_MOST_FAULTS: Final = 20
_MOST_CHARACTERS: Final = 200


def problem(status: int, kind: str, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:  # noqa: ANN401
    """One problem document; `kind` is stable and names the type."""
    body = {"type": f"urn:todo:problem:{kind}", "title": _TITLES.get(status, "error"), "status": status}
    text = json.dumps(body | {"detail": detail} | members)  # ASCII: what is at fault may be text that UTF-8 cannot say
    return Response(text, status, headers, MEDIA_TYPE)


def told(error: RuleError | NotFoundError | StaleError | ConflictError) -> dict[str, Any]:
    """The problem document that a route would answer with, for one of several things."""
    status, kind, faults = 409, "conflict", []
    if isinstance(error, RuleError):
        status, kind = 422, "invalid-input"
        faults = [_fault_of(error.field, error.problem, error.fix)]
    elif isinstance(error, NotFoundError):
        status, kind = 404, "not-found"
    elif isinstance(error, StaleError):
        status, kind = 412, "changed-meanwhile"
    body = {"type": f"urn:todo:problem:{kind}", "title": _TITLES[status], "status": status}
    return body | {"detail": str(error), "errors": faults}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route documents the problems it answers with, beside those that every route has."""
    return {status: {"model": Problem, "description": _TITLES[status]} for status in statuses}


def document(app: FastAPI, *, session_cookie: str | None) -> None:
    """Say in the OpenAPI document what FastAPI does not know: the media type of problems, and who wants a token.

    `session_cookie` None: nobody does.
    """
    write = app.openapi

    def openapi() -> dict[str, Any]:
        document = write()
        if session_cookie is not None:
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": session_cookie},
            }
            document["security"] = [{"bearer": []}, {"session": []}]
        for path in document["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    if int(status) >= _BAD_REQUEST and "application/json" in response.get("content", {}):
                        response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


async def _rule(_: Request, error: RuleError) -> Response:
    return problem(422, "invalid-input", str(error), errors=[_fault_of(error.field, error.problem, error.fix)])


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    faults = [_fault(one) for one in error.errors()[:_MOST_FAULTS]]
    detail = "; ".join(f"{one['field']}: {one['problem']}" for one in faults)
    return problem(422, "invalid-input", detail[:2000], errors=faults)


def _fault(error: Mapping[str, Any]) -> dict[str, str]:
    place = ".".join(str(part) for part in error["loc"][1:])[:_MOST_CHARACTERS]  # the first says body, path or query
    kind = error["type"]
    if kind == "json_invalid":
        return _fault_of("body", "it is not JSON", _FIXES[kind])
    fix = _FIXES.get(kind, "see the OpenAPI document at /openapi.json").format_map(error.get("ctx", {}))
    return _fault_of(place or "body", error["msg"][:_MOST_CHARACTERS], fix)


def _fault_of(field: str, problem: str, fix: str) -> dict[str, str]:
    return {"field": field, "problem": problem, "fix": fix}


async def _not_found(_: Request, error: NotFoundError) -> Response:
    return problem(404, "not-found", str(error))


async def _stale(_: Request, error: StaleError) -> Response:
    return problem(412, "changed-meanwhile", f"{error}: read it again and repeat", {"etag": f'"{error.version}"'})


async def _conflict(_: Request, error: ConflictError) -> Response:
    return problem(409, "conflict", str(error))


async def _unavailable(request: Request, error: Exception) -> Response:
    if not is_environment(error):
        return await _unexpected(request, error)
    log.warning("request put off", path=request.url.path, reason=f"{type(error).__name__}: {error}")
    detail = "the database is away: try again, and with an Idempotency-Key what was done after all is not done twice"
    return problem(503, "unavailable", detail, {"retry-after": "1"})


async def _http(_: Request, error: HTTPException) -> Response:
    if error.status_code == _BAD_REQUEST:  # FastAPI's only one: a body that its JSON parser gave up on
        fault = _fault_of(
            "body", "it cannot be read as JSON", "send a JSON object in UTF-8, with numbers of sane length"
        )
        return problem(422, "invalid-input", "the body cannot be read as JSON", errors=[fault])
    kind = _TITLES.get(error.status_code, "error").replace(" ", "-")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, kind, str(error.detail), headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(500, "internal-error", "this is our fault; the log of the backend has the details")


def unauthenticated(error: UnauthenticatedError, **members: Any) -> Response:  # noqa: ANN401 - as in `problem`
    """RFC 6750: what was given is called wrong only if something was given."""
    fault = f', error="invalid_token", error_description="{error}"' if error.given else ""
    metrics.refused.labels(error.kind).inc()
    return problem(401, error.kind, str(error), {"www-authenticate": f'Bearer realm="todo"{fault}'}, **members)


async def _unauthenticated(_: Request, error: UnauthenticatedError) -> Response:
    return unauthenticated(error)


async def _forbidden(_: Request, error: ForbiddenError) -> Response:
    metrics.refused.labels(error.kind).inc()
    headers = {}
    if error.scope:
        headers["www-authenticate"] = f'Bearer realm="todo", error="insufficient_scope", scope="{error.scope}"'
    return problem(403, error.kind, str(error), headers)


async def _too_many(_: Request, error: TooManyError) -> Response:
    metrics.refused.labels(error.kind).inc()
    return problem(429, error.kind, str(error), {"retry-after": str(math.ceil(error.wait))})


async def _provider_away(_: Request, error: ProviderAwayError) -> Response:
    return problem(503, error.kind, f"{error}: try again", {"retry-after": "2"})


Handler = Callable[[Request, Any], Awaitable[Response]]
_HANDLERS: Final[dict[type[Exception], Handler]] = {
    RuleError: _rule,
    RequestValidationError: _invalid,
    NotFoundError: _not_found,
    StaleError: _stale,
    ConflictError: _conflict,
    UnauthenticatedError: _unauthenticated,
    ForbiddenError: _forbidden,
    TooManyError: _too_many,
    ProviderAwayError: _provider_away,
    UnavailableError: _unavailable,
    asyncpg.PostgresError: _unavailable,
    asyncpg.InterfaceError: _unavailable,
    asyncpg.InternalClientError: _unavailable,
    OSError: _unavailable,
    HTTPException: _http,
}
ANSWERED: Final = tuple(_HANDLERS)


def install(app: FastAPI) -> None:
    """Answer every error this way."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _unexpected)


async def answer_to(request: Request, error: Exception) -> Response:
    """Answer one of `ANSWERED` where no route is reached."""
    handler = next(_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS)
    return await handler(request, error)
