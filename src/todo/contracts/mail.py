"""What `todo doctor` asks email-delivery: whether the mail server lets it in. Nothing is sent. POST, app token."""

import enum
from typing import Final

import msgspec

CHECK_MAIL: Final = "internal/mail/check"


class MailFault(enum.StrEnum):
    """What keeps mails from the server."""

    AWAY = "away"  # nobody answers there as a mail server does
    ENCRYPTION = "encryption"
    LOGIN = "login"


class MailCheck(msgspec.Struct, frozen=True):
    """Where mails go, as host:port, and what is in the way; `reason` is a sentence without a login."""

    server: str
    fault: MailFault | None = None
    reason: str = ""
