"""`python -m todo.mailbox`: the development mailbox, an SMTP server whose mails are read in a browser.

Environment: `MAILBOX_SMTP_PORT` (1025), `MAILBOX_HTTP_PORT` (8025), `TODO_HOST` (127.0.0.1), `MAILBOX_DATA`
(data/mailbox), `MAILBOX_KEEP` (10000 messages, the newest).
"""

import uvicorn

from todo.mailbox.app import Options, create_app


def main() -> None:
    options = Options.from_environment()
    uvicorn.run(
        create_app(options),
        host=options.host,
        port=options.http_port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
