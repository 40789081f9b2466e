"""Errors as RFC 9457 problem documents: a stable type, what is wrong, where, the fix. No traces, no secrets."""

from typing import Any, Final

import asyncpg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from todo.backend.api.models import Problem
from todo.backend.commands import ConflictError, NotFoundError, StaleError
from todo.dapr.subscriber import UnavailableError
from todo.domain.errors import RuleError
from todo.messaging.failures import is_environment

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "bad request",
    404: "not found",
    405: "method not allowed",
    409: "conflict",
    412: "changed meanwhile",
    413: "too large",
    415: "unsupported media type",
    422: "invalid input",
    428: "precondition required",
    500: "internal error",
    503: "unavailable",
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": _TITLES[status]} for status in (400, 404, 409, 412, 413, 422, 428, 503)
}
_FIXES: Final = {
    "missing": "give it",
    "extra_forbidden": "remove it, or check its spelling",
    "json_invalid": "send a JSON object",
}


def problem(status: int, kind: str, detail: str, headers: dict[str, str] | None = None, **members: Any) -> Response:  # noqa: ANN401
    """One problem document; `kind` is stable and names the type."""
    body = {"type": f"urn:todo:problem:{kind}", "title": _TITLES.get(status, "error"), "status": status}
    return JSONResponse(body | {"detail": detail} | members, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error this way."""
    app.add_exception_handler(RuleError, _rule)  # type: ignore[arg-type]  # Starlette types handlers for Exception
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(NotFoundError, _not_found)  # type: ignore[arg-type]
    app.add_exception_handler(StaleError, _stale)  # type: ignore[arg-type]
    app.add_exception_handler(ConflictError, _conflict)  # type: ignore[arg-type]
    app.add_exception_handler(UnavailableError, _unavailable)
    app.add_exception_handler(asyncpg.PostgresError, _unavailable)
    app.add_exception_handler(asyncpg.InterfaceError, _unavailable)
    app.add_exception_handler(OSError, _unavailable)
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _unexpected)


async def _rule(_: Request, error: RuleError) -> Response:
    fault = {"field": error.field, "problem": error.problem, "fix": error.fix}
    return problem(422, "invalid-input", str(error), errors=[fault])


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    faults = [_fault(one) for one in error.errors()]
    detail = "; ".join(f"{one['field']}: {one['problem']}" for one in faults)
    return problem(422, "invalid-input", detail[:2000], errors=faults)


def _fault(error: dict[str, Any]) -> dict[str, str]:
    place = [str(part) for part in error["loc"] if part not in {"body", "query", "path", "header"}]
    kind = error["type"]
    if kind == "json_invalid":
        return {"field": "body", "problem": "it is not JSON", "fix": _FIXES[kind]}
    return {
        "field": ".".join(place) or "body",
        "problem": error["msg"],
        "fix": _FIXES.get(kind, "see the OpenAPI document at /openapi.json"),
    }


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
    return problem(503, "unavailable", "the database is away; nothing was changed, try again", {"retry-after": "1"})


async def _http(_: Request, error: HTTPException) -> Response:
    kind = _TITLES.get(error.status_code, "error").replace(" ", "-")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, kind, str(error.detail), headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem(500, "internal-error", "this is our fault; the log of the backend has the details")
