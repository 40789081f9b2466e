"""Import: read the whole file and report; then, if that is wanted and nothing is broken, read it again and write.

Every task has an id that follows from where it comes from, so that the same file again, or what is left of one after a
kill in the middle, makes nothing twice. Each chunk is a transaction: its tasks, their history, their events.
"""

import asyncio
import datetime as dt
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final
from uuid import UUID

from todo.backend import telling
from todo.backend.commands import Context
from todo.backend.porting.checking import Checked, as_label, check, task_id
from todo.backend.porting.entries import MAX_ENTRIES, Broken, BrokenFileError, Entry, Loss, Reader, Reading
from todo.backend.porting.places import Child, Names, Tree, origin_of
from todo.backend.porting.placing import place
from todo.backend.store import lists, people
from todo.backend.store import porting as store
from todo.backend.store.people import Owner
from todo.backend.store.porting import Standing
from todo.backend.store.tasks import Change
from todo.contracts import events
from todo.dapr.subscriber import UnavailableError
from todo.domain.series import TaskSeries
from todo.domain.task import Task
from todo.messaging.postgres import Executor
from todo.messaging.unit import Database

CHUNK: Final = 200  # tasks: what one transaction writes
_LOOKED_UP: Final = 1_000  # tasks at a time
_MOST_FIELDS: Final = 50  # whose losses are counted each for itself

Line = dict[str, Any]
Found = Checked | Broken | Loss


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent; it can be read again from its start."""

    file: BinaryIO
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of an import. `partial`: what can be read is imported although some cannot."""

    dry_run: bool = True
    partial: bool = False


@dataclass(slots=True)
class _Tally:
    tasks: int = 0
    there: int = 0
    broken: int = 0
    losses: int = 0
    imported: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    seen: dict[bytes, str] = field(default_factory=dict)  # the ids of the tasks in the file, and their lists
    last: dict[UUID, int] = field(default_factory=dict)  # the latest occurrence of each series in the file

    def lose(self, loss: Loss) -> None:
        self.losses += 1
        name = loss.field if loss.field in self.fields or len(self.fields) < _MOST_FIELDS else "other"
        self.fields[name] += 1


