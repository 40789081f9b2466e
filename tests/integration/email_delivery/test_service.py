"""The service as a process beside a real sidecar."""

import asyncio
import datetime as dt
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import msgspec
import pytest

from tests.integration.email_delivery.system import TOKENS, System, encode, system
from tests.support.children import until
from tests.unit.email_delivery.world import due
from todo.contracts import names
from todo.contracts.claims import INSPECT_CLAIMS, ClaimsQuery, ClaimState, ClaimViews
from todo.contracts.events import Outcome, ReminderKey
from todo.dapr.client import Message
from todo.dapr.errors import SidecarAwayError
from todo.email_delivery import lease
from todo.operations.system import MAIL_DRAIN_STEPS

TASK = UUID(int=7)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[System]:
    async with system(tmp_path) as prepared:
        await prepared.start()
        yield prepared


async def claims(of: System, *keys: ReminderKey) -> list[ClaimState]:
    """Ask as `todo why` does: by invocation through the sidecars."""
    answer = await of.dapr.invoke(names.EMAIL_DELIVERY.app_id, INSPECT_CLAIMS, encode(ClaimsQuery(keys)))
    return [view.state for view in msgspec.json.decode(answer, type=ClaimViews).claims]


async def test_a_reminder_that_is_due_is_mailed_once_and_told(running: System) -> None:
    """From the topic to the mail server and back to a topic; published again and again it stays one mail."""
    await running.publish([due(TASK)])
    await until(lambda: len(running.backend.outcomes) == 1)
    await running.publish([due(TASK)] * 10)
    await running.publish([due(TASK, attempt=2)])
    await until(lambda: len(running.backend.outcomes) >= 12)
    assert {(one.outcome, one.attempt) for one in running.backend.outcomes} == {(Outcome.DELIVERED, 1)}
    assert len(running.server.received) == 1
    assert await claims(running, due(TASK).key, due().key) == [ClaimState.DELIVERED, ClaimState.ABSENT]
    assert '"event":"mail"' in running.log()
    assert "ann@example.org" not in running.log()


async def test_replicas_share_the_work(tmp_path: Path) -> None:
    """Two replicas, everything dispatched twice at once: one mail for each reminder."""
    async with system(tmp_path, replicas=2) as shared:
        await asyncio.gather(shared.start(1), shared.start(2))
        dues = [due() for _ in range(100)]
        await asyncio.gather(*(shared.publish(dues) for _ in range(2)))
        await until(lambda: len({one.task_id for one in shared.backend.outcomes}) == 100)
    assert len(shared.server.received) == len({one.message_id for one in shared.server.received}) == 100


async def test_killed_between_the_acceptance_and_the_record_it_waits_for_the_lease(running: System) -> None:
    """kill -9 right when the server took the mail: after the restart the claim stands, and nothing is sent again."""

    async def dies(_: str) -> str | None:
        await running.running[1].kill()
        return None

    running.server.on("MESSAGE", dies)
    await running.publish([due(TASK)])
    await until(lambda: len(running.server.received) == 1)
    running.server.hooks.clear()
    await running.start()
    await until(lambda: "mail left to the holder of its claim" in running.log())
    assert await claims(running, due(TASK).key) == [ClaimState.CLAIMED]
    assert len(running.server.received) == 1
    assert "did not end cleanly" in running.log()


async def test_stopped_while_the_server_takes_a_mail_it_ends_that_mail_and_tells(running: System) -> None:
    """A graceful stop during a slow DATA: the mail is recorded, its outcome told, and nothing more is begun."""
    go = asyncio.Event()

    async def slow(_: str) -> str | None:
        await go.wait()
        return None

    running.server.on("MESSAGE", slow)
    await running.publish([due(TASK)])
    await until(lambda: "DATA" in running.server.commands)
    stopping = asyncio.create_task(running.running[1].stop())
    await until(lambda: "service stopping" in running.log())
    go.set()
    await stopping
    await until(lambda: [one.outcome for one in running.backend.outcomes] == [Outcome.DELIVERED])
    assert len(running.server.received) == 1


def test_a_stop_waits_for_as_long_as_a_mail_may_take() -> None:
    """Waiting for a connection and the mail server's time fit into the drain, and the drain into the supervisor's."""
    assert dt.timedelta(seconds=lease.DRAIN) > lease.PATIENCE + lease.SMTP_DEADLINE
    assert MAIL_DRAIN_STEPS[0][1] > lease.DRAIN


