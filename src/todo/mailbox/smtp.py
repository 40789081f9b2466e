"""A small SMTP sink (RFC 5321 with PIPELINING, 8BITMIME, SIZE, SMTPUTF8) that answers 250 once the message is durable.

Some recipients are refused on purpose, so that a failing mail server can be had without one; see `Refusals`.
"""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Sequence
from typing import Final

from todo.mailbox.store import MessageStore

MAX_SIZE: Final = 25 * 1024 * 1024
MAX_COMMAND: Final = 4096
MAX_RECIPIENTS: Final = 100
IDLE_SECONDS: Final = 300.0
SLOW_SECONDS: Final = 3.0
CHUNK: Final = 64 * 1024
END_OF_DATA: Final = b"\r\n.\r\n"
SENDER: Final = re.compile(r"FROM:\s*<([^<>]*)>(.*)", re.IGNORECASE)
RECIPIENT: Final = re.compile(r"TO:\s*<([^<>]+)>", re.IGNORECASE)
SIZE: Final = re.compile(r"\bSIZE=(\d{1,20})\b", re.IGNORECASE)


class _TooLargeError(Exception):
    pass


class Refusals:
    """What a recipient's local part, up to the first `+`, makes the server do.

    - `refused@...`: 550 for ever;
    - `greylist@...`: 451 the first time, then accepted (per address, forgotten at a restart);
    - `slow@...`, `slow+SECONDS@...`: the answer after DATA takes 3, or so many, seconds;
    - `drop-after-data@...`: the message is taken, and the connection closed without an answer.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def reply_to_recipient(self, address: str) -> str | None:
        """Return the refusal, or None to accept."""
        match _behaviour(address):
            case "refused":
                return "550 5.1.1 no such mailbox here"
            case "greylist" if address not in self._seen:
                self._seen.add(address)
                return "451 4.7.1 greylisted, try again later"
            case _:
                return None

    def delay(self, recipients: Sequence[str]) -> float:
        """Return how many seconds the answer after DATA takes."""
        return max((_slowness(address) for address in recipients), default=0.0)

    def drops(self, recipients: Sequence[str]) -> bool:
        return any(_behaviour(address) == "drop-after-data" for address in recipients)


def _behaviour(address: str) -> str:
    return address.partition("@")[0].partition("+")[0].lower()


def _slowness(address: str) -> float:
    if _behaviour(address) != "slow":
        return 0.0
    asked = address.rpartition("@")[0].partition("+")[2]
    return float(asked) if re.fullmatch(r"\d{1,3}(\.\d{1,3})?", asked) else SLOW_SECONDS


class _Input:
    """Lines and messages out of a stream of bytes."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()

    async def command(self) -> str:
        end = await self._find(b"\n", MAX_COMMAND)
        return self._take(end + 1).decode(errors="replace").strip()

    async def message(self) -> bytes:
        self._buffer[:0] = b"\r\n"  # so that a first line of one dot ends the message like any other
        end = await self._find(END_OF_DATA, MAX_SIZE)
        message = self._take(end + len(END_OF_DATA))
        return message[:-3].replace(b"\r\n..", b"\r\n.")[2:]

    async def _find(self, wanted: bytes, limit: int) -> int:
        place = self._buffer.find(wanted)
        while place < 0:
            searched = max(0, len(self._buffer) - len(wanted) + 1)
            if len(self._buffer) > limit:
                raise _TooLargeError
            chunk = await self._reader.read(CHUNK)
            if not chunk:
                raise EOFError
            self._buffer += chunk
            place = self._buffer.find(wanted, searched)
        return place

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class SmtpSink:
    """Listens from `start()` to `close()`."""

    def __init__(self, store: MessageStore, *, hostname: str = "mailbox.localhost") -> None:
        self._store = store
        self._refusals = Refusals()
        self._hostname = hostname
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._connected, host, port, backlog=512)

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the server does not listen")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)
        try:
            await _Session(self._store, self._refusals, self._hostname, reader, writer).run()
        except (EOFError, ConnectionError, TimeoutError):
            pass
        except _TooLargeError:
            writer.write(b"552 5.3.4 too large\r\n")
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()


class _Session:
    """One connection."""

    def __init__(
        self,
        store: MessageStore,
        refusals: Refusals,
        hostname: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._store = store
        self._refusals = refusals
        self._hostname = hostname
        self._input = _Input(reader)
        self._writer = writer
        self._sender: str | None = None
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._reply(f"220 {self._hostname} development mailbox")
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await self._input.command()
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "QUIT":
                    await self._reply("221 2.0.0 bye")
                    return
                case "DATA":
                    if not await self._data():
                        return
                case other:
                    await self._reply(self._answer(other, rest))

    def _answer(self, verb: str, rest: str) -> str:
        match verb:
            case "EHLO":
                self._reset()
                return "\r\n".join(
                    [f"250-{self._hostname}", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8", f"250 SIZE {MAX_SIZE}"]
                )
            case "HELO" | "RSET" | "NOOP":
                if verb != "NOOP":
                    self._reset()
                return "250 2.0.0 ok"
            case "MAIL":
                return self._mail(rest)
            case "RCPT":
                return self._recipient(rest)
            case "VRFY":
                return "252 2.5.0 send some mail and see"
            case _:
                return "502 5.5.1 no such command here"

    def _mail(self, rest: str) -> str:
        found = SENDER.match(rest)
        if found is None:
            return "501 5.5.4 MAIL FROM:<address>"
        size = SIZE.search(found[2])
        if size and int(size[1]) > MAX_SIZE:
            return "552 5.3.4 too large"
        self._reset()
        self._sender = found[1]
        return "250 2.1.0 ok"

    def _recipient(self, rest: str) -> str:
        found = RECIPIENT.match(rest)
        if self._sender is None:
            return "503 5.5.1 MAIL first"
        if found is None:
            return "501 5.5.4 RCPT TO:<address>"
        if len(self._recipients) >= MAX_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        refusal = self._refusals.reply_to_recipient(found[1])
        if refusal is None:
            self._recipients.append(found[1])
        return refusal or "250 2.1.5 ok"

    async def _data(self) -> bool:
        """Take a message; tell whether the connection goes on."""
        if self._sender is None or not self._recipients:
            await self._reply("503 5.5.1 RCPT first")
            return True
        await self._reply("354 end with a line of one dot")
        async with asyncio.timeout(IDLE_SECONDS):
            raw = await self._input.message()
        sender, recipients = self._sender, self._recipients
        self._reset()
        answer = await self._keep(sender, recipients, raw)
        if self._refusals.drops(recipients):
            return False
        await asyncio.sleep(self._refusals.delay(recipients))
        await self._reply(answer)
        return True

    async def _keep(self, sender: str, recipients: Sequence[str], raw: bytes) -> str:
        try:
            message_id = await self._store.add(sender, recipients, raw)
        except sqlite3.Error:
            return "452 4.3.1 the message could not be stored"
        return f"250 2.0.0 kept as {message_id}"

    async def _reply(self, text: str) -> None:
        self._writer.write(f"{text}\r\n".encode())
        await self._writer.drain()

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []
