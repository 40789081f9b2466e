"""The connection and the pool against a real server on a socket."""

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator

import pytest

from tests.support.children import until
from tests.support.smtp import Authority, Hangup, Reset, SmtpServer, make_authority
from todo.contracts.events import Outcome
from todo.email_delivery import mailer as mailer_module
from todo.email_delivery import smtp as smtp_module
from todo.email_delivery.lease import SMTP_DEADLINE
from todo.email_delivery.mailer import LeaseTooOldError, Mailer, Verdict
from todo.email_delivery.smtp import Connection, Mail, Security, Server, SmtpError

MAIL = Mail("todo@example.org", "ann@example.org", b"Subject: x\r\n\r\nhello\r\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with SmtpServer().running() as running:
        yield running


def at(server: SmtpServer) -> Server:
    return Server("127.0.0.1", server.port)


async def send(server: SmtpServer, *mails: Mail) -> list[Verdict]:
    """Send one after another through a pool of one connection."""
    mailer = Mailer(at(server), 1)
    try:
        return [await mailer.send(mail, may_start=lambda: True) for mail in mails]
    finally:
        await mailer.close()


def to(recipient: str) -> Mail:
    return MAIL._replace(recipient=recipient)


async def never(_: str) -> str | None:
    await asyncio.Event().wait()
    return None


async def hang_up(_: str) -> str | None:
    raise Hangup


async def reset(_: str) -> str | None:
    raise Reset


async def test_a_mail_arrives_byte_for_byte(server: SmtpServer) -> None:
    """What is sent is what the server gets."""
    assert await send(server, MAIL) == [Verdict(Outcome.DELIVERED)]
    assert [(one.sender, one.recipient, one.content) for one in server.received] == [MAIL[:3]]


@pytest.mark.parametrize(
    "content",
    [b".\r\n", b".a\r\n..\r\n.\r\nb\r\n", b"x\r\n.\r\nMAIL FROM:<evil@example.org>\r\n", b"no end", b"a\r\n\r\n."],
)
async def test_dots_are_stuffed(server: SmtpServer, content: bytes) -> None:
    """A line that starts with a dot arrives as it is and never ends the message early."""
    verdicts = await send(server, MAIL._replace(content=content), MAIL)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.DELIVERED] * 2
    assert server.received[0].content == (content if content.endswith(b"\r\n") else content + b"\r\n")
    assert server.received[1].content == MAIL.content


async def test_the_connection_is_used_again(server: SmtpServer) -> None:
    """Many mails, one connection, one greeting, and a goodbye."""
    await send(server, *[MAIL] * 5)
    assert (server.connections, len(server.received)) == (1, 5)
    assert [command for command in server.commands if command.startswith(("EHLO", "QUIT"))] == [
        server.commands[0],
        "QUIT",
    ]


async def test_a_mail_costs_two_round_trips_with_pipelining(server: SmtpServer) -> None:
    """MAIL, RCPT and DATA leave together when the server takes them so."""
    await send(server, MAIL)
    assert [f"MAIL FROM:<{MAIL.sender}>", f"RCPT TO:<{MAIL.recipient}>", "DATA"] in server.bursts


async def test_without_pipelining_each_command_waits_for_its_answer() -> None:
    """A server that does not offer PIPELINING never sees two commands at once."""
    async with SmtpServer(extensions=()).running() as server:
        assert await send(server, MAIL, MAIL) == [Verdict(Outcome.DELIVERED)] * 2
        assert all(len(burst) == 1 for burst in server.bursts)


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
@pytest.mark.parametrize(
    ("moment", "reply", "outcome"),
    [
        ("RCPT", "550 5.1.1 no such mailbox", Outcome.FAILED),
        ("RCPT", "553 no", Outcome.FAILED),
        ("RCPT", "451 4.7.1 greylisted", Outcome.DEFERRED),
        ("RCPT", "452 4.2.2 mailbox full", Outcome.DEFERRED),
        ("RCPT", "554 5.7.1 relay access denied", Outcome.DEFERRED),
        ("RCPT", "530 5.7.0 log in first", Outcome.DEFERRED),
        ("MAIL", "550 5.1.8 we do not know you", Outcome.DEFERRED),
        ("DATA", "451 4.3.0 not now", Outcome.DEFERRED),
        ("DATA", "554 5.3.4 never", Outcome.FAILED),
        ("MESSAGE", "552 5.3.4 too large", Outcome.FAILED),
        ("MESSAGE", "554 5.7.1 spam", Outcome.FAILED),
        ("MESSAGE", "452 4.3.1 disk full", Outcome.DEFERRED),
    ],
)
async def test_a_refusal_harms_nobody_else(
    moment: str, reply: str, outcome: Outcome, extensions: tuple[str, ...]
) -> None:
    """A refusal is for good or for now as its code says, and the next mail goes over the same connection."""
    async with SmtpServer(extensions=extensions).running() as server:
        mailer = Mailer(at(server), 1)
        server.on(moment, reply)
        refused = await mailer.send(MAIL, may_start=lambda: True)
        del server.hooks[moment]
        after = await mailer.send(to("bob@example.org"), may_start=lambda: True)
        await mailer.close()
    assert (refused.outcome, refused.possibly_sent, after) == (outcome, False, Verdict(Outcome.DELIVERED))
    assert reply[:3] in refused.reason
    assert [one.recipient for one in server.received] == ["bob@example.org"]
    assert server.connections == 1


