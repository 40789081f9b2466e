"""`python -m todo.backend` serves; `python -m todo.backend migrate` brings the schema up to date."""

import os
import sys

from todo.backend.app import APP, MIGRATIONS, SCHEMA, create_app
from todo.service import kit
from todo.service.settings import SettingsError, read_settings, required


def main() -> None:
    try:
        if sys.argv[1:] == ["migrate"]:
            from todo.messaging.migrations import migrate  # noqa: PLC0415 - SQLAlchemy is not for serving processes

            migrate(required(os.environ, "DATABASE_URL"), SCHEMA, MIGRATIONS)
        else:
            kit.run(APP, create_app, read_settings(APP))
    except SettingsError as error:
        kit.fail(error)


if __name__ == "__main__":
    main()
