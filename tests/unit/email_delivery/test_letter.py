"""What leaves as a mail, read by the standard library's parser as mail programs read it."""

import datetime as dt
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.email_delivery.world import NOW, Time
from todo.contracts.events import ReminderKey
from todo.contracts.invocation import ResolvedReminder
from todo.email_delivery.letter import Letters
from todo.email_delivery.mime import SUBJECT_LIMIT, AddressError, Content, Mailbox, assemble, one_line

SENDER = Mailbox.of("Tö-do", "todo@example.org")
KEY = ReminderKey(UUID(int=7), "-PT1H", NOW)
HEADERS = [
    "Date",
    "Message-ID",
    "From",
    "To",
    "Subject",
    "MIME-Version",
    "Auto-Submitted",
    "Content-Type",
]

anything = st.text(st.characters() | st.sampled_from('\r\n\x00\x1b <>=?_"\\,;:@.\u2028\u202e😀'), max_size=400)
locals_ = st.from_regex(r"\A[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}\Z").filter(
    lambda local: not local.startswith(".") and not local.endswith(".") and ".." not in local
)


def parsed(message: bytes) -> EmailMessage:
    read = message_from_bytes(message, policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert isinstance(part, EmailMessage)
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def display_name(message: bytes) -> str:
    """Decoded by the older parser: the newer one puts spaces between encoded words, against RFC 2047, 6.2."""
    phrase = message_from_bytes(message)["To"].rpartition("<")[0].strip()
    return parseaddr(phrase + " <x@y>")[0] if phrase.startswith('"') else str(make_header(decode_header(phrase)))


def letter(**changes: Any) -> EmailMessage:  # noqa: ANN401 - fields of any type
    usual: dict[str, Any] = {"recipient": "ann@example.org", "recipient_name": "Ann", "title": "Water the plants"}
    return parsed(Letters(SENDER, Time()).write(ResolvedReminder(KEY, **{**usual, **changes})).content)


@given(anything, anything, locals_)
@example("Hi\r\nBcc: evil@example.org\r\n\r\nbody", "A\r\nTo: evil@example.org", "ann")
@example("=?utf-8?q?x?=", '"quoted" \\ name', "ann")
@example("👩‍👩‍👧" * 100, "Zoë", "ann")
@example("", "", "ann")
def test_whatever_a_person_wrote_stays_where_it_belongs(subject: str, name: str, local: str) -> None:
    """Subject and name come back as their cleaned text; there is no header, recipient or part that was not meant."""
    recipient = Mailbox.of(name, f"{local}@example.org")
    message = assemble(SENDER, recipient, Content(subject, subject, name), "<id@example.org>", NOW)
    read = parsed(message)
    assert read.keys() == HEADERS
    assert read["Subject"] == one_line(subject, SUBJECT_LIMIT)
    [address] = read["To"].addresses
    assert address.addr_spec == f"{local}@example.org"
    assert display_name(message) == one_line(name, 100)
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert read.defects == []


@given(anything, anything, locals_)
def test_a_message_is_ascii_in_short_lines(subject: str, name: str, local: str) -> None:
    """Nothing in it needs 8BITMIME or exceeds a line's limits, and no line is a lone dot."""
    message = assemble(
        SENDER, Mailbox.of(name, f"{local}@example.org"), Content(subject, name, subject), "<i@x.org>", NOW
    )
    assert message.isascii()
    assert message.endswith(b"\r\n")
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert b"\r" not in message.replace(b"\r\n", b"")
    lines = message.split(b"\r\n")
    assert max(map(len, lines)) <= 200
    assert b"." not in lines


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5000))
def test_bodies_come_back_as_they_were(text: str) -> None:
    """Text survives its encoding; only line ends become CRLF."""
    read = parsed(assemble(SENDER, SENDER, Content("s", text, text), "<id@example.org>", NOW))
    part = read.get_body(("plain",))
    assert isinstance(part, EmailMessage)
    raw = part.get_payload(decode=True)
    assert isinstance(raw, bytes)
    assert raw.decode() == text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def test_the_headers_say_what_it_is() -> None:
    """From, To, Date and the marks of an automatic mail."""
    message = letter()
    assert message["From"].addresses == (Address("Tö-do", addr_spec="todo@example.org"),)
    assert message["To"].addresses == (Address("Ann", addr_spec="ann@example.org"),)
    assert message["Date"].datetime == NOW
    assert (message["Auto-Submitted"], message["MIME-Version"]) == ("auto-generated", "1.0")
    assert message["Subject"] == "Reminder: Water the plants"


