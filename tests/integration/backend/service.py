"""backend as it is served, in a thread beside a broker, and a client that holds it to its OpenAPI document."""

import asyncio
import itertools
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import pytest
import uvicorn
from multidict import CIMultiDictProxy

from tests.support.publishing import Broker
from tests.support.waiting import until
from todo.backend.app import create_app
from todo.contracts import names
from todo.service.settings import read_settings

APP_TOKEN = "app-token"  # noqa: S105 - of a test
LEAKS = re.compile(r"Traceback|File \"|asyncpg|SELECT |INSERT |UPDATE |pydantic|psycopg|site-packages|\.py\b")
DAPR = ("/dapr/", "/events/", "/job/", "/internal/", "/healthz", "/readyz", "/metrics", "/openapi.json")

T = TypeVar("T")
_names = itertools.count(1)


class Running:
    """A service that runs in a thread of its own."""

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.broker = broker
        self.base = f"http://127.0.0.1:{port}"
        self._loop = loop

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the service's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextmanager
def running_backend(database_url: str, **settings: str) -> Iterator[Running]:
    """Serve until the block ends, then drain. `settings` are added to the environment."""
    ready: threading.Event = threading.Event()
    box: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database_url)
        patch.setenv("TODO_EMAIL", "ada@example.test")
        patch.setenv("TODO_ZONE", "Europe/Berlin")
        thread = threading.Thread(target=lambda: asyncio.run(_serve(box, ready, settings)))
        try:
            with pytest.MonkeyPatch.context() as starting:  # it is read once, and others start services beside this one
                for name, value in settings.items():
                    starting.setenv(name, value)
                thread.start()
                assert ready.wait(30), "it does not serve"
            assert "running" in box, box.get("error")
            yield box["running"]
        finally:
            if "server" in box:
                box["server"].should_exit = True
            thread.join(20)
        assert not thread.is_alive()


async def _serve(box: dict[str, Any], ready: threading.Event, settings: Mapping[str, str]) -> None:
    try:
        broker = Broker()
        await broker.start()
        listening = socket.create_server(("127.0.0.1", 0))
        environ = {
            "DAPR_HTTP_PORT": str(broker.port),
            "DAPR_API_TOKEN": "dapr-token",
            "APP_PORT": str(listening.getsockname()[1]),
            "APP_API_TOKEN": APP_TOKEN,
            "HOSTNAME": f"host-{next(_names)}",
            **settings,
        }
        app = create_app(read_settings(names.BACKEND, environ))
        server = box["server"] = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        if server.started:
            box["running"] = Running(broker, asyncio.get_running_loop(), listening.getsockname()[1])
        ready.set()
        await serving
        await broker.stop()
    except BaseException as error:
        box["error"] = error
        raise
    finally:
        ready.set()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: "CIMultiDictProxy[str]"
    body: Any

    @property
    def fields(self) -> list[str]:
        """The fields that a problem document says are at fault."""
        return [fault["field"] for fault in self.body["errors"]]


class Api:
    """Calls as one user. Every answer must be one that the OpenAPI document names, and must leak nothing.

    With a token its user is the one who calls, and is not named.
    """

    def __init__(
        self, http: aiohttp.ClientSession, document: dict[str, Any], user_id: int, token: str | None = None
    ) -> None:
        self._http = http
        self._document = document
        self._own = {"authorization": f"Bearer {token}"} if token else {}
        self.user_id = user_id

    def of(self, user_id: int) -> "Api":
        return Api(self._http, self._document, user_id)

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        data: Any = None,  # noqa: ANN401 - JSON, or whatever the tested code takes
        query: dict[str, str] | None = None,
        **headers: str,
    ) -> Answer:
        params = ({} if self._own else {"user_id": str(self.user_id)}) | (query or {})
        sent = self._own | {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            sent.setdefault("content-type", "application/json")
        body = {"data": data} if data is not None else {"json": json} if json is not None else {}
        async with self._http.request(method, path, params=params, headers=sent, **body) as response:
            text = await response.text()
            kind = response.content_type
            self._check(method, path, response.status, kind, text)
            return Answer(
                response.status, response.headers, await response.json() if kind.endswith(("/json", "+json")) else text
            )

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, None, query=query)

    async def post(self, path: str, json: object = None, **headers: str) -> Answer:
        return await self.call("POST", path, json, data=None, query=None, **headers)

    async def task(self, **fields: object) -> dict[str, Any]:
        """A new task of this user."""
        whose = {} if self._own else {"user_id": self.user_id}
        answer = await self.post("/tasks", {"title": "Pay rent"} | whose | fields)
        assert answer.status == 201, answer
        task: dict[str, Any] = answer.body
        return task

    def _check(self, method: str, path: str, status: int, kind: str, text: str) -> None:
        if status >= 400:
            assert not LEAKS.search(text), text
            assert kind == "application/problem+json", (kind, text)
        if path.startswith(DAPR):
            return
        operation = self._operation(method, path)
        if operation is None:
            assert status in {404, 405}, (method, path, status)
            return
        documented = operation["responses"]
        assert str(status) in documented, (
            f"{method} {path} answered {status}, documented are {sorted(documented)}: {text}"
        )
        if text:
            assert kind in documented[str(status)]["content"]

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in self._document["paths"].items():
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
                return operations.get(method.lower())  # type: ignore[no-any-return]
        return None


async def _is_ready(http: aiohttp.ClientSession) -> bool:
    async with http.get("/readyz") as response:
        return response.status == 200


@asynccontextmanager
async def client(service: Running) -> AsyncIterator[Api]:
    """A client as a user of its own, made for it."""
    async with aiohttp.ClientSession(service.base) as http:
        async with http.get("/openapi.json") as response:
            document = await response.json()
        await until(lambda: _is_ready(http))
        made = await Api(http, document, 1).post("/users", {"email": f"user{os.urandom(6).hex()}@example.test"})
        yield Api(http, document, made.body["id"])
