"""What the environment says about mail. Errors name the variable and never repeat its value: it holds a password."""

import email.utils
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from todo.email_delivery.mime import Mailbox
from todo.email_delivery.smtp import Security, Server
from todo.service.settings import LOOPBACK, SettingsError, required

CONNECTIONS: Final = 10  # one batch of ten, as the guide measures, in one wave
MOST_CONNECTIONS: Final = 256
_PORTS: Final = {Security.NONE: 25, Security.STARTTLS: 587, Security.TLS: 465}
_FORMS: Final = "smtp://host:port, smtp+starttls://user:password@host:port or smtps://user:password@host:port"


@dataclass(frozen=True, slots=True)
class MailSettings:
    server: Server
    sender: Mailbox
    connections: int


def read_mail_settings(environ: Mapping[str, str] = os.environ) -> MailSettings:
    """Read `SMTP_URL`, `TODO_MAIL_FROM` and `TODO_SMTP_CONNECTIONS`. Raises `SettingsError`."""
    return MailSettings(
        server=parse_smtp_url(required(environ, "SMTP_URL")),
        sender=_sender(required(environ, "TODO_MAIL_FROM")),
        connections=_connections(environ.get("TODO_SMTP_CONNECTIONS", str(CONNECTIONS))),
    )


def parse_smtp_url(text: str) -> Server:
    """Read a mail server's URL; user and password are percent-encoded. Raises `SettingsError`."""
    try:
        url = urlsplit(text)
        security, port = Security(url.scheme), url.port
    except ValueError:
        raise SettingsError(f"SMTP_URL is not a mail server's address: use {_FORMS}") from None
    if not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise SettingsError(f"SMTP_URL has more or less than a host, a port and a login: use {_FORMS}")
    username, password = _login(url)
    if username and security is Security.NONE and url.hostname not in LOOPBACK:
        raise SettingsError("SMTP_URL would send its password unencrypted: use smtps:// or smtp+starttls://")
    return Server(url.hostname, _PORTS[security] if port is None else port, security, username, password)


def _login(url: SplitResult) -> tuple[str, str]:
    username, password = unquote(url.username or ""), unquote(url.password or "")
    if bool(username) != bool(password):
        raise SettingsError("SMTP_URL has a user without a password or a password without a user")
    if any(not character.isprintable() for character in username + password):
        raise SettingsError("SMTP_URL has a control character in its login")
    return username, password


def _sender(text: str) -> Mailbox:
    addresses = email.utils.getaddresses([text]) if text.isprintable() else []
    try:
        [(name, address)] = addresses
        return Mailbox.of(name, address)
    except ValueError:
        raise SettingsError(
            'TODO_MAIL_FROM is not an address mails can come from: use "todo@example.org" or "To-do <todo@example.org>"'
        ) from None


def _connections(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_CONNECTIONS:
        raise SettingsError(f"TODO_SMTP_CONNECTIONS is {text!r}: use a number from 1 to {MOST_CONNECTIONS}")
    return int(text)
