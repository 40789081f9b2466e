"""A real SMTP server on 127.0.0.1 that does to its clients what a test tells it to."""

import asyncio
import base64
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8")

_USUAL: Final = {
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}

Hook = Callable[[str], Awaitable[str | None]]


class Hangup(Exception):  # noqa: N818 - a hook raises it to end the connection
    """Close the connection without a reply."""


class Reset(Hangup):
    """Close it with RST."""


@dataclass(frozen=True)
class Received:
    """One message that the server accepted, as it came over the wire (dots unstuffed)."""

    sender: str
    recipient: str
    content: bytes
    connection: int

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])


@dataclass
class SmtpServer:
    """Behaves well until `hooks` say otherwise.

    A hook belongs to a moment: GREETING, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, MESSAGE, RSET, NOOP, QUIT. It gets the
    command's argument (for MESSAGE the recipient) and returns a reply, or None for the usual one; it may wait, and it
    may raise `Hangup` or `Reset`. A message is kept when its hook is done and the reply is not a refusal.
    """

    extensions: Sequence[str] = EXTENSIONS
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    login: tuple[str, str] | None = None
    delay: float = 0.0  # seconds before each answer to what arrived together
    hooks: dict[str, Hook] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    bursts: list[list[str]] = field(default_factory=list)  # the commands that arrived together
    connections: int = 0
    port: int = 0

    def on(self, moment: str, hook: Hook | str) -> None:
        """Answer a moment with a reply or a hook from now on."""
        self.hooks[moment] = _always(hook) if isinstance(hook, str) else hook

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator["SmtpServer"]:
        sessions: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            sessions.add(task)
            self.connections += 1
            await _Session(self, reader, writer, self.connections).run()

        context = self.tls if self.implicit_tls else None
        server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for session in sessions:
                session.cancel()
            await asyncio.gather(*sessions, return_exceptions=True)


class _Session:
    def __init__(
        self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._number = number
        self._buffer = b""
        self._sender = ""
        self._recipient = ""
        self._is_encrypted = server.implicit_tls

    async def run(self) -> None:
        try:
            await self._say("GREETING", "", "220 test.invalid ready")
            while await self._command(await self._line()):
                pass
        except Hangup as hangup:
            if isinstance(hangup, Reset):
                self._writer.transport.abort()
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._writer.close()

    async def _command(self, line: str) -> bool:
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if verb == "DATA":
            await self._data()
        elif verb == "STARTTLS" and self._server.tls:
            await self._encrypt()
        elif verb == "AUTH":
            await self._log_in(argument)
        else:
            reply = await self._say(verb, argument, self._usual(verb, argument))
            self._forget_refused(verb, reply)
        return verb != "QUIT"

    def _usual(self, verb: str, argument: str) -> str:
        if verb == "EHLO":
            return "\r\n".join(["250-test.invalid", *(f"250-{one}" for one in self._offers()), "250 HELP"])
        if (verb == "MAIL" and self._sender) or (verb == "RCPT" and not self._sender):
            return "503 5.5.1 not now"
        match verb:
            case "MAIL":
                self._sender = _address(argument)
            case "RCPT":
                self._recipient = _address(argument)
            case "RSET":
                self._sender = self._recipient = ""
        return _USUAL.get(verb, "502 5.5.1 unknown")

    def _forget_refused(self, verb: str, reply: str) -> None:
        if verb == "MAIL" and not reply.startswith(("2", "503")):
            self._sender = ""
        if verb == "RCPT" and not reply.startswith("2"):
            self._recipient = ""

    def _offers(self) -> list[str]:
        starttls = ["STARTTLS"] if self._server.tls and not self._is_encrypted else []
        return [*self._server.extensions, *starttls, *(["AUTH PLAIN LOGIN"] if self._server.login else [])]

    async def _data(self) -> None:
        usual = "354 go on" if self._sender and self._recipient else "503 5.5.1 RCPT first"
        if not (await self._say("DATA", "", usual)).startswith("354"):
            return
        content = await self._message()
        received = Received(self._sender, self._recipient, content, self._number)
        self._sender = self._recipient = ""
        reply = await self._reply_to("MESSAGE", received.recipient, "250 2.0.0 accepted")
        if reply.startswith("2"):
            self._server.received.append(received)
        await self._write(reply)

    async def _message(self) -> bytes:
        while not (self._buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self._buffer):
            await self._fill()
        if self._buffer.startswith(b".\r\n"):
            self._buffer = self._buffer[3:]
            return b""
        content, _, self._buffer = self._buffer.partition(b"\r\n.\r\n")
        return re.sub(rb"(?m)^\.", b"", content + b"\r\n")

    async def _encrypt(self) -> None:
        assert self._server.tls is not None
        await self._say("STARTTLS", "", "220 2.0.0 go on")
        await self._writer.start_tls(self._server.tls)
        self._is_encrypted = True

    async def _log_in(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        given = (
            [initial]
            if mechanism == "PLAIN"
            else [await self._prompt("334 VXNlcm5hbWU6"), await self._prompt("334 UGFzc3dvcmQ6")]
        )
        secret = b"\0".join(base64.b64decode(one) for one in given).decode().strip("\0")
        accepted = self._server.login is not None and secret == "\0".join(self._server.login)
        await self._say("AUTH", mechanism, "235 2.7.0 welcome" if accepted else "535 5.7.8 wrong")

    async def _prompt(self, reply: str) -> str:
        await self._write(reply)
        return await self._line()

    async def _say(self, moment: str, argument: str, usual: str) -> str:
        reply = await self._reply_to(moment, argument, usual)
        await self._write(reply)
        return reply

    async def _reply_to(self, moment: str, argument: str, usual: str) -> str:
        hook = self._server.hooks.get(moment)
        return (await hook(argument) if hook else None) or usual

    async def _write(self, reply: str) -> None:
        self._writer.write(f"{reply}\r\n".encode())
        await self._writer.drain()

    async def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            await self._fill()
            self._server.bursts.append(self._buffer.decode(errors="replace").split("\r\n")[:-1])
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        self._server.commands.append(line.decode())
        return line.decode()

    async def _fill(self) -> None:
        chunk = await self._reader.read(65536)
        if not chunk:
            raise EOFError
        if self._server.delay:
            await asyncio.sleep(self._server.delay)
        self._buffer += chunk


def _always(reply: str) -> Hook:
    async def hook(_: str) -> str:
        return reply

    return hook


def _address(argument: str) -> str:
    found = re.search(r"<([^>]*)>", argument)
    return found[1] if found else ""


@dataclass(frozen=True)
class Authority:
    """A certificate authority of this test run, and a server certificate for `localhost` and 127.0.0.1."""

    certificate: Path
    server: ssl.SSLContext

    def client(self) -> ssl.SSLContext:
        """What a client that trusts this authority, and checks names, connects with."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_authority(folder: Path) -> Authority:
    """Make one with the openssl command; without it the tests that need it fail."""
    assert shutil.which("openssl"), "the openssl command is needed to make a test's certificates"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    _openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem",
        "/CN=Test authority",
    )
    _openssl(
        folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr",
        "/CN=localhost",
    )
    (folder / "names").write_text(names)
    _openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Authority(folder / "ca.pem", context)


def _openssl(folder: Path, command: str, subject: str | None = None) -> None:
    named = ["-subj", subject] if subject else []
    subprocess.run(["openssl", *command.split(), *named], cwd=folder, check=True, capture_output=True)  # noqa: S607
