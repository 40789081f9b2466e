"""Load comes and goes, pods die and servers are away: nothing is lost, the probes tell, nobody is restarted for it."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.faults.bench import until
from tests.faults.ledger import Ledger
from tests.kubernetes.load import load
from tests.kubernetes.systems import System
from todo.contracts import names

SERVICES: Final = tuple(app.app_id for app in names.APPS)
PORTS: Final = {app.app_id: app.port for app in names.APPS}
WITH_DATABASE: Final = {"backend", "notification-service"}
# For this test: between what two idle replicas use and what one uses for these few tasks; and not two minutes until
# they scale back.
SCALED: Final = {"notification-service": "20m", "email-delivery": "9m"}
WINDOW: Final = 15  # seconds
SCALING: Final = 150.0  # seconds; the controller looks every 15 s, at measurements that are as old
SEEN: Final = 60.0  # seconds until an outage is told, or its end
AGAIN: Final = 120.0  # seconds; on Redis what was in hand in an outage comes again after 75 to 90
PATIENCE: Final = aiohttp.ClientTimeout(total=10)
# /healthz, /healthz/consume, /readyz, and whether that says that the sidecar is away
FINE: Final = (200, 200, 200, False)
DEGRADED: Final = (200, 200, 200, True)
CANNOT: Final = (200, 503, 503, False)


@pytest.fixture(scope="module")
def here(system: Callable[..., System]) -> System:
    return system(Path(__file__).parent / "overlays" / "redis-under-load")


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """One for all tests here, which share a system."""
    return Ledger()


async def test_services_scale_under_load_lose_a_pod_each_and_scale_back(here: System, ledger: Ledger) -> None:
    """Zero lost, zero 5xx, none mailed twice without the death of its sender.

    backend has two replicas: whoever was cut off by the killed one asks again, under the same Idempotency-Key.
    """
    for app, cpu in SCALED.items():
        resize(here, app, 1, 2, cpu)
    resize(here, "backend", 2, 2)
    async with load(here, ledger) as outside:
        async with outside.busy():
            await eventually(lambda: (now := counts(here)) == [2, 2, 2] or str(now), SCALING, "two replicas of each")
            for app in SERVICES:
                await asyncio.to_thread(here.wait_until_ready)
                await outside.kill(app)
            await asyncio.to_thread(here.wait_until_ready)
        assert {answer for answer in ledger.answers if answer.isdigit()} == {"200", "201"}
        await outside.conclude()
    resize(here, "backend", 1, 2)
    await eventually(lambda: counts(here) == [1, 1, 1], SCALING, "one replica of each")


async def test_probes_tell_of_each_outage_and_nobody_is_restarted(here: System, ledger: Ledger) -> None:
    """An outage longer than Kubernetes bears a dead pod is another test's."""
    for app in ("backend", *SCALED):
        resize(here, app, 1, 1)
    await eventually(lambda: counts(here) == [1, 1, 1] and not here.lacking(), SCALING, "one replica of each, ready")
    before = starts(here)
    well = dict.fromkeys(SERVICES, FINE)
    async with load(here, ledger) as outside, aiohttp.ClientSession(timeout=PATIENCE) as http:
        assert await told(here, http) == well
        async with away(here, "redis"):
            await outside.create()  # it is accepted
            await until(outside.has_events_waiting, SEEN, "an event waits in the outbox", 1.0)
            assert await told(here, http) == well
            assert unready(here) == set()

        async with away(here, "postgres"):
            await eventually(lambda: unready(here) == WITH_DATABASE, SEEN, "who needs the database is not ready")
            assert await told(here, http) == well | dict.fromkeys(WITH_DATABASE, CANNOT)
        await eventually(lambda: unready(here) == set(), SEEN, "all are ready again")

        with stopped(here, "backend", "daprd"):
            assert await told(here, http) == well | {"backend": DEGRADED}
            await outside.create()
        await eventually(lambda: not here.lacking(), SEEN, "the sidecar is ready")

        async with away(here, "mailbox"):
            await outside.create()
            await until(outside.has_mails_deferred, AGAIN, "a mail is put off", 1.0)
            assert await told(here, http) == well
            assert unready(here) == set()

        await outside.conclude()
    assert starts(here) == before