def test_the_message_id_belongs_to_the_instance() -> None:
    """Every attempt has the same, another instance another, and its domain is the sender's."""
    letters = Letters(SENDER, Time())
    moved = ReminderKey(KEY.task_id, KEY.reminder, NOW + dt.timedelta(microseconds=1))
    assert letters.message_id(KEY) == Letters(SENDER, Time()).message_id(KEY) == letter()["Message-ID"]
    assert letters.message_id(KEY) != letters.message_id(moved)
    assert letters.message_id(KEY).endswith("@example.org>")


@pytest.mark.parametrize(
    "title", ["two\r\nlines", "<b>&\"'</b>", "x" * 10_000, "🎂 für Zoë", "\u202eevil", "{{ 7 * 7 }}", "a\x00b", ""]
)
def test_any_title_makes_a_mail(title: str) -> None:
    """Escaped in HTML, cut in the subject, never code."""
    message = letter(title=title)
    assert len(message["Subject"]) <= SUBJECT_LIMIT
    shown = one_line(title, 1000) or "(no title)"
    assert shown in body(message, "plain")
    assert "<b>" not in body(message, "html")
    assert "49" not in body(message, "html").replace("#57534e", "")


def test_dates_are_the_readers() -> None:
    """Due is told in the reader's zone, with its name; a whole day has no time."""
    text = body(letter(due_at=NOW, zone="America/New_York"), "plain")
    assert "Due: Friday, 5 June 2026 at 08:00 (America/New_York)" in text
    assert "Due: Monday, 8 June 2026\n" in body(letter(due_date="2026-06-08"), "plain")
    assert "Due:" not in body(letter(), "plain")


def test_an_unknown_zone_is_utc() -> None:
    """A zone that this machine does not know costs the local time, not the mail."""
    for zone in ("Mars/Olympus", "", "../../etc/passwd", "/etc/passwd"):
        assert "at 12:00 (UTC)" in body(letter(due_at=NOW, zone=zone), "plain")


def test_notes_and_link_and_reason_are_there() -> None:
    """What it is about, where it is, and why it was sent."""
    message = letter(notes="first\nsecond <i>", url="https://todo.example.org/tasks/7?a=1&b=2")
    for part in ("plain", "html"):
        assert "first\nsecond" in body(message, part)
        assert "You get this mail because a reminder was set" in body(message, part)
    assert "https://todo.example.org/tasks/7?a=1&b=2" in body(message, "plain")
    assert 'href="https://todo.example.org/tasks/7?a=1&amp;b=2"' in body(message, "html")
    assert "second &lt;i&gt;" in body(message, "html")


def test_only_web_addresses_become_links() -> None:
    assert "javascript" not in body(letter(url="javascript:alert(1)"), "html")


@pytest.mark.parametrize(
    "address",
    ["", "ann", "@example.org", "ann@", "a b@example.org", "ann@example.org\r\nRCPT TO:<b@x.org>", "a>b@example.org",
     "ann@exa mple.org", "x" * 65 + "@example.org", "ann@" + "x" * 64 + ".org", "ann@-x.org", "ann@..org"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    """It never gets near a command or a header, and the error does not repeat it."""
    with pytest.raises(AddressError) as refused:
        Mailbox.of("Ann", address)
    assert "ann" not in str(refused.value)


def test_addresses_of_the_world() -> None:
    """A domain becomes ASCII; a local part that is not ASCII needs a server that takes it, and keeps its letters."""
    assert Mailbox.of("", "ann@bücher.example").address == "ann@xn--bcher-kva.example"
    written = Letters(SENDER, Time()).write(ResolvedReminder(KEY, recipient="jürgen@example.org", title="x"))
    assert (written.recipient, written.needs_utf8) == ("jürgen@example.org", True)
    assert "To: jürgen@example.org\r\n".encode() in written.content
