"""`python -m todo.backend` serves; `python -m todo.backend migrate` brings the schema up to date."""

import sys

from todo.backend.app import APP, MIGRATIONS, SCHEMA, create_app
from todo.service import kit
from todo.service.settings import SettingsError, database_url, read_settings


def main() -> None:
    try:
        match sys.argv[1:]:
            case []:
                kit.run(APP, create_app, read_settings(APP))
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