async def test_a_server_that_wants_data_for_nobody_gets_an_empty_message(server: SmtpServer) -> None:
    """354 after a refused recipient (RFC 2920) is taken back: the refused mail's text never leaves."""
    server.on("RCPT", "550 5.1.1 no")
    server.on("DATA", "354 go on anyway")
    [verdict] = await send(server, MAIL)
    assert verdict.outcome is Outcome.FAILED
    assert [one.content for one in server.received] == [b""]


@pytest.mark.parametrize("ending", [hang_up, reset])
async def test_a_connection_lost_after_the_message_may_have_sent_it(server: SmtpServer, ending: object) -> None:
    """No reply to the message: put off, and it says that it may have been sent."""
    server.on("MESSAGE", ending)  # type: ignore[arg-type]
    [verdict] = await send(server, MAIL)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, True)


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("ending", [hang_up, reset])
async def test_a_connection_lost_before_the_message_sent_nothing(
    server: SmtpServer, moment: str, ending: object
) -> None:
    """Until the message leaves there is no doubt."""
    server.on(moment, ending)  # type: ignore[arg-type]
    [verdict] = await send(server, MAIL)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, False)
    assert server.received == []


@pytest.mark.parametrize(("moment", "possibly"), [("RCPT", False), ("DATA", False), ("MESSAGE", True)])
async def test_a_server_that_falls_silent_is_given_up(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch, moment: str, *, possibly: bool
) -> None:
    """The deadline covers everything; only after the message left it leaves a doubt."""
    monkeypatch.setattr(mailer_module, "SMTP_DEADLINE", SMTP_DEADLINE / 100)
    server.on(moment, never)
    [verdict] = await send(server, MAIL)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, possibly)


async def test_a_server_that_closes_its_doors_is_tried_again_on_a_new_connection(server: SmtpServer) -> None:
    """421 on a used connection is about the connection: the mail goes over a new one."""
    served = 0

    async def once_per_connection(_: str) -> str | None:
        nonlocal served
        served += 1
        return "421 4.7.0 enough for today" if served == 2 else None

    server.on("MAIL", once_per_connection)
    assert await send(server, MAIL, MAIL) == [Verdict(Outcome.DELIVERED)] * 2
    assert server.connections == 2


async def test_421_instead_of_an_acceptance_is_a_refusal_for_now(server: SmtpServer) -> None:
    """The server answered: nothing is in doubt, and the connection is not used again."""
    server.on("MESSAGE", "421 4.3.2 shutting down")
    verdicts = await send(server, MAIL, MAIL)
    assert [(one.outcome, one.possibly_sent) for one in verdicts] == [(Outcome.DEFERRED, False)] * 2
    assert server.connections == 2


async def test_an_idle_connection_that_died_costs_nothing(server: SmtpServer) -> None:
    """The server restarts between two mails: the second goes over a new connection at once."""
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)
    [connection] = mailer._idle
    connection.abort()
    assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
    await mailer.close()


async def test_a_used_connection_that_dies_under_a_mail_is_replaced(server: SmtpServer) -> None:
    """Nothing was handed over, so trying again on a new connection is no second mail."""
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)

    async def first_connection_dies(_: str) -> str | None:
        if server.connections == 1:
            raise Reset
        return None

    server.on("RCPT", first_connection_dies)
    assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
    await mailer.close()


