"""The folder a run keeps its data in, and the lock that lets one run at a time use it."""

import os
import sys
from pathlib import Path
from typing import IO, Final

from daprlet.errors import SetupError

DATABASE: Final = "daprlet.db"
_LOCK: Final = "daprlet.lock"


class DataFolder:
    """A folder that is locked until `close`, or until the process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / _LOCK).open("a+", encoding="ascii")
        except OSError as error:
            raise SetupError(f"the data folder {path} cannot be used: {error}") from error
        self._take(self._lock)

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    def close(self) -> None:
        self._lock.close()

    def _take(self, lock: IO[str]) -> None:
        try:
            _lock(lock)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            message = f"the data folder {self.path} is in use by another daprlet (process {owner or 'unknown'})"
            raise SetupError(f"{message}; stop it, or choose another folder with --data-path") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1024)  # beyond the process id, which others must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
