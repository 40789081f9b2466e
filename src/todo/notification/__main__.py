"""`python -m todo.notification` serves, `python -m todo.notification migrate` brings the schema up to date.

Environment: `DATABASE_URL` or `DATABASE_URL_FILE`; to serve also what every service reads.
"""

from todo.notification.app import APP, MIGRATIONS, create
from todo.service import kit

if __name__ == "__main__":
    kit.main(APP, create, migrations=MIGRATIONS)
