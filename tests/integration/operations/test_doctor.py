"""Each fault that one host can have, planted in a running system, is named, and nothing else for it."""

import asyncio
import datetime as dt
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import asyncpg
import pytest
import pytest_asyncio

from tests.support import doctoring
from tests.support.doctoring import named, report
from tests.support.waiting import until
from todo.contracts import events, names
from todo.contracts.clock import utc_now
from todo.messaging.postgres import Connection
from todo.operations import ports, system
from todo.operations.doctor import Code, Finding
from todo.operations.system import DAPRLET, MAILBOX, POSTGRES, System, UpOptions, running_system

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLAIN = {key: value for key, value in os.environ.items() if key not in system.HANDED_OUT}
TASK = "11111111-1111-4111-8111-111111111111"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole() -> AsyncIterator[System]:
    options = UpOptions(temporary=True, free_ports=True, durable=False, environ=PLAIN, log_format="json")
    async with running_system(options) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(whole: System) -> AsyncIterator[System]:
    """The system, healthy before a fault is planted: what the last test left behind would be found here."""
    await until(lambda: is_clean(whole), 30)
    yield whole


async def is_clean(running: System) -> bool:
    return not (await report(running.data.path)).findings


async def found(running: System, **options: Any) -> list[Finding]:  # noqa: ANN401 - how to look
    return list((await report(running.data.path, **options)).findings)


@asynccontextmanager
async def database(running: System, schema: str = "backend") -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(running.database_url, server_settings={"search_path": schema})
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_healthy_system_gets_a_clean_bill_that_says_what_was_looked_at(running: System) -> None:
    looked = await report(running.data.path)
    assert not looked.findings
    assert {"services", "sidecars", "resources", "database", "mail server", "mailbox"} <= looked.looked_at.keys()
    assert looked.not_looked_at.keys() == {"broker"}
    for app in names.APPS:
        assert app.app_id in looked.looked_at["services"]


async def test_the_command_says_it_in_words_in_json_and_by_its_exit_code(running: System, tmp_path: Path) -> None:
    code, out, _ = await command("--data", str(running.data.path))
    assert code == 0
    assert out.rstrip().endswith("nothing is wrong with what was looked at")
    code, out, _ = await command("--data", str(running.data.path), "--json")
    assert (code, json.loads(out)["healthy"], json.loads(out)["findings"]) == (0, True, [])
    code, _, err = await command("--data", str(tmp_path))
    assert code == 2
    (line,) = err.splitlines()
    assert f"no system runs on {tmp_path}" in line
    async with with_letter(running):
        code, out, _ = await command("--data", str(running.data.path), "--json", "--watch", "1")
        assert code == 1
        assert [one["code"] for one in json.loads(out)["findings"]] == ["dead-letters"]
        code, out, _ = await command("--data", str(running.data.path), "--watch", "0")
        assert code == 1
        assert "    do:   `todo dead-letters list`" in out


async def test_a_mail_server_that_is_away(running: System) -> None:
    await running.stop(MAILBOX)
    (one,) = await found(running)
    assert one.code is Code.MAIL_SERVER_AWAY
    assert "could not be reached" in one.evidence[0]
    await running.start(MAILBOX)


async def test_a_service_that_is_away(running: System) -> None:
    """Only the service is named: what its sidecar cannot do without it follows from that."""
    name = names.RECURRING.app_id
    await running.stop(name)
    (one,) = await found(running)
    assert (one.code, one.subject) == (Code.SERVICE_AWAY, name)
    assert "nothing listens" in one.evidence[0]
    await running.start(name)


async def test_a_sidecar_that_is_away(running: System) -> None:
    await running.stop(DAPRLET)
    looked = await report(running.data.path)
    assert named(looked) == {Code.SIDECAR_AWAY}
    assert {one.subject for one in looked.findings} == {app.app_id for app in names.APPS}
    assert "mail server" in looked.not_looked_at
    await running.start(DAPRLET)


async def test_a_database_that_is_away(running: System) -> None:
    """One finding: that every service is unready and nothing moves follows from it."""
    await running.stop(POSTGRES)
    (one,) = await found(running)
    assert one.code is Code.DATABASE_AWAY
    await running.start(POSTGRES)


async def test_a_database_that_is_not_migrated(running: System) -> None:
    async with database(running, "notification") as connection:
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
        (one,) = await found(running)
        await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    assert (one.code, one.subject) == (Code.DATABASE_NOT_MIGRATED, names.NOTIFICATION.app_id)
    assert one.evidence == (f"its schema is at revision 0001, {revision} is needed",)


