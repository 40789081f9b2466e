"""`python -m todo.notification` serves, `python -m todo.notification migrate` brings the database up to date.

Environment: `DATABASE_URL`; to serve also `DAPR_API_TOKEN`, `APP_API_TOKEN`, `APP_PORT` (8001), `DAPR_HTTP_PORT`,
`TODO_HOST` (127.0.0.1), `TODO_LOG_FORMAT` (json | pretty).
"""

import sys

from todo.notification.app import APP, MIGRATIONS, SCHEMA, create
from todo.service import kit
from todo.service.settings import SettingsError, database_url, read_settings


def main() -> None:
    try:
        match sys.argv[1:]:
            case []:
                kit.run(APP, create, read_settings(APP))
            case ["migrate"]:
                from todo.messaging.migrations import migrate  # noqa: PLC0415 - SQLAlchemy is not for serving processes

                migrate(database_url(), SCHEMA, MIGRATIONS)
            case _:
                sys.stderr.write(f"usage: python -m {APP.module} [migrate]\n")
                sys.exit(2)
    except SettingsError as error:
        kit.fail(error)


if __name__ == "__main__":
    main()
