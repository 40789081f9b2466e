"""Whole runs: in this process against a real app, or as a process of their own."""

import asyncio
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daprlet.chaos import Chaos
from daprlet.errors import SetupError
from daprlet.host import Host
from daprlet.settings import AppSettings, RunSettings

COMPONENTS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: bus}
spec: {type: pubsub.sqlite, version: v1, metadata: [{name: redeliverInterval, value: 10ms}]}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec: {type: state.sqlite, version: v1}
"""
SUBSCRIPTIONS = [
    {"pubsubname": "bus", "topic": "one", "route": "/one", "deadLetterTopic": "dead"},
    {"pubsubname": "bus", "topic": "many", "route": "/many", "bulkSubscribe": {"enabled": True}},
    {"pubsubname": "bus", "topic": "dead", "route": "/dead"},
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RecordingApp:
    """An app that subscribes to everything and remembers what it got, by path."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.got: dict[str, list[Any]] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.held = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/dapr/subscribe", self._subscriptions)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _subscriptions(self, _: web.Request) -> web.Response:
        return web.json_response(SUBSCRIPTIONS)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.held += 1
        await self.hold.wait()
        self.held -= 1
        if request.path == "/many":
            entries = json.loads(body)["entries"]
            self.got.setdefault("/many", []).extend(entry["event"]["data"] for entry in entries)
            statuses = [{"entryId": entry["entryId"], "status": "SUCCESS"} for entry in entries]
            return web.json_response({"statuses": statuses})
        self.got.setdefault(request.path, []).append(json.loads(body)["data"] if body else None)
        return web.Response(text=request.path_qs, headers={"X-Token": request.headers.get("dapr-api-token", "")})


@pytest.fixture
async def app() -> AsyncIterator[RecordingApp]:
    recording = RecordingApp(free_port())
    await recording.start()
    yield recording
    recording.hold.set()
    await recording.stop()


def settings(folder: Path, *apps: AppSettings, **more: Any) -> RunSettings:  # noqa: ANN401 - fields of RunSettings
    resources = folder / "resources"
    resources.mkdir(exist_ok=True)
    (resources / "components.yaml").write_text(COMPONENTS)
    return RunSettings(apps, folder / "data", **more)


def app_settings(folder: Path, app_id: str, port: int, **more: Any) -> AppSettings:  # noqa: ANN401 - the same
    return AppSettings(app_id, port, resources=[folder / "resources"], **more)


@asynccontextmanager
async def running(run: RunSettings) -> AsyncIterator[tuple[Host, aiohttp.ClientSession, list[str]]]:
    """The host, a client, and the base address of every sidecar."""
    host = Host(run)
    await host.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield host, session, [f"http://127.0.0.1:{port}/v1.0" for port in host.ports]
    finally:
        await host.stop()


