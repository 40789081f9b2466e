"""`python -m todo.backend` serves; `python -m todo.backend migrate` brings the schema up to date.

Environment: `DATABASE_URL` or `DATABASE_URL_FILE`; to serve also `TODO_EMAIL`, `TODO_NAME`, `TODO_ZONE` (of user 1, at
the first start), `TODO_PUBLIC_URL`, and what every service reads.
"""

from todo.backend.app import APP, MIGRATIONS, create_app
from todo.service import kit

if __name__ == "__main__":
    kit.main(APP, create_app, migrations=MIGRATIONS)
