"""Only one at a time changes what the sidecars of a system use."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from todo.operations.rotation.authority import RotationError

LOCK: Final = "change.lock"


@contextmanager
def alone(engine: Path) -> Iterator[None]:
    """Be the only one that changes what the sidecars of this engine's folder use. Raises `RotationError`."""
    descriptor = os.open(engine / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RotationError("a swap or another rotation is under way here: wait for its end") from None
        yield
    finally:
        os.close(descriptor)
