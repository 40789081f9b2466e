"""The public API and the mailbox, as their callers see them: typed answers that keep the bytes they came in.

What other services tell one another is asked through the sidecar instead (`todo.dapr.client.Dapr.invoke`).
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import aiohttp
import msgspec

from todo.backend.auth.settings import is_secure
from todo.contracts.pause import Pause

T = TypeVar("T")

TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=3)
STREAMING: Final = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=120)  # of a file, or a long report
ATTEMPTS: Final = 4  # of a request that may be repeated, when its connection broke
PAUSE: Final = 0.5  # seconds before the second attempt, then twice and three times as long
_NETWORK: Final = (aiohttp.ClientConnectionError, asyncio.TimeoutError, OSError)


class UnreachableError(Exception):
    """Nobody answers at the address, or somebody who does not speak this API."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class ClearTextError(Exception):
    """The caller's token would go in clear text over a network."""

    def __init__(self, url: str) -> None:
        super().__init__(f"TODO_TOKEN is not sent in clear text to {url}: use https (http only on loopback)")


class NoAnswerError(Exception):
    """A service behind the API could not be asked; the message says which and why."""


class Fault(msgspec.Struct, frozen=True):
    field: str = ""
    problem: str = ""
    fix: str = ""


class Problem(msgspec.Struct, frozen=True):
    """An error as the API tells it (RFC 9457)."""

    title: str
    status: int
    type: str = ""
    detail: str = ""
    errors: tuple[Fault, ...] = ()


class RefusedError(Exception):
    """The API answered with a problem; `body` is its JSON as it came."""

    def __init__(self, problem: Problem, body: bytes) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        self.body = body


class User(msgspec.Struct, frozen=True):
    id: int
    email: str
    name: str
    zone: str


class Recurrence(msgspec.Struct, frozen=True):
    series_id: UUID
    seq: int
    rule: str
    mode: str
    policy: str
    ended: bool


class Attempt(msgspec.Struct, frozen=True):
    attempt: int
    outcome: str
    at: dt.datetime
    reason: str
    possibly_sent: bool
    recipient: str | None
    message_id: str | None


class Reminder(msgspec.Struct, frozen=True):
    """One firing of a reminder: what became of it in one word, and every attempt."""

    reminder: str
    fire_at: dt.datetime
    state: str
    attempts: tuple[Attempt, ...]


class Task(msgspec.Struct, frozen=True):
    """`reminder_history` is there when one task was asked for."""

    id: UUID
    user_id: int
    version: int
    title: str
    notes: str
    status: str
    due_at: dt.datetime | None
    due_date: dt.date | None
    zone: str | None
    priority: int
    labels: tuple[str, ...]
    reminders: tuple[str, ...]
    recurrence: Recurrence | None
    created_at: dt.datetime
    updated_at: dt.datetime
    closed_at: dt.datetime | None
    start_at: dt.datetime | None = None
    start_date: dt.date | None = None
    list_id: UUID | None = None
    parent_id: UUID | None = None
    position: str = ""
    deleted_at: dt.datetime | None = None
    reminder_history: tuple[Reminder, ...] = ()


class TaskPage(msgspec.Struct, frozen=True):
    tasks: tuple[Task, ...]
    next_cursor: str | None


class Token(msgspec.Struct, frozen=True):
    """A stretch of a line that was understood; it counts UTF-16 code units."""

    start: int
    end: int
    kind: str
    text: str


class Firing(msgspec.Struct, frozen=True):
    reminder: str
    fire_at: dt.datetime


class Reading(msgspec.Struct, frozen=True):
    """A line as a task; `draft` is what `add_task` takes."""

    title: str
    tokens: tuple[Token, ...]
    draft: dict[str, Any]
    reading: str
    occurrences: tuple[str, ...]  # instants or days, as the API says them
    reminders: tuple[Firing, ...]
    remarks: tuple[str, ...]


class Sentence(msgspec.Struct, frozen=True):
    rule: str
    mode: str
    policy: str
    sentence: str
    occurrences: tuple[str, ...]
    remarks: tuple[str, ...]