async def test_a_job_that_is_not_registered(running: System) -> None:
    """The service registers it again within the minute; until then it is told."""
    url = f"{sidecar(running, names.NOTIFICATION.app_id)}/v1.0/jobs/{names.RECONCILE_TASKS}"
    async with aiohttp.ClientSession(headers={"dapr-api-token": running.data.api_token}) as http:
        async with http.get(url) as answer:
            job = await answer.json()
        async with http.delete(url) as answer:
            assert answer.status == 204
        (one,) = await found(running)
        kept = {key: job[key] for key in ("schedule", "failurePolicy")} | {"data": {}, "overwrite": True}
        async with http.post(url, json=kept) as answer:
            assert answer.status == 204
    assert (one.code, one.subject) == (Code.JOB_NOT_REGISTERED, names.RECONCILE_TASKS)


async def test_events_that_wait_in_the_outbox(running: System) -> None:
    """A pause that somebody holds is named as the cause."""
    async with database(running, "notification") as connection:
        await connection.execute(
            "INSERT INTO relay_pause (until, holder, reason) VALUES (now() + interval '1 hour', 'a test', 'to see it')"
        )
        await connection.execute(
            "INSERT INTO outbox (topic, key, envelope, created_at) VALUES ($1, '', '', now() - interval '5 minutes')",
            names.TASK_REMINDERS,
        )
        (one,) = await found(running)
        await connection.execute("DELETE FROM outbox")
        await connection.execute("DELETE FROM relay_pause")
    assert (one.code, one.subject) == (Code.OUTBOX_WAITING, names.NOTIFICATION.app_id)
    assert one.what.startswith("1 events")
    assert any("by a test (to see it)" in told for told in one.evidence)


async def test_a_consumer_that_answers_errors(running: System) -> None:
    """Every delivery ends with 503 for want of a table, and is tried again."""
    async with database(running, "notification") as connection:
        await connection.execute("ALTER TABLE tasks RENAME TO tasks_away")
        try:
            await add_task(running)
            await until(lambda: refused(running))
            (one,) = await found(running, watch=6.0)
        finally:
            await connection.execute("ALTER TABLE tasks_away RENAME TO tasks")
    assert (one.code, one.subject) == (Code.DELIVERIES_REFUSED, f"{names.NOTIFICATION.app_id}/{names.TASK_EVENTS}")
    assert "answered with 503" in one.evidence[0]


async def test_an_event_that_is_none_of_ours(running: System) -> None:
    """The guide's CloudEvents parsing errors: who could not read what, and why."""
    await publish(running, {"title": "no id", "user": 1}, kind="todo.task.created.v1")
    readers = {app.app_id for app in names.APPS if names.TASK_EVENTS in app.topics}
    await until(lambda: have_parked(running, readers))
    looked = await found(running)
    async with database(running) as connection:
        await connection.execute("DELETE FROM dead_letters")
    assert {one.code for one in looked} == {Code.EVENT_UNREADABLE}
    assert {one.subject for one in looked} == {f"{app}/{names.TASK_EVENTS}" for app in readers}
    assert all("missing required field" in one.evidence[0] for one in looked)


async def test_an_event_that_was_given_up(running: System) -> None:
    """One that can be read is a dead letter with its error, not a parsing error."""
    async with with_letter(running):
        (one,) = await found(running)
    assert one.code is Code.DEAD_LETTERS
    assert "ZeroDivisionError: by zero" in one.evidence


async def test_a_reminder_that_was_mailed_twice(running: System) -> None:
    """Two attempts of one reminder that may have reached the mail server; one that was refused counts for nothing."""
    attempts = [(1, "deferred", True), (2, "delivered", False), (3, "deferred", False)]
    async with database(running) as connection:
        await connection.executemany(
            "INSERT INTO deliveries (task_id, reminder, fire_at, attempt, outcome, reason, at, possibly_sent, trace)"
            " VALUES ($1, '-PT1H', now(), $2, $3, '', now(), $4, '')",
            [(TASK, *attempt) for attempt in attempts],
        )
        (one,) = await found(running)
        await connection.execute("DELETE FROM deliveries WHERE task_id = $1", TASK)
    assert (one.code, one.subject) == (Code.MAIL_REPEATED, f"{TASK}/-PT1H")
    assert [told.partition(" at ")[0] for told in one.evidence] == ["attempt 1", "attempt 2"]


