"""A system on stock Dapr as a whole: what it is made of, what it keeps over a restart, and how it ends."""

import asyncio
import dataclasses
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.engine.systems import keep_secret, on_dapr
from tests.integration.system.world import Person, World, eventually
from tests.support.children import Recorder, until
from todo.contracts import names
from todo.operations import datafolder, logins, processes, topics, up
from todo.operations import system as system_module
from todo.operations.engine import resources
from todo.operations.engine.environments import COMPONENTS
from todo.operations.engine.hosted import BrokerChoiceError
from todo.operations.engine.kafka import KafkaServer, Listener
from todo.operations.engine.stock import environment_of
from todo.operations.logs import SUPERVISOR
from todo.operations.system import System, UpOptions, prepared_system
from todo.operations.up import running_system

LOOPBACK: Final = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
LISTENING: Final = "0A"


@asynccontextmanager
async def world_of(options: UpOptions) -> AsyncIterator[World]:
    log = Recorder()
    async with running_system(options, log) as system, aiohttp.ClientSession() as http:
        yield World(system, http, log)


async def test_what_runs_is_closed_to_others_and_complete(tmp_path: Path) -> None:
    """Everything listens on loopback alone, sidecars want their token, and what the contract names is loaded."""
    replicas = {"email-delivery": 2}
    async with world_of(
        on_dapr("kafka-sasl", data=tmp_path, standby=["redis", "kafka-sasl-512"], replicas=replicas)
    ) as world:
        run = datafolder.running_system(tmp_path)
        assert run is not None
        assert run.engine == world.system.engine
        assert run.engine is not None
        assert [one.name for one in run.engine.sidecars if one.app_id == "email-delivery"] == [
            "daprd-email-delivery",
            "daprd-email-delivery-2",
        ]
        assert {"kafka-sasl", "valkey", "scheduler", "postgres"} <= set(world.system.children)
        assert strangers_may_connect_to(world.system) == {"scheduler": [world.system.ports["scheduler-health"]]}
        for one in run.engine.sidecars:
            assert (await world.ask("GET", f"{one.url}/v1.0/metadata")).status == 401
            assert "dapr_" in (await world.ask("GET", one.metrics_url)).body
        told = (await world.sidecar(names.EMAIL_DELIVERY, "GET", "/v1.0/metadata")).body
        loaded = {component["name"]: component["type"] for component in told["components"]}
        assert loaded == {
            names.PUBSUB: "pubsub.kafka",
            names.STATE_STORE: "state.postgresql",
            names.SECRET_STORE: "secretstores.local.file",
        }


async def test_two_systems_on_one_host_do_not_mix() -> None:
    """Sidecars find those of their own run only, though app ids are the same."""
    async with world_of(on_dapr("redis")) as one, world_of(on_dapr("redis")) as other:
        for world, name in ((one, "ada"), (other, "bob")):
            person = await world.person(name)
            path = f"/v1.0/invoke/{names.BACKEND.app_id}/method/users/{person.id}"
            for _ in range(20):
                assert (await eventually(lambda: asked(world, path)))["email"] == person.email  # noqa: B023 - awaited here


async def asked(world: World, path: str) -> Any:  # noqa: ANN401 - JSON
    """What backend answers through another's sidecar; None while a busy machine makes it seem unhealthy."""
    answer = await world.sidecar(names.EMAIL_DELIVERY, "GET", path)
    return answer.body if answer.status < 500 else None


