"""What the checker reports."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    ERROR = "error"  # the resource does not do what it says
    WARNING = "warning"  # it does, and somebody may be surprised


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: where it is, what happens because of it, and what to write instead.

    `rule` names the kind of mistake, `resource` is its kind and name, `key` the path inside it; both may be empty.
    """

    severity: Severity
    rule: str
    path: Path
    line: int
    resource: str
    key: str
    problem: str
    fix: str

    def __str__(self) -> str:
        """One line that names place, key, problem and fix."""
        where = [f"{self.path}:{self.line}", self.resource, self.key]
        return ": ".join(part for part in where if part) + f": {self.problem}; {self.fix}"
