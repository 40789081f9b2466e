"""Server-sent events as a browser reads them (WHATWG HTML, 9.2.6): an id counts for what comes after it too."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    data: Any


class Stream:
    """An open stream; `last_id` is what a browser would resume with."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments: list[str] = []

    async def events(self) -> AsyncIterator[Event]:
        """Every event until the stream ends."""
        kind, data = "message", []
        async for raw in self.answer.content:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line and not field:
                self.comments.append(value)
            match field:
                case "id":
                    self.last_id = value
                case "event":
                    kind = value
                case "data":
                    data.append(value)
            if not line:
                if data:
                    yield Event(kind, self.last_id, json.loads("\n".join(data)))
                kind, data = "message", []

    async def take(self, count: int) -> list[Event]:
        """The next events. The test's own time limit ends a wait for what never comes."""
        taken: list[Event] = []
        async for event in self.events():
            taken.append(event)
            if len(taken) == count:
                break
        return taken

    async def until(self, task_id: str, version: int) -> list[Event]:
        """The next events, up to the one that tells of this version or a later one."""
        taken: list[Event] = []
        async for event in self.events():
            taken.append(event)
            if event.kind == "change" and event.data["id"] == task_id and event.data["version"] >= version:
                return taken
        raise AssertionError("the stream ended")


@asynccontextmanager
async def streaming(
    http: aiohttp.ClientSession, path: str, query: Mapping[str, str], **headers: str
) -> AsyncIterator[Stream]:
    """Open a stream and close it again."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    timeout = aiohttp.ClientTimeout(total=None)
    async with http.get(path, params=dict(query), headers=sent, timeout=timeout) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)
