"""What a token lets its holder do."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """`operator` is for whoever runs the system: users, dead letters, the pipeline. It opens no route to tasks.

    It is to be trusted with what is in them all the same: a dead letter holds its event as it came, and whoever
    changes a user's address gets that user's mails.
    """

    READ = "tasks:read"
    WRITE = "tasks:write"
    OPERATOR = "operator"


OWN_TASKS: Final = (Scope.READ, Scope.WRITE)
