"""Dapr's jobs: durable schedules whose ticks reach one replica each, one after the other, none of them lost."""

import asyncio
import functools
import heapq
import logging
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from daprlet.apps import Apps, Replica
from daprlet.database import Database
from daprlet.errors import AppUnreachable, Rejected, StorageError
from daprlet.job import DEFAULT_POLICY, Job, JobSpec, Key, first

_log = logging.getLogger(__name__)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS job (
    app TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, spec BLOB NOT NULL,
    due REAL NOT NULL, expires REAL, fired INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
"""
_LOOK: Final = 1.0  # the longest sleep: a clock that was set is noticed within it
_SET: Final = 0.5  # seconds by which clocks part when one was set, and not just corrected
_CALLBACK_TIMEOUT: Final = 300.0
_STORE_AGAIN: Final = 1.0
_NOT_FOUND: Final = 404


class JobExists(Rejected):
    """A job of this name exists and `overwrite` was not asked for."""


class Jobs:
    """All jobs of a run.

    A tick is delivered to one available replica of the job's app and waits for one when there is none. The next tick of
    a job comes after the present one was answered, and is counted from the present one's time, so ticks missed while
    nothing ran are made up for in immediate succession. Progress is durable: a tick that was
    answered is repeated only when the run ended between that answer and its commit, one that failed as its policy says.
    Waiting is by the monotonic clock: when the other one is set back, no interval gets longer.
    """

    def __init__(self, database: Database, apps: Apps) -> None:
        self._database = database
        self._apps = apps
        self._jobs: dict[Key, Job] = {}
        self._heap: list[tuple[float, Key, str]] = []  # by monotonic time
        self._offset = _offset()
        self._firing: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        columns = "SELECT app, name, version, spec, due, expires, fired, attempts FROM job"
        for app, name, version, spec, *rest in database.read(columns):
            self._keep(Job(Key(app, name), version, msgspec.json.decode(spec, type=JobSpec), *rest))

    async def schedule(self, app: str, name: str, spec: JobSpec, *, overwrite: bool) -> None:
        """Store a job durably; raises `UnschedulableJobError`, `JobExists` or `StorageError`.

        One whose time to live ends before its first tick is accepted, as in Dapr, and over.
        """
        job = first(Key(app, name), spec, datetime.now(UTC))

        def store(connection: sqlite3.Connection) -> None:
            found = connection.execute("SELECT 1 FROM job WHERE app = ? AND name = ?", job.key).fetchone()
            if found and not overwrite:
                raise JobExists(f"job already exists: '{name}'")
            if job.is_over:
                _remove(connection, job.key)
                return
            connection.execute(
                "INSERT OR REPLACE INTO job (app, name, version, spec, due, expires) VALUES (?, ?, ?, ?, ?, ?)",
                (*job.key, job.version, msgspec.json.encode(job.spec), job.due, job.expires),
            )

        await self._database.write(store)
        if job.is_over:
            self._jobs.pop(job.key, None)
        else:
            self._keep(job)

    def get(self, app: str, name: str) -> JobSpec | None:
        job = self._jobs.get(Key(app, name))
        return job.spec if job else None

    async def delete(self, app: str, name: str) -> None:
        """Remove a job durably; a missing one is no error."""
        key = Key(app, name)
        await self._database.write(lambda connection: _remove(connection, key))
        self._jobs.pop(key, None)

    async def run(self) -> None:
        """Fire ticks as they fall due, until `stop`."""
        while not self._stopping:
            self._wake.clear()
            self._follow_the_clock()
            self._fire_due(time.monotonic())
            wait = min(_LOOK, max(0.0, self._heap[0][0] - time.monotonic())) if self._heap else None
            await _wait(self._wake, wait)

    async def stop(self) -> None:
        """Fire no more; a tick that is not answered by now is repeated by the next run."""
        self._stopping = True
        self._wake.set()
        unfinished = list(self._firing.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def _keep(self, job: Job) -> None:
        self._jobs[job.key] = job
        heapq.heappush(self._heap, (time.monotonic() + job.wait(time.time()), job.key, job.version))
        self._wake.set()

    def _follow_the_clock(self) -> None:
        """After the clock was set: what is due at an instant waits for that, an interval gets no longer."""
        offset = _offset()
        if abs(offset - self._offset) < _SET:
            return
        self._offset = offset
        waiting = {key: at for at, key, version in self._heap if self._is(key, version)}
        self._heap = []
        for key, at in waiting.items():
            job = self._jobs[key]
            anew = time.monotonic() + job.wait(time.time())
            heapq.heappush(self._heap, (min(at, anew) if job.is_relative else anew, key, job.version))

    def _is(self, key: Key, version: str) -> bool:
        job = self._jobs.get(key)
        return job is not None and job.version == version

    def _fire_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            _, key, version = heapq.heappop(self._heap)
            if not self._is(key, version):
                continue  # deleted or overwritten
            job = self._jobs[key]
            if key not in self._firing:  # else the tick of an overwritten version is out: ours comes after it
                task = asyncio.create_task(self._tick(job))
                self._firing[key] = task
                task.add_done_callback(functools.partial(self._ended, key))

    def _ended(self, key: Key, task: "asyncio.Task[None]") -> None:
        del self._firing[key]
        if not task.cancelled() and task.exception() is not None:
            _log.error("a tick of %s ended unexpectedly", key.name, exc_info=task.exception())
        if (job := self._jobs.get(key)) is not None and not self._stopping:
            self._keep(job)

    async def _tick(self, job: Job) -> None:
        """Deliver one tick, again as its failure policy says, and move on to the next."""
        policy = job.spec.failure_policy or DEFAULT_POLICY
        while not await self._deliver(job):
            job = replace(job, attempts=job.attempts + 1)
            delay = policy.delay(job.attempts)
            if delay is None:
                _log.warning(
                    "job %s of %s: the tick is given up after %d attempts", job.key.name, job.key.app, job.attempts
                )
                break
            if not await self._record(job):
                return
            await asyncio.sleep(delay)
        await self._advance(job)

    async def _deliver(self, job: Job) -> bool:
        """Hand the tick to one replica, waiting for one; True when it counts as done."""
        while True:
            replica = await self._apps[job.key.app].wait_for_one()
            if not self._is(job.key, job.version) or (job.expires is not None and time.time() > job.expires):
                return True
            try:
                return await self._call(job, replica)
            except AppUnreachable:
                continue

    async def _call(self, job: Job, replica: Replica) -> bool:
        began = time.perf_counter()
        path, headers = "/job/" + quote(job.key.name, safe=""), {"Content-Type": "application/json"}
        try:
            with replica.busy():
                reply = await replica.channel.post(path, bytes(job.spec.data), headers, _CALLBACK_TIMEOUT)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("job %s of %s failed: %s", job.key.name, job.key.app, str(error) or "timeout")
            replica.metrics.job(time.perf_counter() - began, success=False)
            return False
        replica.metrics.job(time.perf_counter() - began, success=reply.ok)
        if not reply.ok:
            _log.warning("job %s: app %s answered %d", job.key.name, job.key.app, reply.status)
        return (
            reply.ok or reply.status == _NOT_FOUND
        )  # Dapr takes 404 as done: an app without the route is not pestered

    async def _advance(self, job: Job) -> None:
        following = job.following()
        if following is not None:
            await self._record(following)
            return

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM job WHERE app = ? AND name = ? AND version = ?", (*job.key, job.version))

        await self._store(remove)
        if self._is(job.key, job.version):
            del self._jobs[job.key]

    async def _record(self, job: Job) -> bool:
        """Store where the job stands; False when it was deleted or overwritten meanwhile."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE job SET due = ?, fired = ?, attempts = ? WHERE app = ? AND name = ? AND version = ?",
                (job.due, job.fired, job.attempts, *job.key, job.version),
            )

        await self._store(update)
        if not self._is(job.key, job.version):
            return False
        self._jobs[job.key] = job
        return True

    async def _store(self, operation: Any) -> None:  # noqa: ANN401 - an operation of any result
        while True:
            try:
                await self._database.write(operation)
            except StorageError as error:
                _log.error("the progress of a job could not be stored: %s", error)
                await asyncio.sleep(_STORE_AGAIN)
            else:
                return


def _offset() -> float:
    return time.time() - time.monotonic()


def _remove(connection: sqlite3.Connection, key: Key) -> None:
    connection.execute("DELETE FROM job WHERE app = ? AND name = ?", key)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
