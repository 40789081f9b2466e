"""`python -m todo.email_delivery`: mail the reminders that are due.

Environment: `SMTP_URL`, `TODO_MAIL_FROM`, `TODO_SMTP_CONNECTIONS` (10), and what every service reads.
"""

from todo.contracts import names
from todo.email_delivery.app import create
from todo.email_delivery.lease import DRAIN
from todo.email_delivery.settings import read_mail_settings
from todo.service import kit
from todo.service.settings import SettingsError, read_settings


def main() -> None:
    try:
        settings, mail = read_settings(names.EMAIL_DELIVERY), read_mail_settings()
    except SettingsError as error:
        kit.fail(error)
        return
    kit.run(names.EMAIL_DELIVERY, lambda settings: create(settings, mail), settings, drain=DRAIN)


if __name__ == "__main__":
    main()
