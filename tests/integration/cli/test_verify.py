"""Each kind of disagreement, planted in the databases and the mailbox of a system, is found by `todo verify`."""

# ruff: noqa: S608 - the statements are made of this file's constants and of ids

import json
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.integration.cli.conftest import Running
from todo.operations import verify as verification
from todo.operations.find import find
from todo.operations.verify import Kind, Report

TASKS, HISTORY = "backend.tasks", "backend.deliveries"
KNOWN, SCHEDULE = "notification.tasks", "notification.reminders"


@dataclass(frozen=True)
class Cast:
    """Tasks in each of the states that matter."""

    system: Running
    delivered: str  # its mail is in the mailbox
    waiting: str  # its reminder is years away
    closed: str  # an occurrence that is done
    successor: str


@pytest.fixture(scope="module")
def cast(system: Running) -> Cast:
    delivered = system.ok("add", "Delivered", "--due", "now", "--remind", "due")["id"]
    waiting = system.ok("add", "Waiting", "--due", "2040-05-01T09:00:00Z", "--remind", "due")["id"]
    closed = system.ok("add", "Closed", "--due", "now", "--repeat", "daily")
    system.ok("done", closed["id"])
    series = closed["recurrence"]["series_id"]
    successor = system.until(lambda: _successor(system, series))
    system.until(lambda: system.ok("show", delivered)["reminder_history"][0]["state"] == "delivered")
    system.until(lambda: system("verify").code == 0)
    return Cast(system, delivered, waiting, closed["id"], successor)


def test_an_undisturbed_system_agrees_and_says_what_was_looked_at(cast: Cast) -> None:
    agreed = cast.system("verify")
    assert (agreed.code, agreed.out.split(":")[0]) == (0, "everything agrees")
    report = cast.system.ok("verify")
    assert report["agree"] is True
    assert report["looked_at"]["tasks"] >= 4
    assert report["looked_at"]["mails"] >= 1


async def test_a_disagreement_ends_with_1_and_the_list(cast: Cast) -> None:
    deleted = f"DELETE FROM notification.reminders WHERE task_id = '{cast.waiting}'"
    async with planted(cast, "notification.reminders", deleted):
        told = cast.system("verify", "--wait", "0")
        as_json = cast.system("verify", "--wait", "0", "--json")
    assert (told.code, as_json.code) == (1, 1)
    assert "reminder-missing" in told.out
    assert cast.waiting in told.out
    assert [one["kind"] for one in as_json.json["findings"]] == ["reminder-missing"]


PLANTS = {  # what: the kind to be found, whose row, in which table, the statement about that table and that row
    "an older version": (Kind.TASK_BEHIND, "waiting", KNOWN, "UPDATE {} SET version = 0 WHERE task_id = '{}'"),
    "a newer version": (Kind.TASK_AHEAD, "waiting", KNOWN, "UPDATE {} SET version = 9 WHERE task_id = '{}'"),
    "an older epoch": (Kind.TASK_BEHIND, "waiting", KNOWN, "UPDATE {} SET epoch = 0 WHERE task_id = '{}'"),
    "a task that never came": (Kind.TASK_UNSEEN, "waiting", KNOWN, "DELETE FROM {} WHERE task_id = '{}'"),
    "a task that backend lost": (Kind.TASK_UNKNOWN, "waiting", TASKS, "DELETE FROM {} WHERE id = '{}'"),
    "a lost reminder": (Kind.REMINDER_MISSING, "waiting", SCHEDULE, "DELETE FROM {} WHERE task_id = '{}'"),
    "a reminder at another time": (
        Kind.REMINDER_UNWANTED,
        "waiting",
        SCHEDULE,
        "UPDATE {} SET fire_at = '2040-01-01Z', next_at = '2040-01-01Z' WHERE task_id = '{}'",
    ),
    "a withdrawn reminder": (
        Kind.REMINDER_DROPPED,
        "waiting",
        SCHEDULE,
        "UPDATE {} SET state = 'withdrawn', wanted = false, next_at = NULL WHERE task_id = '{}'",
    ),
    "an unanswered reminder": (
        Kind.REMINDER_UNANSWERED,
        "waiting",
        SCHEDULE,
        "UPDATE {} SET state = 'dispatched', attempt = 1, next_at = now() - interval '3 minutes' WHERE task_id = '{}'",
    ),
    "a lost outcome": (Kind.OUTCOME_MISSING, "delivered", HISTORY, "DELETE FROM {} WHERE task_id = '{}'"),
    "another outcome": (
        Kind.OUTCOME_UNAPPLIED,
        "delivered",
        SCHEDULE,
        "UPDATE {} SET state = 'failed' WHERE task_id = '{}'",
    ),
    "a foreign outcome": (
        Kind.OUTCOME_UNKNOWN,
        "waiting",
        HISTORY,
        (
            "INSERT INTO {} (task_id, reminder, fire_at, attempt, outcome, reason, at, possibly_sent, trace) "
            "VALUES ('{}', 'PT0S', '2040-01-01Z', 1, 'failed', '', now(), false, '')"
        ),
    ),
    "a lost successor": (Kind.OCCURRENCE_MISSING, "successor", TASKS, "DELETE FROM {} WHERE id = '{}'"),
    "a successor that was withdrawn": (
        Kind.OCCURRENCE_MISSING,
        "successor",
        TASKS,
        "UPDATE {} SET withdrawn = true, deleted = true WHERE id = '{}'",
    ),
    "a dead letter": (
        Kind.DEAD_LETTER,
        "waiting",
        "backend.dead_letters",
        (
            "INSERT INTO {} (app, topic, event_id, event_type, subject, body, size, sha256, error, attempts, "
            "parked_at, changed_at, status, replays) VALUES ('email-delivery', 'task-reminders', '{}', '', '', '', 0, "
            "'', 'boom', 3, now(), now(), 'open', 0)"
        ),
    ),
}


