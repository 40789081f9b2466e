"""The HTTP application of one sidecar port."""

import hmac
import posixpath
from typing import Final
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from daprlet.api.answers import ApiError, error_response, nothing_here_response
from daprlet.api.invoke import InvokeApi
from daprlet.api.jobs import JobsApi
from daprlet.api.publish import PublishApi
from daprlet.api.runtime import RuntimeApi
from daprlet.api.secrets import SecretsApi
from daprlet.api.sidecar import Sidecar
from daprlet.api.state import StateApi
from daprlet.metrics import Metrics

_OPEN: Final = frozenset(("/v1.0/healthz", "/v1.0/healthz/outbound"))


def sidecar_app(sidecar: Sidecar) -> ASGIApp:
    """Dapr's API for one app; guarded by its token when it has one."""
    apis = (PublishApi, StateApi, JobsApi, SecretsApi, RuntimeApi)
    routes = [route for api in apis for route in api(sidecar).routes()]
    unknown = dict.fromkeys((404, 405), nothing_here_response)
    api = Starlette(routes=routes, exception_handlers={ApiError: error_response, **unknown})
    api.router.redirect_slashes = False
    dispatch = _Dispatch(api, InvokeApi(sidecar))
    token = sidecar.settings.api_token
    return _TokenGuard(dispatch, token) if token else dispatch


class _Dispatch:
    """Invocations go by their own rule: the path, or on any path the header `dapr-app-id`.

    All else is matched as it was sent, so that an escaped slash is part of a name (`Segment` unescapes it).
    """

    def __init__(self, api: ASGIApp, invocation: ASGIApp) -> None:
        self._api = api
        self._invocation = invocation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        invocation = scope["type"] == "http" and (
            scope["path"].startswith("/v1.0/invoke/") or _header(scope, b"dapr-app-id")
        )
        if invocation:
            await self._invocation(scope, receive, send)
        else:
            await self._api(_as_sent(scope), receive, send)


def _as_sent(scope: Scope) -> Scope:
    if scope["type"] != "http" or scope["method"] == "HEAD":  # Starlette would answer HEAD where Dapr does not
        return {**scope, "path": "/"}
    return {**scope, "path": posixpath.normpath("/" + scope["raw_path"].decode("latin-1").lstrip("/"))}


class _Segment(Convertor[str]):
    """One part of an address, unescaped."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _Rest(_Segment):
    """All that is left of an address, unescaped."""

    regex = ".+"


register_url_convertor("segment", _Segment())
register_url_convertor("rest", _Rest())


class _TokenGuard:
    def __init__(self, inner: ASGIApp, token: str) -> None:
        self._inner = inner
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_probe(scope):
            given = _header(scope, b"dapr-api-token")
            if not hmac.compare_digest(given, self._token):
                await PlainTextResponse("invalid api token\n", 401)(scope, receive, send)
                return
        await self._inner(scope, receive, send)


def _is_probe(scope: Scope) -> bool:
    """Health needs no token; an invocation that goes by its path does."""
    return scope["method"] == "GET" and scope["path"] in _OPEN and not _header(scope, b"dapr-app-id")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def metrics_app(metrics: Metrics) -> ASGIApp:
    """The metrics on any path, as Dapr serves them."""

    async def exposition(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            media_type = "text/plain; version=0.0.4; charset=utf-8"
            await Response(metrics.exposition(), media_type=media_type)(scope, receive, send)

    return exposition
