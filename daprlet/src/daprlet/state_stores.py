"""The state components of a run and the databases they are in."""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from daprlet import state
from daprlet.database import Database
from daprlet.datafolder import DataFolder
from daprlet.errors import SetupError
from daprlet.resources import Component
from daprlet.state import StateStore

_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
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
        """Make the stores of components that are new or have changed, and return those; before or after `start`."""
        added = []
        for component in components:
            known, _ = self._stores.get(component.name, (None, None))
            if known != component:
                store = self._make(component)
                self._stores[component.name] = component, store
                added.append(store)
        return added

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
        if not _TABLE.fullmatch(table):
            raise SetupError(f"{component.where}: metadata 'tableName': {table!r} is not a plain name")
        path = self._path(settings.get("connectionString", ""))
        if path not in self._databases:
            self._databases[path] = open_database(path)
        self._databases[path].add_schema(state.schema(table))
        return StateStore(
            self._databases[path], component.name, table, settings.get("cleanupInterval", _CLEANUP_SECONDS)
        )

    def _path(self, connection: str) -> Path:
        if not connection:
            return self._folder.database
        return self._folder.path / connection.removeprefix("file:").partition("?")[0]
