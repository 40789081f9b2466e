"""What `todo doctor` asks by invocation."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from todo.contracts.mail import CHECK_MAIL, MailCheck, MailFault
from todo.email_delivery.smtp import Connection, EncryptionError, LoginError, Server, SmtpError


def checking(server: Server) -> Route:
    """The route that tells whether the mail server lets this service in: a connection of its own, and no mail."""

    async def check(_: Request) -> Response:
        return Response(msgspec.json.encode(await checked(server)), media_type="application/json")

    return Route(f"/{CHECK_MAIL}", check, methods=["POST"])


async def checked(server: Server) -> MailCheck:
    """Connect, encrypt and log in as the server's URL says, and say goodbye."""
    try:
        connection = await Connection.open(server)
    except SmtpError as error:
        return MailCheck(str(server), _fault(error), str(error))
    await connection.quit()
    return MailCheck(str(server))


def _fault(error: SmtpError) -> MailFault:
    if isinstance(error, LoginError):
        return MailFault.LOGIN
    return MailFault.ENCRYPTION if isinstance(error, EncryptionError) else MailFault.AWAY
