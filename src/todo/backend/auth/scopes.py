"""What a token lets its holder do."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """`operator` is for whoever runs the system: users, dead letters, the pipeline. It opens nobody's tasks."""

    READ = "tasks:read"
    WRITE = "tasks:write"
    OPERATOR = "operator"


OWN_TASKS: Final = (Scope.READ, Scope.WRITE)