async def test_a_mail_that_is_twice_in_the_mailbox(running: System) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", "Twice"
    mail["Message-ID"] = "<twice@example.org>"
    mail.set_content("the same")
    for _ in range(2):
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=running.ports[ports.MAILBOX_SMTP])
    (one,) = await found(running)
    async with aiohttp.ClientSession() as http, http.delete(f"{running.mailbox_url}/api/v1/messages") as answer:
        assert answer.status == 200
    assert (one.code, one.subject) == (Code.MAIL_REPEATED, "twice@example.org")


async def test_another_system_on_the_same_database(running: System) -> None:
    """Its relay asks for the lock that ours holds."""
    (port,) = ports.free(1)
    environment = PLAIN | {
        "DATABASE_URL": running.database_url,
        "APP_PORT": str(port),
        "DAPR_HTTP_ENDPOINT": sidecar(running, names.BACKEND.app_id),
        "DAPR_API_TOKEN": running.data.api_token,
        "APP_API_TOKEN": "another",
        "TODO_EMAIL": "another@example.org",
    }
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "todo.backend", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: sees_another(running))
        (one,) = await found(running)
    finally:
        other.terminate()
        await other.wait()
    assert (one.code, one.subject) == (Code.TWO_SYSTEMS, names.BACKEND.app_id)
    assert one.evidence[0] == "2 relays hold or ask for its lock, 1 replicas run here"


async def test_a_clock_that_is_off(running: System) -> None:
    """Ours: all others agree with each other."""
    looked = await report(running.data.path, clock=lambda: utc_now() + dt.timedelta(seconds=30))
    (one,) = looked.findings
    assert (one.code, one.subject) == (Code.CLOCK_SKEW, "this machine")
    assert "ahead of the others" in one.what


async def command(*words: str) -> tuple[int | None, str, str]:
    todo = [sys.executable, "-c", "from todo.cli.main import main; main()", "doctor", *words]
    process = await asyncio.create_subprocess_exec(
        *todo, env=PLAIN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def sidecar(running: System, app_id: str) -> str:
    return f"http://127.0.0.1:{running.ports[ports.sidecar(app_id)]}"


async def add_task(running: System) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{running.backend_url}/tasks", json={"title": "x"}) as answer,
    ):
        assert answer.status == 201


async def publish(running: System, data: object, *, kind: str) -> None:
    url = f"{sidecar(running, names.BACKEND.app_id)}/v1.0/publish/{names.PUBSUB}/{names.TASK_EVENTS}"
    headers = {"dapr-api-token": running.data.api_token}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, json=data, params={"metadata.cloudevent.type": kind}) as answer,
    ):
        assert answer.status == 204


async def have_parked(running: System, apps: set[str]) -> bool:
    async with database(running) as connection:
        rows = await connection.fetch("SELECT DISTINCT app FROM dead_letters WHERE status = 'open'")
    return {row["app"] for row in rows} == apps


async def refused(running: System) -> bool:
    url = f"{running.addresses[names.NOTIFICATION.app_id]}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    counter = f'todo_deliveries_total{{answer="put_off",topic="{names.TASK_EVENTS}"}} '
    return any(line.startswith(counter) and float(line.removeprefix(counter)) > 0 for line in lines)


async def sees_another(running: System) -> bool:
    return Code.TWO_SYSTEMS in {one.code for one in await doctoring.findings(running.data.path, watch=0.1)}


@asynccontextmanager
async def with_letter(running: System) -> AsyncIterator[None]:
    """An open dead letter whose event is a good one."""
    event = {
        "specversion": "1.0",
        "id": "given-up",
        "type": events.REMINDER_DUE,
        "source": "test",
        "data": {"task_id": TASK, "reminder": "-PT1H", "fire_at": "2026-01-01T00:00:00Z", "attempt": 1},
    }
    async with database(running) as connection:
        await connection.execute(
            "INSERT INTO dead_letters (app, topic, event_id, event_type, subject, body, size, sha256, error, attempts,"
            " parked_at, changed_at, status, replays)"
            " VALUES ($1, $2, $3, '', '', $4, 0, '', 'ZeroDivisionError: by zero', 3, now(), now(), 'open', 0)",
            names.EMAIL_DELIVERY.app_id,
            names.TASK_REMINDERS,
            str(uuid.uuid4()),
            json.dumps(event).encode(),
        )
        yield
        await connection.execute("DELETE FROM dead_letters")