class TaskList(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    color: str | None
    position: str
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class TaskLists(msgspec.Struct, frozen=True):
    lists: tuple[TaskList, ...]


class Change(msgspec.Struct, frozen=True):
    """A change that can be taken back."""

    id: str
    at: dt.datetime
    what: str
    title: str
    things: int
    takes_back: bool


class Changes(msgspec.Struct, frozen=True):
    steps: tuple[Change, ...]


class Changed(msgspec.Struct, frozen=True):
    kind: str
    id: UUID
    version: int
    deleted: bool


class Undone(msgspec.Struct, frozen=True):
    what: str
    title: str
    changed: tuple[Changed, ...]


class BulkResult(msgspec.Struct, frozen=True):
    id: UUID
    ok: bool
    version: int | None
    problem: Problem | None


class BulkResults(msgspec.Struct, frozen=True):
    results: tuple[BulkResult, ...]


class View(msgspec.Struct, frozen=True):
    """A filter that somebody saved under a name."""

    id: UUID
    name: str
    filter: str
    sort: str
    position: str
    version: int


class Views(msgspec.Struct, frozen=True):
    views: tuple[View, ...]


class Step(msgspec.Struct, frozen=True):
    """One thing that happened, or is to come."""

    at: dt.datetime
    where: str
    what: str
    version: int | None = None
    reminder: str | None = None
    fire_at: dt.datetime | None = None
    attempt: int | None = None
    message_id: str | None = None
    recipient: str | None = None


class WhyTask(msgspec.Struct, frozen=True):
    id: UUID
    title: str
    status: str
    deleted: bool


class Why(msgspec.Struct, frozen=True):
    """The timeline of a task in the order of time; `did_not_answer` names the services that it lacks."""

    task: WhyTask
    timeline: tuple[Step, ...]
    reminders: tuple[Reminder, ...]
    did_not_answer: tuple[str, ...]


class Remark(msgspec.Struct, frozen=True):
    """Something in a file that is not imported as it stands, or not at all."""

    line: int
    entry: int
    field: str
    problem: str
    instead: str = ""


class Progress(msgspec.Struct, frozen=True):
    phase: str
    tasks: int
    share: float


class Imported(msgspec.Struct, frozen=True):
    """How an import ended. `fields` counts what was lost by field."""

    dry_run: bool
    tasks: int
    imported: int
    already_there: int
    broken: int
    losses: int
    fields: dict[str, int]
    result: str


class Failed(msgspec.Struct, frozen=True):
    reason: str
    imported: int


class ImportLine(msgspec.Struct, frozen=True):
    """A line of an import's report: one of these."""

    loss: Remark | None = None
    broken: Remark | None = None
    progress: Progress | None = None
    done: Imported | None = None
    failed: Failed | None = None


class Letter(msgspec.Struct, frozen=True):
    """A dead letter; `body` is there when one was asked for."""

    id: int
    app: str
    topic: str
    event_id: str
    event_type: str
    subject: str
    error: str
    attempts: int
    status: str
    replays: int
    size: int
    sha256: str
    parked_at: dt.datetime
    changed_at: dt.datetime
    body: str = ""
    body_encoding: str = "utf-8"


class LetterPage(msgspec.Struct, frozen=True):
    dead_letters: tuple[Letter, ...]
    next_cursor: str | None


class Outbox(msgspec.Struct, frozen=True):
    depth: int
    oldest_seconds: float
    paused: Pause | None = None


class Schedule(msgspec.Struct, frozen=True):
    states: dict[str, int]
    next_fire: dt.datetime | None
    oldest_overdue: dt.datetime | None
    outbox_depth: int
    outbox_oldest: dt.datetime | None
    relay_paused: Pause | None = None


class Pipeline(msgspec.Struct, frozen=True):
    outbox: Outbox
    dead_letters: dict[str, int]
    schedule: Schedule | None
    sidecar_ready: bool


class Address(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    address: str


class Mail(msgspec.Struct, frozen=True):
    """One mail in the mailbox, in Mailpit's words; `Text` is there when one was asked for."""

    ID: str
    MessageID: str
    From: Address
    To: tuple[Address, ...]
    Subject: str
    Created: dt.datetime | None = None
    Snippet: str = ""
    Text: str = ""


class Mails(msgspec.Struct, frozen=True):
    total: int
    messages: tuple[Mail, ...]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was answered: `body` as it came, `value` as it is read."""

    body: bytes
    value: T


class _Http:
    """Requests to one base address, with the caller's token. Raises `UnreachableError` and `RefusedError`."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str | None = None) -> None:
        """Raises `ClearTextError`."""
        if token and not is_secure(base):
            raise ClearTextError(base)
        self._session = session
        self._own = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self.base = base

    async def get(self, kind: type[T], path: str, **query: object) -> Answer[T]:
        return await self._ask("GET", path, kind, query=query, repeatable=True)

    async def post(self, kind: type[T], path: str, body: object = None, **query: object) -> Answer[T]:
        return await self._ask("POST", path, kind, body=body, query=query)

    async def _ask(  # noqa: PLR0913 - a request has this many parts
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer[T]:
        content = None if body is None else msgspec.json.encode(body)
        sent = self._own | dict(headers or {})
        params = {name: str(value) for name, value in (query or {}).items() if value is not None}
        status, answer = await self._send(method, path, content, sent, params, ATTEMPTS if repeatable else 1)
        if status >= 400:  # noqa: PLR2004 - HTTP
            raise self._refusal(status, answer)
        try:
            return Answer(answer, msgspec.json.decode(answer or b"null", type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreachableError(self.base, f"what answers there is something else ({error})") from error

    async def _send(  # noqa: PLR0913 - the same parts
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        tries: int,
    ) -> tuple[int, bytes]:
        url = f"{self.base}{path}"
        for attempt in range(1, tries + 1):
            try:
                async with self._session.request(method, url, data=body, headers=headers, params=query) as response:
                    return response.status, await response.read()
            except (aiohttp.InvalidURL, ValueError) as error:
                raise UnreachableError(self.base, "that is not an address") from error
            except _NETWORK as error:
                # Whoever never listened is away; a connection that broke may have been that of a restart.
                refused = isinstance(error, aiohttp.ClientConnectorError)
                if attempt == tries or (attempt == 1 and refused):
                    reason = "nothing listens there" if refused else f"the connection failed ({type(error).__name__})"
                    raise UnreachableError(self.base, reason) from error
            await asyncio.sleep(PAUSE * attempt)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _streamed(
        self, method: str, path: str, query: Mapping[str, object], content: BinaryIO | None = None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer that is read as it comes. Raises what `_ask` raises, and `UnreachableError` if it breaks off."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        headers = self._own | {"content-type": "application/octet-stream"}
        try:
            async with self._session.request(
                method, f"{self.base}{path}", data=content, headers=headers, params=params, timeout=STREAMING
            ) as response:
                if response.status >= 400:  # noqa: PLR2004 - HTTP
                    raise self._refusal(response.status, await response.read())
                yield response.content
        except (aiohttp.InvalidURL, ValueError) as error:
            raise UnreachableError(self.base, "that is not an address") from error
        except (*_NETWORK, aiohttp.ClientPayloadError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError)
            reason = "nothing listens there" if refused else f"the connection failed ({type(error).__name__})"
            raise UnreachableError(self.base, reason) from error

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Server-sent events. A stream that is silent for so many seconds is a connection that broke."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=silence)
        sent = self._own | dict(headers)
        try:
            async with self._session.get(f"{self.base}{path}", params=query, headers=sent, timeout=timeout) as answer:
                if answer.status >= 400:  # noqa: PLR2004 - HTTP
                    raise self._refusal(answer.status, await answer.read())
                if answer.content_type != "text/event-stream":
                    raise UnreachableError(self.base, f"what answers there is something else ({answer.content_type})")
                yield answer.content
        except (aiohttp.InvalidURL, ValueError) as error:
            raise UnreachableError(self.base, "that is not an address") from error
        except (*_NETWORK, aiohttp.ClientPayloadError) as error:
            raise UnreachableError(self.base, f"the connection failed ({type(error).__name__})") from error

    def _refusal(self, status: int, body: bytes) -> Exception:
        try:
            return RefusedError(msgspec.json.decode(body, type=Problem), body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return UnreachableError(self.base, f"what answers there ({status}) is something else")


class Api(_Http):
    """backend's public API. `user_id` None: the caller's own."""

    async def add_task(self, draft: Mapping[str, Any]) -> Answer[Task]:
        """Create a task; asked again under its key when the connection broke, so that it is made once."""
        headers = {"idempotency-key": str(uuid4())}
        return await self._ask("POST", "/tasks", Task, body=draft, headers=headers, repeatable=True)

    async def quick_add(self, user_id: int | None, text: str, zone: str | None, language: str) -> Answer[Reading]:
        """Have a line read; nothing is saved."""
        body = {"text": text, "zone": zone, "language": language}
        query = {"user_id": user_id}
        return await self._ask("POST", "/quick-add", Reading, body=body, query=query, repeatable=True)

    async def sentence(self, user_id: int | None, given: Mapping[str, Any]) -> Answer[Sentence]:
        """Have a sentence read as a rule; `given` as the API takes it."""
        query = {"user_id": user_id}
        return await self._ask("POST", "/sentences", Sentence, body=given, query=query, repeatable=True)

    async def tasks(self, user_id: int | None, **query: object) -> Answer[TaskPage]:
        """A page of tasks; `query` as the API takes it: status, label, q, filter, sort, cursor, limit."""
        return await self.get(TaskPage, "/tasks", user_id=user_id, **query)

    async def all_tasks(self, user_id: int | None, **query: object) -> AsyncIterator[Task]:
        """Every task, page by page."""
        cursor: str | None = None
        while True:
            page = (await self.tasks(user_id, limit=500, cursor=cursor, **query)).value
            for task in page.tasks:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def task(self, user_id: int | None, task_id: UUID) -> Answer[Task]:
        return await self.get(Task, f"/tasks/{task_id}", user_id=user_id)

    async def edit(self, user_id: int | None, task_id: UUID, changes: Mapping[str, Any], version: int) -> Answer[Task]:
        """Change fields of the version that was read."""
        headers = {"if-match": f'"{version}"'}
        path, query = f"/tasks/{task_id}", {"user_id": user_id}
        return await self._ask("PATCH", path, Task, body=changes, query=query, headers=headers)

    async def complete(self, user_id: int | None, task_id: UUID) -> Answer[Task]:
        return await self._ask(
            "POST", f"/tasks/{task_id}/complete", Task, query={"user_id": user_id}, repeatable=True
        )  # completing again changes nothing

    async def reopen(self, user_id: int | None, task_id: UUID) -> Answer[Task]:
        return await self.post(Task, f"/tasks/{task_id}/reopen", user_id=user_id)

    async def snooze(self, user_id: int | None, task_id: UUID, until: str, reminder: str | None) -> Answer[Task]:
        body = {"until": until, "reminder": reminder}
        return await self.post(Task, f"/tasks/{task_id}/snooze", body, user_id=user_id)

    async def delete(self, user_id: int | None, task_id: UUID, scope: str | None) -> Answer[None]:
        query = {"user_id": user_id, "scope": scope}
        return await self._ask("DELETE", f"/tasks/{task_id}", type(None), query=query)

    async def dismiss(self, user_id: int | None, task_id: UUID, reminder: str) -> Answer[Task]:
        return await self.post(Task, f"/tasks/{task_id}/dismiss", {"reminder": reminder}, user_id=user_id)

    async def restore(self, user_id: int | None, task_id: UUID) -> Answer[Task]:
        path, query = f"/tasks/{task_id}/restore", {"user_id": user_id}
        return await self._ask("POST", path, Task, query=query, repeatable=True)  # restoring again changes nothing

    async def move(self, user_id: int | None, task_id: UUID, where: Mapping[str, Any]) -> Answer[Task]:
        """Put a task behind another one; `where` as the API takes it: after, list_id, parent_id."""
        return await self.post(Task, f"/tasks/{task_id}/move", where, user_id=user_id)

    async def bulk(self, user_id: int | None, body: Mapping[str, Any]) -> Answer[BulkResults]:
        """Do one action to many tasks; asked again under its key when the connection broke."""
        query, headers = {"user_id": user_id}, {"idempotency-key": str(uuid4())}
        return await self._ask(
            "POST", "/tasks/bulk", BulkResults, body=body, query=query, headers=headers, repeatable=True
        )

    async def undo(self, user_id: int | None, step: str | None) -> Answer[Undone]:
        """Take a change back, or the last one; asked again under its key when the connection broke."""
        query, headers = {"user_id": user_id}, {"idempotency-key": str(uuid4())}
        body = {"id": step}
        return await self._ask("POST", "/undo", Undone, body=body, query=query, headers=headers, repeatable=True)

    async def changes(self, user_id: int | None, limit: int) -> Answer[Changes]:
        """The last changes that can be taken back."""
        return await self.get(Changes, "/undo", user_id=user_id, limit=limit)

    async def lists(self, user_id: int | None) -> Answer[TaskLists]:
        return await self.get(TaskLists, "/lists", user_id=user_id)

    async def add_list(self, user_id: int | None, name: str, color: str | None) -> Answer[TaskList]:
        body, query = {"name": name, "color": color}, {"user_id": user_id}
        headers = {"idempotency-key": str(uuid4())}
        return await self._ask("POST", "/lists", TaskList, body=body, query=query, headers=headers, repeatable=True)

    async def edit_list(self, user_id: int | None, one: TaskList, changes: Mapping[str, Any]) -> Answer[TaskList]:
        """Change the version of a list that was read."""
        path, query, headers = f"/lists/{one.id}", {"user_id": user_id}, {"if-match": f'"{one.version}"'}
        return await self._ask("PATCH", path, TaskList, body=changes, query=query, headers=headers)

    async def delete_list(self, user_id: int | None, one: TaskList) -> Answer[None]:
        path, query, headers = f"/lists/{one.id}", {"user_id": user_id}, {"if-match": f'"{one.version}"'}
        return await self._ask("DELETE", path, type(None), query=query, headers=headers)

    async def why(self, user_id: int | None, task_id: UUID) -> Answer[Why]:
        return await self.get(Why, f"/tasks/{task_id}/why", user_id=user_id)

    async def export(self, user_id: int | None, kind: str) -> AsyncIterator[bytes]:
        """Every task as a file, in pieces."""
        async with self._streamed("GET", "/exports", {"user_id": user_id, "format": kind}) as answer:
            async for piece in answer.iter_any():
                yield piece

    async def import_file(
        self, user_id: int | None, kind: str, file: BinaryIO, *, dry_run: bool, partial: bool
    ) -> AsyncIterator[Answer[ImportLine]]:
        """The report of an import, line by line while it goes."""
        query = {"user_id": user_id, "format": kind, "dry_run": str(dry_run).lower(), "partial": str(partial).lower()}
        async with self._streamed("POST", "/imports", query, file) as answer:
            async for line in answer:
                yield Answer(line, msgspec.json.decode(line, type=ImportLine))

    async def views(self, user_id: int | None) -> Answer[Views]:
        return await self.get(Views, "/views", user_id=user_id)

    async def add_view(self, user_id: int | None, view: Mapping[str, Any]) -> Answer[View]:
        headers, query = {"idempotency-key": str(uuid4())}, {"user_id": user_id}
        return await self._ask("POST", "/views", View, body=view, query=query, headers=headers, repeatable=True)

    async def edit_view(self, user_id: int | None, view: View, changes: Mapping[str, Any]) -> Answer[View]:
        """Change a view as it was read."""
        headers, query = {"if-match": f'"{view.version}"'}, {"user_id": user_id}
        return await self._ask("PATCH", f"/views/{view.id}", View, body=changes, query=query, headers=headers)

    async def delete_view(self, user_id: int | None, view: View) -> Answer[None]:
        headers, query = {"if-match": f'"{view.version}"'}, {"user_id": user_id}
        return await self._ask("DELETE", f"/views/{view.id}", type(None), query=query, headers=headers)

    async def users(self) -> Answer[tuple[User, ...]]:
        return await self.get(tuple[User, ...], "/users")

    async def add_user(self, email: str, name: str, zone: str) -> Answer[User]:
        body = {"email": email, "name": name, "zone": zone}
        headers = {"idempotency-key": str(uuid4())}
        return await self._ask("POST", "/users", User, body=body, headers=headers, repeatable=True)

    async def letters(self, status: str, limit: int, cursor: str | None = None) -> Answer[LetterPage]:
        return await self.get(LetterPage, "/dead-letters", status=status, limit=limit, cursor=cursor)

    async def letter(self, letter_id: int) -> Answer[Letter]:
        return await self.get(Letter, f"/dead-letters/{letter_id}")

    async def replay(self, letter_id: int) -> Answer[Letter]:
        return await self.post(Letter, f"/dead-letters/{letter_id}/replay")

    async def discard(self, letter_id: int) -> Answer[Letter]:
        return await self.post(Letter, f"/dead-letters/{letter_id}/discard")

    async def pipeline(self) -> Answer[Pipeline]:
        return await self.get(Pipeline, "/pipeline")


class Mailbox(_Http):
    """The development mailbox, or Mailpit in its place."""

    async def mails(self, limit: int = 50, start: int = 0) -> Answer[Mails]:
        """Newest first."""
        return await self.get(Mails, "/api/v1/messages", limit=limit, start=start)

    async def mail(self, mail_id: str) -> Answer[Mail]:
        """One mail by its id; `latest` is the newest one."""
        return await self.get(Mail, f"/api/v1/message/{quote(mail_id, safe='')}")

    def _refusal(self, status: int, body: bytes) -> Exception:
        if status == 404:  # noqa: PLR2004 - HTTP
            return RefusedError(Problem("not found", status, detail="there is no such mail"), body)
        return super()._refusal(status, body)


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The process's one HTTP client."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as http:
        yield http
