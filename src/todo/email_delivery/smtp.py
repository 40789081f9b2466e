"""One connection to the mail server: RFC 5321 with PIPELINING, STARTTLS, AUTH and SMTPUTF8 where they are needed.

Thin because it is the hot path: a mail costs two round trips where the server offers PIPELINING.
"""

import asyncio
import base64
import enum
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OPENING: Final = 15.0  # seconds to connect, greet, encrypt and log in
CLOSING: Final = 1.0  # seconds for a goodbye
REPLY_LIMIT: Final = 64 * 1024
_LINE: Final = re.compile(rb"(\d{3})([ -]?)(.*)", re.DOTALL)
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")  # RFC 3463
_READY, _GO_ON, _CLOSING = 220, 354, 421


class SmtpError(Exception):
    """The server cannot be used now; the message is a sentence without addresses of people."""


class EncryptionError(SmtpError):
    """The server does not encrypt as its URL says, or shows a certificate that is not trusted."""


class LoginError(SmtpError):
    """The server does not take our login."""


class ClosingError(SmtpError):
    """The server says that it closes this connection (421): another one may do."""


class Reply(NamedTuple):
    """One reply, its lines joined."""

    code: int
    text: str

    @property
    def is_positive(self) -> bool:
        return self.code < 400  # noqa: PLR2004 - RFC 5321

    @property
    def is_final(self) -> bool:
        """Accepted or refused, and nothing in between."""
        return 200 <= self.code < 300 or self.code >= 400  # noqa: PLR2004 - RFC 5321

    @property
    def subject(self) -> int | None:
        """What the enhanced status code (RFC 3463) says the reply is about: 1 address, 7 policy ..."""
        found = _STATUS.match(self.text)
        return int(found[2]) if found else None


class Stage(enum.Enum):
    """Which part of a mail a reply answers."""

    RESET = "RSET"
    SENDER = "MAIL"
    RECIPIENT = "RCPT"
    DATA = "DATA"
    MESSAGE = "the message"


class Answer(NamedTuple):
    """The reply that decided about a mail."""

    stage: Stage
    reply: Reply


class Mail(NamedTuple):
    """One message to one recipient. `content` has CRLF line ends; `needs_utf8`: an address is not ASCII (RFC 6531)."""

    sender: str
    recipient: str
    content: bytes
    needs_utf8: bool = False


class Security(enum.Enum):
    NONE = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


