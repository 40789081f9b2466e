"""Environments deployed from nothing: secrets, one `kubectl apply -k`, and the main job runs."""

import asyncio
import datetime as dt
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest

from tests.kubernetes.systems import Cluster, System, deployed
from tests.support.waiting import until
from todo.contracts import names

SERVICES: Final = tuple(app.app_id for app in names.APPS)
LIVENESS: Final = 60.0  # seconds without an answer after which Kubernetes restarts a service
WRITERS: Final = 3  # at once, while everything is rolled out


@pytest.fixture(scope="module", params=["local-kafka", "redis"])
def environment(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[System]:
    with deployed(cluster, request.param) as system:
        yield system


@pytest.fixture(scope="module")
def token(environment: System) -> str:
    """What an operator makes in backend's container."""
    command = ("todo", "token", "add", "--user", "1", "--name", "test", "--json")
    made = json.loads(environment.kubectl("exec", "deploy/backend", "--container=backend", "--", *command))
    return str(made["token"])


def test_each_service_has_its_sidecar_and_needed_no_second_start(environment: System) -> None:
    """The sidecar's starts do not count: it ends when broker or state store are not there yet, and starts again."""
    for app in SERVICES:
        (pod,) = environment.pods(app)
        statuses = {one["name"]: one for one in pod["status"]["containerStatuses"]}
        assert statuses.keys() == {app, "daprd"}
        assert all(one["ready"] for one in statuses.values())
        assert statuses[app]["restartCount"] == 0


def test_the_sidecars_are_hardened(environment: System) -> None:
    for app in SERVICES:
        (pod,) = environment.pods(app)
        (sidecar,) = (one for one in pod["spec"]["containers"] if one["name"] == "daprd")
        security = sidecar["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["runAsNonRoot"]
        assert not security["allowPrivilegeEscalation"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert sidecar["resources"]["limits"].keys() == {"cpu", "memory"}


async def test_the_main_job(environment: System, token: str) -> None:
    """A task made through the API with a token, its reminder in the mailbox, and no disagreement about any of it."""
    async with api(environment, token) as http:
        title = f"Pay rent {time.monotonic_ns()}"
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        task = {"title": title, "due_at": due.isoformat(), "reminders": ["PT0S"]}
        assert (await answer(http.post("/tasks", json=task)))[0] == 201
        assert (await answer(http.get("/tasks", headers={"Authorization": "Bearer made-up"})))[0] == 401
    await until(lambda: title in " ".join(subjects(environment)), seconds=60)
    await agreement(environment)


def test_an_app_gets_its_own_secrets_from_kubernetes_and_no_others(environment: System) -> None:
    wanted = {
        ("backend", "postgres-secrets"): 200,
        ("backend", "postgres-operator"): 403,
        ("backend", "smtp-secrets"): 403,
        ("email-delivery", "smtp-secrets"): 200,
        ("email-delivery", "postgres-secrets"): 403,
        ("recurring-service", "postgres-secrets"): 403,
    }
    for (app, secret), status in wanted.items():
        for store in ("kubernetes", "secrets-kubernetes"):
            said = through_sidecar(environment, app, f"/v1.0/secrets/{store}/{secret}")
            assert said[0] == status, (app, store, secret, said)
    _, found = through_sidecar(environment, "backend", "/v1.0/secrets/kubernetes/postgres-secrets")
    assert set(json.loads(found)) == {"POSTGRES_CONNECTION_STRING"}


def test_sidecars_let_through_what_the_contracts_say(environment: System) -> None:
    calls = {
        ("notification-service", "backend", "internal/tasks/versions"): 200,
        ("email-delivery", "backend", "internal/tasks/versions"): 403,
        ("email-delivery", "backend", "tasks"): 403,
        ("recurring-service", "backend", "internal/reminders/resolve"): 403,
        ("backend", "notification-service", "internal/schedule/summary"): 200,
        ("backend", "email-delivery", "internal/mail/check"): 200,
        ("email-delivery", "notification-service", "internal/schedule/summary"): 403,
    }
    for (caller, app, method), status in calls.items():
        said = through_sidecar(environment, caller, f"/v1.0/invoke/{app}/method/{method}", "{}")
        assert said[0] == status, (caller, app, method, said)


def test_an_app_has_no_token_of_the_api_server(environment: System) -> None:
    for app in SERVICES:
        look = ("exec", f"deploy/{app}", f"--container={app}", "--", "ls", "/var/run/secrets/kubernetes.io")
        assert "No such file" in environment.attempt(*look).stderr


ON_REDIS: Final = pytest.mark.parametrize("environment", ["redis"], indirect=True)


@ON_REDIS
def test_what_was_read_is_trimmed_by_a_job(environment: System) -> None:
    environment.kubectl("create", "job", "trim", "--from=cronjob/topics-trim")
    environment.kubectl("wait", "--for=condition=Complete", "job/trim", "--timeout=60s")
    said = environment.kubectl("logs", "job/trim")
    assert "deleted" in said or "nothing to delete" in said


@ON_REDIS
async def test_everything_is_rolled_out_anew_under_load(environment: System, token: str) -> None:
    """No request gets a 5xx or no answer, and nothing that was accepted is lost or mailed twice."""
    seen: Counter[int | str] = Counter()
    accepted: list[str] = []
    async with api(environment, token, anew=True) as http:
        writers = [asyncio.create_task(write(http, seen, accepted)) for _ in range(WRITERS)]
        await until(lambda: seen[201] > WRITERS)
        await asyncio.to_thread(roll_out, environment)
        before = seen[201]
        await until(lambda: seen[201] > before + WRITERS)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        assert seen.keys() == {201}
        await agreement(environment)
        assert set(accepted) <= await there(http)


@ON_REDIS
async def test_no_outage_restarts_a_healthy_pod(environment: System) -> None:
    """Broker and database cannot be reached for longer than Kubernetes bears a dead pod."""
    before = starts(environment)
    try:
        for server in ("postgres", "redis"):
            environment.kubectl("patch", "service", server, "--type=merge", f"--patch={selecting('nobody')}")
        cut_off(environment)
        await until(lambda: not is_ready(environment, "backend"), seconds=60)
        ends = time.monotonic() + LIVENESS + 15
        await until(lambda: time.monotonic() > ends or starts(environment) != before, seconds=LIVENESS + 30)
        assert starts(environment) == before
    finally:
        for server in ("postgres", "redis"):
            environment.kubectl("patch", "service", server, "--type=merge", f"--patch={selecting(server)}")
    await until(lambda: all(is_ready(environment, app) for app in SERVICES), seconds=120)
    assert starts(environment) == before
    await agreement(environment)


@asynccontextmanager
async def api(system: System, token: str, *, anew: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
    """The public API as a caller with a token sees it; `anew` makes a connection for each request."""
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(
        system.url("backend", 8000),
        headers=headers,
        timeout=timeout,
        connector=aiohttp.TCPConnector(force_close=anew),
    ) as http:
        yield http


async def answer(asked: Any) -> tuple[int, Any]:  # noqa: ANN401 - aiohttp's request in the making
    async with asked as response:
        return response.status, await response.json()


async def write(http: aiohttp.ClientSession, seen: Counter[int | str], accepted: list[str]) -> None:
    while True:
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
        try:
            status, task = await answer(
                http.post("/tasks", json={"title": "under load", "due_at": due.isoformat(), "reminders": ["PT0S"]})
            )
            seen[status] += 1
            accepted += [task["id"]] if status == 201 else []
        except (aiohttp.ClientError, TimeoutError) as error:
            seen[repr(error)] += 1
        await asyncio.sleep(0.2)  # a person's pace


async def there(http: aiohttp.ClientSession) -> set[str]:
    """The ids of all tasks, by pages: asked for one by one they are more requests than one caller may send."""
    found: set[str] = set()
    query = {"status": "all", "limit": "500"}
    while True:
        status, page = await answer(http.get("/tasks", params=query))
        assert status == 200
        found |= {task["id"] for task in page["tasks"]}
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def roll_out(system: System) -> None:
    deployments = [f"deployment/{app}" for app in SERVICES]
    system.kubectl("rollout", "restart", *deployments)
    for one in deployments:
        system.kubectl("rollout", "status", one, "--timeout=240s")
    system.wait_until_ready()


def subjects(system: System) -> list[str]:
    """The mails of the mailbox, asked for in its pod."""
    script = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:{names.MAILBOX_HTTP_PORT}/api/v1/messages?limit=1000"
    said = system.kubectl("exec", "deploy/mailbox", "--", "python", "-c", script, url)
    return [one["Subject"] for one in json.loads(said)["messages"]]


async def agreement(system: System) -> None:
    """`todo verify` in the toolbox finds nothing, once what is on its way has arrived."""

    def verified() -> subprocess.CompletedProcess[str]:
        return system.attempt("exec", "deploy/operations", "--", "todo", "verify")

    deadline = time.monotonic() + 180
    while (done := await asyncio.to_thread(verified)).returncode != 0:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        await asyncio.sleep(2)
    assert done.stdout.startswith("everything agrees"), done.stdout


ASK: Final = """
import os, sys, urllib.error, urllib.request
headers = {"dapr-api-token": os.environ["DAPR_API_TOKEN"], "content-type": "application/json"}
data = sys.argv[2].encode() if len(sys.argv) > 2 else None
try:
    answer = urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:3500" + sys.argv[1], data, headers))
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.status, answer.read().decode())
"""


def through_sidecar(system: System, app: str, *asked: str) -> tuple[int, str]:
    said = system.kubectl("exec", f"deploy/{app}", f"--container={app}", "--", "python", "-c", ASK, *asked)
    status, _, body = said.partition(" ")
    return int(status), body


def starts(system: System) -> dict[tuple[str, str], int]:
    return {
        (pod["metadata"]["name"], one["name"]): one["restartCount"]
        for app in SERVICES
        for pod in system.pods(app)
        for one in pod["status"]["containerStatuses"]
    }


def is_ready(system: System, app: str) -> bool:
    return all(one["ready"] for pod in system.pods(app) for one in pod["status"]["containerStatuses"])


def selecting(app: str) -> str:
    return json.dumps({"spec": {"selector": {"app": app}}})


def cut_off(system: System) -> None:
    """End the connections that are there: a Service without pods keeps new ones away."""
    sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres'"
    system.kubectl("exec", "postgres-0", "--", "psql", "-U", "postgres", "-d", "todo", "-c", sessions)
    system.kubectl("exec", "redis-0", "--", "redis-cli", "CLIENT", "KILL", "TYPE", "normal")
