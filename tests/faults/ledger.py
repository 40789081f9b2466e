"""What the API has acknowledged, kept outside the system: the record that everything is judged against."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from todo.operations.client import Task


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault that was dealt: to whom, and between which two instants it took effect."""

    target: str
    began: dt.datetime
    ended: dt.datetime


@dataclass(slots=True)
class Ledger:
    """The newest 2xx answer for each task, what had to be asked more than once, and the faults meanwhile."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    blows: list[Blow] = field(default_factory=list)

    def acknowledge(self, task: Task) -> None:
        known = self.tasks.get(task.id)
        if known is None or task.version >= known.version:
            self.tasks[task.id] = task

    def series(self) -> Iterator[tuple[UUID, list[Task]]]:
        """The acknowledged occurrences of each series, in their order."""
        found: dict[UUID, list[Task]] = {}
        for task in self.tasks.values():
            if task.recurrence:
                found.setdefault(task.recurrence.series_id, []).append(task)
        for series_id, tasks in found.items():
            yield series_id, sorted(tasks, key=lambda task: task.recurrence.seq if task.recurrence else 0)

    def blows_to(self, *targets: str) -> list[Blow]:
        """The faults dealt to these apps, whichever replica, in the order of time."""
        hit = [blow for blow in self.blows if blow.target.startswith(targets)]
        return sorted(hit, key=lambda blow: blow.ended)