async def eventually(holds: Callable[[], bool | str], seconds: float, what: str) -> None:
    """Wait for what kubectl is asked about; whoever makes the load goes on meanwhile."""
    await until(lambda: asyncio.to_thread(holds), seconds, what, 1.0)


def resize(system: System, app: str, least: int, most: int, cpu: str | None = None) -> None:
    """Change the limits of an app's autoscaler, and from which CPU on it adds a replica."""
    spec: dict[str, Any] = {
        "minReplicas": least,
        "maxReplicas": most,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}},
    }
    if cpu:
        target = {"type": "AverageValue", "averageValue": cpu}
        metric = {"name": "cpu", "container": app, "target": target}
        spec["metrics"] = [{"type": "ContainerResource", "containerResource": metric}]
    system.kubectl("patch", "hpa", app, "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def counts(system: System) -> list[int]:
    """How many replicas the autoscalers want of those that tests here scale."""
    return [int(system.get("deployment", app)["spec"]["replicas"]) for app in ("backend", *SCALED)]


async def told(system: System, http: aiohttp.ClientSession) -> dict[str, tuple[int, int, int, bool]]:
    """What `/healthz`, `/healthz/consume` and `/readyz` of each app say, and whether its sidecar is said to be away."""

    async def ask(app: str) -> tuple[int, int, int, bool]:
        (pod,) = system.pods(app)
        url = f"http://{pod['status']['podIP']}:{PORTS[app]}"
        answers = []
        for path in ("/healthz", "/healthz/consume", "/readyz"):
            async with http.get(url + path) as answer:
                answers.append((answer.status, await answer.json()))
        (alive, _), (consumes, _), (ready, body) = answers
        return alive, consumes, ready, "sidecar" in body.get("degraded", {})

    return {app: await ask(app) for app in SERVICES}


def unready(system: System) -> set[str]:
    """The apps whose own container is not ready."""
    return {
        app
        for app in SERVICES
        for pod in system.pods(app)
        for one in pod["status"]["containerStatuses"]
        if one["name"] == app and not one["ready"]
    }


def starts(system: System) -> dict[str, int]:
    """How often the apps' own containers were started anew, by pod."""
    return {
        pod["metadata"]["name"]: one["restartCount"]
        for app in SERVICES
        for pod in system.pods(app)
        for one in pod["status"]["containerStatuses"]
        if one["name"] == app
    }


@asynccontextmanager
async def away(system: System, server: str) -> AsyncIterator[None]:
    """Nobody is behind a server's Service, and the connections that were there have ended; its data stay."""
    await asyncio.to_thread(select, system, server, "nobody")
    try:
        # Before the proxy knows, whoever is cut off would be let in again, for ever.
        await eventually(lambda: is_refused(system, server), SEEN, f"{server} cannot be reached any more")
        await asyncio.to_thread(cut_off, system, server)
        yield
    finally:
        await asyncio.to_thread(select, system, server, server)


def select(system: System, server: str, app: str) -> None:
    patch = json.dumps({"spec": {"selector": {"app": app}}})
    system.kubectl("patch", "service", server, "--type=merge", f"--patch={patch}")


def is_refused(system: System, server: str) -> bool:
    """Whether new connections to a Service are refused."""
    spec = system.get("service", server)["spec"]
    try:
        with socket.create_connection((spec["clusterIP"], spec["ports"][0]["port"]), timeout=2):
            return False
    except OSError:
        return True


def cut_off(system: System, server: str) -> None:
    match server:
        case "postgres":
            sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres'"
            system.kubectl("exec", "postgres-0", "--", "psql", "-U", "postgres", "-d", "todo", "-c", sessions)
        case "redis":
            system.kubectl("exec", "redis-0", "--", "redis-cli", "CLIENT", "KILL", "TYPE", "normal")
        case _:
            for pid in processes(system, server, server):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def stopped(system: System, app: str, container: str) -> Iterator[None]:
    """A container that is there and answers nobody, for less time than its liveness probe bears."""
    pids = processes(system, app, container)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def processes(system: System, app: str, container: str) -> list[int]:
    """The processes of a container. They are in the same process namespace as this one."""
    (pod,) = system.pods(app)
    (status,) = (one for one in pod["status"]["containerStatuses"] if one["name"] == container)
    _, _, container_id = status["containerID"].partition("://")
    found = []
    for place in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if container_id in place.read_text():
                found.append(int(place.parent.name))
    return found