class Import:
    """One import of one file for one user."""

    def __init__(self, database: Database, context: Context, user: Owner, upload: Upload, reader: Reader) -> None:
        self._database = database
        self._context = context
        self._user = user
        self._upload = upload
        self._reader = reader
        self._tally = _Tally()
        self._names = Names(())
        self._tree = Tree()

    async def run(self, wish: Wish) -> AsyncIterator[Line]:
        """Lines for whoever waits: `loss`, `broken`, `progress`, and at the end `done` or `failed`."""
        try:
            async for line in self._look():
                yield line
            write = not wish.dry_run and (wish.partial or not self._tally.broken)
            async for line in self._write() if write else _nothing():
                yield line
        except UnavailableError:
            yield {"failed": {"reason": _AWAY, "imported": self._tally.imported}}
            return
        yield {"done": self._done(wish)}

    async def _look(self) -> AsyncIterator[Line]:
        """Read everything and report."""
        self._names = Names([one.name for one in await lists.of_user(self._database.pool, self._user.id)])
        reading, found = self._open()
        while chunk := await asyncio.to_thread(self._read, found, reading):
            for line in self._report(chunk):
                yield line
            self._tally.there += await self._count_there([one for one in chunk if isinstance(one, Checked)])
            yield _progress("read", self._tally.tasks, reading.share)
        for loss in await self._grow() if self._tree.children else ():
            self._tally.lose(loss)
            yield {"loss": loss}

    async def _write(self) -> AsyncIterator[Line]:
        """Read everything again and write it; subtasks once all their parents are there."""
        done = 0
        for below in (False, True) if self._tree.under else (False,):
            reading, found = self._open()
            self._tally.seen.clear()
            while chunk := await asyncio.to_thread(self._read, found, reading):
                new = (one for one in chunk if isinstance(one, Checked) and self._is_new(one))
                checked = [one for one in new if (one.task.id in self._tree.under) is below]
                rows = await asyncio.to_thread(self._rows, checked)
                for loss in await self._store(rows):
                    self._tally.lose(loss)
                    yield {"loss": loss}
                done += len(checked)
                yield _progress("write", done, done / max(self._tally.tasks, 1))

    def _open(self) -> tuple[Reading, Iterator[Entry | Broken | Loss]]:
        upload = self._upload
        upload.file.seek(0)
        reading = Reading(self._user.zone, self._context.now, upload.sha256, upload.size)
        return reading, _bounded(self._reader(upload.file, reading))

    def _read(self, found: Iterator[Entry | Broken | Loss], reading: Reading) -> list[Found]:
        """The next entries as tasks; in a thread, for this is most of the work."""
        now = max(self._database.clock(), reading.now)
        chunk: list[Found] = []
        try:
            chunk += (self._check(one, now) for one in itertools.islice(found, CHUNK))
        except BrokenFileError as error:
            chunk.append(Broken(error.line, 0, "file", f"{error.problem}; what follows cannot be read"))
        return chunk

    def _check(self, one: Entry | Broken | Loss, now: dt.datetime) -> Found:
        if not isinstance(one, Entry):
            return one
        checked = check(one, self._user, now)
        return checked if not one.list_name or self._names.has(one.list_name) else as_label(checked)

    async def _grow(self) -> list[Loss]:
        """Put the subtasks of the file under their parents, now that all of it is known."""
        stored: dict[UUID, Standing] = {}
        parents = self._tree.parents()
        for first in range(0, len(parents), _LOOKED_UP):
            some = parents[first : first + _LOOKED_UP]
            stored |= await store.standing(self._database.pool, self._user.id, some)
        return await asyncio.to_thread(self._tree.settle, stored, self._tally.seen)

    def _report(self, chunk: Sequence[Found]) -> Iterator[Line]:
        for one in chunk:
            if isinstance(one, Broken):
                self._tally.broken += 1
                yield {"broken": one}
                continue
            losses = one.entry.losses if isinstance(one, Checked) else [one]
            if isinstance(one, Checked):
                self._count(one)
            for loss in losses:
                self._tally.lose(loss)
                yield {"loss": loss}

    def _count(self, one: Checked) -> None:
        if not self._is_new(one):
            entry = one.entry
            entry.losses[:] = [Loss(entry.line, entry.number, "id", "it is in the file twice", "taken once")]
            return
        self._tally.tasks += 1
        if source := one.entry.parent_source:
            entry, parent = one.entry, task_id(self._user.id, source)
            key = sys.intern(entry.list_name.lower())
            self._tree.children[one.task.id] = Child(entry.line, entry.number, key, parent, origin_of(source))
        if one.series is not None:
            self._tally.last[one.series.id] = max(self._tally.last.get(one.series.id, 0), one.task.seq or 0)

    def _is_new(self, one: Checked) -> bool:
        """Whether it was not in the file before."""
        before = len(self._tally.seen)
        self._tally.seen.setdefault(one.task.id.bytes, sys.intern(one.entry.list_name.lower()))
        return len(self._tally.seen) > before

    def _rows(self, checked: Sequence[Checked]) -> list[tuple[Checked, Change]]:
        return [(one, self._change(one.task, one.series)) for one in map(self._settled, checked)]

    def _settled(self, one: Checked) -> Checked:
        """Of a series only the latest occurrence has a successor to come: those before it have theirs in the file."""
        if one.series is None or (one.task.seq or 0) == self._tally.last.get(one.series.id):
            return one
        return replace(one, task=replace(one.task, closed_version=None))

    def _change(self, task: Task, series: TaskSeries | None) -> Change:
        context = self._context
        return telling.change(
            events.TASK_CREATED, task, series, epoch=context.epoch, now=context.now, cause=context.cause
        )

    async def _store(self, rows: Sequence[tuple[Checked, Change]]) -> list[Loss]:
        """Write what is not there yet. No event tells of a place, so that each is known as late as this."""
        if not rows:
            return []
        under = self._tree.under
        async with self._database.transaction() as unit:
            db = unit.connection
            if any(one.entry.list_name or one.task.id in under for one, _ in rows):
                await people.lock(db, self._user.id)
            there = await self._there(db, [one for one, _ in rows])
            new = [(one, change) for one, change in rows if not _is_among(one, there)]
            placed = await place(db, self._user.id, unit.now, [one for one, _ in new], under)
            series = {one.series.id: one.series for one in placed.checked if one.series}
            await store.insert_series(db, list(series.values()))
            changes = [change for _, change in new]
            tasks = [one.task for one in placed.checked]
            made = await store.insert_all(db, list(zip(tasks, changes, strict=True)), unit.now)
            unit.tells = bool(new)
        self._tally.imported += made
        return placed.losses

    async def _count_there(self, checked: Sequence[Checked]) -> int:
        async with self._database.transaction() as unit:
            there = await self._there(unit.connection, checked)
        found = [one for one in checked if _is_among(one, there)]
        for one in found:  # it stays where it is
            self._tree.children.pop(one.task.id, None)
        return len(found)

    async def _there(self, db: Executor, checked: Sequence[Checked]) -> set[UUID]:
        origins = [one.entry.origin for one in checked if one.entry.origin]
        return await store.there(db, self._user.id, [one.task.id for one in checked], origins)

    def _done(self, wish: Wish) -> Line:
        tally = self._tally
        stopped = tally.broken > 0 and not wish.partial
        written = not wish.dry_run and not stopped
        return {
            "dry_run": wish.dry_run,
            "tasks": tally.tasks,
            "imported": tally.imported,
            "already_there": tally.tasks - tally.imported if written else tally.there,
            "broken": tally.broken,
            "losses": tally.losses,
            "fields": dict(tally.fields),
            "result": _STOPPED if stopped else _WRITTEN if written else _LOOKED,
        }


_AWAY: Final = "the database is away: import the same file again later, what is there already is not made twice"
_STOPPED: Final = "nothing is imported: some of it cannot be read; mend that, or say partial=true to import the rest"
_WRITTEN: Final = "imported"
_LOOKED: Final = "nothing is written: say dry_run=false to import it"


def _is_among(one: Checked, there: Container[UUID | None]) -> bool:
    return one.task.id in there or one.entry.origin in there


def _bounded(found: Iterator[Entry | Broken | Loss]) -> Iterator[Entry | Broken | Loss]:
    count = 0
    for one in found:
        count += isinstance(one, Entry | Broken)
        if count > MAX_ENTRIES:
            raise BrokenFileError(getattr(one, "line", 0), f"there are more than {MAX_ENTRIES:,} tasks: split it")
        yield one


def _progress(phase: str, tasks: int, share: float) -> Line:
    return {"progress": {"phase": phase, "tasks": tasks, "share": round(share, 4)}}


async def _nothing() -> AsyncIterator[Line]:
    return
    yield
