"""The mailbox's web side: a page for people and, under `/api/v1`, what Mailpit's API answers."""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from todo.contracts import names
from todo.mailbox import message as mail
from todo.mailbox.smtp import SmtpSink
from todo.mailbox.store import MessageStore, Received

DEFAULT_LIMIT: Final = 50
PAGE_MESSAGES: Final = 100
DEFAULT_KEEP: Final = 10_000
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# A mail's own HTML: no script, no form, nothing fetched from anywhere, and no origin.
MAIL_HEADERS: Final = PAGE_HEADERS | {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How the mailbox runs; `keep` is the number of messages kept, the newest ones."""

    data: Path
    host: str = "127.0.0.1"
    smtp_port: int = names.MAILBOX_SMTP_PORT
    http_port: int = names.MAILBOX_HTTP_PORT
    keep: int = DEFAULT_KEEP

    @classmethod
    def from_environment(cls) -> "Options":
        env = os.environ
        return cls(
            data=Path(env.get("MAILBOX_DATA", "data/mailbox")),
            host=env.get("TODO_HOST", "127.0.0.1"),
            smtp_port=int(env.get("MAILBOX_SMTP_PORT", names.MAILBOX_SMTP_PORT)),
            http_port=int(env.get("MAILBOX_HTTP_PORT", names.MAILBOX_HTTP_PORT)),
            keep=int(env.get("MAILBOX_KEEP", DEFAULT_KEEP)),
        )


def create_app(options: Options) -> Starlette:
    """Compose the mailbox; its SMTP server lives as long as the application."""
    store = MessageStore(options.data, keep=options.keep)
    pages = _Pages(store)
    api = _Api(store)
    return Starlette(
        routes=[
            Route("/", pages.listing, methods=["GET"]),
            Route("/", pages.delete_all, methods=["POST"]),
            Route("/style.css", pages.style),
            Route("/message/{id}", pages.message),
            Route("/message/{id}/html", pages.html),
            Route("/api/v1/messages", api.messages, methods=["GET"]),
            Route("/api/v1/messages", api.delete, methods=["DELETE"]),
            Route("/api/v1/search", api.search),
            Route("/api/v1/message/{id}", api.message),
            Route("/api/v1/message/{id}/raw", api.raw),
            Route("/readyz", lambda _request: PlainTextResponse("ok")),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(options.host))],
        exception_handlers={HTTPException: _error},
        lifespan=_lifespan(store, options),
    )


def _lifespan(store: MessageStore, options: Options) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        sink = SmtpSink(store)
        await sink.start(options.host, options.smtp_port)
        app.state.smtp_port = sink.port
        try:
            yield
        finally:
            await sink.close()
            await asyncio.to_thread(store.close)

    return lifespan


def _allowed_hosts(host: str) -> list[str]:
    """On loopback answer to loopback's names only: a web page that points its own name here reads no mail."""
    if host == "localhost" or ipaddress.ip_address(host).is_loopback:
        return ["localhost", "127.0.0.1", "[::1]", host]
    return ["*"]


class _Api:
    def __init__(self, store: MessageStore) -> None:
        self._store = store

    async def messages(self, request: Request) -> Response:
        start, limit = _number(request, "start", 0), _number(request, "limit", DEFAULT_LIMIT)
        return await asyncio.to_thread(self._listing, start, limit)

    async def search(self, request: Request) -> Response:
        query = request.query_params.get("query", "").strip()
        if not query:
            raise HTTPException(400, "Error: no search query")
        start, limit = _number(request, "start", 0), _number(request, "limit", DEFAULT_LIMIT)
        return await asyncio.to_thread(self._found, query, start, limit)

    async def message(self, request: Request) -> Response:
        found = _existing(self._store, request)
        await self._store.mark_read(found.id)
        return _json(mail.whole(found))

    async def raw(self, request: Request) -> Response:
        return Response(_existing(self._store, request).raw, media_type="text/plain; charset=utf-8")

    async def delete(self, request: Request) -> Response:
        body = await request.body()
        try:
            ids = msgspec.json.decode(body, type=_Ids).IDs if body.strip() else []
        except msgspec.DecodeError as error:
            raise HTTPException(400, str(error)) from error
        await self._store.delete(ids)
        return PlainTextResponse("ok")

    def _listing(self, start: int, limit: int) -> Response:
        total, unread = self._store.counts()
        return self._page(self._store.newest(start=start, limit=limit), start, total, unread)

    def _found(self, query: str, start: int, limit: int) -> Response:
        found = [one for one in self._store.newest() if mail.matches(one, query)]
        unread = sum(not one.read for one in found)
        return self._page(found[start : start + limit], start, len(found), unread)

    def _page(self, shown: list[Received], start: int, matching: int, matching_unread: int) -> Response:
        total, unread = self._store.counts()
        return _json(
            {
                "total": total,
                "unread": unread,
                "count": len(shown),
                "messages_count": matching,
                "messages_unread": matching_unread,
                "start": start,
                "tags": [],
                "messages": [mail.summary(one) for one in shown],
            }
        )


class _Pages:
    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._templates = Environment(
            loader=PackageLoader("todo.mailbox"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters["clock"] = _clock

    async def listing(self, request: Request) -> Response:
        start = _number(request, "start", 0)
        total, unread = self._store.counts()
        shown = await asyncio.to_thread(self._summaries, start)
        older = start + PAGE_MESSAGES if start + PAGE_MESSAGES < total else None
        return self._render("list.html", messages=shown, total=total, unread=unread, start=start, older=older)

    async def message(self, request: Request) -> Response:
        found = _existing(self._store, request)
        await self._store.mark_read(found.id)
        return self._render("message.html", message=mail.whole(found), received_at=mail.summary(found)["Created"])

    async def html(self, request: Request) -> Response:
        return HTMLResponse(mail.whole(_existing(self._store, request))["HTML"], headers=MAIL_HEADERS)

    async def style(self, _request: Request) -> Response:
        source, _, _ = PackageLoader("todo.mailbox").get_source(self._templates, "style.css")
        return Response(source, media_type="text/css")

    async def delete_all(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise HTTPException(403, "this form belongs to the mailbox's own page")
        await self._store.delete()
        return RedirectResponse("/", status_code=303)

    def _summaries(self, start: int) -> list[mail.Summary]:
        return [mail.summary(one) for one in self._store.newest(start=start, limit=PAGE_MESSAGES)]

    def _render(self, name: str, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(name).render(values), headers=PAGE_HEADERS)


class _Ids(msgspec.Struct):
    IDs: list[str] = []


def _existing(store: MessageStore, request: Request) -> Received:
    found = store.get(request.path_params["id"])
    if found is None:
        raise HTTPException(404, "message not found")
    return found


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004 - fits in 32 bits
        raise HTTPException(400, f"{name} must be a number")
    return int(text)


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return Response(
        msgspec.json.encode({"Error": error.detail}), status_code=error.status_code, media_type="application/json"
    )


def _clock(created: str) -> str:
    at = datetime.fromisoformat(created)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
