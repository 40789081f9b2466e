"""The pool of connections to the mail server, and what its replies mean for a reminder."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog

from todo.contracts.events import Outcome
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery import metrics
from todo.email_delivery.lease import SMTP_DEADLINE
from todo.email_delivery.smtp import Answer, Connection, Mail, Reply, Server, SmtpError, Stage

log = structlog.get_logger()

IDLE: Final = 30.0  # seconds a connection is kept for the next mail
SLOW: Final = 1.0  # seconds after which a connection that failed has cost too much to try the next at once
LONGEST_REST: Final = 5.0  # seconds for which such a server is not tried again
REASON_LIMIT: Final = 300  # characters
_ADDRESS: Final = re.compile(r"\S+@\S+")
_OF_THE_SERVER: Final = frozenset({500, 501, 502, 503, 504, 521, 530, 534, 535, 538})  # about us, not about the mail
_POLICY: Final = 7  # RFC 3463, X.7: whether the sender may; a relay that denies us says so for every recipient


class LeaseTooOldError(Exception):
    """The claim may be another's by the time the mail server would answer: nothing was handed over."""


class BusyError(UnavailableError):
    """No connection to the mail server is for this mail now: it was not begun."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one mail: delivered, deferred or failed, with a sentence for its owner."""

    outcome: Outcome
    reason: str = ""
    possibly_sent: bool = False


class _HandOver:
    """The moment after which a mail may have been sent."""

    def __init__(self, may_start: Callable[[], bool]) -> None:
        self._may_start = may_start
        self.happened = False

    def __call__(self) -> None:
        if not self._may_start():
            raise LeaseTooOldError
        self.happened = True


class Mailer:
    """At most `size` mails at a time, each on a connection of its own, which the next mail reuses."""

    def __init__(self, server: Server, size: int) -> None:
        self._server = server
        self._lanes = asyncio.Semaphore(size)
        self._idle: dict[Connection, asyncio.TimerHandle] = {}
        self._partings: set[asyncio.Task[None]] = set()
        self._resting_until = 0.0
        self._why_resting = ""
        self._winds_down = False

    def wind_down(self) -> None:
        """Begin no more mails; those under way end as they do."""
        self._winds_down = True

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[None]:
        """Wait for the right to one connection: who claims a mail has it first, so that no claim waits for one.

        Raises `BusyError` once the service stops.
        """
        async with self._lanes:
            if self._winds_down:
                raise BusyError("the service stops")
            with metrics.lanes_in_use.track_inprogress():
                yield

    async def send(self, mail: Mail, *, may_start: Callable[[], bool]) -> Verdict:
        """Send within `SMTP_DEADLINE`, in a lane. `may_start` is asked right before the message leaves.

        Raises `LeaseTooOldError` if it said no; whatever the mail server does is a verdict.
        """
        hand_over = _HandOver(may_start)
        try:
            async with asyncio.timeout(SMTP_DEADLINE.total_seconds()):
                return await self._send(mail, hand_over)
        except TimeoutError:
            reason = f"the mail server did not answer within {SMTP_DEADLINE.total_seconds():.0f} s"
        except SmtpError as error:
            reason = str(error)
        return Verdict(Outcome.DEFERRED, _sentence(reason), possibly_sent=hand_over.happened)

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        while connection := self._take_idle():
            self._part(connection)
        await asyncio.gather(*self._partings)

    async def _send(self, mail: Mail, hand_over: _HandOver) -> Verdict:
        """On an idle connection if there is one; where that turns out to be dead, on a fresh one."""
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._send_on(connection, mail, hand_over)
            except SmtpError as error:
                if hand_over.happened:
                    raise
                log.debug("idle connection was dead", reason=str(error))
        return await self._send_on(await self._connect(), mail, hand_over)

    async def _send_on(self, connection: Connection, mail: Mail, hand_over: _HandOver) -> Verdict:
        try:
            verdict = await _deliver(connection, mail, hand_over)
        except BaseException:
            connection.abort()
            raise
        self._give_back(connection)
        return verdict

    async def _connect(self) -> Connection:
        """A fresh connection. A server that was slow to fail is let rest as long, and who asks meanwhile is told."""
        began = time.monotonic()
        if began < self._resting_until:
            raise SmtpError(self._why_resting)
        try:
            return await Connection.open(self._server)
        except SmtpError as error:
            now = time.monotonic()
            if now - began >= SLOW:
                self._resting_until = now + min(now - began, LONGEST_REST)
                self._why_resting = str(error)
            raise

    def _take_idle(self) -> Connection | None:
        """The connection used last, if one is there and alive."""
        while self._idle:
            connection, expiry = self._idle.popitem()
            expiry.cancel()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection.is_usable:
            self._idle[connection] = asyncio.get_running_loop().call_later(IDLE, self._expire, connection)
        else:
            connection.abort()

    def _expire(self, connection: Connection) -> None:
        del self._idle[connection]
        self._part(connection)

    def _part(self, connection: Connection) -> None:
        parting = asyncio.create_task(connection.quit())
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)


async def _deliver(connection: Connection, mail: Mail, hand_over: _HandOver) -> Verdict:
    if mail.needs_utf8 and not connection.takes_utf8:
        return Verdict(Outcome.FAILED, "The mail server cannot write to an address that is not ASCII.")
    return judge(await connection.send(mail, hand_over))


def judge(answer: Answer) -> Verdict:
    """What a reply means. Only a refusal of this recipient or this message for good is a failure."""
    stage, reply = answer
    if stage is Stage.MESSAGE and reply.is_positive:
        return Verdict(Outcome.DELIVERED)
    for_good = reply.code >= 500 and not _is_about_us(stage, reply)  # noqa: PLR2004 - RFC 5321
    outcome = Outcome.FAILED if for_good else Outcome.DEFERRED
    return Verdict(outcome, _sentence(f"the mail server refused {_OBJECTS[stage]}: {reply.code} {reply.text}"))


_OBJECTS: Final = {
    Stage.RESET: "to start anew",
    Stage.SENDER: "our sender address",
    Stage.RECIPIENT: "the recipient",
    Stage.DATA: "to take the message",
    Stage.MESSAGE: "the message",
}


def _is_about_us(stage: Stage, reply: Reply) -> bool:
    if stage in {Stage.RESET, Stage.SENDER} or reply.code in _OF_THE_SERVER:
        return True
    return stage is Stage.RECIPIENT and reply.subject == _POLICY


def loggable(reason: str) -> str:
    """A reason without addresses of people, which mail servers like to repeat."""
    return _ADDRESS.sub("<address>", reason)


def _sentence(reason: str) -> str:
    """One line that begins like a sentence and ends like one, whatever the server wrote."""
    printable = "".join(character if character.isprintable() else " " for character in reason)
    text = " ".join(printable.split())[: REASON_LIMIT - 1].rstrip(" .")
    return f"{text[:1].upper()}{text[1:]}."
