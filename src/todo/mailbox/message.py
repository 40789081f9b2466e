"""Messages in the JSON shapes of Mailpit's API, so that Mailpit can take this mailbox's place.

Parsing never fails: what a header or body does wrong shows as it came, as far as it can be decoded.
"""

import email
import email.header
import email.message
import email.utils
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypedDict

from todo.mailbox.store import Received

SNIPPET: Final = 250
CACHED: Final = 4096


class Address(TypedDict):
    Name: str
    Address: str


class Attachment(TypedDict):
    PartID: str
    FileName: str
    ContentType: str
    ContentID: str
    Size: int


class Summary(TypedDict):
    """One entry of `GET /api/v1/messages`."""

    ID: str
    MessageID: str
    Read: bool
    From: Address
    To: list[Address]
    Cc: list[Address]
    Bcc: list[Address]
    ReplyTo: list[Address]
    Subject: str
    Created: str
    Username: str
    Tags: list[str]
    Size: int
    Attachments: int
    Snippet: str


class Message(TypedDict):
    """The answer to `GET /api/v1/message/{ID}`."""

    ID: str
    MessageID: str
    From: Address
    To: list[Address]
    Cc: list[Address]
    Bcc: list[Address]
    ReplyTo: list[Address]
    ReturnPath: str
    Subject: str
    Date: str
    Tags: list[str]
    Username: str
    Text: str
    HTML: str
    Size: int
    Inline: list[Attachment]
    Attachments: list[Attachment]


@dataclass(frozen=True, slots=True)
class _Parsed:
    message_id: str
    sender: Address
    to: list[Address]
    cc: list[Address]
    reply_to: list[Address]
    subject: str
    date: str
    text: str
    html: str
    attachments: list[Attachment]


def summary(received: Received) -> Summary:
    parsed = _parse(received.id, received.raw)
    return {
        "ID": received.id,
        "MessageID": parsed.message_id,
        "Read": received.read,
        "From": parsed.sender,
        "To": parsed.to,
        "Cc": parsed.cc,
        "Bcc": _blind(received, parsed),
        "ReplyTo": parsed.reply_to,
        "Subject": parsed.subject,
        "Created": _instant(received.received_at),
        "Username": "",
        "Tags": [],
        "Size": len(received.raw),
        "Attachments": len(parsed.attachments),
        "Snippet": " ".join((parsed.text or _without_tags(parsed.html)).split())[:SNIPPET],
    }


def whole(received: Received) -> Message:
    parsed = _parse(received.id, received.raw)
    return {
        "ID": received.id,
        "MessageID": parsed.message_id,
        "From": parsed.sender,
        "To": parsed.to,
        "Cc": parsed.cc,
        "Bcc": _blind(received, parsed),
        "ReplyTo": parsed.reply_to,
        "ReturnPath": received.sender,
        "Subject": parsed.subject,
        "Date": parsed.date or _instant(received.received_at),
        "Tags": [],
        "Username": "",
        "Text": parsed.text,
        "HTML": parsed.html,
        "Size": len(received.raw),
        "Inline": [],
        "Attachments": parsed.attachments,
    }


def matches(received: Received, query: str) -> bool:
    """Tell whether every word of the query is found, case ignored.

    `from:`, `to:`, `subject:` and `message-id:` look in that place, a bare word in subject, addresses and text.
    Quotes keep words together.
    """
    parsed = _parse(received.id, received.raw)
    places = {
        "from": f"{parsed.sender['Name']} {parsed.sender['Address']} {received.sender}",
        "to": " ".join([*received.recipients, *(f"{a['Name']} {a['Address']}" for a in parsed.to + parsed.cc)]),
        "subject": parsed.subject,
        "message-id": parsed.message_id,
    }
    everywhere = " ".join([*places.values(), parsed.text or _without_tags(parsed.html)])
    for term in _terms(query):
        name, colon, value = term.partition(":")
        place, wanted = (places[name.lower()], value) if colon and name.lower() in places else (everywhere, term)
        if wanted.lower() not in place.lower():
            return False
    return True


@lru_cache(CACHED)
def _parse(_message_id: str, raw: bytes) -> _Parsed:
    message = email.message_from_bytes(raw)
    bodies = {"text/plain": "", "text/html": ""}
    attachments: list[Attachment] = []
    for number, part in _leaves(message):
        kind = part.get_content_type()
        if kind in bodies and not bodies[kind] and part.get_content_disposition() != "attachment":
            bodies[kind] = _text(part)
        else:
            attachments.append(_attachment(number, part))
    return _Parsed(
        message_id=_header(message, "Message-ID").strip().strip("<>"),
        sender=next(iter(_addresses(message, "From")), Address(Name="", Address="")),
        to=_addresses(message, "To"),
        cc=_addresses(message, "Cc"),
        reply_to=_addresses(message, "Reply-To"),
        subject=_header(message, "Subject"),
        date=_date(message),
        text=bodies["text/plain"],
        html=bodies["text/html"],
        attachments=attachments,
    )


def _leaves(message: email.message.Message) -> Iterator[tuple[int, email.message.Message]]:
    return enumerate((part for part in message.walk() if not part.is_multipart()), start=1)


def _text(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset() or "utf-8", errors="replace")
    except LookupError:
        return content.decode(errors="replace")


def _attachment(number: int, part: email.message.Message) -> Attachment:
    payload = part.get_payload(decode=True)
    return {
        "PartID": str(number),
        "FileName": part.get_filename("") or "",
        "ContentType": part.get_content_type(),
        "ContentID": _header(part, "Content-ID").strip("<>"),
        "Size": len(payload) if isinstance(payload, bytes) else 0,
    }


def _header(message: email.message.Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(raw: str) -> str:
    try:
        decoded = str(email.header.make_header(email.header.decode_header(raw)))
    except (LookupError, ValueError):
        decoded = raw
    return re.sub(r"\r?\n[ \t]*", " ", decoded)


def _addresses(message: email.message.Message, name: str) -> list[Address]:
    pairs = email.utils.getaddresses([str(message.get(name, ""))])
    return [Address(Name=_decoded(shown), Address=address) for shown, address in pairs if address]


def _date(message: email.message.Message) -> str:
    try:
        return email.utils.parsedate_to_datetime(_header(message, "Date")).isoformat()
    except ValueError:
        return ""


def _blind(received: Received, parsed: _Parsed) -> list[Address]:
    shown = {address["Address"].lower() for address in parsed.to + parsed.cc}
    return [Address(Name="", Address=address) for address in received.recipients if address.lower() not in shown]


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _without_tags(html: str) -> str:
    return re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", html)


def _terms(query: str) -> list[str]:
    try:
        return shlex.split(query)
    except ValueError:  # an open quote
        return query.split()
