"""`python -m todo.email_delivery` serves: mails the reminders that are due.

Environment: `SMTP_URL`, `TODO_MAIL_FROM`, `TODO_SMTP_CONNECTIONS` (10), and what every service reads.
"""

from todo.contracts import names
from todo.email_delivery.app import create
from todo.email_delivery.lease import DRAIN
from todo.email_delivery.settings import read_mail_settings
from todo.service import kit

if __name__ == "__main__":
    kit.main(names.EMAIL_DELIVERY, lambda settings: create(settings, read_mail_settings()), drain=DRAIN)
