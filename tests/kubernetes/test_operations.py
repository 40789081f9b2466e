"""Broker and logins of a system are exchanged while somebody uses it, from its operations pod: nobody notices."""

import asyncio
import base64
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kubernetes.outside import Outside
from tests.kubernetes.systems import System
from todo.contracts import names
from todo.operations.cluster.notes import ROTATIONS

HERE: Final = Path(__file__).parent / "overlays" / "redis-with-kafka"
QUICK: Final = ("--measure", "0")
STEPS: Final = ["check", "measure", "pause", "drain", "switch", "follow", "resume", "verify"]


@pytest.fixture(scope="module")
def outside(system: Callable[..., System]) -> Outside:
    return Outside(system(HERE))


def standing(outside: Outside) -> str:
    kind: str = outside.system.get("component", names.PUBSUB)["spec"]["type"]
    return kind.removeprefix("pubsub.")


async def operated(outside: Outside, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    done = await asyncio.to_thread(outside.todo, *arguments, given=given)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


async def test_the_broker_is_exchanged_and_exchanged_back(outside: Outside) -> None:
    async with outside.busy():
        there = await operated(outside, "swap", "--to", "kafka")
        assert standing(outside) == "kafka"
        back = await operated(outside, "swap", "--to", "redis", "--json", *QUICK)
    assert standing(outside) == "redis"
    assert [line.split()[0] for line in there.stderr.splitlines()] == STEPS
    for row in (
        r"before, on redis +drained +on kafka",
        r"tasks +\d+ +- +\d+",
        r"event_publish_duration p95, ms +[\d.]+",
    ):
        assert re.search(row, there.stdout), there.stdout
    assert "everything agrees" in there.stdout
    report = json.loads(back.stdout)
    assert (report["moved"], report["left_behind"], report["restarted"]) == (True, report["probes_left"], [])
    await outside.conclude()


@pytest.mark.parametrize(("subject", "secret"), [("redis", "redis-secrets"), ("database", "postgres-secrets")])
async def test_a_login_is_exchanged_in_place_and_the_old_one_refused(
    outside: Outside, subject: str, secret: str
) -> None:
    before = restarts(outside)
    async with outside.busy():
        await operated(outside, "rotate", subject, "--generate")
        status = await operated(outside, "rotate", subject, "--status")
        assert f"{secret}: version 2" in status.stdout
        assert "still let in: version 1" in status.stdout
        await operated(outside, "rotate", subject, "--retire")
    assert restarts(outside) == before
    data = outside.system.get("secret", secret)["data"]
    assert not [key for key in data if key.startswith(("next.", "previous."))]
    steps = outside.system.get("configmap", "todo-operations")["data"][ROTATIONS].splitlines()
    assert [json.loads(line)["step"] for line in steps if json.loads(line)["secret"] == secret] == [
        "begun", "created", "checked", "switching", "verified", "retiring", "retired",
    ]  # fmt: skip
    await outside.conclude()


def restarts(outside: Outside) -> dict[str, list[int]]:
    """How often each container of each pod was started anew."""
    return {
        pod["metadata"]["name"]: [status["restartCount"] for status in pod["status"]["containerStatuses"]]
        for pod in outside.system.pods()
    }


async def test_a_secret_is_renamed_as_the_guide_does_it_and_back(outside: Outside) -> None:
    """A second secret, the component edited, services restarted one by one; the old secret stays for the way back."""
    system, password = outside.system, secrets.token_urlsafe(24)
    live = system.get("component", names.PUBSUB)
    here = {key: live[key] for key in ("apiVersion", "kind", "spec", "auth", "scopes")} | {
        "metadata": {"name": names.PUBSUB}
    }
    there = json.loads(json.dumps(here).replace('"redis-secrets"', '"redis-secrets-v2"'))
    current = base64.b64decode(system.get("secret", "redis-secrets")["data"]["REDIS_PASSWORD"]).decode()
    redis(system, current, f"ACL SETUSER default >{password}", "ACL SAVE")  # the console of a provider
    given = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-secrets-v2"}}
    system.apply(yaml.safe_dump(given | {"stringData": {"REDIS_PASSWORD": password}}))
    async with outside.busy():
        await applied(system, there)
        for app in names.APPS:
            for verb, *more in (("restart",), ("status", "--timeout=5m")):
                await asyncio.to_thread(system.kubectl, "rollout", verb, "deployment", app.app_id, *more)
        # what an operator may read is named, and this one is not among it
        refused = await asyncio.to_thread(outside.todo, "topics", "list")
        assert "may not get secrets/redis-secrets-v2" in refused.stderr
        await applied(system, here)
        assert (await operated(outside, "topics", "list")).stdout
    await outside.conclude()
    # nobody uses the new login any more: without it, and with every connection cut, all goes on
    assert redis(system, current, f"ACL SETUSER default <{password}", "CLIENT KILL TYPE normal")
    async with outside.busy(least=0):
        pass
    await outside.conclude()


async def applied(system: System, component: dict[str, Any]) -> None:
    await asyncio.to_thread(system.apply, yaml.safe_dump(component))


def redis(system: System, password: str, *commands: str) -> list[str]:
    """Ask the server; what `redis-cli` finds in its environment is the password of the first day."""
    given = "\n".join([f"AUTH {password}", *commands, ""])
    answers = system.kubectl("exec", "--stdin", "redis-0", "--", "redis-cli", given=given).splitlines()
    assert not [one for one in answers if any(word in one for word in ("ERR", "NOAUTH", "WRONGPASS"))], answers
    return answers


async def test_what_an_operator_asks_is_answered_in_the_pod_and_from_a_laptop(outside: Outside) -> None:
    listed = json.loads((await operated(outside, "topics", "list", "--json")).stdout)
    assert {one["name"] for one in listed} >= {names.TASK_EVENTS, names.DEAD_LETTERS}
    for to in ((), ("--to", "kafka")):
        assert "as they should be" in (await operated(outside, "topics", "check", *to)).stdout
    task = json.loads((await operated(outside, "add", "asked", "--due", "now", "--remind", "due", "--json")).stdout)
    outside.acknowledged.add(task["id"])
    await outside.delivered()
    why = json.loads((await operated(outside, "why", task["id"], "--json")).stdout)
    assert why["reminders"][0]["state"] == "delivered"
    assert why["did_not_answer"] == []
    assert (await on_a_laptop(outside)).returncode == 1
    token = await operated(outside, "token", "add", "--user", "1", "--scope", "operator", "--json")
    asked = await on_a_laptop(outside, TODO_TOKEN=json.loads(token.stdout)["token"])
    assert json.loads(asked.stdout)["looked_at"]["tasks"] == len(outside.acknowledged)


async def on_a_laptop(outside: Outside, **environ: str) -> subprocess.CompletedProcess[str]:
    """Outside the cluster there is a kubeconfig, and neither database nor account."""
    command = [
        sys.executable,
        "-c",
        "from todo.cli.main import main; main()",
        "verify",
        "--wait",
        "30",
        "--kubernetes",
        "--json",
    ]
    environ = os.environ | {"TODO_NAMESPACE": outside.system.namespace} | environ
    return await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)


async def test_a_swap_that_was_killed_is_ended_by_the_next(outside: Outside) -> None:
    """It is killed where it stands after the switch, with relays paused: publishing goes on by itself."""
    script = f"echo $$ > /tmp/swap.pid; exec todo swap --to kafka {' '.join(QUICK)}"
    command = [
        "kubectl",
        "--namespace",
        outside.system.namespace,
        "exec",
        "deploy/operations",
        "--",
        "sh",
        "-c",
        script,
    ]
    async with outside.busy():
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        async with asyncio.timeout(120):
            while not (await process.stderr.readline()).startswith(b"follow"):
                assert process.returncode is None
        outside.system.kubectl("exec", "deploy/operations", "--", "sh", "-c", "kill -9 $(cat /tmp/swap.pid)")
        await process.communicate()
    await outside.delivered()
    done = await operated(outside, "swap", "--to", "kafka", "--json", *QUICK)
    report = json.loads(done.stdout)
    assert (report["resumed"], report["agree"], standing(outside)) == (True, True, "kafka")
    await outside.conclude()
