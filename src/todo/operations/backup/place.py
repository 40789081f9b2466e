"""Where the database is that a backup is taken of or restored to, running or not."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from todo.messaging.database import Where
from todo.operations import datafolder
from todo.operations.datafolder import AlreadyRunningError, DataFolder
from todo.operations.postgres import PostgresServer
from todo.service.settings import database_url


class NoDataError(Exception):
    """There is nothing to take a backup of; the message says what to do."""


@asynccontextmanager
async def to_back_up(data: Path, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Where]:
    """The database that the environment names, or of the system that runs on the folder, or of one that does not run.

    Raises `NoDataError`, and what cannot be used otherwise as `SettingsError`, `DataFolderError`, `PostgresError`.
    """
    running = None if _is_named(environ) else datafolder.running_system(data)
    if running is not None:
        yield running.database_url
        return
    if not _is_named(environ) and not (data / "postgres" / "cluster").exists():
        raise NoDataError(
            f"nothing was ever kept in {data}: name a data folder with --data, or a database with DATABASE_URL"
        )
    async with to_restore(data, environ) as where:
        yield where


@asynccontextmanager
async def to_restore(data: Path, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Where]:
    """The same, for us alone: the database that the environment names, or the folder's, where nothing may run.

    A folder that does not exist is made. Raises what `to_back_up` raises.
    """
    if _is_named(environ):
        yield database_url(environ)
        return
    running = datafolder.running_system(data)
    if running is not None:
        raise AlreadyRunningError(data, running, running.pid)
    with DataFolder(data) as folder:
        async with PostgresServer(folder.path / "postgres") as server:
            yield server.dsn


def _is_named(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("DATABASE_URL") or environ.get("DATABASE_URL_FILE"))
