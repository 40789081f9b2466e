"""Faults of brokers and of stock Dapr, planted, are named: by what the doctor tries and by what daprd itself says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

from tests.engine.resources import component, write
from tests.engine.systems import on_dapr
from tests.support.doctoring import findings, report
from tests.support.waiting import until
from todo.contracts import names
from todo.operations import brokers, ports, topics
from todo.operations.doctor import Code, broker, logs
from todo.operations.doctor.examination import judge
from todo.operations.doctor.seen import BrokerLook, Seen
from todo.operations.engine import binaries, resources
from todo.operations.engine.kafka import KafkaServer, Listener
from todo.operations.system import System, running_system

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTIFICATION: Final = names.NOTIFICATION.app_id
NOBODY: Final = "nobody.invalid:9092"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaServer]:
    """A broker with both listeners and no topic."""
    folder = tmp_path_factory.mktemp("kafka")
    async with KafkaServer(folder, {Listener.PLAINTEXT: 0, Listener.SASL_SSL: 0}) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[System]:
    async with running_system(on_dapr("redis")) as system:
        yield system


def settings(kafka: KafkaServer, **changes: str) -> dict[str, str]:
    right = {
        "brokers": kafka.sasl_bootstrap,
        "authType": "password",
        "saslMechanism": "SHA-256",
        "saslUsername": kafka.login.username,
        "saslPassword": kafka.login.password,
        "caCert": kafka.ca_certificate(),
        "initialOffset": "oldest",
    }
    return right | changes


FAULTS: Final = {
    "a name that does not exist": ({"brokers": NOBODY}, Code.BROKER_ADDRESS),
    "a port where nothing listens": ({"brokers": "refused"}, Code.BROKER_REFUSED),
    "an authority that is not trusted": ({"caCert": "another"}, Code.BROKER_TLS),
    "no TLS where there has to be": ({"authType": "none"}, Code.BROKER_TLS),
    "TLS where there is none": ({"brokers": "plain"}, Code.BROKER_TLS),
    "a mechanism that it does not take": ({"saslMechanism": "PLAINTEXT"}, Code.BROKER_MECHANISM),
    "a wrong password": ({"saslPassword": "not-this-one"}, Code.BROKER_CREDENTIALS),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_keeps_us_out_of_kafka(kafka: KafkaServer, tmp_path: Path, fault: str) -> None:
    """Each told apart, alike by a login from here and by the log of a real daprd; the password by neither."""
    changes, code = FAULTS[fault]
    (nobody,) = ports.free(1)
    stand_ins = {"refused": f"127.0.0.1:{nobody}", "plain": kafka.bootstrap}
    if "another" in changes.values():
        stand_ins["another"] = another_authority(tmp_path)
    metadata = settings(kafka, **{key: stand_ins.get(value, value) for key, value in changes.items()})
    seen = Seen(where="a test", namespace=names.NAMESPACE, broker=await look(metadata))
    (finding,) = judge(seen)
    assert finding.code is code
    (failure,) = logs.failures(await said_by_daprd(tmp_path, metadata))
    assert failure.code is code, failure.why
    assert metadata["saslPassword"] not in repr(finding) + repr(failure)


async def test_a_network_that_swallows_everything() -> None:
    """Nobody refuses, nobody answers: a firewall."""
    with blackhole() as address:
        looked = await look({"brokers": address, "authType": "none"})
    (finding,) = judge(Seen(where="a test", namespace=names.NAMESPACE, broker=looked))
    assert (finding.code, finding.subject) == (Code.BROKER_TIMEOUT, address)


async def test_topics_that_are_missing(kafka: KafkaServer) -> None:
    """A broker that lets us in and is empty; once they are made there is nothing to say."""
    metadata = settings(kafka)
    found = judge(Seen(where="a test", namespace=names.NAMESPACE, broker=await look(metadata)))
    assert {one.code for one in found} == {Code.TOPIC_MISSING}
    assert {one.subject for one in found} == {one.name for one in topics.wanted()}
    async with brokers.connected(KAFKA, metadata) as client:
        await topics.create(client)
    assert not judge(Seen(where="a test", namespace=names.NAMESPACE, broker=await look(metadata)))


async def test_a_healthy_system_gets_a_clean_bill(running: System) -> None:
    looked = await report(running.data.path)
    assert not looked.findings
    assert {"broker", "secrets", "database", "mail server", "sidecars"} <= looked.looked_at.keys()
    assert not looked.not_looked_at


async def test_a_broker_that_is_down(running: System) -> None:
    """One finding: that sidecars fail and events wait follows from it."""
    await running.stop("valkey")
    found = await findings(running.data.path)
    await running.start("valkey")
    assert [one.code for one in found] == [Code.BROKER_REFUSED]
    await running.wait_flowing()
    await until(lambda: is_clean(running), 60)


async def test_an_app_that_takes_nothing(running: System) -> None:
    """It holds what it was given: not refused yet, and not done."""
    connection = await asyncpg.connect(running.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE notification.tasks IN ACCESS EXCLUSIVE MODE")
            await publish(running)
            (one,) = await findings(running.data.path, watch=1.0)
    finally:
        await connection.close()
    assert (one.code, one.subject) == (Code.CONSUMER_LAG, f"{NOTIFICATION}/{names.TASK_EVENTS}")
    await until(lambda: is_clean(running), 30)


async def test_an_app_that_does_not_tell_its_subscriptions(running: System) -> None:
    """The guide's own mistake, a list at another path than /dapr/subscribe: daprd takes the 404 for none, silently."""
    name = names.RECURRING.app_id
    await running.stop(name)
    async with app_without_subscriptions(running.ports[name]):
        await running.kill(f"daprd-{name}")
        await running.wait_ready(f"daprd-{name}")
        await until(lambda: has(running, Code.SUBSCRIPTION_MISSING), 30)
        found = await findings(running.data.path)
    await running.start(name)
    await running.kill(f"daprd-{name}")
    assert [(one.code, one.app) for one in found] == [(Code.SUBSCRIPTION_MISSING, name)]
    assert names.TASK_EVENTS in found[0].what
    await until(lambda: is_clean(running), 60)


