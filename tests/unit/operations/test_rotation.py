"""What a rotation asks before it trusts a login, and what it asks of sidecars that have it."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from todo.operations import brokers, topics
from todo.operations.brokers import BrokerError, Fault
from todo.operations.datafolder import EngineRun, SidecarAddress
from todo.operations.engine import resources
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.broker import BrokerLogins
from todo.operations.rotation.host import STORE, STORE_FILE, Host

COMPONENT = {"metadata": {"name": "pubsub-kafka"}, "spec": {"type": "pubsub.kafka", "metadata": []}}


class Logins(BrokerLogins):
    def login(self, secret: Secret) -> str:
        return secret["USER"]


class Shy:
    """A broker that lets everybody in, and shows what the user may see."""

    place = "Kafka at nowhere"

    def __init__(self) -> None:
        self.shown = {one.name for one in topics.wanted()}
        self.shows_groups = True

    async def check(self) -> None:
        pass

    async def topics(self, names: Collection[str]) -> dict[str, object]:
        return dict.fromkeys(self.shown & set(names))

    async def members(self, groups: Collection[str]) -> dict[str, int]:
        if not self.shows_groups:
            raise BrokerError(Fault.RIGHTS, "this user may not do that")
        return dict.fromkeys(groups, 1)


async def test_a_login_without_rights_is_let_in_and_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Shy()

    @contextlib.asynccontextmanager
    async def connected(*_: object) -> AsyncIterator[Shy]:
        yield broker

    monkeypatch.setattr(brokers, "connected", connected)
    logins: Any = Logins(COMPONENT, "kafka-secrets")
    secret = {"USER": "theirs"}
    await logins.check(secret)
    broker.shown -= {"task-events", "dead-letters"}
    with pytest.raises(RotationError, match="theirs may not see topics dead-letters, task-events of Kafka at nowhere"):
        await logins.check(secret)
    assert not await logins.is_refused(secret)
    broker.shown = {one.name for one in topics.wanted()}
    broker.shows_groups = False
    with pytest.raises(RotationError, match="may not do that"):
        await logins.check(secret)
    assert not await logins.is_refused(secret)


class Recording:
    """A moment of calm or of none, and what was asked in it."""

    def __init__(self, disturbed: str) -> None:
        self._disturbed = disturbed
        self.asked: list[bool] = []

    @contextlib.asynccontextmanager
    async def moment(self, _: str) -> AsyncIterator[str]:
        yield self._disturbed

    async def events_flow(self, _: float, *, read: bool) -> str:
        self.asked.append(read)
        return ""


@pytest.mark.parametrize("disturbed", ["", "email-delivery does not answer"])
async def test_only_in_calm_is_every_service_asked_for_its_events(tmp_path: Path, disturbed: str) -> None:
    loads = itertools.count(1)

    async def metrics(_: web.Request) -> web.Response:
        count = next(loads)
        lines = [f'dapr_runtime_component_init_total{{component="{kind}"}} {count}' for kind in ("pubsub.kafka", STORE)]
        return web.Response(text="\n".join([*lines, "process_start_time_seconds 1", ""]))

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/v1.0/healthz/outbound", ready)
    for name in (resources.PUBSUB_FILE, STORE_FILE):
        (tmp_path / name).write_text(yaml.safe_dump({**COMPONENT, "kind": "Component"}))
    calm: Any = Recording(disturbed)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("")).rstrip("/")
        sidecar = SidecarAddress("daprd-backend", "backend", url, f"{url}/metrics")
        engine = EngineRun("kafka", str(tmp_path), str(tmp_path / "secrets.json"), [sidecar], {})
        assert await Host(engine, http, calm).reload(resources.PUBSUB_FILE, "a test") == disturbed
    assert calm.asked == [not disturbed]
