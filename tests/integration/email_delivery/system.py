"""The service as it runs: its own process, the embedded sidecar, a mail server, and backend's part of the contract."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from aiohttp import web

from tests.engine.engine import Server, free_ports
from tests.support.smtp import SmtpServer
from tests.unit.email_delivery.world import NOW, BackendApp
from todo.contracts import names
from todo.contracts.envelope import decode
from todo.contracts.events import REMINDER_DUE, EventParked, ReminderDue, ReminderOutcome
from todo.contracts.invocation import RESOLVE_REMINDERS
from todo.dapr import client
from todo.dapr.client import Dapr, Message
from todo.messaging.unit import outgoing

TOKENS: Final = {"DAPR_API_TOKEN": "dapr-token-of-a-test", "APP_API_TOKEN": "app-token-of-a-test"}
TOPICS: Final = (names.REMINDER_DELIVERIES, names.DEAD_LETTERS)


@dataclass
class BackendStandIn:
    """Answers as backend does, and keeps what backend would be told."""

    answers: BackendApp = field(default_factory=BackendApp)
    outcomes: list[ReminderOutcome] = field(default_factory=list)
    letters: list[EventParked] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/dapr/subscribe", self._subscriptions),
                web.get("/healthz", _ok),
                web.post("/events/{topic}", self._event),
                web.post(f"/{RESOLVE_REMINDERS}", self._resolve),
            ]
        )
        return app

    async def _subscriptions(self, _: web.Request) -> web.Response:
        return web.json_response(
            [{"pubsubname": names.PUBSUB, "topic": topic, "route": f"/events/{topic}"} for topic in TOPICS]
        )

    async def _resolve(self, request: web.Request) -> web.Response:
        if self.answers.error is not None:
            return web.Response(status=500)
        return web.Response(
            body=await self.answers.invoke(names.BACKEND.app_id, RESOLVE_REMINDERS, await request.read())
        )

    async def _event(self, request: web.Request) -> web.Response:
        event = decode(await request.read(), request.match_info["topic"])
        data = getattr(event, "data", None)
        if isinstance(data, ReminderOutcome):
            self.outcomes.append(data)
        elif isinstance(data, EventParked):
            self.letters.append(data)
        return web.json_response({"status": "SUCCESS"})


@dataclass
class System:
    folder: Path
    server: SmtpServer
    backend: BackendStandIn
    ports: dict[str, int]
    dapr: Dapr
    running: dict[int, Server] = field(default_factory=dict)

    async def start(self, replica: int = 1) -> Server:
        """Start a replica, and wait until its sidecar delivers to it."""
        environment = {
            **TOKENS,
            "APP_PORT": str(self.ports[f"app{replica}"]),
            "DAPR_HTTP_PORT": str(self.ports[f"dapr{replica}"]),
            "SMTP_URL": f"smtp://127.0.0.1:{self.server.port}",
            "TODO_MAIL_FROM": "To-do <todo@example.org>",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-m", names.EMAIL_DELIVERY.module]
        self.running[replica] = await Server.start(command, self.folder / f"service{replica}.log", env=environment)
        await self.running[replica].ready(self.url(replica, "healthz/consume"), 200)
        await self.running[replica].ready(f"http://127.0.0.1:{self.ports[f'dapr{replica}']}/v1.0/healthz", 204)
        return self.running[replica]

    def url(self, replica: int, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[f'app{replica}']}/{path}"

    def log(self, replica: int = 1) -> str:
        return self.running[replica].log.read_text()

    async def publish(self, dues: Sequence[ReminderDue]) -> None:
        """Dispatch reminders as notification-service does."""
        sent = [
            outgoing(names.NOTIFICATION.app_id, names.TASK_REMINDERS, REMINDER_DUE, str(one.task_id), one, now=NOW)
            for one in dues
        ]
        messages = [Message(str(uuid4()), one.envelope, one.key) for one in sent]
        assert await self.dapr.publish_all(names.PUBSUB, names.TASK_REMINDERS, messages) == {}


@asynccontextmanager
async def system(folder: Path, *, replicas: int = 1) -> AsyncIterator[System]:
    """Everything but the service itself, which tests start."""
    wanted = ["backend", "dapr0", *(f"{kind}{number}" for number in range(1, replicas + 1) for kind in ("app", "dapr"))]
    ports = dict(zip(wanted, free_ports(len(wanted)), strict=True))
    backend = BackendStandIn()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SmtpServer().running())
        await stack.enter_async_context(_serving(backend.app(), ports["backend"]))
        _write_resources(folder, ports, replicas)
        arguments = ["run", "-f", str(folder / "dapr.yaml"), "--data-path", str(folder / "data")]
        sidecars = await Server.start([sys.executable, "-m", "daprlet", *arguments], folder / "daprlet.log", env=TOKENS)
        stack.push_async_callback(sidecars.stop)
        sidecar = f"http://127.0.0.1:{ports['dapr0']}"
        await sidecars.ready(f"{sidecar}/v1.0/healthz", 204)
        dapr = await stack.enter_async_context(client.connect(sidecar, TOKENS["DAPR_API_TOKEN"]))
        system = System(folder, server, backend, ports, dapr)
        try:
            yield system
        finally:
            await asyncio.gather(*(running.stop() for running in system.running.values()))


@asynccontextmanager
async def _serving(app: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _write_resources(folder: Path, ports: dict[str, int], replicas: int) -> None:
    """JSON is YAML."""
    resources = folder / "resources"
    resources.mkdir()
    for name, kind in ((names.PUBSUB, "pubsub.sqlite"), (names.STATE_STORE, "state.sqlite")):
        spec = {"type": kind, "version": "v1", "metadata": []}
        _write(resources / f"{name}.yaml", {"kind": "Component", "metadata": {"name": name}, "spec": spec})
    _write(resources / "resiliency.yaml", {"kind": "Resiliency", "metadata": {"name": "retries"}, "spec": _RETRIES})
    probes = {"enableAppHealthCheck": True, "appHealthCheckPath": "/healthz", "appHealthProbeInterval": 1}
    entries = [(names.BACKEND.app_id, "backend", "dapr0")]
    entries += [(names.EMAIL_DELIVERY.app_id, f"app{number}", f"dapr{number}") for number in range(1, replicas + 1)]
    apps = [{"appID": app, "appPort": ports[at], "daprHTTPPort": ports[dapr], **probes} for app, at, dapr in entries]
    _write(folder / "dapr.yaml", {"version": 1, "common": {"resourcesPaths": ["resources"]}, "apps": apps})


_RETRIES: Final = {
    "policies": {"retries": {"patient": {"policy": "constant", "duration": "100ms", "maxRetries": 1000}}},
    "targets": {"components": {names.PUBSUB: {"inbound": {"retry": "patient"}}}},
}


def _write(path: Path, document: dict[str, Any]) -> None:
    versioned = document if "version" in document else {"apiVersion": "dapr.io/v1alpha1", **document}
    path.write_text(json.dumps(versioned))


async def _ok(_: web.Request) -> web.Response:
    return web.Response(status=200)


def encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value)
