"""Who gets in: under TODO_AUTH=local callers of this machine, under `required` those with a token or a session.

Either way a request that gets in has a `Caller`; a route that asks for one where no gate stands fails.
"""

import hmac
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from todo.backend.api import problems, web
from todo.backend.api.problems import problem
from todo.backend.auth import sessions
from todo.backend.auth.callers import LOCAL, Authenticator, Caller
from todo.backend.auth.errors import ForbiddenError
from todo.backend.auth.sessions import Site
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
_SIGNING_IN: Final = frozenset(  # for whoever is nobody yet
    {("GET", "/session"), ("POST", "/session"), ("GET", "/session/oidc"), ("GET", "/session/oidc/callback")}
)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class KnownCallers:
    """ASGI middleware of TODO_AUTH=required: everything but what is open, or a sidecar's, wants to know its caller."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.caller = await admit(request, self._site)
            request.state.admit = partial(
                admit, request, self._site
            )  # for what goes on for long: who is let in may change
        except problems.ANSWERED as error:
            response = await problems.answer_to(request, error)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _is_open(method: str, path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW) or (method, path) in _SIGNING_IN


async def admit(request: Request, site: Site) -> Caller:
    """Who calls: by the Authorization header if there is one, else by the cookie. Raises what `Authenticator` does."""
    authorization = request.headers.get("authorization")
    cookie = request.cookies.get(site.session_cookie) if authorization is None else None
    if cookie is not None and request.method not in _SAFE:
        check_origin(request, site)
        _check_csrf(request, cookie)
    return await authenticator(request).admit(authorization, address_of(request), cookie)


def authenticator(request: Request) -> Authenticator:
    found: Authenticator | None = getattr(request.app.state, "authenticator", None)
    if found is None:
        raise UnavailableError("the database was not reached yet")
    return found


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def check_origin(request: Request, site: Site, *, demanded: bool = True) -> None:
    """Refuse what a page of another origin sends: its browser says so, and no page can change that.

    Not every browser sends both headers; unless `demanded`, who sends none is a program. Raises `ForbiddenError`.
    """
    fetched, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_foreign = fetched not in {None, "same-origin"} or (
        origin is not None and not site.is_own(origin, request.headers.get("host", ""))
    )
    if is_foreign or (demanded and fetched is None and origin is None):
        raise ForbiddenError(
            "cross-origin",
            "this has to come from a page of this system: Sec-Fetch-Site or Origin says otherwise, or both are missing"
            f" (the system is at {site.url}, says TODO_PUBLIC_URL)",
        )


def _check_csrf(request: Request, cookie: str) -> None:
    given = request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), sessions.csrf_token(cookie).encode()):
        raise ForbiddenError("csrf", "x-csrf-token is missing or of another session: give `csrf` of GET /session")


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
