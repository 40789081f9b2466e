"""One SQLite file with one writer thread: everything queued while the last commit ran goes into the next one."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

from daprlet.errors import Rejected, StorageError

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

_VERSION: Final = 1  # of the files' format
_GROUP_LIMIT: Final = 1024  # operations per commit: bounds how long one commit can make the others wait
_DURABLE: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",
    "PRAGMA checkpoint_fullfsync=ON",
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
)


class _Job(NamedTuple):
    operation: Operation[Any]
    done: "asyncio.Future[Any]"


class _Settled(NamedTuple):
    job: _Job
    result: Any
    error: Exception | None


class Database:
    """Durable storage shared by the log, state and jobs.

    `write` answers only after the commit has reached the disk (`synchronous=FULL`, WAL), so what was answered survives
    `kill -9` and power loss. Operations run in the order they were submitted. An operation that raises is undone alone:
    the group is rolled back and its members are run again one by one, hence an operation must not have effects outside
    the connection it is given. `read` runs on the event loop on a second connection and sees every answered write.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._writer = _connect(path)
        self._check_version()
        self.add_schema(schema)
        self._reader = _connect(path)
        self._reader.execute("PRAGMA query_only=ON")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _check_version(self) -> None:
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        if found not in (0, _VERSION):
            self._writer.close()
            raise sqlite3.NotSupportedError(f"its format is {found}; this daprlet writes {_VERSION}")
        self._writer.execute(f"PRAGMA user_version={_VERSION}")

    def add_schema(self, schema: str) -> None:
        """Make what is missing of a schema."""
        connection = self.connect()
        try:
            connection.executescript(schema)
        finally:
            connection.close()

    def start(self) -> None:
        """Begin to write, unless that was done before; called on the event loop that will call `write`."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"writer-{self._path.name}", daemon=True)
        self._thread.start()

    async def write(self, operation: Operation[T]) -> T:
        """Run `operation` in the next group commit and return its result once it is durable.

        Raises `Rejected` as the operation raised it (before it wrote anything, or out of a `Savepoint`), `StorageError`
        when SQLite could not store it.
        """
        if self._loop is None:
            raise StorageError("the database is closed")
        job = _Job(operation, self._loop.create_future())
        self._queue.put(job)
        result: T = await job.done
        return result

    def read(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._reader.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Rows one by one; leaving the block ends the read transaction even when not all were taken."""
        cursor = self._reader.execute(sql, parameters)
        try:
            yield cursor
        finally:
            cursor.close()

    def connect(self) -> sqlite3.Connection:
        """Another connection for reads too long for the event loop; the caller closes it."""
        return _connect(self._path)

    async def close(self) -> None:
        """Write what is queued, then close."""
        self._loop = None
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
        self._reader.close()
        self._writer.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._next_group()
            if group:
                self._settle(self._commit(group))

    def _next_group(self) -> tuple[list[_Job], bool]:
        first = self._queue.get()
        group: list[_Job] = []
        with contextlib.suppress(Empty):
            while first is not None:
                group.append(first)
                if len(group) >= _GROUP_LIMIT:
                    break
                first = self._queue.get_nowait()
        return group, first is not None

    def _commit(self, group: list[_Job]) -> list[_Settled]:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            settled = [_attempt(self._writer, job) for job in group]
            self._writer.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, each member is told in its own second run
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            if len(group) == 1:
                return [_Settled(group[0], None, StorageError(f"{type(error).__name__}: {error}"))]
            return [one for job in group for one in self._commit([job])]
        return settled

    def _settle(self, settled: list[_Settled]) -> None:
        loop = settled[0].job.done.get_loop()
        with contextlib.suppress(RuntimeError):  # the loop was closed without waiting for us
            loop.call_soon_threadsafe(_resolve, settled)


def _attempt(connection: sqlite3.Connection, job: _Job) -> _Settled:
    try:
        return _Settled(job, job.operation(connection), None)
    except Rejected as rejected:
        return _Settled(job, None, rejected)


def _resolve(settled: list[_Settled]) -> None:
    for job, result, error in settled:
        if job.done.done():
            continue
        if error is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result(result)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    for pragma in _DURABLE:
        connection.execute(pragma)
    return connection


class Savepoint:
    """Undo what the block wrote when it raises, without giving up the group it is part of."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT one")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._connection.execute("ROLLBACK TO one")
        self._connection.execute("RELEASE one")