async def test_a_used_connection_lost_after_the_message_is_not_tried_again(server: SmtpServer) -> None:
    """The mail may have been sent: a new connection must not send it a second time."""
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)
    server.on("MESSAGE", hang_up)
    verdict = await mailer.send(MAIL, may_start=lambda: True)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, True)
    assert server.commands.count("DATA") == 2
    await mailer.close()


async def test_an_idle_connection_that_spoke_unasked_is_not_used(server: SmtpServer) -> None:
    """A stray reply would be taken for the answer to the next mail's first command."""
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)
    [connection] = mailer._idle
    connection._wire.data_received(b"250 stray\r\n")
    assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
    assert sum(command.startswith("MAIL") for command in server.commands) == 2
    await mailer.close()


async def test_idle_connections_are_closed(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nothing needs says goodbye."""
    monkeypatch.setattr(mailer_module, "IDLE", 0.01)
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)
    await until(lambda: "QUIT" in server.commands)
    assert mailer._idle == {}
    await mailer.close()


async def test_an_old_lease_stops_the_message(server: SmtpServer) -> None:
    """Asked right before the message leaves, and obeyed: the server gets nothing, the next mail is fine."""
    mailer = Mailer(at(server), 1)
    with pytest.raises(LeaseTooOldError):
        await mailer.send(MAIL, may_start=lambda: "DATA" not in server.commands)
    assert server.received == []
    assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
    await mailer.close()


async def test_no_more_connections_than_lanes(server: SmtpServer) -> None:
    """Twenty mails at once in three lanes use three connections."""
    mailer = Mailer(at(server), 3)

    async def one() -> Verdict:
        async with mailer.lane():
            return await mailer.send(MAIL, may_start=lambda: True)

    assert await asyncio.gather(*(one() for _ in range(20))) == [Verdict(Outcome.DELIVERED)] * 20
    await mailer.close()
    assert server.connections == 3


async def test_nobody_there_is_for_now() -> None:
    """A refused connection is put off, and the reason names the server."""
    async with SmtpServer().running() as server:
        pass
    [verdict] = await send(server, MAIL)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, False)
    assert f"127.0.0.1:{server.port}" in verdict.reason


@pytest.mark.parametrize(
    ("moment", "reply"), [("GREETING", "554 go away"), ("EHLO", "502 what"), ("GREETING", "hello")]
)
async def test_a_server_that_turns_us_away_is_for_now(server: SmtpServer, moment: str, reply: str) -> None:
    """A failure of the whole server is no mail's own."""
    server.on(moment, reply)
    [verdict] = await send(server, MAIL)
    assert (verdict.outcome, verdict.possibly_sent) == (Outcome.DEFERRED, False)


async def test_a_server_that_is_slow_to_fail_is_let_rest(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a server rests, mails are put off at once instead of each waiting for it."""
    monkeypatch.setattr(smtp_module, "OPENING", 0.2)
    monkeypatch.setattr(mailer_module, "SLOW", 0.1)
    server.on("GREETING", never)
    verdicts = await send(server, *[MAIL] * 3)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.DEFERRED] * 3
    assert server.connections < 3


async def test_a_server_that_is_quick_to_fail_is_tried_each_time(server: SmtpServer) -> None:
    """A refusal costs nothing: the first mail after the server is back goes out."""
    server.on("GREETING", "421 4.3.2 closed")
    mailer = Mailer(at(server), 1)
    await mailer.send(MAIL, may_start=lambda: True)
    server.hooks.clear()
    assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
    await mailer.close()


async def test_an_endless_answer_is_cut_off(server: SmtpServer) -> None:
    """A reply does not grow without bound."""
    server.on("GREETING", "220-" + "x" * 100_000)
    [verdict] = await send(server, MAIL)
    assert verdict.outcome is Outcome.DEFERRED


async def test_a_reason_is_one_sentence(server: SmtpServer) -> None:
    """Several lines, control characters and long texts become one short line."""
    server.on("RCPT", "550-5.1.1 <ann@example.org>\x07\r\n550-no\tsuch\r\n550 " + "user " * 200)
    [verdict] = await send(server, MAIL)
    assert verdict.reason.isprintable()
    assert len(verdict.reason) <= mailer_module.REASON_LIMIT
    assert verdict.reason.endswith(".")
    assert "@" not in mailer_module.loggable(verdict.reason)


async def test_addresses_that_are_not_ascii_need_a_server_that_takes_them() -> None:
    """SMTPUTF8 is asked for when needed; without it the mail fails for good, and others go on."""
    mail = MAIL._replace(recipient="jürgen@example.org", needs_utf8=True)
    async with SmtpServer().running() as server:
        assert await send(server, mail) == [Verdict(Outcome.DELIVERED)]
        assert any("SMTPUTF8" in command for command in server.commands)
    async with SmtpServer(extensions=()).running() as server:
        verdicts = await send(server, mail, MAIL)
        assert [verdict.outcome for verdict in verdicts] == [Outcome.FAILED, Outcome.DELIVERED]


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
async def test_mails_are_encrypted_and_the_certificate_checked(authority: Authority, security: Security) -> None:
    """A trusted certificate with the right name is accepted, and the login goes over TLS."""
    implicit = security is Security.TLS
    async with SmtpServer(tls=authority.server, implicit_tls=implicit, login=("ann", "pässword")).running() as server:
        settings = Server("localhost", server.port, security, "ann", "pässword", authority.client)
        mailer = Mailer(settings, 1)
        assert await mailer.send(MAIL, may_start=lambda: True) == Verdict(Outcome.DELIVERED)
        await mailer.close()
    assert len(server.received) == 1


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
@pytest.mark.parametrize("fault", ["untrusted", "wrong name"])
async def test_a_bad_certificate_ends_the_connection(authority: Authority, security: Security, fault: str) -> None:
    """An unknown authority or another host's name: nothing is sent, and the reason says it is the certificate."""
    async with SmtpServer(tls=authority.server, implicit_tls=security is Security.TLS).running() as server:
        trust = ssl.create_default_context if fault == "untrusted" else authority.client
        host = "localhost" if fault == "untrusted" else "127.0.0.2"
        with pytest.raises(SmtpError, match=r"certificate|reached"):
            await Connection.open(Server(host, server.port, security, tls=trust))
    assert not any(command.startswith("MAIL") for command in server.commands)


async def test_a_server_without_starttls_gets_no_mail(server: SmtpServer) -> None:
    """Encryption that was asked for is never left out."""
    with pytest.raises(SmtpError, match="does not offer STARTTLS"):
        await Connection.open(dataclasses.replace(at(server), security=Security.STARTTLS))


async def test_replies_smuggled_in_before_tls_are_not_believed(authority: Authority) -> None:
    """Plain text that follows the answer to STARTTLS ends the connection (CVE-2011-0411)."""
    async with SmtpServer(tls=authority.server).running() as server:
        server.on("STARTTLS", "220 go on\r\n250-evil\r\n250 AUTH PLAIN")
        with pytest.raises(SmtpError, match="spoke before"):
            await Connection.open(Server("localhost", server.port, Security.STARTTLS, tls=authority.client))


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN"])
async def test_a_login_is_made_as_the_server_likes(mechanisms: str) -> None:
    """AUTH PLAIN where there is one, else AUTH LOGIN; a wrong password is a failure of the server for now."""
    async with SmtpServer(login=("ann", "secret")).running() as server:
        server.on("EHLO", f"250-test.invalid\r\n250 AUTH {mechanisms}")
        login = dataclasses.replace(at(server), username="ann", password="secret")
        connection = await Connection.open(login)
        connection.abort()
        with pytest.raises(SmtpError, match="did not accept our login") as refused:
            await Connection.open(dataclasses.replace(login, password="wrong"))
    assert "wrong" not in str(refused.value)
    assert "wrong" not in repr(dataclasses.replace(login, password="wrong"))


async def test_a_server_without_a_known_login_is_not_used(server: SmtpServer) -> None:
    """A login that was asked for is never left out."""
    with pytest.raises(SmtpError, match="no way to log in"):
        await Connection.open(dataclasses.replace(at(server), username="ann", password="secret"))


async def test_a_mail_cut_off_leaves_the_pool_whole(server: SmtpServer) -> None:
    """Cancelling a mail throws its connection away and gives its lane back."""
    server.on("MESSAGE", never)
    mailer = Mailer(at(server), 1)

    async def one() -> Verdict:
        async with mailer.lane():
            return await mailer.send(MAIL, may_start=lambda: True)

    task = asyncio.create_task(one())
    await until(lambda: "DATA" in server.commands)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del server.hooks["MESSAGE"]
    assert await one() == Verdict(Outcome.DELIVERED)
    await mailer.close()
