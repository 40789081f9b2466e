"""What workloads run on: the whole system, real and durable, on free ports in a folder that is removed afterwards."""

import datetime as dt
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgspec

from benchmarks import measure
from tests.support.smtp import SmtpServer
from todo.contracts import events, names
from todo.contracts.events import EventData, ReminderInstance, TaskSnapshot
from todo.messaging.unit import Outgoing, outgoing
from todo.operations import client, ports
from todo.operations.client import Mail, Mailbox
from todo.operations.system import HANDED_OUT, System, UpOptions, running_system

USER: Final = 1
DUE: Final = "PT0S"  # a reminder at the instant the task is due
YEAR: Final = dt.timedelta(days=365)
_ENVIRON: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}
_MAILS_KEPT: Final = 100_000
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system, a client outside of it, and `scale`, by which sizes are multiplied (1 is the real thing)."""

    system: System
    http: aiohttp.ClientSession
    database: asyncpg.Connection
    scale: float
    smtp: SmtpServer | None = None  # in place of the mailbox

    def sized(self, count: int) -> int:
        return max(10, int(count * self.scale))

    @property
    def own_pids(self) -> list[int]:
        """Sidecars and services, the mailbox left out: it stands for somebody else's mail server."""
        return [
            *self.pids("daprlet"),
            *self.pids("daprd-"),
            *(pid for app in names.APPS for pid in self.pids(app.app_id)),
        ]

    def pids(self, prefix: str) -> list[int]:
        """The processes of the children whose names begin so."""
        return [child.pid for name, child in self.system.children.items() if name.startswith(prefix) and child.pid]

    @property
    def sidecar_url(self) -> str:
        """Backend's sidecar."""
        return f"http://{ports.LOOPBACK}:{self.system.ports[ports.sidecar(names.BACKEND.app_id)]}"

    @property
    def token(self) -> dict[str, str]:
        return {"dapr-api-token": self.system.data.api_token}

    @property
    def postgres_pids(self) -> list[int]:
        pid = self.system.pid("postgres")
        return measure.family(pid) if pid else []

    async def create(self, title: str, due_at: dt.datetime) -> UUID:
        """A task with a reminder at the instant it is due."""
        draft = {"title": title, "user_id": USER, "due_at": due_at.isoformat(), "reminders": [DUE]}
        async with self.http.post(f"{self.system.backend_url}/tasks", json=draft) as answer:
            body = await answer.read()
            assert answer.status == 201, body
        return UUID(msgspec.json.decode(body)["id"])

    async def publish(self, event: Outgoing) -> None:
        """Publish as backend does, one event a call; returns with the 204."""
        url = f"{self.sidecar_url}/v1.0/publish/{names.PUBSUB}/{event.topic}"
        headers = {"content-type": "application/cloudevents+json"} | self.token
        query = {"metadata.partitionKey": event.key}
        async with self.http.post(url, data=event.envelope, headers=headers, params=query) as answer:
            assert answer.status == 204, await answer.read()

    async def mails(self) -> list[Mail]:
        """Every mail in the mailbox."""
        mailbox = Mailbox(self.http, self.system.mailbox_url or "")
        found: list[Mail] = []
        while page := (await mailbox.mails(limit=_PAGE, start=len(found))).value.messages:
            found.extend(page)
        return found

    async def mail_count(self) -> int:
        return (await Mailbox(self.http, self.system.mailbox_url or "").mails(limit=1)).value.total

    async def quiet(self) -> None:
        """Wait until both outboxes are empty and the schedule has heard of every task that backend has."""
        await measure.until(self._is_quiet, "the system comes to rest", every=0.2)

    async def _is_quiet(self) -> bool:
        return not await self.database.fetchval(
            "SELECT EXISTS (SELECT FROM backend.outbox) OR EXISTS (SELECT FROM notification.outbox)"
            " OR EXISTS (SELECT id FROM backend.tasks EXCEPT SELECT task_id FROM notification.tasks)"
            " OR EXISTS (SELECT FROM notification.reminders WHERE state = 'dispatched')"
        )


@asynccontextmanager
async def mailbox_stage(scale: float, **engine: Any) -> AsyncIterator[Stage]:  # noqa: ANN401 - `UpOptions`
    """The system as `make run` starts it, or on another `engine` and `broker`."""
    async with _running(UpOptions(mailbox_keep=_MAILS_KEPT, environ=_ENVIRON, **_OWN, **engine), scale) as stage:
        yield stage


@asynccontextmanager
async def smtp_stage(scale: float, **engine: Any) -> AsyncIterator[Stage]:  # noqa: ANN401 - `UpOptions`
    """The system with a mail server in this process, whose answers can be delayed."""
    async with SmtpServer().running() as smtp:
        environ = _ENVIRON | {"SMTP_URL": f"smtp://127.0.0.1:{smtp.port}", "TODO_EMAIL": "you@example.org"}
        async with _running(UpOptions(environ=environ, **_OWN, **engine), scale, smtp) as stage:
            yield stage


_OWN: Final[dict[str, Any]] = {"temporary": True, "free_ports": True, "log_format": "json"}


@asynccontextmanager
async def _running(options: UpOptions, scale: float, smtp: SmtpServer | None = None) -> AsyncIterator[Stage]:
    async with running_system(options) as system, client.session() as http:
        database = await asyncpg.connect(system.database_url)
        try:
            yield Stage(system, http, database, scale, smtp)
        finally:
            await database.close()


def task_events(count: int) -> Sequence[Outgoing]:
    """Events of new tasks, each with a reminder in a year: what backend tells of a POST."""
    return [_event(names.TASK_EVENTS, events.TASK_CREATED, _snapshot(number)) for number in range(count)]


def _snapshot(number: int) -> TaskSnapshot:
    due = dt.datetime.now(dt.UTC) + YEAR
    reminder = ReminderInstance(DUE, due)
    return TaskSnapshot(
        uuid4(), USER, 1, 1, f"Water plant {number}", "open", deleted=False, reminders=(reminder,), due_at=due
    )


def _event(topic: str, kind: str, data: EventData) -> Outgoing:
    subject = str(getattr(data, "task_id", ""))
    return outgoing(names.BACKEND.app_id, topic, kind, subject, data, now=dt.datetime.now(dt.UTC))
