"""What a reminder mail says, in words and in HTML."""

import datetime as dt
import hashlib
import re
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jinja2

from todo.contracts.clock import Clock
from todo.contracts.events import ReminderKey
from todo.contracts.invocation import ResolvedReminder
from todo.email_delivery.mime import Content, Mailbox, assemble, one_line
from todo.email_delivery.smtp import Mail

TITLE_LIMIT: Final = 1_000  # characters shown in the mail; its subject is shorter still
NOTES_LIMIT: Final = 20_000
_INVISIBLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Letters:
    """Writes the reminder mails of one sender."""

    def __init__(self, sender: Mailbox, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("todo.email_delivery"),
            autoescape=jinja2.select_autoescape(("html.j2",)),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._text = environment.get_template("reminder.txt.j2")
        self._html = environment.get_template("reminder.html.j2")

    def message_id(self, key: ReminderKey) -> str:
        """The same for every attempt at one reminder instance: whoever gets it twice can tell."""
        return f"<reminder-{hashlib.sha256(key.text.encode()).hexdigest()[:32]}@{self._sender.domain}>"

    def write(self, reminder: ResolvedReminder) -> Mail:
        """The mail to send now. Raises `AddressError` when its recipient has no usable address."""
        recipient = Mailbox.of(reminder.recipient_name, reminder.recipient)
        words = _words(reminder)
        content = Content(f"Reminder: {words['title']}", self._text.render(words), self._html.render(words))
        message_id = self.message_id(reminder.key)
        message = assemble(self._sender, recipient, content, message_id, self._clock())
        needs_utf8 = not (self._sender.is_ascii and recipient.is_ascii)
        return Mail(self._sender.address, recipient.address, message, needs_utf8)


def _words(reminder: ResolvedReminder) -> dict[str, str]:
    zone = _zone(reminder.zone)
    return {
        "name": one_line(reminder.recipient_name, 100),
        "title": one_line(reminder.title, TITLE_LIMIT) or "(no title)",
        "notes": _prose(reminder.notes),
        "due": _due(reminder, zone),
        "reminded_at": _instant(reminder.key.fire_at, zone),
        "url": reminder.url if reminder.url.startswith(("https://", "http://")) else "",
    }


def _prose(notes: str) -> str:
    text = _INVISIBLE.sub(" ", notes).strip()
    return text if len(text) <= NOTES_LIMIT else text[: NOTES_LIMIT - 1] + "…"


def _due(reminder: ResolvedReminder, zone: ZoneInfo) -> str:
    if reminder.due_at is not None:
        return _instant(reminder.due_at, zone)
    return _day(dt.date.fromisoformat(reminder.due_date)) if reminder.due_date else ""


def _instant(instant: dt.datetime, zone: ZoneInfo) -> str:
    local = instant.astimezone(zone)
    return f"{_day(local)} at {local:%H:%M} ({zone.key})"


def _day(day: dt.date) -> str:
    return f"{day:%A}, {day.day} {day:%B} {day.year}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
