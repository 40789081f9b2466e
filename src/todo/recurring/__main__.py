"""`python -m todo.recurring` serves.

Environment: `DAPR_API_TOKEN`, `APP_API_TOKEN`, `APP_PORT` (8003), `DAPR_HTTP_PORT`, `TODO_HOST` (127.0.0.1),
`TODO_LOG_FORMAT` (json | pretty).
"""

from todo.recurring.app import APP, create
from todo.service import kit
from todo.service.settings import SettingsError, read_settings


def main() -> None:
    try:
        kit.run(APP, create, read_settings(APP))
    except SettingsError as error:
        kit.fail(error)


if __name__ == "__main__":
    main()
