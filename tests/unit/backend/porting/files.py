"""Files read without a database: entries, and the tasks they become."""

import datetime as dt
import io
from dataclasses import dataclass, field

from todo.backend.porting.checking import Checked, check
from todo.backend.porting.entries import Broken, BrokenFileError, Entry, Loss, Reader, Reading
from todo.backend.store.people import Owner
from todo.domain.task import Task

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
BERLIN = Owner(7, "Europe/Berlin")


@dataclass
class Read:
    """What a reader made of a file."""

    checked: list[Checked] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    end: BrokenFileError | None = None

    @property
    def tasks(self) -> list[Task]:
        return [one.task for one in self.checked]

    @property
    def task(self) -> Task:
        (one,) = self.tasks
        return one

    @property
    def lost(self) -> list[tuple[int, str]]:
        """(line, field)"""
        return [(one.line, one.field) for one in self.losses]


def read(reader: Reader, content: str | bytes, user: Owner = BERLIN) -> Read:
    octets = content.encode() if isinstance(content, str) else content
    found = Read()
    reading = Reading(user.zone, NOW, "hash of the file", len(octets))
    try:
        for one in reader(io.BytesIO(octets), reading):
            _keep(found, one, user)
    except BrokenFileError as error:
        found.end = error
    return found


def _keep(found: Read, one: Entry | Broken | Loss, user: Owner) -> None:
    if isinstance(one, Broken):
        found.broken.append(one)
    elif isinstance(one, Loss):
        found.losses.append(one)
    else:
        found.checked.append(check(one, user, NOW))
        found.losses += one.losses