async def test_while_backend_is_away_nothing_is_sent_and_nothing_lost(running: System) -> None:
    """The sidecar keeps the batch until backend answers."""
    running.backend.answers.error = SidecarAwayError("away")
    await running.publish([due(TASK)])
    await until(lambda: "delivery put off" in running.log())
    assert running.server.commands == []
    running.backend.answers.error = None
    await until(lambda: [one.outcome for one in running.backend.outcomes] == [Outcome.DELIVERED])
    assert len(running.server.received) == 1


async def test_while_the_mail_server_is_away_mails_are_put_off(tmp_path: Path) -> None:
    """The service stays up and healthy, and tells of each attempt."""
    async with system(tmp_path) as prepared:
        prepared.server.on("GREETING", "421 4.3.2 closed")
        await prepared.start()
        await prepared.publish([due(TASK)])
        await until(lambda: [one.outcome for one in prepared.backend.outcomes] == [Outcome.DEFERRED])
        assert await claims(prepared, due(TASK).key) == [ClaimState.DEFERRED]
        await prepared.running[1].ready(prepared.url(1, "healthz/consume"), 200)
        prepared.server.hooks.clear()
        await prepared.publish([due(TASK, attempt=2)])
        await until(lambda: [one.outcome for one in prepared.backend.outcomes[1:]] == [Outcome.DELIVERED])


async def test_what_is_no_event_becomes_a_dead_letter(running: System) -> None:
    """It reaches backend with its bytes, and the reminder behind it is mailed."""
    strange = b'{"specversion":"1.0","id":"strange","type":"todo.reminder.due.v1","source":"x","data":{"task_id":1}}'
    await running.dapr.publish(names.PUBSUB, names.TASK_REMINDERS, Message("1", strange, "k"))
    await running.publish([due(TASK)])
    await until(lambda: len(running.backend.letters) == len(running.backend.outcomes) == 1)
    [letter] = running.backend.letters
    assert (letter.app, letter.topic, letter.event_id) == ("email-delivery", "task-reminders", "strange")


async def test_claims_are_shown_to_the_sidecar_only(running: System) -> None:
    """Without the app token 401; a body that is no query 400, one that asks for too much 422."""
    url = running.url(1, INSPECT_CLAIMS)
    token = {"dapr-api-token": TOKENS["APP_API_TOKEN"]}
    many = encode(ClaimsQuery(tuple(ReminderKey(uuid4(), "-PT1H", due().fire_at) for _ in range(1001))))

    async def status(headers: dict[str, str] | None, body: bytes) -> int:
        async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
            return answer.status

    assert [await status(*asked) for asked in ((None, b"{}"), (token, b"{}"), (token, many))] == [401, 400, 422]


async def test_metrics_tell_what_became_of_the_mails(running: System) -> None:
    await running.publish([due(TASK)])
    await until(lambda: len(running.backend.outcomes) == 1)
    async with aiohttp.ClientSession() as http, http.get(running.url(1, "metrics")) as answer:
        text = await answer.text()
    assert 'todo_mails_total{outcome="delivered"} 1.0' in text
    assert "todo_mail_lateness_seconds_count 1.0" in text
    assert "todo_smtp_connections_in_use 0.0" in text


async def test_it_ends_cleanly(running: System) -> None:
    """SIGTERM: the mail server hears goodbye, and the next start is not a cautious one."""
    await running.publish([due(TASK)])
    await until(lambda: len(running.backend.outcomes) == 1)
    await running.running[1].stop()
    assert running.server.commands[-1] == "QUIT"
    await running.start()
    await running.publish([due()])
    await until(lambda: len(running.backend.outcomes) == 2)
    assert "did not end cleanly" not in running.log()


def test_without_its_settings_it_says_what_is_missing() -> None:
    """One line, no traceback."""
    environment = {"PATH": os.environ["PATH"], **TOKENS}
    command = [sys.executable, "-m", names.EMAIL_DELIVERY.module]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert ended.stderr.startswith("error: SMTP_URL is not set")
    assert len(ended.stderr.splitlines()) == 1
