"""Our own JSON: one document, a task a line, so that it reads well and streams both ways."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

from todo.backend.porting import own
from todo.backend.porting.entries import Broken, BrokenFileError, Entry, Loss, Reading, shown
from todo.backend.porting.jsonstream import JsonStream
from todo.domain.series import TaskSeries
from todo.domain.task import Task

MARK = "todo"


def head(now: dt.datetime) -> bytes:
    said = msgspec.json.encode({"format": MARK, "version": own.VERSION, "exported_at": now})
    return said.removesuffix(b"}") + b',"tasks":['


def body(tasks: Iterable[tuple[Task, TaskSeries | None]], lists: own.Lists, *, first: bool) -> bytes:
    lines = [b"\n" + msgspec.json.encode(own.told(*one, lists)) for one in tasks]
    return (b"" if first or not lines else b",") + b",".join(lines)


def foot() -> bytes:
    return b"\n]}\n"


def read(file: BinaryIO, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    """The tasks of a document. Raises `BrokenFileError`."""
    document = JsonStream(file, reading)
    if document.next() != "{":
        raise document.broken("it is no export of this system: that begins with {")
    known: dict[str, Any] = {}
    for name in document.keys():  # noqa: SIM118 - no dict
        if name == "tasks":
            _check_kind(document, known)
            yield from _tasks(document, reading)
        elif name in {"format", "version", "exported_at"}:
            known[name] = document.value()
        else:
            yield _unknown(document.line, name)
            document.skip()
    document.end()
    _check_kind(document, known)


def _tasks(document: JsonStream, reading: Reading) -> Iterator[Entry | Broken | Loss]:
    for number, _ in enumerate(document.items(), 1):
        document.next()
        line, fields = document.line, document.value()
        if isinstance(fields, dict):
            yield own.read_task(fields, number, line, reading.sha256)
        else:
            yield Broken(line, number, "task", "it is no object")


def _check_kind(document: JsonStream, known: dict[str, Any]) -> None:
    if known.get("format") != MARK:
        raise document.broken('it is no export of this system: that says "format": "todo" before its tasks')
    version = known.get("version")
    if version != own.VERSION:
        raise BrokenFileError(
            document.line, f"it is of version {shown(version)}, and this system knows {own.VERSION}: use a newer one"
        )


def _unknown(line: int, name: str) -> Loss:
    return Loss(line, 0, shown(name), "it is not known here", "left out")
