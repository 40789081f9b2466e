"""Service invocation: `/v1.0/invoke/{app}/method/{path}`, or any path with the header `dapr-app-id`."""

import asyncio
import contextlib
from collections.abc import Coroutine
from itertools import chain
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import aiohttp
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from daprlet.api.answers import ApiError, nothing_here, read_body
from daprlet.api.sidecar import Sidecar
from daprlet.apps import App, Replica
from daprlet.envelope import trace_parent
from daprlet.errors import AppUnreachable

# RFC 9110's connection-level fields, and what belongs to one hop of ours.
_NOT_FORWARDED: Final = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "host", "content-length", "expect", "dapr-app-id", "dapr-api-token"),
        "traceparent",
    )
)
_NOT_ANSWERED: Final = _NOT_FORWARDED - {"content-length", "traceparent"}
_PREFIX: Final = "/v1.0/invoke/"


class _Call(NamedTuple):
    app: App
    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class InvokeApi:
    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to one replica of the app and stream back what it answers, unless the caller goes away."""
        try:
            call = await self._read(Request(scope, receive))
            await _while_there(receive, self._pass_on(call, send))
        except ApiError as error:
            await error.response()(scope, receive, send)

    async def _read(self, request: Request) -> _Call:
        app_id, path = _target(request)
        if not app_id:
            raise nothing_here()
        app = self._sidecar.apps.get(app_id)
        if app is None or not any(replica.channel.settings.app_port for replica in app.replicas):
            raise _failed(app_id, f"failed to resolve address for '{app_id}': no such app in this run")
        query = request.scope["query_string"].decode("latin-1")
        url = f"/{path}?{query}" if query else f"/{path}"
        return _Call(app, request.method, url, self._headers(request, app_id), await read_body(request))

    async def _pass_on(self, call: _Call, send: Send) -> None:
        async with contextlib.AsyncExitStack() as until_answered:
            response = await self._open(call, until_answered)
            headers = _answer_headers(response)
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _open(self, call: _Call, until_answered: contextlib.AsyncExitStack) -> aiohttp.ClientResponse:
        """The answer, as soon as it begins; what failed is tried again as the policy for the app says.

        Without one only refused connections are, so that nothing is executed twice.
        """
        policy = self._sidecar.resources.policies.app(call.app.app_id)
        why = "the app is not available"
        for delay in chain(policy.retry.delays(), (None,)):
            try:
                async with contextlib.AsyncExitStack() as stack:
                    response = await self._once(call, policy.timeout, stack)
                    if delay is None or not policy.repeats(response.status):
                        until_answered.push_async_exit(stack.pop_all())
                        return response
            except AppUnreachable as error:
                why = str(error)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
                if policy.refused_only:
                    break
            if delay is not None:
                await asyncio.sleep(delay)
        raise _failed(call.app.app_id, why)

    async def _once(
        self,
        call: _Call,
        timeout: float | None,  # noqa: ASYNC109 - of the policy
        stack: contextlib.AsyncExitStack,
    ) -> aiohttp.ClientResponse:
        """Ask the replicas in turn until one is there."""
        refused = AppUnreachable("the app is not available")
        for replica in _candidates(call.app):
            try:
                async with asyncio.timeout(timeout), contextlib.AsyncExitStack() as trying:
                    trying.enter_context(replica.busy())
                    opening = replica.channel.open(call.method, call.url, call.headers, call.body)
                    response = await trying.enter_async_context(opening)
                    stack.push_async_exit(trying.pop_all())
                    return response
            except AppUnreachable as error:
                refused = error
        raise refused

    def _headers(self, request: Request, app_id: str) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
        trace = trace_parent(request.headers.get("traceparent"))
        return {
            **kept,
            "traceparent": trace,
            "dapr-caller-app-id": self._sidecar.app_id,
            "dapr-callee-app-id": app_id,
        }


def _candidates(app: App) -> list[Replica]:
    """Healthy replicas, the least busy first; when there is none, those whose health nobody checks are tried anyway."""
    first = app.pick()
    unchecked = (one for one in app.replicas if one.channel.settings.app_port and not one.channel.settings.health_check)
    others = app.available() or [one for one in unchecked if not one.stopping]
    return [*([first] if first else []), *(one for one in others if one is not first)]


def _target(request: Request) -> tuple[str, str]:
    """App id and method path, still percent-encoded as the caller sent it."""
    raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    if header := request.headers.get("dapr-app-id"):
        return header, raw.lstrip("/")
    if not raw.startswith(_PREFIX):
        return "", ""
    app_id, found, path = raw.removeprefix(_PREFIX).partition("/method/")
    return (unquote(app_id), path.lstrip("/")) if found else ("", "")


def _failed(app_id: str, why: str) -> ApiError:
    return ApiError(500, "ERR_DIRECT_INVOKE", f"failed to invoke, id: {app_id}, err: {why}")


def _answer_headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """The app's own headers, repeated ones included."""
    kept = ((name.lower(), value) for name, value in response.raw_headers)
    return [(name, value) for name, value in kept if name.decode("latin-1") not in _NOT_ANSWERED]


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and break it off when the caller goes away."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