async def test_what_everybody_has_read_is_deleted_from_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much stays of what was acknowledged, what was not stays whole; a broker that was away ends nothing."""
    for name in ("FIRST_TENDED_SECONDS", "TENDED_SECONDS"):
        monkeypatch.setattr(system_module, name, 0.1)
    count = topics.KEEP + 500
    async with world_of(on_dapr("redis")) as world:
        system = world.system
        reader = system.children["daprd-notification-service"]
        reader.signal(signal.SIGSTOP)
        for topic in (names.TASK_OCCURRENCES, names.TASK_EVENTS):
            await publish_probes(world, topic, count)
        await eventually(lambda: length(system, names.TASK_OCCURRENCES, topics.KEEP))
        assert await length(system, names.TASK_EVENTS, count)
        reader.signal(signal.SIGCONT)
        await system.kill("valkey")
        await system.wait_ready("valkey")
        await publish_probes(world, names.TASK_OCCURRENCES, 100)
        await eventually(lambda: length(system, names.TASK_OCCURRENCES, topics.KEEP))


async def publish_probes(world: World, topic: str, count: int) -> None:
    """Publish what an operator tries a broker with: every app acknowledges it."""
    for first in range(0, count, 100):
        entries = [
            {"entryId": str(number), "event": {"task_id": "probe"}, "contentType": "application/json"}
            for number in range(first, first + 100)
        ]
        path = f"/v1.0/publish/bulk/{names.PUBSUB}/{topic}"
        assert (await world.sidecar(names.BACKEND, "POST", path, json=entries)).status == 204


async def length(system: System, topic: str, wanted: int) -> bool:
    """Tell whether the stream has so many entries."""
    assert system.engine is not None
    secrets = json.loads(await asyncio.to_thread(Path(system.engine.secrets).read_text))
    _, _, port = system.engine.environments["redis"]["redisHost"].partition(":")
    async with Redis(port=int(port), password=secrets["redis-secrets"]["REDIS_PASSWORD"]) as client:
        return int(await client.xlen(topic)) == wanted


async def test_a_folder_stays_on_its_broker(tmp_path: Path) -> None:
    """What was on its way at the end arrives after the next start; another broker is refused with the way to it."""
    async with world_of(on_dapr("kafka", data=tmp_path)) as world:
        person = await world.person()
        await world.system.stop("email-delivery")
        task = await person.remind(0)
        await person.reached(task, "dispatched")
    assert environment_of(resources.current(tmp_path / "engine" / "resources")) == "kafka"
    for wanted, way in (
        ("redis", "but with --standby redis"),
        (str(COMPONENTS / "pubsub-redis.yaml"), "without --broker,"),
    ):
        with pytest.raises(BrokerChoiceError, match="is on kafka") as refused:
            async with prepared_system(on_dapr(wanted, data=tmp_path)):
                pass
        assert way in str(refused.value)
        assert f"todo swap --to {wanted}" in str(refused.value)
    async with world_of(on_dapr(None, data=tmp_path)) as world:
        assert world.system.engine is not None
        assert world.system.engine.environment == "kafka"
        await Person(world, person.id, person.email).one_mail()


async def test_a_broker_of_ones_own_stays_so(tmp_path: Path) -> None:
    """It is used and kept by a restart, though its component looks like one of ours, and no broker runs here."""
    component = COMPONENTS / "pubsub-kafka.yaml"
    async with KafkaServer(tmp_path / "kafka", {Listener.SASL_SSL: 0}) as kafka:
        keep_secret(tmp_path / "data", kafka)
        for wanted in (str(component), None, str(component)):
            async with world_of(on_dapr(wanted, data=tmp_path / "data")) as world:
                assert not {"kafka", "kafka-sasl", "valkey"} & set(world.system.children)
                assert world.system.engine is not None
                assert world.system.engine.environment.endswith(".yaml")
                person = await world.person()
                await person.remind(0)
                await person.one_mail()


async def test_a_database_of_ones_own_is_logged_in_to_as_given(tmp_path: Path) -> None:
    """By services and sidecars; what a rotation wrote since is not overwritten, the variable is only the beginning."""
    options = on_dapr("redis", data=tmp_path)
    given = "postgresql://ada:lovelace@elsewhere/todo"
    options = dataclasses.replace(options, environ={**options.environ, "DATABASE_URL": given})
    assert await logins_of(options) == (given, given)
    (tmp_path / "engine" / "database-url").write_text("postgresql://bob:rotated@elsewhere/todo")
    assert await logins_of(options) == ("postgresql://bob:rotated@elsewhere/todo", given)


async def test_a_folder_may_be_moved(tmp_path: Path) -> None:
    """Passwords stay, and addresses and paths follow."""
    before = await logins_of(on_dapr("kafka-sasl", data=tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    options = on_dapr(None, data=tmp_path / "there")
    after = await logins_of(options)
    async with prepared_system(options) as system:
        assert after == tuple(logins.of_dsn(login).dsn(system.database_url) for login in before)
    assert after != before
    written = (tmp_path / "there" / "engine").glob("*/*.properties")
    assert not [place for place in (*written, tmp_path / "there/engine/config.yaml") if "/here/" in place.read_text()]


async def logins_of(options: UpOptions) -> tuple[str, str]:
    """What services and what sidecars would log in to the database with."""
    async with prepared_system(options) as system:
        env = system.children["backend"].spec.env
        assert "DATABASE_URL" not in env
        assert env["DATABASE_URL_FILE"] == str(options.data / "engine" / "database-url")
    return read_logins(options.data / "engine")


def read_logins(engine: Path) -> tuple[str, str]:
    secrets = json.loads((engine / "secrets.json").read_text())
    return (engine / "database-url").read_text(), secrets["postgres-secrets"]["POSTGRES_CONNECTION_STRING"]


async def test_a_folder_may_change_its_engine(tmp_path: Path) -> None:
    """What the old engine's broker still held is made up for, and nothing is mailed twice; there and back again."""
    embedded = UpOptions(
        data=tmp_path, free_ports=True, durable=False, environ=on_dapr(None).environ, log_format="json"
    )
    async with world_of(embedded) as world:
        person = await world.person()
        await world.system.stop("notification-service")
        task = await person.remind(0)
        await eventually(lambda: published(world))
    for options, mails in ((on_dapr("redis", data=tmp_path), 2), (embedded, 3)):
        async with world_of(options) as world:
            assert [line for line in world.log.of(SUPERVISOR) if line.startswith("the last run was on")]
            await reconcile(world)
            person = Person(world, person.id, person.email)
            await person.reached(task, "delivered")
            task = await person.remind(0)
            await person.reached(task, "delivered")
            assert await person.mail_count() == mails


