"""Resource files that change while a run goes on."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from daprlet.errors import SetupError
from daprlet.resources import Resources, load
from daprlet.settings import AppSettings

_log = logging.getLogger(__name__)

_LOOK: Final = 0.5

_Stamp = tuple[tuple[str, int, int], ...]


class ResourceWatch:
    """Looks at one app's resource files, its Configuration and its secret files, and loads them anew when they changed.

    A change is taken up once the files have been still for one look, so that half-written ones are not read. Files that
    are wrong are reported and change nothing: the run goes on with what it had.
    """

    def __init__(self, settings: AppSettings, resources: Resources, apply: Callable[[Resources], None]) -> None:
        self._settings = settings
        self._resources = resources
        self._apply = apply
        self._loaded = self._stamp()

    async def watch(self) -> None:
        """Go on for as long as the run lasts."""
        before = self._loaded
        while True:
            await asyncio.sleep(_LOOK)
            now = self._stamp()
            if now == before and now != self._loaded:
                self._loaded = now
                await self._reload()
            before = now

    async def _reload(self) -> None:
        app = self._settings
        try:
            resources = await asyncio.to_thread(load, app.app_id, app.resources, app.configuration)
            self._apply(resources)
        except SetupError as error:
            _log.error("app %s: changed resources are not used: %s", app.app_id, error)
            return
        except Exception:  # noqa: BLE001 - whatever it was, the next change of the files must be seen
            _log.exception("app %s: changed resources could not be used", app.app_id)
            return
        self._resources = resources
        _log.info("app %s: resources reloaded", app.app_id)

    def _stamp(self) -> _Stamp:
        files = [path for folder in self._settings.resources for path in _yaml_files(folder)]
        if self._settings.configuration is not None:
            files.append(self._settings.configuration)
        secrets = [Path(c.settings["secretsFile"]) for c in self._resources.components if "secretsFile" in c.settings]
        return tuple(_file_stamp(path) for path in sorted({*files, *secrets}))


def _yaml_files(folder: Path) -> Sequence[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")]
    except OSError:
        return []


def _file_stamp(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size
