"""A running system as the people around it see it: those with tasks and mail, and the operator with the sidecars."""

import asyncio
import datetime as dt
import itertools
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
import asyncpg

from tests.support.children import Recorder
from todo.contracts import names
from todo.operations import ports
from todo.operations.system import System

Json = Any
T = TypeVar("T")

PATIENCE: Final = 45.0  # seconds; a delivery may get lost a few times on its way, at five seconds each
_WIRE: Final = "SELECT name, body FROM message JOIN topic ON topic.id = message.topic WHERE NOT raw ORDER BY message.id"
_numbers: Final = itertools.count(1)


def from_now(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """What `look` returns, once that is true; it may be asked often."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        assert time.monotonic() < deadline, f"it did not come true; the last answer was {found!r}"
        await asyncio.sleep(0.05)
    return found


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json
    headers: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """One system, an HTTP client, and what its processes have logged."""

    system: System
    http: aiohttp.ClientSession
    log: Recorder

    async def ask(self, method: str, url: str, **request: Any) -> Answer:  # noqa: ANN401 - aiohttp's arguments
        """Any request; a path alone is one to the API."""
        whole = url if url.startswith("http") else self.system.backend_url + url
        async with self.http.request(method, whole, **request) as response:
            text = await response.text()
            body = json.loads(text) if "json" in response.content_type else text
            return Answer(response.status, body, response.headers)

    async def api(self, method: str, path: str, body: Json = None, **query: object) -> Json:
        """A request to the API that succeeds; its answer."""
        params = {name: str(value) for name, value in query.items()}
        answer = await self.ask(method, path, json=body, params=params)
        assert answer.status < 300, answer
        return answer.body

    def service(self, name: str, path: str) -> str:
        return self.system.addresses[name] + path

    async def person(self, local_part: str = "ada") -> "Person":
        """A new user; the mailbox does as the part before the @ says."""
        email = f"{local_part}@{next(_numbers)}.example.org"
        user = await self.api("POST", "/users", {"email": email, "name": "Ada", "zone": "Europe/Berlin"})
        return Person(self, user["id"], email)

    async def mails(self, address: str) -> list[Json]:
        """The mails to an address, newest first."""
        assert self.system.mailbox_url
        answer = await self.ask("GET", f"{self.system.mailbox_url}/api/v1/messages", params={"limit": "10000"})
        return [mail for mail in answer.body["messages"] if any(to["Address"] == address for to in mail["To"])]

    async def whole_mail(self, mail_id: str) -> Json:
        return (await self.ask("GET", f"{self.system.mailbox_url}/api/v1/message/{mail_id}")).body

    async def letters(self, **wanted: object) -> list[Json]:
        """The dead letters with these fields, oldest first."""
        found = (await self.api("GET", "/dead-letters", status="all", limit=500))["dead_letters"]
        return [one for one in reversed(found) if all(one[name] == value for name, value in wanted.items())]

    async def letter(self, **wanted: object) -> Json:
        """The one letter with these fields, once it is there, with its body."""
        (found,) = await eventually(lambda: self.letters(**wanted))
        return await self.api("GET", f"/dead-letters/{found['id']}")

    async def sidecar(self, app: names.App, method: str, path: str, **request: Any) -> Answer:  # noqa: ANN401
        """A request to an app's sidecar, with the token that its operator has."""
        port = self.system.ports[ports.sidecar(app.app_id)]
        headers = {"dapr-api-token": self.system.data.api_token} | request.pop("headers", {})
        return await self.ask(method, f"http://127.0.0.1:{port}{path}", headers=headers, **request)

    async def publish(self, topic: str, body: bytes, content_type: str, **query: str) -> None:
        """Publish something by hand, through backend's sidecar."""
        path, headers = f"/v1.0/publish/{names.PUBSUB}/{topic}", {"content-type": content_type}
        answer = await self.sidecar(names.BACKEND, "POST", path, data=body, headers=headers, params=query)
        assert answer.status == 204, answer

    async def publish_event(self, topic: str, event: Json) -> None:
        """Publish a CloudEvent by hand."""
        await self.publish(topic, json.dumps(event).encode(), "application/cloudevents+json")

    async def metric(self, name: str, sample: str) -> float:
        """The value of one sample of a service's metrics, 0 when it is not there."""
        text = (await self.ask("GET", self.service(name, "/metrics"))).body
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(sample + " ")]
        return float(values[0]) if values else 0.0

    def logged(self, name: str, event: str) -> list[Json]:
        """What a child logged under this event name."""
        lines = [json.loads(line) for line in self.log.of(name) if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    async def rows(self, query: str, *arguments: object) -> list[Json]:
        """What the database says; for what no API tells."""
        async with self.database() as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    @asynccontextmanager
    async def database(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.system.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def failing_schedule(self, fire_at: str) -> AsyncIterator[None]:
        """Let notification-service fail at snapshots with a new reminder at that instant."""
        async with self.database() as connection:
            await connection.execute(
                "CREATE FUNCTION notification.refuse() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN IF NEW.fire_at = '{fire_at}' THEN RAISE 'broken for a test'; END IF; RETURN NEW; END $$"
            )
            try:
                await connection.execute(
                    "CREATE TRIGGER refuse BEFORE INSERT ON notification.reminders"
                    " FOR EACH ROW EXECUTE FUNCTION notification.refuse()"
                )
                yield
            finally:
                await connection.execute("DROP FUNCTION notification.refuse() CASCADE")

    def wire(self) -> list[tuple[str, Json]]:
        """Every CloudEvent in the embedded broker's log with its topic, oldest first, but what was published raw."""
        place = self.system.data.path / "daprlet" / "daprlet.db"
        connection = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
        try:
            found = connection.execute(_WIRE).fetchall()
        finally:
            connection.close()
        return [(topic, json.loads(body)) for topic, body in found]

    async def through(self, due_at: str = "") -> None:
        """Return once a reminder that is due after now, and after `due_at`, was mailed: those before had their turn."""
        control = await self.person("control")
        earlier = dt.datetime.fromisoformat(due_at) if due_at else from_now(0)
        await control.remind(max(0.0, (earlier - from_now(0)).total_seconds()) + 0.1)
        await control.one_mail()


@dataclass(frozen=True)
class Person:
    """A user with an address of their own."""

    world: World
    id: int
    email: str

    async def add(self, title: str = "Water the plants", **fields: Json) -> Json:
        return await self.world.api("POST", "/tasks", {"title": title, "user_id": self.id} | fields)

    async def remind(self, seconds: float, title: str = "Water the plants", **fields: Json) -> Json:
        """Add a task that is due, and to be reminded of, so many seconds from now."""
        return await self.add(title, due_at=from_now(seconds).isoformat(), reminders=["PT0S"], **fields)

    async def do(self, task: Json, what: str, body: Json = None) -> Json:
        """complete, reopen or snooze a task."""
        return await self.world.api("POST", f"/tasks/{task['id']}/{what}", body, user_id=self.id)

    async def edit(self, task: Json, **changes: Json) -> Json:
        headers = {"if-match": f'"{task["version"]}"'}
        path, params = f"/tasks/{task['id']}", {"user_id": str(self.id)}
        answer = await self.world.ask("PATCH", path, json=changes, params=params, headers=headers)
        assert answer.status == 200, answer
        return answer.body

    async def delete(self, task: Json, **scope: str) -> None:
        await self.world.api("DELETE", f"/tasks/{task['id']}", user_id=self.id, **scope)

    async def task(self, task: Json) -> Json:
        return await self.world.api("GET", f"/tasks/{task['id']}", user_id=self.id)

    async def tasks(self, status: str = "open") -> list[Json]:
        """The person's tasks, the soonest due first."""
        found = await self.world.api("GET", "/tasks", user_id=self.id, status=status, sort="due")
        return list(found["tasks"])

    async def why(self, task: Json) -> Json:
        return await self.world.api("GET", f"/tasks/{task['id']}/why", user_id=self.id)

    async def steps(self, task: Json, where: str) -> list[Json]:
        """What `why` says happened at one place."""
        timeline: list[Json] = (await self.why(task))["timeline"]
        return [step for step in timeline if step["where"] == where]

    async def attempts(self, task: Json, at_least: int = 1, seconds: float = PATIENCE) -> list[Json]:
        """The attempts at the task's only reminder, once there are so many."""

        async def look() -> list[Json]:
            history = (await self.task(task))["reminder_history"]
            attempts = list(history[0]["attempts"]) if history else []
            return attempts if len(attempts) >= at_least else []

        return await eventually(look, seconds)

    async def reached(self, task: Json, *states: str, seconds: float = PATIENCE) -> None:
        """Return once a reminder of the task is in one of these states of the schedule."""

        async def look() -> bool:
            told = await self.steps(task, "schedule")
            return any(step["what"].partition(":")[0] in states for step in told)

        await eventually(look, seconds)

    async def one_mail(self) -> Json:
        """The only mail this person has got, whole, once it is there."""
        (mail,) = await eventually(lambda: self.world.mails(self.email))
        whole: Json = mail | await self.world.whole_mail(mail["ID"])
        return whole

    async def mail_count(self) -> int:
        return len(await self.world.mails(self.email))


async def all_of(*work: Awaitable[T]) -> Sequence[T]:
    return await asyncio.gather(*work)