async def test_a_login_that_the_database_refuses(running: System) -> None:
    """The services' own, which is another than the operator's."""
    assert running.engine is not None
    place = Path(running.engine.secrets).parent / "database-url"
    right = place.read_text()
    user, _, rest = right.partition("@")
    place.write_text(f"{user.rpartition(':')[0]}:not-this-one@{rest}")
    found = await findings(running.data.path)
    place.write_text(right)
    assert [(one.code, one.subject) for one in found] == [(Code.DATABASE_LOGIN, "the services")]
    await until(lambda: is_clean(running), 30)


KAFKA: Final[Mapping[str, Any]] = {"spec": {"type": "pubsub.kafka"}}


async def look(metadata: dict[str, str]) -> BrokerLook:
    return await broker.look(KAFKA, metadata)


def another_authority(folder: Path) -> str:
    return KafkaServer(folder / "another", {Listener.SASL_SSL: 0}).ca_certificate()


async def said_by_daprd(folder: Path, metadata: Mapping[str, str]) -> str:
    """The log of a daprd that has this component alone; it ends because it cannot start it."""
    loaded = write(folder / "resources", {"pubsub.yaml": component(names.PUBSUB, "pubsub.kafka", "v1", **metadata)})
    http, grpc, internal, metrics = ports.free(4)
    process = await asyncio.create_subprocess_exec(
        str(binaries.dapr("daprd")),
        *("--app-id", "test", "--resources-path", str(loaded), "--dapr-listen-addresses", "127.0.0.1"),
        *("--dapr-http-port", str(http), "--dapr-grpc-port", str(grpc), "--dapr-internal-grpc-port", str(internal)),
        *("--metrics-port", str(metrics), "--log-level", "warn"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode
    return out.decode()


@contextmanager
def blackhole() -> Iterator[str]:
    """An address that accepts nothing: a listener whose queue is full lets further attempts wait for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)  # noqa: FBT003 - the socket's own
            one.connect_ex(listener.getsockname())
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for one in held:
                one.close()


@asynccontextmanager
async def app_without_subscriptions(port: int) -> AsyncIterator[None]:
    """Something that is healthy and ready, and has no other route."""

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"status": "ready", "failed": {}})

    app = web.Application()
    app.add_routes([web.get("/readyz", ready), web.get("/healthz/consume", ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def publish(running: System) -> None:
    """A task, and its event with the broker."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{running.backend_url}/tasks", json={"title": "x"}) as answer,
    ):
        assert answer.status == 201
    assert running.engine is not None
    place, secrets = Path(running.engine.resources), Path(running.engine.secrets)
    current = resources.current(place)
    async with brokers.connected(current, resources.resolved(current, secrets)) as client:

        async def arrived() -> bool:
            lag = await client.lag({NOTIFICATION: [names.TASK_EVENTS]})
            return bool(lag[NOTIFICATION, names.TASK_EVENTS].total)

        await until(arrived)


async def is_clean(running: System) -> bool:
    return not await findings(running.data.path)


async def has(running: System, code: Code) -> bool:
    return code in {one.code for one in await findings(running.data.path)}
