"""Whether the mail server lets email-delivery in."""

from collections.abc import Iterator
from typing import Final

from todo.contracts import names
from todo.contracts.mail import MailFault
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Seen

CODES: Final = {
    MailFault.AWAY: Code.MAIL_SERVER_AWAY,
    MailFault.ENCRYPTION: Code.MAIL_SERVER_TLS,
    MailFault.LOGIN: Code.MAIL_SERVER_LOGIN,
}


def check(seen: Seen) -> Iterator[Finding]:
    """What email-delivery said of its own try."""
    if seen.mail is not None and seen.mail.fault is not None:
        what = f"email-delivery cannot hand mails to {seen.mail.server}"
        yield found(CODES[seen.mail.fault], seen.mail.server, what, seen.mail.reason, app=names.EMAIL_DELIVERY.app_id)