def verified_tls() -> ssl.SSLContext:
    """The platform's authorities (`SSL_CERT_FILE` names others); host names are checked."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Server:
    """Where mails go. `tls` is asked for a context once per connection, and never with verification off."""

    host: str
    port: int
    security: Security = Security.NONE
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Callable[[], ssl.SSLContext] = field(default=verified_tls, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Wire(asyncio.Protocol):
    """Bytes out, replies in."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None

    @property
    def is_quiet(self) -> bool:
        """Open, and nothing was said that nobody asked for."""
        return self._lost is None and not self._buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # TCP transports read and write

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > REPLY_LIMIT:
            self.abort("the mail server answered without end")
        self._wake()

    def eof_received(self) -> None:
        self.abort("the mail server closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._lost or f"the connection to the mail server was lost ({type(error).__name__})"
        self._wake()

    def abort(self, reason: str) -> None:
        self._lost = self._lost or reason
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def write(self, data: bytes) -> None:
        if self._lost is not None or self.transport is None:
            raise SmtpError(self._lost or "the mail server is not connected")
        self.transport.write(data)

    async def reply(self) -> Reply:
        """The next reply. Raises `SmtpError` when none will come."""
        while (reply := self._parse()) is None:
            if self._lost is not None:
                raise SmtpError(self._lost)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return reply

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _parse(self) -> Reply | None:
        end, lines = 0, []
        while (newline := self._buffer.find(b"\n", end)) >= 0:
            found = _LINE.match(self._buffer[end:newline].rstrip(b"\r"))
            if found is None:
                raise SmtpError("the mail server does not speak SMTP")
            end = newline + 1
            lines.append(found[3].decode("utf-8", "replace"))
            if found[2] != b"-":
                del self._buffer[:end]
                return Reply(int(found[1]), "\n".join(lines))
        return None


class Connection:
    """Open, greeted, encrypted and logged in as the server's URL says. After an error it must be thrown away."""

    def __init__(self, wire: _Wire, server: Server) -> None:
        self._wire = wire
        self._server = server
        self._extensions: dict[str, str] = {}
        self._needs_reset = False
        self._is_closing = False
        self.mails = 0  # begun on this connection

    @classmethod
    async def open(cls, server: Server) -> "Connection":
        """Raises `SmtpError`: away, too slow, not what the URL says, or it does not let us in."""
        wire = _Wire()
        try:
            async with asyncio.timeout(OPENING):
                return await cls._open(wire, server)
        except TimeoutError as error:
            wire.abort("too slow")
            raise SmtpError(f"the mail server {server} did not get ready within {OPENING:.0f} s") from error
        except OSError as error:
            wire.abort("not reached")
            kind = EncryptionError if isinstance(error, ssl.SSLError) else SmtpError
            raise kind(f"the mail server {server} could not be reached ({_cause(error)})") from error
        except BaseException:
            wire.abort("not opened")
            raise

    @classmethod
    async def _open(cls, wire: _Wire, server: Server) -> "Connection":
        connection = cls(wire, server)
        await _dial(wire, server)
        await connection._greet()
        if server.security is Security.STARTTLS:
            await connection._encrypt()
        if server.username:
            await connection._log_in()
        return connection

    @property
    def takes_utf8(self) -> bool:
        return "SMTPUTF8" in self._extensions

    @property
    def is_usable(self) -> bool:
        return self._wire.is_quiet and not self._is_closing

    async def send(self, mail: Mail, hand_over: Callable[[], None]) -> Answer:
        """Send one mail and return the reply that decided about it; the connection stays usable whatever it was.

        `hand_over` is called immediately before the message leaves; if it raises, the message does not leave.
        Raises `SmtpError` when there is no such reply: before `hand_over` was called the mail was not sent, after it
        the mail may have been.
        """
        self.mails += 1
        refused = await self._envelope(mail)
        if refused is not None:
            return refused
        hand_over()
        self._wire.write(_dotted(mail.content))
        reply = await self._wire.reply()
        self._is_closing = reply.code == _CLOSING
        if not reply.is_final:
            raise SmtpError(f"the mail server answered the message with {reply.code}")
        return Answer(Stage.MESSAGE, reply)

    async def quit(self) -> None:
        """Say goodbye and close; never raises for what the server does."""
        try:
            async with asyncio.timeout(CLOSING):
                await self._ask("QUIT")
        except (SmtpError, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self._wire.abort("closed by us")

    async def _envelope(self, mail: Mail) -> Answer | None:
        """Name sender and recipient and ask to hand the message over; the refusal, if it is one."""
        commands = [
            *([(Stage.RESET, "RSET")] if self._needs_reset else []),
            (Stage.SENDER, f"MAIL FROM:<{mail.sender}>{' BODY=8BITMIME SMTPUTF8' if mail.needs_utf8 else ''}"),
            (Stage.RECIPIENT, f"RCPT TO:<{mail.recipient}>"),
            (Stage.DATA, "DATA"),
        ]
        replies = await self._exchange([command for _, command in commands])
        answers = [Answer(stage, reply) for (stage, _), reply in zip(commands, replies, strict=False)]
        refused = next((answer for answer in answers if not answer.reply.is_positive), None)
        self._needs_reset = refused is not None
        if replies[-1].code == _GO_ON and refused is not None:
            await self._take_back()
        elif refused is None and replies[-1].code != _GO_ON:
            raise SmtpError(f"the mail server answered DATA with {replies[-1].code}")
        return refused

    async def _take_back(self) -> None:
        """The server wants a message for nobody (RFC 2920, 3.1): an empty one ends it."""
        self._wire.write(b".\r\n")
        await self._reply()

    async def _exchange(self, commands: Sequence[str]) -> list[Reply]:
        """The replies in order. Without PIPELINING the first refusal is the last."""
        if "PIPELINING" in self._extensions:
            self._write("\r\n".join(commands))
            return [await self._reply() for _ in commands]
        replies: list[Reply] = []
        for command in commands:
            replies.append(await self._ask(command))
            if not replies[-1].is_positive:
                break
        return replies

    async def _greet(self) -> None:
        greeting = await self._reply()
        if greeting.code != _READY:
            raise SmtpError(f"the mail server {self._server} turned us away ({greeting.code})")
        await self._introduce()

    async def _introduce(self) -> None:
        reply = await self._ask(f"EHLO {self._own_name()}")
        if not reply.is_positive:
            raise SmtpError(f"the mail server {self._server} does not accept EHLO ({reply.code})")
        lines = (line.partition(" ") for line in reply.text.upper().splitlines()[1:])
        self._extensions = {name: parameters for name, _, parameters in lines}

    async def _encrypt(self) -> None:
        if "STARTTLS" not in self._extensions:
            raise EncryptionError(f"the mail server {self._server} does not offer STARTTLS")
        reply = await self._ask("STARTTLS")
        if reply.code != _READY:
            raise EncryptionError(f"the mail server {self._server} refused STARTTLS ({reply.code})")
        await self._start_tls()
        await self._introduce()

    async def _start_tls(self) -> None:
        wire = self._wire
        if not wire.is_quiet or wire.transport is None:
            raise SmtpError("the mail server spoke before it was encrypted")  # an injected reply would be believed
        wire.transport = await asyncio.get_running_loop().start_tls(
            wire.transport, wire, self._server.tls(), server_hostname=self._server.host
        )

    async def _log_in(self) -> None:
        mechanisms = self._extensions.get("AUTH", "").split()
        if "PLAIN" in mechanisms:
            secret = _base64(f"\0{self._server.username}\0{self._server.password}")
            reply = await self._ask(f"AUTH PLAIN {secret}")
        elif "LOGIN" in mechanisms:
            reply = await self._log_in_by_question()
        else:
            raise LoginError(f"the mail server {self._server} offers no way to log in that is known here")
        if not reply.is_positive:
            raise LoginError(f"the mail server {self._server} did not accept our login ({reply.code})")

    async def _log_in_by_question(self) -> Reply:
        reply = await self._ask("AUTH LOGIN")
        for answer in (self._server.username, self._server.password):
            if not reply.is_positive:
                return reply
            reply = await self._ask(_base64(answer))
        return reply

    async def _ask(self, command: str) -> Reply:
        self._write(command)
        return await self._reply()

    def _write(self, commands: str) -> None:
        self._wire.write(f"{commands}\r\n".encode())

    async def _reply(self) -> Reply:
        reply = await self._wire.reply()
        if reply.code == _CLOSING:
            self._is_closing = True
            raise ClosingError(f"the mail server closes the connection ({reply.code})")
        return reply

    def _own_name(self) -> str:
        """A full host name, or the address literal that RFC 5321 wants instead."""
        name = socket.gethostname()
        if "." in name and name.isascii():
            return name
        address = self._wire.transport.get_extra_info("sockname")[0] if self._wire.transport else "127.0.0.1"
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


async def _dial(wire: _Wire, server: Server) -> None:
    loop = asyncio.get_running_loop()
    encrypted = server.security is Security.TLS
    await loop.create_connection(
        lambda: wire,
        server.host,
        server.port,
        ssl=server.tls() if encrypted else None,
        server_hostname=server.host if encrypted else None,
    )


def _dotted(content: bytes) -> bytes:
    """The message as DATA takes it: lines that start with a dot get another, and a dot alone ends it."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return error.strerror or type(error).__name__
