"""The mailbox's messages, durable before they are acknowledged: SQLite, one writer thread, commits in groups."""

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GROUP: Final = 500  # messages in one commit at most
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    received_at REAL NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    raw BLOB NOT NULL,
    read INTEGER NOT NULL DEFAULT 0
)
"""
SELECT: Final = "SELECT seq, id, received_at, sender, recipients, raw, read FROM messages "


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it was accepted; `received_at` is Unix time in seconds, taken before it was stored."""

    seq: int
    id: str
    received_at: float
    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    read: bool


@dataclass(frozen=True, slots=True)
class _Write:
    sql: str
    parameters: tuple[object, ...]
    done: Future[None]


class MessageStore:
    """Keeps the newest `keep` messages in `folder`/mailbox.db. Its methods may be called from any thread.

    What `add()` has returned from survives `kill -9` and power loss.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._keep = keep
        self._writes: queue.Queue[_Write | None] = queue.Queue()
        self._writing = self._open(folder / "mailbox.db")
        self._writing.execute(SCHEMA)
        self._reading = self._open(folder / "mailbox.db")
        self._reading_lock = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="mailbox-writer", daemon=True)
        self._writer.start()

    def close(self) -> None:
        self._writes.put(None)
        self._writer.join()
        self._writing.close()
        self._reading.close()

    async def add(self, sender: str, recipients: Sequence[str], raw: bytes) -> str:
        """Store a message durably and return its id; sqlite3.Error when it cannot be (a full disk)."""
        message_id = uuid.uuid4().hex
        await self._write(
            "INSERT INTO messages (id, received_at, sender, recipients, raw) VALUES (?, ?, ?, ?, ?)",
            (message_id, time.time(), sender, json.dumps(recipients), raw),
        )
        return message_id

    async def mark_read(self, message_id: str) -> None:
        await self._write("UPDATE messages SET read = 1 WHERE id = ?", (message_id,))

    async def delete(self, ids: Sequence[str] = ()) -> None:
        """Delete the named messages, or all of them."""
        if not ids:
            await self._write("DELETE FROM messages", ())
        for message_id in ids:
            await self._write("DELETE FROM messages WHERE id = ?", (message_id,))

    def newest(self, *, start: int = 0, limit: int | None = None) -> list[Received]:
        """List messages, newest first."""
        page = (-1 if limit is None else limit, start)
        return self._select(SELECT + "ORDER BY seq DESC LIMIT ? OFFSET ?", page)

    def get(self, message_id: str) -> Received | None:
        """Return one message by its id; `latest` is the newest one."""
        if message_id == "latest":
            return next(iter(self.newest(limit=1)), None)
        return next(iter(self._select(SELECT + "WHERE id = ?", (message_id,))), None)

    def counts(self) -> tuple[int, int]:
        """Count all messages and the unread ones."""
        with self._reading_lock:
            total, unread = self._reading.execute(
                "SELECT count(*), count(*) FILTER (WHERE read = 0) FROM messages"
            ).fetchone()
        return total, unread

    async def _write(self, sql: str, parameters: tuple[object, ...]) -> None:
        write = _Write(sql, parameters, Future())
        self._writes.put(write)
        await asyncio.wrap_future(write.done)

    def _run(self) -> None:
        while (first := self._writes.get()) is not None:
            group = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP and not last:
                    entry = self._writes.get_nowait()
                    last = entry is None
                    group += [entry] if entry is not None else []
            self._commit(group)
            if last:
                return

    def _commit(self, group: Sequence[_Write]) -> None:
        try:
            with self._writing:
                self._writing.execute("BEGIN IMMEDIATE")
                for write in group:
                    self._writing.execute(write.sql, write.parameters)
                self._writing.execute(
                    "DELETE FROM messages WHERE seq <= (SELECT max(seq) FROM messages) - ?", (self._keep,)
                )
        except sqlite3.Error as error:
            _finish(group, error)
        else:
            _finish(group, None)

    def _select(self, sql: str, parameters: tuple[object, ...]) -> list[Received]:
        with self._reading_lock:
            rows = self._reading.execute(sql, parameters).fetchall()
        return [
            Received(seq, message_id, at, sender, tuple(json.loads(recipients)), raw, bool(read))
            for seq, message_id, at, sender, recipients, raw, read in rows
        ]

    def _open(self, place: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False, timeout=30.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        return connection


def _finish(group: Sequence[_Write], error: Exception | None) -> None:
    for write in group:
        if not write.done.set_running_or_notify_cancel():
            continue
        if error is None:
            write.done.set_result(None)
        else:
            write.done.set_exception(error)
