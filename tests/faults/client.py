"""Somebody outside who uses the API with care: each request under a key, repeated until it is answered."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import aiohttp
import msgspec

from tests.faults.ledger import Ledger
from todo.operations.client import Task, TaskPage

USER: Final = 1
DUE: Final = "PT0S"
PATIENCE: Final = 60.0  # seconds for one request to be answered
PAUSE: Final = 0.2  # seconds between two tries
PAGE: Final = 500
_AWAY: Final = frozenset({502, 503, 504})
_NETWORK: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)

T = TypeVar("T")


class UnexpectedAnswerError(AssertionError):
    """The API neither did what was asked nor said that it cannot now."""


class Client:
    """Creates, completes and reads; every 2xx answer to a change goes into the ledger."""

    def __init__(self, http: aiohttp.ClientSession, base: str, ledger: Ledger, *, at_once: int = 16) -> None:
        self._http = http
        self._base = base
        self._ledger = ledger
        self._lanes = asyncio.Semaphore(at_once)

    async def create(self, title: str, due_at: dt.datetime, rule: str | None = None) -> Task:
        """A task with a reminder at the instant it is due."""
        draft: dict[str, Any] = {"title": title, "user_id": USER, "due_at": due_at.isoformat(), "reminders": [DUE]}
        if rule is not None:
            draft["recurrence"] = {"rule": rule}
        return self._acknowledged(await self._ask("POST", "/tasks", Task, draft))

    async def complete(self, task_id: UUID) -> Task:
        path = f"/tasks/{task_id}/complete?user_id={USER}"
        return self._acknowledged(await self._ask("POST", path, Task))

    async def task(self, task_id: UUID) -> Task:
        """A task with the history of its reminders."""
        return await self._ask("GET", f"/tasks/{task_id}?user_id={USER}", Task)

    async def tasks(self, **query: str) -> AsyncIterator[Task]:
        """Every task, page by page."""
        cursor = ""
        while True:
            asked = {"user_id": str(USER), "limit": str(PAGE), **query} | ({"cursor": cursor} if cursor else {})
            page = await self._ask("GET", "/tasks", TaskPage, query=asked)
            for task in page.tasks:
                yield task
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def open_titled(self, title: str) -> list[Task]:
        return [task async for task in self.tasks(status="open", q=title) if task.title == title]

    def _acknowledged(self, task: Task) -> Task:
        self._ledger.acknowledge(task)
        return task

    async def _ask(
        self, method: str, path: str, kind: type[T], body: object = None, *, query: Mapping[str, str] | None = None
    ) -> T:
        headers = {"content-type": "application/json", "idempotency-key": str(uuid4())}
        content = None if body is None else msgspec.json.encode(body)
        async with self._lanes, asyncio.timeout(PATIENCE):
            while True:
                answer = await self._try(method, path, content, headers, query)
                if answer is not None:
                    return msgspec.json.decode(answer, type=kind)
                await asyncio.sleep(PAUSE)

    async def _try(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str], query: Mapping[str, str] | None
    ) -> bytes | None:
        """One try: the body of a 2xx answer, None when it is to be asked again."""
        url = f"{self._base}{path}"
        try:
            async with self._http.request(method, url, data=content, headers=headers, params=query) as response:
                body = await response.read()
        except _NETWORK as error:
            self._ledger.answers[type(error).__name__] += 1
            return None
        self._ledger.answers[str(response.status)] += 1
        if response.status in _AWAY:
            return None
        if not response.ok:
            raise UnexpectedAnswerError(f"{method} {path}: {response.status} {body.decode(errors='replace')[:500]}")
        return body
