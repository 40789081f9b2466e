"""A process that imports a file, or exports into one, and tells how much memory it took: what a test kills or measures.

python importer.py URL USER import KIND FILE | export KIND FILE
"""

import asyncio
import datetime as dt
import hashlib
import json
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from todo.backend.commands import Context
from todo.backend.porting.exporting import export
from todo.backend.porting.formats import READERS, ExportFormat, ImportFormat
from todo.backend.porting.importing import Import, Upload, Wish
from todo.backend.store.people import Owner
from todo.messaging.database import open_database


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def memory() -> int:
    """The most that this process ever held, in MB. On Linux getrusage counts what its parent held before it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


async def main(url: str, user: Owner, upload: Upload | BinaryIO, kind: str) -> None:
    database = await open_database(url, "backend", now)
    before = memory()
    if isinstance(upload, Upload):
        work = Import(database, Context(1, now()), user, upload, READERS[ImportFormat(kind)])
        async for line in work.run(Wish(dry_run=False)):
            if "progress" in line or "done" in line:
                say(line | {"grown": memory() - before})
    else:
        async for piece in export(database.pool, user, ExportFormat(kind), now()):
            upload.write(piece)
        say({"done": {}, "grown": memory() - before})
    await database.close()


def say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, URL, USER, VERB, KIND, PATH = sys.argv
    FILE: Any
    with Path(PATH).open("rb" if VERB == "import" else "wb") as FILE:
        WHAT = FILE
        if VERB == "import":
            DIGEST = hashlib.file_digest(FILE, "sha256").hexdigest()
            WHAT = Upload(FILE, Path(PATH).stat().st_size, DIGEST)
        asyncio.run(main(URL, Owner(int(USER), "Europe/Berlin"), WHAT, KIND))
