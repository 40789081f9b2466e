"""The append-only log of messages and, per consumer group and topic, what has been acknowledged of it."""

import asyncio
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from daprlet.database import Database

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS topic (
    id INTEGER PRIMARY KEY, pubsub TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (pubsub, name)
);
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, raw INTEGER NOT NULL, stored INTEGER NOT NULL,
    size INTEGER NOT NULL, expires REAL, headers BLOB, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS message_by_topic ON message (topic, id, stored, size);
CREATE TABLE IF NOT EXISTS subscription (
    id INTEGER PRIMARY KEY, consumer TEXT NOT NULL, topic INTEGER NOT NULL, mark INTEGER NOT NULL,
    idle REAL NOT NULL, UNIQUE (consumer, topic)
);
CREATE TABLE IF NOT EXISTS ack (
    subscription INTEGER NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (subscription, message)
) WITHOUT ROWID;
"""

_APPEND: Final = "INSERT INTO message (topic, raw, stored, size, expires, headers, body) VALUES "
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?)"
# Rows per statement: after each the writer has to wait for its turn in the interpreter.
_CHUNKS: Final = (64, 8, 1)
_PAGE: Final = "SELECT id, raw, expires, headers, body FROM message WHERE topic = ? AND id > ? ORDER BY id LIMIT ?"
_PAGE_BYTES: Final = 2 * 1024 * 1024  # a page ends early when its bodies reach this; its first message always fits
_DELETE_CHUNK: Final = 500


_Row = tuple[int, bool, int, int, float | None, bytes | None, bytes]


class Draft(NamedTuple):
    """A message on its way into the log.

    `raw` tells bytes that daprlet did not wrap from an envelope it did; `expires` is a Unix time, `headers` a JSON
    object of the HTTP headers it is delivered with.
    """

    body: bytes
    raw: bool = False
    expires: float | None = None
    headers: bytes | None = None


class Message(NamedTuple):
    id: int
    raw: int
    expires: float | None
    headers: bytes | None
    body: bytes

    def draft(self) -> Draft:
        return Draft(self.body, bool(self.raw), self.expires, self.headers)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a consumer group stands: everything up to `mark` is acknowledged, and so is every id in `acked`."""

    subscription: int
    mark: int
    acked: frozenset[int]


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a topic outlives its use, in seconds and bytes: of what everybody acknowledged, of what nobody reads.

    Unacknowledged messages of a live subscription are never deleted.
    """

    acknowledged_age: float = 600.0
    acknowledged_bytes: int = 64 * 1024 * 1024
    unread_age: float = 7 * 86400.0
    unread_bytes: int = 512 * 1024 * 1024


class Log:
    """Topics, messages and positions on top of one `Database`. Ids grow in commit order over all topics."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: list[_Row] = []
        self._appending: asyncio.Task[None] | None = None
        self._topics = {
            (str(pubsub), str(name)): int(topic)
            for topic, pubsub, name in database.read("SELECT id, pubsub, name FROM topic")
        }

    async def topic(self, pubsub: str, name: str) -> int:
        """The number of a topic, which exists from its first use on."""
        known = self._topics.get((pubsub, name))
        if known is not None:
            return known

        def find_or_create(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO topic (pubsub, name) VALUES (?, ?)", (pubsub, name))
            row = connection.execute("SELECT id FROM topic WHERE pubsub = ? AND name = ?", (pubsub, name)).fetchone()
            return int(row[0])

        self._topics[pubsub, name] = found = await self._database.write(find_or_create)
        return found

    async def append(self, topic: int, drafts: Sequence[Draft]) -> None:
        """Store all drafts in order, or none of them (`StorageError`); durable when this returns."""
        self._rows += _rows(topic, drafts)
        if self._appending is None:
            self._appending = asyncio.create_task(self._append_collected())
        await asyncio.shield(self._appending)

    async def _append_collected(self) -> None:
        """Store in one go what was appended in this round of the event loop."""
        rows, self._rows, self._appending = self._rows, [], None
        await self._database.write(lambda connection: _insert(connection, rows))

    async def position(self, consumer: str, topic: int) -> Position:
        """Where `consumer` stands on `topic`; a new one starts before the oldest retained message."""

        def find_or_create(connection: sqlite3.Connection) -> Position:
            connection.execute(
                "INSERT INTO subscription (consumer, topic, mark, idle) VALUES (?, ?, 0, 0)"
                " ON CONFLICT DO UPDATE SET idle = 0",
                (consumer, topic),
            )
            found = "SELECT id, mark FROM subscription WHERE consumer = ? AND topic = ?"
            key, mark = connection.execute(found, (consumer, topic)).fetchone()
            acked = connection.execute("SELECT message FROM ack WHERE subscription = ? AND message > ?", (key, mark))
            return Position(key, mark, frozenset(row[0] for row in acked))

        return await self._database.write(find_or_create)

    def page(self, topic: int, after: int, limit: int) -> list[Message]:
        """Up to `limit` messages with ids above `after`, fewer when they are large."""
        page: list[Message] = []
        size = 0
        with self._database.rows(_PAGE, (topic, after, limit)) as rows:
            for row in rows:
                message = Message(*row)
                page.append(message)
                size += len(message.body)
                if size >= _PAGE_BYTES:
                    break
        return page

    async def settle(  # noqa: PLR0913 - one commit
        self,
        subscription: int,
        mark: int,
        above: Collection[int],
        dead: Sequence[Draft] = (),
        dead_topic: int = 0,
        *,
        clean: bool = True,
    ) -> None:
        """Acknowledge: move the low-water mark up to `mark`, remember the ids `above` it, move the `dead` ones over.

        One commit: a dead letter is on its topic exactly when its original is acknowledged. `clean` also forgets the
        ids at or below the mark that an earlier call had to remember.
        """
        acks = [(subscription, message) for message in above]
        rows = _rows(dead_topic, dead)

        def acknowledge(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE subscription SET mark = max(mark, ?) WHERE id = ?", (mark, subscription))
            if clean:
                connection.execute("DELETE FROM ack WHERE subscription = ? AND message <= ?", (subscription, mark))
            if acks:
                connection.executemany("INSERT OR IGNORE INTO ack (subscription, message) VALUES (?, ?)", acks)
            _insert(connection, rows)

        await self._database.write(acknowledge)

    async def sweep(self, live: Iterable[int], retention: Mapping[str, Retention], seconds: float) -> int:
        """Delete what no longer needs to be kept, in short commits; returns how many messages went.

        `live` are the subscriptions in use, `retention` the rules by pub/sub name, `seconds` the time since the last
        sweep. A subscription that nobody used for as long as unread messages are kept holds nothing back any more; only
        the time that daprlet runs counts, so an app that comes late after a long pause finds its messages.
        """
        await self._database.write(_Age(list(live), seconds))
        cuts = await asyncio.to_thread(self._cuts, retention)
        deleted = 0
        for topic, cut in cuts:
            while count := await self._database.write(_Delete(topic, cut)):
                deleted += count
        for topic, done in await asyncio.to_thread(self._done_behind, retention):
            for at in range(0, len(done), _DELETE_CHUNK):
                deleted += await self._database.write(_DeleteDone(topic, done[at : at + _DELETE_CHUNK]))
        if deleted:
            await self._database.write(_give_space_back)
        return deleted

    def _cuts(self, retention: Mapping[str, Retention]) -> list[tuple[int, int]]:
        connection = self._database.connect()
        try:
            topics = connection.execute("SELECT id, pubsub FROM topic").fetchall()
            cuts = [(topic, _cut(connection, topic, retention.get(pubsub, Retention()))) for topic, pubsub in topics]
        finally:
            connection.close()
        return [(topic, cut) for topic, cut in cuts if cut]

    def _done_behind(self, retention: Mapping[str, Retention]) -> list[tuple[int, list[int]]]:
        """By topic, what may go although something older is not acknowledged yet."""
        connection = self._database.connect()
        try:
            topics = connection.execute(
                "SELECT DISTINCT topic.id, pubsub FROM ack JOIN subscription ON subscription.id = ack.subscription"
                " JOIN topic ON topic.id = subscription.topic"
            ).fetchall()
            return [(topic, _behind(connection, topic, retention.get(pubsub, Retention()))) for topic, pubsub in topics]
        finally:
            connection.close()


def ends_log(page: Sequence[Message], limit: int) -> bool:
    """Whether there was nothing behind a page when it was read with this `limit`."""
    return len(page) < limit and sum(len(message.body) for message in page) < _PAGE_BYTES


def _insert(connection: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    at = 0
    for size in _CHUNKS:
        statement = _APPEND + ", ".join([_ROW] * size)
        while len(rows) - at >= size:
            connection.execute(statement, tuple(chain.from_iterable(rows[at : at + size])))
            at += size


def _rows(topic: int, drafts: Sequence[Draft]) -> list[_Row]:
    now = int(time.time())
    return [(topic, d.raw, now, len(d.body), d.expires, d.headers, d.body) for d in drafts]


def _cut(connection: sqlite3.Connection, topic: int, rules: Retention) -> int:
    """The highest id of the topic that may go, or 0."""
    marks = "SELECT min(mark) FROM subscription WHERE topic = ? AND idle <= ?"
    lowest = connection.execute(marks, (topic, rules.unread_age)).fetchone()[0]
    age, size = (
        (rules.unread_age, rules.unread_bytes) if lowest is None else (rules.acknowledged_age, rules.acknowledged_bytes)
    )
    # The newest message of all stays: SQLite derives the next id from it, and ids must never come back.
    (newest,) = connection.execute("SELECT max(id) FROM message").fetchone()
    ceiling = min((newest or 1) - 1, lowest if lowest is not None else (newest or 1))
    aged = "SELECT max(id) FROM message WHERE topic = ? AND id <= ? AND stored < ?"
    by_age = connection.execute(aged, (topic, ceiling, time.time() - age)).fetchone()[0] or 0
    return max(by_age, min(ceiling, _beyond_size(connection, topic, ceiling, size)))


def _beyond_size(connection: sqlite3.Connection, topic: int, ceiling: int, size: int) -> int:
    """The newest id at or below `ceiling` behind which the topic holds more than `size` bytes, or 0."""
    running = (
        "SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS total FROM message"
        " WHERE topic = ? AND id <= ?) WHERE total > ? LIMIT 1"
    )
    row = connection.execute(running, (topic, ceiling, size)).fetchone()
    return int(row[0]) if row else 0


def _behind(connection: sqlite3.Connection, topic: int, rules: Retention) -> list[int]:
    """The ids above the lowest mark that every subscription in use has acknowledged, and that are old or too many."""
    done = (
        "WITH reader AS (SELECT id, mark FROM subscription WHERE topic = :topic AND idle <= :idle), done AS ("
        " SELECT id, stored, sum(size) OVER (ORDER BY id DESC) AS total FROM message WHERE topic = :topic"
        " AND id > (SELECT min(mark) FROM reader) AND id < (SELECT max(id) FROM message)"
        " AND id <= (SELECT max(max(mark), (SELECT max(message) FROM ack WHERE subscription IN"
        " (SELECT id FROM reader))) FROM reader)"
        " AND NOT EXISTS (SELECT 1 FROM reader WHERE mark < message.id AND NOT EXISTS"
        " (SELECT 1 FROM ack WHERE ack.subscription = reader.id AND ack.message = message.id)))"
        " SELECT id FROM done WHERE stored < :oldest OR total > :size"
    )
    named = {
        "topic": topic,
        "idle": rules.unread_age,
        "oldest": time.time() - rules.acknowledged_age,
        "size": rules.acknowledged_bytes,
    }
    return [row[0] for row in connection.execute(done, named)]


class _Age:
    """Add to the idle time of every subscription but the live ones, which have none."""

    def __init__(self, live: list[int], seconds: float) -> None:
        self._live = [(subscription,) for subscription in live]
        self._seconds = seconds

    def __call__(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE subscription SET idle = idle + ?", (self._seconds,))
        connection.executemany("UPDATE subscription SET idle = 0 WHERE id = ?", self._live)


class _Delete:
    def __init__(self, topic: int, cut: int) -> None:
        self._parameters = (topic, cut, _DELETE_CHUNK)

    def __call__(self, connection: sqlite3.Connection) -> int:
        chunk = (
            "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE topic = ? AND id <= ? ORDER BY id LIMIT ?)"
        )
        return connection.execute(chunk, self._parameters).rowcount


class _DeleteDone:
    """Delete messages together with the acknowledgements of them, which are of no more use."""

    def __init__(self, topic: int, done: Sequence[int]) -> None:
        self._topic = topic
        self._done = [(message,) for message in done]

    def __call__(self, connection: sqlite3.Connection) -> int:
        subscriptions = connection.execute("SELECT id FROM subscription WHERE topic = ?", (self._topic,)).fetchall()
        for (subscription,) in subscriptions:
            acks = f"DELETE FROM ack WHERE subscription = {subscription:d} AND message = ?"  # noqa: S608 - a number
            connection.executemany(acks, self._done)
        return connection.executemany("DELETE FROM message WHERE id = ?", self._done).rowcount


def _give_space_back(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()
