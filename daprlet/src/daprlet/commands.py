"""The app processes a run was asked to start beside their sidecars."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Final

from daprlet.errors import SetupError
from daprlet.settings import AppSettings

_log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0  # seconds an app has to end after it was asked to


class Command:
    """One app process; it gets Dapr's variables and the app's own environment."""

    def __init__(self, app: AppSettings, dapr_port: int) -> None:
        self._app = app
        self._dapr_port = dapr_port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._app.command, cwd=self._app.directory, env=self._environment()
            )
        except OSError as error:
            raise SetupError(f"the command of {self._app.app_id} cannot be started: {error}") from error
        _log.info("app %s: started %s as process %d", self._app.app_id, self._app.command[0], self._process.pid)

    async def wait(self) -> int:
        """The exit code of the process; negative for a signal."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Ask the process to end, and end it when it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._process.wait()
        except TimeoutError:
            _log.warning("app %s did not end within %g s and is killed", self._app.app_id, _PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _environment(self) -> Mapping[str, str]:
        app = self._app
        dapr = {
            "APP_ID": app.app_id,
            "DAPR_HTTP_PORT": str(self._dapr_port),
            "DAPR_HTTP_ENDPOINT": f"http://127.0.0.1:{self._dapr_port}",
        }
        if app.app_port:
            dapr["APP_PORT"] = str(app.app_port)
        if app.metrics_port:
            dapr["DAPR_METRICS_PORT"] = str(app.metrics_port)
        return {**os.environ, **dapr, **app.environment}
