"""What the suite asks of an engine, and what a test module says about the world it wants to run in."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from tests.engine.resources import component, document, inbound_retries
from tests.sidecars.recording import Json, RecordingApp

BUS = "bus"  # pub/sub component with the inbound policy of the world
PLAIN = "plain"  # pub/sub component without any policy
SCOPED = "scoped"  # pub/sub component with `SCOPES`
SCOPES = {
    "allowedTopics": "allowed,reserved,kept",
    "protectedTopics": "reserved",
    "publishingScopes": "reader=",
    "subscriptionScopes": "writer=",
}
STORE = "store"
SHARED = "shared"  # state without a prefix to its keys
VAULT = "vault"  # secrets of a file
ENVIRONMENT = "environment"  # secrets of the sidecar's environment


@dataclass(frozen=True)
class App:
    """One app of the world: what it answers on /dapr/subscribe, how many replicas run, whether its health is probed."""

    app_id: str
    subscriptions: Sequence[dict[str, Any]] = ()
    replicas: int = 1
    probed: bool = False


@dataclass(frozen=True)
class Retry:
    """Inbound policy of `BUS`: that many retries (-1: for ever), so far apart, of these HTTP statuses (all of them)."""

    max_retries: int = 2
    interval: str = "50ms"
    kind: str = "constant"
    statuses: str = ""

    def policy(self) -> dict[str, Any]:
        matching = {"matching": {"httpStatusCodes": self.statuses}} if self.statuses else {}
        return {"policy": self.kind, "duration": self.interval, "maxRetries": self.max_retries, **matching}


@dataclass(frozen=True)
class World:
    """What a test module runs in: its apps and its resources, in words that every engine can translate.

    `subscriptions` are the specs of declarative ones (Subscription v2alpha1), `secrets` those of `VAULT`,
    `environment` those of the sidecars' environment. `jobs` asks for a scheduler, `every_store` for every state store
    that the engine offers. `redelivery` is after how long a broker gives what a dead consumer held to another.
    `timeout` bounds a delivery of `BUS`, `secret_scopes` are those of the sidecars' Configuration, `invoked` is the
    policy for invocations of the world's apps (None: there is none).
    """

    apps: Sequence[App]
    retry: Retry = field(default_factory=Retry)
    subscriptions: Sequence[dict[str, Any]] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    api_token: str | None = None
    app_token: str | None = None
    jobs: bool = False
    every_store: bool = False
    redelivery: str = "60s"
    timeout: str = ""
    secret_scopes: Sequence[dict[str, Any]] = ()
    invoked: Retry | None = None


@dataclass(frozen=True)
class Place:
    """One sidecar to be: the app it belongs to, where that app listens, where the sidecar's API and metrics must."""

    app: App
    app_port: int
    http_port: int
    metrics_port: int


class Engine(Protocol):
    """Something that runs a sidecar per place, with a durable broker and stores behind them.

    `start` returns once every sidecar is healthy (apps reached, subscriptions running) or, with `apps=False`, as soon
    as the sidecars have their components. `kill` is kill -9 of every sidecar process; broker and stores survive it.
    `start` after `kill` or `stop` runs them again in the same places. `stop` is orderly. `close` ends everything that
    `stop` leaves. `resources` is the folder of resource files.
    """

    resources: Path

    async def start(self, *, apps: bool = True) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...
    async def close(self) -> None: ...


def shared_documents(world: World, secrets_file: Path) -> dict[str, dict[str, Any]]:
    """Return the resources that are the same on every engine, by file name; write the secrets into their file."""
    secrets_file.write_text(json.dumps(dict(world.secrets)))
    declared = {
        f"subscription-{number}.yaml": document("v2alpha1", "Subscription", f"declared-{number}", spec)
        for number, spec in enumerate(world.subscriptions)
    }
    return {
        "vault.yaml": component(VAULT, "secretstores.local.file", secretsFile=secrets_file),
        "environment.yaml": component(ENVIRONMENT, "secretstores.local.env"),
        "resiliency.yaml": _with_timeout(inbound_retries(BUS, world.retry.policy()), world.timeout),
        **({"invocation.yaml": _invocation(world, world.invoked)} if world.invoked else {}),
        **declared,
    }


def _with_timeout(resiliency: dict[str, Any], timeout: str) -> dict[str, Any]:
    if timeout:
        resiliency["spec"]["policies"]["timeouts"] = {"bound": timeout}
        resiliency["spec"]["targets"]["components"][BUS]["inbound"]["timeout"] = "bound"
    return resiliency


def _invocation(world: World, retry: Retry) -> dict[str, Any]:
    targets = {"apps": {app.app_id: {"retry": "again"} for app in world.apps}}
    spec = {"policies": {"retries": {"again": retry.policy()}}, "targets": targets}
    return document("v1alpha1", "Resiliency", "invocation", spec)


def configuration(world: World) -> dict[str, Any]:
    """Return the sidecars' Configuration; tracing is on, for only then is there a trace in every envelope of daprd."""
    spec = {"tracing": {"samplingRate": "1"}, "secrets": {"scopes": list(world.secret_scopes)}}
    return document("v1alpha1", "Configuration", "contract", spec)


@dataclass(frozen=True)
class Reply:
    """What a sidecar answered; `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Dapr's error code, or "" if the body carries none."""
        try:
            return str(self.json().get("errorCode", ""))
        except (ValueError, AttributeError):
            return ""


class Client:
    """Speaks Dapr's HTTP API of one sidecar. Bodies that are not bytes are sent as JSON; nothing else is added."""

    def __init__(self, http_port: int, api_token: str | None) -> None:
        self._url = f"http://127.0.0.1:{http_port}"
        self._headers = {"dapr-api-token": api_token} if api_token else {}
        self._session = aiohttp.ClientSession(skip_auto_headers=("Content-Type", "User-Agent"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Json | bytes = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = dict(self._headers)
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        sent |= headers or {}
        address = URL(self._url + path, encoded=True)
        sending = None if body is None else io.BytesIO(body)
        async with self._session.request(method, address, data=sending, headers=sent, params=query) as answer:
            received = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, received, await answer.read())

    async def get(self, path: str, **options: Json) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Json | bytes = None, **options: Json) -> Reply:
        return await self.call("POST", path, body, **options)

    async def delete(self, path: str, **options: Json) -> Reply:
        return await self.call("DELETE", path, **options)

    async def publish(
        self,
        topic: str,
        body: Json | bytes = None,
        *,
        component: str = BUS,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        **metadata: str,
    ) -> Reply:
        """Publish; metadata names are written with "_" for "." (cloudevent_id=...)."""
        query = {f"metadata.{name.replace('_', '.')}": value for name, value in metadata.items()}
        sent = {**({"Content-Type": content_type} if content_type else {}), **(headers or {})}
        return await self.post(f"/v1.0/publish/{component}/{topic}", body, headers=sent, query=query)


@dataclass(frozen=True)
class Running:
    """A world that runs: the engine and, in the order of the world's apps, each app and its sidecar's client."""

    engine: Engine
    places: Sequence[Place]
    app_ids: Sequence[str]
    recording: Sequence[RecordingApp]
    clients: Sequence[Client]

    def app(self, app_id: str, replica: int = 0) -> RecordingApp:
        return self.recording[self.app_ids.index(app_id) + replica]

    def sidecar(self, app_id: str, replica: int = 0) -> Client:
        return self.clients[self.app_ids.index(app_id) + replica]