async def published(world: World) -> bool:
    return not await world.rows("SELECT 1 FROM backend.outbox")


async def reconcile(world: World) -> None:
    """Have notification-service compare its tasks with backend's, which it does by itself every five minutes."""
    headers = {"dapr-api-token": world.system.data.app_token(names.NOTIFICATION.app_id)}
    url = world.service(names.NOTIFICATION.app_id, f"/job/{names.RECONCILE_TASKS}")

    async def accepted() -> bool:
        return (await world.ask("POST", url, headers=headers, json={})).status == 204

    await eventually(accepted)  # daprlet may not have reached backend yet


async def test_ctrl_c_ends_services_first_and_then_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    options = on_dapr("redis", data=tmp_path)

    async def watched(system: System, *_: Any) -> None:  # noqa: ANN401 - what `up` passes
        await system.begin()
        watchers = [asyncio.create_task(note_end(child, ends)) for child in system.children.values() if child.pid]
        await system.supervisor.stop()
        await asyncio.gather(*watchers)

    monkeypatch.setattr(up, "_run", watched)
    assert await up.up(options) == 0
    last_service = max(ends.index(app.app_id) for app in names.APPS)
    sidecars = [ends.index(f"daprd-{app.app_id}") for app in names.APPS]
    assert last_service < min(sidecars)
    assert max(sidecars) < min(ends.index(name) for name in ("valkey", "scheduler", "postgres"))


async def note_end(child: Any, ends: list[str]) -> None:  # noqa: ANN401 - a supervisor's child
    await until(lambda: child.pid is None, 60)
    ends.append(child.spec.name)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
async def test_nothing_outlives_the_command(tmp_path: Path, sent: signal.Signals) -> None:
    """The table is shown with its sidecars, and after Ctrl-C and after kill -9 no process is left."""
    command = [
        str(Path(sys.executable).with_name("todo")),
        "up",
        "--engine",
        "dapr",
        "--broker",
        "kafka",
        "--free-ports",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, "--data", str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=on_dapr(None).environ
    )
    assert process.stdout is not None
    shown = b""
    async with asyncio.timeout(60):
        while b"Ctrl-C stops everything" not in shown:
            assert not process.stdout.at_eof(), shown.decode()
            shown += await process.stdout.read(4096)
    pids = [int(pid) for pid in re.findall(r"^\S+ +\S.*? +(\d+) +ready", shown.decode(), re.MULTILINE)]
    assert len(pids) == 12
    assert re.search(r"daprd-notification-service +http://127\.0\.0\.1:\d+ +\d+ +ready +\d+\.\d\d s", shown.decode())
    process.send_signal(sent)
    _, code = await asyncio.gather(process.stdout.read(), process.wait())
    assert code == (0 if sent == signal.SIGINT else -sent)
    await until(lambda: not any(map(processes.alive, pids)))


def strangers_may_connect_to(system: System) -> dict[str, list[int]]:
    """By child, the ports it listens on at other addresses than loopback's."""
    open_to_all = {}
    for table in ("tcp", "tcp6"):
        for fields in map(str.split, Path("/proc/net", table).read_text().splitlines()[1:]):
            address, _, port = fields[1].rpartition(":")
            if fields[3] == LISTENING and address not in LOOPBACK:
                open_to_all[fields[9]] = int(port, 16)
    found = {}
    for name, child in system.children.items():
        inodes = processes._socket_inodes(Path(f"/proc/{child.pid}/fd")) if child.pid else set()
        if numbers := [open_to_all[inode] for inode in inodes & open_to_all.keys()]:
            found[name] = numbers
    return found
