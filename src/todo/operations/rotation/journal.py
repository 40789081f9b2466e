"""What was rotated, when, by whom: one line a step, only ever added to, never with a secret in it."""

import datetime as dt
import getpass
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from todo.contracts.clock import Clock, utc_now

FILE: Final = "rotations.jsonl"
BEGUN: Final = "begun"
CREATED: Final = "created"
CHECKED: Final = "checked"
SWITCHING: Final = "switching"
BACK: Final = "back"
WITHDRAWN: Final = "withdrawn"
VERIFIED: Final = "verified"
RETIRING: Final = "retiring"
RETIRED: Final = "retired"
FAILED: Final = "failed"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. `version` counts the logins that a secret has had; `login` is the user or role, where there is one."""

    at: dt.datetime
    who: str
    secret: str
    version: int
    step: str
    login: str = ""
    detail: str = ""


class Journal(ABC):
    """The steps of one system's rotations. A line is kept for good before its step counts as done."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock

    @abstractmethod
    async def _append(self, line: bytes) -> None:
        """Keep one line more."""

    @abstractmethod
    async def _lines(self) -> Sequence[bytes]:
        """Every line, in their order."""

    async def add(self, secret: str, version: int, step: str, *, login: str = "", detail: str = "") -> Entry:
        entry = Entry(self._clock(), _who(), secret, version, step, login, detail)
        await self._append(msgspec.json.encode(entry))
        return entry

    async def entries(self, secret: str = "") -> Sequence[Entry]:
        """The steps of one secret, or all of them, in their order; a line cut short by a crash is not one."""
        found = [entry for line in await self._lines() if (entry := _decoded(line)) is not None]
        return [entry for entry in found if secret in {"", entry.secret}]

    async def has(self, secret: str, version: int, step: str, detail: str = "") -> bool:
        """Whether this step was noted of a version, with this detail."""
        return any((one.version, one.step, one.detail) == (version, step, detail) for one in await self.entries(secret))

    async def verified(self, secret: str) -> int | None:
        """The version that everyone was last seen to use; None while a switch is not verified, or there was none."""
        steps = [one for one in await self.entries(secret) if one.step in {SWITCHING, BACK, VERIFIED}]
        return steps[-1].version if steps and steps[-1].step == VERIFIED else None


class FileJournal(Journal):
    """`rotations.jsonl` of one data folder."""

    def __init__(self, data: Path, clock: Clock = utc_now) -> None:
        super().__init__(clock)
        self._place = data / FILE

    async def _append(self, line: bytes) -> None:
        descriptor = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "rb+", buffering=0) as file:
            torn = file.seek(0, os.SEEK_END) > 0 and os.pread(descriptor, 1, file.tell() - 1) != b"\n"
            file.write((b"\n" if torn else b"") + line + b"\n")
            os.fsync(descriptor)

    async def _lines(self) -> Sequence[bytes]:
        try:
            return self._place.read_bytes().splitlines()
        except FileNotFoundError:
            return []


def _decoded(line: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError:
        return None


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
