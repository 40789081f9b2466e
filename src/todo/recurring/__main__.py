"""`python -m todo.recurring` serves. Environment: what every service reads."""

from todo.recurring.app import APP, create
from todo.service import kit

if __name__ == "__main__":
    kit.main(APP, create)
