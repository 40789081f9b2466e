"""Messages as bytes: headers that nothing can be injected into, and two alternatives of the same words.

A filled skeleton instead of the standard library's `EmailMessage`, which costs more than sending the mail.
"""

import base64
import datetime as dt
import email.utils
import re
from dataclasses import dataclass
from typing import Final

SUBJECT_LIMIT: Final = 150  # characters
NAME_LIMIT: Final = 100
_WORD_BYTES: Final = 45  # of UTF-8 in one encoded word: with its frame that stays under the 75 characters of RFC 2047
_PLAIN_LIMIT: Final = 60  # characters of a header value that is written as it is, on its first line
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")  # controls, text direction
_NOT_PLAIN: Final = re.compile(r"[^ -~]|=\?")
_LOCAL: Final = re.compile(r"[^\s\x00-\x1f\x7f<>()\[\]\\,:;@\"]{1,64}")
_DOMAIN: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_ADDRESS_LIMIT: Final = 254
_BOUNDARY: Final = "=_reminder_="  # no line of base64 can be it

_SKELETON: Final = """\
Date: {date}\r
Message-ID: {message_id}\r
From: {sender}\r
To: {recipient}\r
Subject: {subject}\r
MIME-Version: 1.0\r
Auto-Submitted: auto-generated\r
Content-Type: multipart/alternative; boundary="{boundary}"\r
\r
--{boundary}\r
Content-Type: text/plain; charset="utf-8"\r
Content-Transfer-Encoding: base64\r
\r
{text}\
--{boundary}\r
Content-Type: text/html; charset="utf-8"\r
Content-Transfer-Encoding: base64\r
\r
{html}\
--{boundary}--\r
"""


class AddressError(ValueError):
    """Not an address that mail can be sent to; the message does not repeat it."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name and an address whose domain is ASCII; the local part may not be (RFC 6531)."""

    name: str
    address: str

    @classmethod
    def of(cls, name: str, address: str) -> "Mailbox":
        """Check an address and make its domain ASCII. Raises `AddressError`."""
        local, at, domain = address.rpartition("@")
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            at = ""
        checked = f"{local}@{domain}"
        if not at or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or len(checked) > _ADDRESS_LIMIT:
            raise AddressError("this is not an e-mail address")
        return cls(one_line(name, NAME_LIMIT), checked)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def is_ascii(self) -> bool:
        return self.address.isascii()

    def header(self) -> str:
        """The mailbox as From and To take it (RFC 5322)."""
        return f"{_phrase(self.name)} <{self.address}>" if self.name else self.address


@dataclass(frozen=True, slots=True)
class Content:
    """One message in two alternatives. `subject` may be anything; what does not belong in a header is taken out."""

    subject: str
    text: str
    html: str


def assemble(sender: Mailbox, recipient: Mailbox, content: Content, message_id: str, date: dt.datetime) -> bytes:
    """The whole message with CRLF line ends; ASCII, unless an address is not."""
    filled = _SKELETON.format(
        date=email.utils.format_datetime(date),
        message_id=message_id,
        sender=sender.header(),
        recipient=recipient.header(),
        subject=_unstructured(one_line(content.subject, SUBJECT_LIMIT)),
        boundary=_BOUNDARY,
        text=_body(content.text),
        html=_body(content.html),
    )
    return filled.encode()


def one_line(text: str, limit: int) -> str:
    """Words on one line, without controls and marks that turn the direction of text, cut with an ellipsis."""
    words = " ".join(_HIDDEN.sub(" ", text[: limit * 8]).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def _unstructured(value: str) -> str:
    return value if len(value) <= _PLAIN_LIMIT and not _NOT_PLAIN.search(value) else _encoded_words(value)


def _phrase(value: str) -> str:
    if len(value) > _PLAIN_LIMIT or _NOT_PLAIN.search(value):
        return _encoded_words(value)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _encoded_words(value: str) -> str:
    """RFC 2047: words of whole characters, one a line."""
    words, word = [], b""
    for character in value:
        encoded = character.encode()
        if len(word) + len(encoded) > _WORD_BYTES:
            words.append(word)
            word = b""
        word += encoded
    words.append(word)
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _body(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return base64.encodebytes(lines.encode("utf-8", "replace")).decode().replace("\n", "\r\n")