@pytest.mark.parametrize("what", PLANTS)
async def test_what_is_planted_in_a_database_is_found_and_nothing_once_it_is_mended(cast: Cast, what: str) -> None:
    kind, victim, table, statement = PLANTS[what]
    async with planted(cast, table, statement.format(table, getattr(cast, victim))):
        found = (await look(cast)).findings
    assert kind in {finding.kind for finding in found}, found
    assert (await look(cast)).agree


async def test_a_mail_that_is_gone_is_found(cast: Cast) -> None:
    with mailbox(cast) as mails:
        kept = mails.execute("SELECT * FROM messages").fetchall()
        mails.execute("DELETE FROM messages")
    try:
        assert {finding.kind for finding in (await look(cast)).findings} == {Kind.MAIL_MISSING}
    finally:
        with mailbox(cast) as mails:
            mails.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
    assert (await look(cast)).agree


async def test_a_mail_that_came_twice_and_one_that_nobody_sent_are_found(cast: Cast) -> None:
    columns = "received_at, sender, recipients, raw, read"
    with mailbox(cast) as mails:
        mails.execute(f"INSERT INTO messages (id, {columns}) SELECT 'again', {columns} FROM messages LIMIT 1")
        raw = b"From: a@b.test\r\nMessage-ID: <reminder-00ff@example.org>\r\n\r\n"
        mails.execute(
            "INSERT INTO messages (id, received_at, sender, recipients, raw) VALUES ('odd', 0, '', '[]', ?)", [raw]
        )
    try:
        found = {finding.kind for finding in (await look(cast)).findings}
    finally:
        for mail_id in ("again", "odd"):
            _delete_mail(cast, mail_id)
    assert found == {Kind.MAIL_REPEATED, Kind.MAIL_UNACCOUNTED}
    assert (await look(cast)).agree


@asynccontextmanager
async def planted(cast: Cast, table: str, statement: str) -> AsyncIterator[None]:
    """Change a table, and put its rows back as they were."""
    connection = await asyncpg.connect(cast.system.known.database_url)
    try:
        before = await connection.fetchval(f"SELECT jsonb_agg(to_jsonb(one)) FROM {table} one") or "[]"
        assert (await connection.execute(statement)).split()[-1] == "1", "nothing was planted"
        try:
            yield
        finally:
            async with connection.transaction():
                await connection.execute(f"DELETE FROM {table}")
                await connection.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
                    f" SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb)",
                    before,
                )
    finally:
        await connection.close()


async def look(cast: Cast) -> Report:
    return await verification.verify(find(data=cast.system.data, environ={}))


def mailbox(cast: Cast) -> Any:  # noqa: ANN401 - a context that commits and closes
    return _Committed(sqlite3.connect(cast.system.data / "mailbox" / "mailbox.db", timeout=10))


class _Committed:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.commit()
        self._connection.close()


def _delete_mail(cast: Cast, mail_id: str) -> None:
    url = f"{cast.system.known.addresses['mailbox']}/api/v1/messages"
    request = urllib.request.Request(url, json.dumps({"IDs": [mail_id]}).encode(), method="DELETE")  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        assert answer.status == 200


def _successor(system: Running, series: str) -> str | None:
    tasks = system.ok("list")["tasks"]
    return next((one["id"] for one in tasks if one["recurrence"] and one["recurrence"]["series_id"] == series), None)
