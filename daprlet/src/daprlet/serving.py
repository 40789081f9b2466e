"""HTTP servers inside the run's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from daprlet.errors import SetupError

_BACKLOG: Final = 1024


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the run has one of its own for all servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """One port and the application behind it. The port is taken at once, so a conflict is seen before anything runs."""

    def __init__(self, host: str, port: int, what: str) -> None:
        self._socket = _bind(host, port, what)
        self.port: int = self._socket.getsockname()[1]
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    def serve(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            backlog=_BACKLOG,
        )
        self._server = Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def close(self) -> None:
        """Stop accepting, let requests under way end (for two seconds at most), close."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()


def _bind(host: str, port: int, what: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise SetupError(f"{what} {port} on {host} cannot be listened on: {error.strerror or error}") from error
    bound.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return bound