async def until(condition: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the condition gives
    async with asyncio.timeout(20):
        while not (found := condition()):  # noqa: ASYNC110 - many different things are waited for
            await asyncio.sleep(0.005)
        return found


async def ok(answer: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    response = await answer
    text = await response.text()
    assert response.status < 300, text
    return response


async def status(answer: Awaitable[aiohttp.ClientResponse]) -> int:
    response = await answer
    await response.read()
    return response.status


async def test_an_app_that_goes_away_gets_everything_when_it_is_back(tmp_path: Path, app: RecordingApp) -> None:
    """Without any health check and without a retry policy: refused connections make no dead letters."""
    async with running(settings(tmp_path, app_settings(tmp_path, "app", app.port))) as (_, client, (dapr,)):
        await ok(client.post(f"{dapr}/publish/bus/one", json=0))
        await until(lambda: app.got.get("/one") == [0])
        await app.stop()
        for number in range(1, 30):
            await ok(client.post(f"{dapr}/publish/bus/one", json=number))
        again = RecordingApp(app.port)
        await again.start()
        await until(lambda: len(again.got.get("/one", [])) == 29)
        assert "/dead" not in again.got
        await again.stop()


async def test_a_stop_lets_deliveries_under_way_end(tmp_path: Path, app: RecordingApp) -> None:
    """Health says 503 meanwhile, nothing new is delivered, and what was answered is not delivered again."""
    run = settings(tmp_path, app_settings(tmp_path, "app", app.port))
    async with running(run) as (host, client, (dapr,)):
        await until(lambda: host.sidecars[0].replica.available)
        app.hold.clear()
        await ok(client.post(f"{dapr}/publish/bus/one", json="under way"))
        await until(lambda: app.held == 1)
        stopping = asyncio.create_task(host.stop())
        await until(lambda: host.sidecars[0].draining)
        assert await status(client.get(f"{dapr}/healthz")) == 503
        await ok(client.post(f"{dapr}/publish/bus/one", json="later"))
        assert not stopping.done()
        app.hold.set()
        await stopping
        assert app.got["/one"] == ["under way"]
        again = Host(run)
        await again.start()
        await until(lambda: app.got["/one"] == ["under way", "later"])
        host.stop = again.stop  # type: ignore[method-assign] # the block ends the second run


@pytest.mark.parametrize("seed", [1, 2])
async def test_under_chaos_everything_arrives_and_nothing_is_dead(
    tmp_path: Path, app: RecordingApp, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Duplicates and another order are all that chaos may cause."""
    monkeypatch.setattr("daprlet.chaos.LONGEST_DELAY", 0.2)
    run = settings(tmp_path, app_settings(tmp_path, "app", app.port), chaos_seed=seed)
    async with running(run) as (_, client, (dapr,)):
        for number in range(200):
            await ok(client.post(f"{dapr}/publish/bus/one", json=number))
            entry = {"entryId": "1", "event": number, "contentType": "application/json"}
            await ok(client.post(f"{dapr}/publish/bulk/bus/many", json=[entry]))
        await until(lambda: set(app.got.get("/one", ())) == set(app.got.get("/many", ())) == set(range(200)))
    assert "/dead" not in app.got
    assert max(Counter(app.got["/one"]).values()) > 1
    assert app.got["/one"] != sorted(app.got["/one"])


async def test_chaos_is_reproducible() -> None:
    """The same seed decides the same for the same message; another seed decides otherwise."""

    def decisions(seed: int) -> list[float]:
        chaos = Chaos(seed)
        dice = [chaos._dice("app", subscription, message) for message in messages for _ in range(2)]
        return [one.random() for one in dice]

    subscription: Any = type("Subscription", (), {"pubsub": "bus", "topic": "t"})
    messages: list[Any] = [type("Message", (), {"id": number}) for number in range(20)]
    assert decisions(1) == decisions(1)
    assert decisions(1) != decisions(2)
    assert len(set(decisions(1))) == 40


async def test_one_run_hosts_many_apps(tmp_path: Path, app: RecordingApp) -> None:
    """They invoke each other, have tokens of their own, and each sees its own state keys."""
    tokens = {"api_token": "s1", "app_token": "t1"}
    apps = [app_settings(tmp_path, "app", app.port, **tokens), app_settings(tmp_path, "client", 0)]
    async with running(settings(tmp_path, *apps)) as (host, client, (first, second)):
        await until(lambda: host.sidecars[0].replica.available)
        assert await status(client.get(f"{first}/metadata")) == 401
        assert await status(client.get(f"{first}/healthz")) == 204
        assert await status(client.get(f"{first}/healthz", headers={"dapr-app-id": "app"})) == 401
        assert await status(client.post(f"{first}/healthz")) == 401
        answer = await ok(client.put(f"{second}/invoke/app/method/a%2Fb/c?d=e%20f", data=b'{"data": 1}'))
        assert await answer.text() == "/a%2Fb/c?d=e%20f"
        assert answer.headers["X-Token"] == "t1"
        await ok(client.post(f"{second}/state/store", json=[{"key": "k", "value": 1}]))
        assert await status(client.get(f"{first}/state/store/k", headers={"dapr-api-token": "s1"})) == 204


async def test_a_shutdown_of_one_app_closes_its_ports_alone(tmp_path: Path, app: RecordingApp) -> None:
    """The other apps go on; what the one had under way is answered."""
    app.hold.clear()
    apps = [app_settings(tmp_path, "app", app.port, metrics_port=(metrics := free_port()))]
    async with running(settings(tmp_path, *apps, app_settings(tmp_path, "other", 0))) as (host, client, (one, other)):
        await until(lambda: host.sidecars[0].replica.available)
        await ok(client.post(f"{one}/publish/bus/one", json=1))
        await until(lambda: app.held)
        await ok(client.post(f"{one}/shutdown"))
        assert await status(client.get(f"{one}/healthz")) == 503
        app.hold.set()
        for address in (one, f"http://127.0.0.1:{metrics}"):
            await closed(client, address)
        assert app.got["/one"] == [1]
        await ok(client.post(f"{other}/publish/bus/one", json=2))
        assert not host.finished.is_set()


async def closed(client: aiohttp.ClientSession, address: str) -> None:
    """Wait until connections to this address are refused."""
    async with asyncio.timeout(20):
        while True:
            try:
                (await client.get(address)).close()
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError:
                continue
            await asyncio.sleep(0.01)


async def test_metrics_have_daprs_names(tmp_path: Path, app: RecordingApp) -> None:
    """With its labels, on a port of their own."""
    port = free_port()
    run = settings(tmp_path, app_settings(tmp_path, "app", app.port, metrics_port=port))
    async with running(run) as (host, client, (dapr,)):
        await ok(client.post(f"{dapr}/publish/bus/one", json=1))
        labels = (
            'app_id="app",component="bus",namespace="default",process_status="success",status="success",topic="one"'
        )
        await until(lambda: labels in host.sidecars[0].metrics.exposition())
        text = await (await client.get(f"http://127.0.0.1:{port}/metrics")).text()
        assert f"dapr_component_pubsub_ingress_count{{{labels}}} 1" in text
        assert 'dapr_component_pubsub_egress_latencies_bucket{app_id="app"' in text


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """4 MiB, announced or not."""
    async with running(settings(tmp_path, app_settings(tmp_path, "app", 0))) as (_, client, (dapr,)):

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x" * 1024 * 1024

        for body in (io.BytesIO(b"x" * (4 * 1024 * 1024 + 1)), chunks()):
            async with client.post(f"{dapr}/publish/bus/one", data=body) as answer:
                assert answer.status == 413


async def test_nesting_without_end_harms_nobody(tmp_path: Path, app: RecordingApp) -> None:
    """Requests are refused or taken as text, and raw bytes of that kind become a dead letter."""
    deep = b"[" * 100_000
    json_type = {"Content-Type": "application/json"}
    async with running(settings(tmp_path, app_settings(tmp_path, "app", app.port))) as (host, client, (dapr,)):
        for path in ("state/store", "publish/bulk/bus/one", "jobs/j"):
            assert await status(client.post(f"{dapr}/{path}", data=deep, headers=json_type)) == 400
        await ok(client.post(f"{dapr}/publish/bus/one?metadata.rawPayload=true", data=deep))
        await ok(client.post(f"{dapr}/publish/bus/one", data=deep, headers=json_type))
        await until(lambda: app.got.get("/one") == [deep.decode()])
        dead = "SELECT body FROM message JOIN topic ON topic.id = message.topic WHERE name = 'dead'"
        await until(lambda: host._database.read(dead) == [(deep,)])


async def test_topic_scopes(tmp_path: Path) -> None:
    """An app may publish to the topics its list names; one without a list to all but the protected."""
    run = settings(tmp_path, app_settings(tmp_path, "app", 0), app_settings(tmp_path, "other", 0))
    scoped = COMPONENTS.replace(
        "metadata: [{name: redeliverInterval, value: 10ms}]",
        "metadata: [{name: publishingScopes, value: 'app=a'}, {name: protectedTopics, value: p}]",
    )
    (tmp_path / "resources" / "components.yaml").write_text(scoped)
    async with running(run) as (_, client, (first, second)):

        async def publish(dapr: str, topic: str) -> int:
            return await status(client.post(f"{dapr}/publish/bus/{topic}", json=1))

        assert [await publish(first, topic) for topic in ("a", "b", "p")] == [204, 403, 403]
        assert [await publish(second, topic) for topic in ("a", "b", "p")] == [204, 204, 403]


async def test_changed_resources_are_used_unless_they_are_wrong(
    tmp_path: Path, app: RecordingApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New components work at once, removed ones are gone, and a mistake changes nothing."""
    monkeypatch.setattr("daprlet.reload._LOOK", 0.01)
    run = settings(tmp_path, app_settings(tmp_path, "app", app.port))
    resources = tmp_path / "resources"
    async with running(run) as (host, client, (dapr,)):
        (resources / "more.yaml").write_text(COMPONENTS.replace("bus", "bus2").replace("store", "store2"))
        await until(lambda: "bus2" in host.sidecars[0].resources.pubsubs)
        await ok(client.post(f"{dapr}/publish/bus2/one", json=1))
        await ok(client.post(f"{dapr}/state/store2", json=[{"key": "k", "value": 1}]))
        (resources / "wrong.yaml").write_text("kind: Nonsense")
        (resources / "more.yaml").unlink()
        await asyncio.sleep(0.1)
        await ok(client.post(f"{dapr}/publish/bus2/one", json=2))
        (resources / "wrong.yaml").unlink()
        await until(lambda: "bus2" not in host.sidecars[0].resources.pubsubs)
        assert await status(client.post(f"{dapr}/publish/bus2/one", json=3)) == 404
        await ok(client.post(f"{dapr}/publish/bus/one", json=4))
        await until(lambda: app.got.get("/one") == [4])


def test_one_folder_belongs_to_one_run(tmp_path: Path) -> None:
    """The second is told who has it, and nothing is left taken by its failure."""
    run = settings(tmp_path, app_settings(tmp_path, "app", 0))
    first = Host(run)
    with pytest.raises(SetupError, match=rf"in use by another daprlet \(process {os.getpid()}\)"):
        Host(run)
    first._folder.close()
    again = Host(run)
    for host in (first, again):
        asyncio.run(close(host))


async def close(host: Host) -> None:
    await host._database.close()
    host._folder.close()
    for listener in host._listeners:
        await listener.close()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Before anything runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"the Dapr HTTP port {port} on 127.0.0.1 cannot be listened on"):
            Host(settings(tmp_path, app_settings(tmp_path, "app", 0, dapr_http_port=port)))


def command(folder: Path, *arguments: str, port: int = 0) -> "subprocess.Popen[str]":
    settings(folder)
    run = ["run", "--data-path", str(folder / "data"), "--resources-path", str(folder / "resources")]
    return subprocess.Popen(
        [sys.executable, "-m", "daprlet", *run, "--dapr-http-port", str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_command_gets_daprs_variables_and_its_end_ends_the_run(tmp_path: Path) -> None:
    """The exit code is the command's."""
    names = "APP_ID", "DAPR_HTTP_PORT", "APP_PORT"
    program = f"import os, sys; print(*(os.environ.get(n) for n in {names!r})); sys.exit(7)"
    process = command(tmp_path, "--app-id", "a", "--app-port", "1", "--", sys.executable, "-c", program)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7
    assert out.split()[0] == "a"
    assert out.split()[2] == "1"


def test_a_signal_ends_a_run_well(tmp_path: Path) -> None:
    """Exit code 0, with the child asked to end first."""
    program = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
    )
    process = command(tmp_path, "--app-id", "a", "--", sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--app-id", "a", "--resources-path", "nowhere"], "nowhere does not exist"),
        ([], "either -f FILE or --app-id"),
        (["-f", "nowhere.yaml"], "nowhere.yaml"),
        (["--app-id", "a", "--", "no-such-program-at-all"], "cannot be started"),
    ],
)
def test_what_cannot_run_says_why(tmp_path: Path, arguments: list[str], message: str) -> None:
    """One line on standard error and exit code 2."""
    process = command(tmp_path, *arguments)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in errors.splitlines()[-1]


async def test_answered_publishes_survive_kills(tmp_path: Path, app: RecordingApp) -> None:
    """Killed in the middle of concurrent publishes, time and again: every 204 is delivered in the end."""
    dice = random.Random(3)  # noqa: S311 - reproducible on purpose
    arguments = ("--app-id", "app", "--app-port", str(app.port))
    answered: set[int] = set()
    for round_ in range(4):
        port = free_port()
        process = command(tmp_path, *arguments, port=port)
        async with aiohttp.ClientSession() as client:
            await _publish_until_killed(client, f"http://127.0.0.1:{port}/v1.0", answered, round_, dice, process)
        process.communicate()
    process = command(tmp_path, *arguments)
    await until(lambda: answered <= set(app.got["/one"]))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert len(answered) > 100


async def _publish_until_killed(  # noqa: PLR0913 - one test's own
    client: aiohttp.ClientSession,
    dapr: str,
    answered: set[int],
    round_: int,
    dice: random.Random,
    process: "subprocess.Popen[str]",
) -> None:
    enough = dice.randint(40, 120)
    new: list[int] = []

    async def publisher(lane: int) -> None:
        for number in range(10_000):
            event = round_ * 1_000_000 + lane * 10_000 + number
            try:
                async with client.post(f"{dapr}/publish/bus/one", json=event) as answer:
                    assert answer.status == 204
            except aiohttp.ClientConnectorError:
                if new:
                    return
                await asyncio.sleep(0.02)
                continue
            except aiohttp.ClientError:
                return
            new.append(event)
            answered.add(event)
            if len(new) == enough:
                process.kill()

    async with asyncio.timeout(30):
        await asyncio.gather(*(publisher(lane) for lane in range(8)))


async def test_invocations_keep_to_the_apps_concurrency_and_end_with_their_callers(
    tmp_path: Path, app: RecordingApp
) -> None:
    """A second call waits for the first one's answer to be closed; a caller that goes away makes room."""
    app.hold.clear()
    run = settings(tmp_path, app_settings(tmp_path, "app", app.port, max_concurrency=1))
    async with running(run) as (host, client, (dapr,)):
        await until(lambda: host.sidecars[0].replica.available)
        call = f"{dapr}/invoke/app/method/x"
        first, second = (asyncio.create_task(status(client.get(call))) for _ in range(2))
        await until(lambda: app.held == 1 and host.sidecars[0].replica.in_flight == 2)
        first.cancel()
        await until(lambda: host.sidecars[0].replica.in_flight == 1)
        await until(lambda: app.held == 2)
        app.hold.set()
        assert await second == 200
        await until(lambda: host.sidecars[0].replica.in_flight == 0)
        assert await status(client.get(call)) == 200


def with_table(table: str) -> str:
    found = "{type: state.sqlite, version: v1}"
    return COMPONENTS.replace(found, f"{found[:-1]}, metadata: [{{name: tableName, value: {table}}}]}}")


async def test_a_reload_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever went wrong; and a store that is replaced is cleaned up once, not twice."""
    monkeypatch.setattr("daprlet.reload._LOOK", 0.01)
    run = settings(tmp_path, app_settings(tmp_path, "app", 0))
    file = tmp_path / "resources" / "components.yaml"
    async with running(run) as (host, client, (dapr,)):
        adding, failed = host._stores.add, asyncio.Event()

        def fails(_: object) -> list[Any]:
            failed.set()
            raise AssertionError("a bug")

        monkeypatch.setattr(host._stores, "add", fails)
        file.write_text(with_table("topic"))
        await until(failed.is_set)
        monkeypatch.setattr(host._stores, "add", adding)
        file.write_text(with_table("mine"))
        await until(lambda: host.sidecars[0].resources.states["store"].settings.get("tableName") == "mine")
        await ok(client.post(f"{dapr}/state/store", json=[{"key": "k", "value": 1}]))
        await until(lambda: sum("clean_up" in repr(task) for task in host._tasks) == 1)
