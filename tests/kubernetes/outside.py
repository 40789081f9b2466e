"""Somebody outside who creates tasks all the while, and remembers every answer."""

import asyncio
import datetime as dt
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.kubernetes.systems import System
from todo.contracts import names

BETWEEN: Final = 0.1  # seconds from an answer to the next request
PATIENCE: Final = aiohttp.ClientTimeout(total=30)
DELIVERED: Final = 240.0  # seconds; on Redis what a sidecar had in hand when it ended comes again after 75 to 90


class Outside:
    """Tasks that were acknowledged, and what was answered instead."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.acknowledged: set[str] = set()
        self.failures: list[str] = []
        self._base = system.url("backend", names.BACKEND.port)
        self._mailbox = system.url("mailbox", names.MAILBOX_HTTP_PORT)
        self._token = json.loads(
            self.todo("token", "add", "--user", "1", "--name", "outside", "--scope", "tasks:write", "--json").stdout
        )["token"]

    def todo(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `todo` in the operations pod, as an operator does."""
        stdin = ["--stdin"] if given else []
        return self.system.attempt("exec", *stdin, "deploy/operations", "--", "todo", *arguments, given=given)

    @asynccontextmanager
    async def busy(self, least: int = 5) -> AsyncIterator[None]:
        """Create tasks, due at once, for as long as this is entered, so many at least; one before and one after all."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=PATIENCE) as http:
            await self._create(http)
            before = len(self.acknowledged)
            creating = asyncio.create_task(self._create_for_ever(http))
            try:
                yield
            finally:
                creating.cancel()
                await asyncio.gather(creating, return_exceptions=True)
            assert len(self.acknowledged) - before >= least, f"nobody was there: {self.failures}"
            await self._create(http)

    async def _create_for_ever(self, http: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.shield(self._create(http))
            await asyncio.sleep(BETWEEN)

    async def _create(self, http: aiohttp.ClientSession) -> None:
        draft = {
            "title": f"Task {len(self.acknowledged)}",
            "user_id": 1,
            "due_at": dt.datetime.now(dt.UTC).isoformat(),
            "reminders": ["PT0S"],
        }
        try:
            async with http.post(
                f"{self._base}/tasks", json=draft, headers={"authorization": f"Bearer {self._token}"}
            ) as answer:
                if answer.status == 201:
                    self.acknowledged.add((await answer.json())["id"])
                else:
                    self.failures.append(f"{answer.status} {(await answer.text())[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(f"{type(error).__name__} {error}")

    async def mails(self) -> int:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as http,
            http.get(f"{self._mailbox}/api/v1/messages?limit=1") as answer,
        ):
            return int((await answer.json())["total"])

    async def delivered(self) -> None:
        """Wait until as many mails have come as tasks were acknowledged."""
        deadline = asyncio.get_running_loop().time() + DELIVERED
        while (count := await self.mails()) < len(self.acknowledged):
            assert asyncio.get_running_loop().time() < deadline, f"{count} mails for {len(self.acknowledged)} tasks"
            await asyncio.sleep(0.5)

    async def conclude(self) -> None:
        """Nothing was refused, and nothing is lost or there twice: said by the outside and by `todo verify`."""
        assert self.failures == [], self.failures[:5]
        await self.delivered()
        done = await asyncio.to_thread(self.todo, "verify", "--wait", "60", "--json")
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode, report["findings"]) == (0, []), done.stderr
        looked_at = {what: report["looked_at"][what] for what in ("tasks", "mails")}
        assert looked_at == dict.fromkeys(looked_at, len(self.acknowledged)), report["looked_at"]
