"""Who gets in: under TODO_AUTH=local callers of this machine, under `required` those with a token.

Either way a request that gets in has a `Caller`; a route that asks for one where no gate stands fails.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from todo.backend.api import problems, web
from todo.backend.api.problems import problem
from todo.backend.auth.callers import LOCAL, Authenticator, Caller
from todo.dapr import metrics
from todo.dapr.subscriber import UnavailableError
from todo.service.settings import LOOPBACK


class LocalCallers:
    """ASGI middleware of TODO_AUTH=local, which believes every caller: they must come from this machine.

    A web page reaches loopback under a name of its own (DNS rebinding), or posts across origins; neither gets in.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if reason := _foreign(scope["method"], dict(scope["headers"])):
                metrics.refused.labels("foreign-caller").inc()
                await problem(403, "foreign-caller", reason)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = LOCAL
        await self.app(scope, receive, send)


# What is not behind a caller's token. Events, jobs and invocation are behind the app token; the subscription lists,
# probes and metrics say nothing of anybody (counts, and no labels of users); the OpenAPI document and the files of the
# web app are public.
_OPEN: Final = frozenset(
    {
        *("/healthz", "/healthz/consume", "/readyz", "/metrics"),
        *("/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect"),
        *web.AT_THE_ROOT,
    }
)
_SIDECARS: Final = ("/dapr/", "/events/", "/job/", "/internal/")
_OPEN_BELOW: Final = (*_SIDECARS, web.ASSETS)


class KnownCallers:
    """ASGI middleware of TODO_AUTH=required: everything but what is open, or a sidecar's, wants a caller's token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or scope["path"].startswith(_OPEN_BELOW):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.caller = await _admit(request)
            request.state.admit = partial(_admit, request)  # for what goes on for long: who is let in may change
        except problems.ANSWERED as error:
            response = await problems.answer_to(request, error)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


async def _admit(request: Request) -> Caller:
    address = request.client.host if request.client else ""
    return await _authenticator(request).admit(request.headers.get("authorization"), address)


def _authenticator(request: Request) -> Authenticator:
    found: Authenticator | None = getattr(request.app.state, "authenticator", None)
    if found is None:
        raise UnavailableError("the database was not reached yet")
    return found


_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def _foreign(method: str, headers: Mapping[bytes, bytes]) -> str:
    """Why a request is not from this machine, or nothing."""
    if not _is_loopback(b"//" + headers.get(b"host", b"")):
        return "under TODO_AUTH=local this API answers to 127.0.0.1, localhost and [::1] only"
    if method not in _SAFE and not _is_loopback(headers.get(b"origin", b"//localhost")):
        return "under TODO_AUTH=local pages of other origins change nothing here"
    return ""


def _is_loopback(url: bytes) -> bool:
    try:
        return urlsplit(url.decode("latin-1")).hostname in LOOPBACK
    except ValueError:
        return False
