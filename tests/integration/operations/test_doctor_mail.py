"""What email-delivery says of its mail server: each way of refusing, told apart, and nothing sent."""

from dataclasses import replace

import pytest

from tests.support.smtp import Authority, SmtpServer, make_authority
from todo.contracts.mail import MailFault
from todo.email_delivery.checking import checked
from todo.email_delivery.smtp import Security, Server
from todo.operations import ports

LOGIN = ("ann", "right-one")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


async def test_a_server_that_lets_us_in_gets_no_mail(authority: Authority) -> None:
    async with SmtpServer(tls=authority.server, login=LOGIN).running() as server:
        said = await checked(Server("localhost", server.port, Security.STARTTLS, *LOGIN, authority.client))
        assert (said.server, said.fault, said.reason) == (f"localhost:{server.port}", None, "")
        assert not server.received
        assert {"MAIL", "RCPT", "DATA"}.isdisjoint(command.split()[0] for command in server.commands)


async def test_each_way_of_refusing_is_told_apart(authority: Authority) -> None:
    (nobody,) = ports.free(1)
    async with SmtpServer(tls=authority.server, login=LOGIN).running() as server:
        right = Server("localhost", server.port, Security.STARTTLS, *LOGIN, authority.client)
        assert (await checked(replace(right, port=nobody))).fault is MailFault.AWAY
        assert (await checked(replace(right, host="nobody.invalid"))).fault is MailFault.AWAY
        untrusting = Server("localhost", server.port, Security.STARTTLS, *LOGIN)
        assert (await checked(untrusting)).fault is MailFault.ENCRYPTION
        assert (await checked(replace(right, security=Security.TLS))).fault is MailFault.ENCRYPTION
        wrong = await checked(replace(right, password="not-this-one"))
        assert wrong.fault is MailFault.LOGIN
        assert "not-this-one" not in wrong.reason
        server.on("GREETING", "554 go away")
        assert (await checked(right)).fault is MailFault.AWAY
    async with SmtpServer(login=LOGIN).running() as plain:
        said = await checked(Server("localhost", plain.port, Security.STARTTLS, *LOGIN, authority.client))
        assert (said.fault, "does not offer STARTTLS" in said.reason) == (MailFault.ENCRYPTION, True)
