"""The state components of a run and the databases they are in."""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from daprlet import jobs, log, state
from daprlet.database import Database
from daprlet.datafolder import DataFolder
from daprlet.errors import SetupError
from daprlet.resources import Component
from daprlet.state import StateStore

_OURS: Final = frozenset(re.findall(r"TABLE IF NOT EXISTS (\w+)", log.SCHEMA + jobs.SCHEMA))
_CLEANUP_SECONDS: Final = 3600.0


def open_database(path: Path, schema: str = "") -> Database:
    try:
        return Database(path, schema)
    except sqlite3.Error as error:
        raise SetupError(f"the database {path} cannot be opened: {error}") from error


class StateStores:
    """By component name: apps that have a store of the same name share it, as they would share a server.

    A store is in the data folder's own database unless its component names another file, relative to the data folder.
    """

    def __init__(self, folder: DataFolder, database: Database) -> None:
        self._folder = folder
        self._databases = {folder.database: database}
        self._stores: dict[str, tuple[Component, StateStore]] = {}

    def add(self, components: Iterable[Component]) -> list[StateStore]:
        """Make the stores of components that are new or have changed, and return those; before or after `start`.

        Raises `SetupError`, and then none of them is there.
        """
        new = [one for one in components if self._stores.get(one.name, (None, None))[0] != one]
        made = {one.name: (one, self._make(one)) for one in new}
        self._stores |= made
        return [store for _, store in made.values()]

    def of(self, components: Iterable[Component]) -> dict[str, StateStore]:
        return {component.name: self._stores[component.name][1] for component in components}

    def start(self) -> None:
        """Begin to write, in databases that do not yet."""
        for database in self._databases.values():
            database.start()

    async def close(self) -> None:
        for database in self._databases.values():
            await database.close()

    def _make(self, component: Component) -> StateStore:
        settings = component.settings
        table = settings.get("tableName") or "state"
        if table.lower() in _OURS:  # the name is not quoted: it may come from a secret
            raise SetupError(f"{component.where}: metadata 'tableName' names a table of daprlet's own; take another")
        path = self._path(settings.get("connectionString", ""))
        if path not in self._databases:
            self._databases[path] = open_database(path)
        try:
            self._databases[path].add_schema(state.schema(table))
        except sqlite3.Error as error:
            message = f"{component.where}: the table of metadata 'tableName' cannot be made: {error.sqlite_errorname}"
            raise SetupError(message) from None
        return StateStore(
            self._databases[path], component.name, table, settings.get("cleanupInterval", _CLEANUP_SECONDS)
        )

    def _path(self, connection: str) -> Path:
        if not connection:
            return self._folder.database
        return self._folder.path / connection.removeprefix("file:").partition("?")[0]
