"""What goes on over a WebSocket: commands in a container, and connections to a port of a pod."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple, TypeAlias

import aiohttp

from todo.operations.cluster.errors import ClusterError, Fault

EXEC: Final = "v5.channel.k8s.io"  # the first version in which standard input can end
FORWARD: Final = "v4.channel.k8s.io"
BLOCK: Final = 32 * 1024  # bytes
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_DATA, _ERROR = 0, 1

Socket: TypeAlias = aiohttp.ClientWebSocketResponse
Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[Socket]]


class Executed(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


async def executed(socket: Socket, stdin: bytes | None, what: str) -> Executed:
    """Follow a command to its end. Raises `ClusterError` when that is not to be had."""
    if stdin is not None:
        for start in range(0, len(stdin), BLOCK):
            await socket.send_bytes(bytes([_STDIN]) + stdin[start : start + BLOCK])
        await socket.send_bytes(bytes([_CLOSE, _STDIN]))
    out, err = bytearray(), bytearray()
    async for channel, content in _frames(socket):
        if channel == _STATUS:
            return Executed(_code(content, what), out.decode(errors="replace"), err.decode(errors="replace"))
        if channel in {_STDOUT, _STDERR}:
            (out if channel == _STDOUT else err).extend(content)
    raise ClusterError(Fault.AWAY, f"{what}: the connection broke before the command had ended")


def _code(content: bytes, what: str) -> int:
    status = json.loads(content)
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ClusterError(Fault.REFUSED, f"{what}: {status.get('message', 'it could not be started')}")


@asynccontextmanager
async def forwarded(opening: Opening) -> AsyncIterator[str]:
    """Listen on a free port of 127.0.0.1; each connection to it is one to the pod. What is open in the end is cut."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a connection is served in a task
        connections.add(task)
        try:
            # Whoever is connected sees it end, and asks again or tells; there is nobody else to tell.
            with contextlib.suppress(ClusterError, OSError, aiohttp.ClientError, asyncio.CancelledError):
                async with opening() as socket:
                    await _joined(socket, reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _joined(socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until one side has ended."""
    ways = [asyncio.ensure_future(one) for one in (_up(socket, reader), _down(socket, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _up(socket: Socket, reader: asyncio.StreamReader) -> None:
    while content := await reader.read(BLOCK):
        await socket.send_bytes(bytes([_DATA]) + content)


async def _down(socket: Socket, writer: asyncio.StreamWriter) -> None:
    begun: set[int] = set()
    async for channel, content in _frames(socket):
        if channel not in begun:  # the first frame of each channel repeats the port's number
            begun.add(channel)
        elif channel == _ERROR:
            return
        else:
            writer.write(content)
            await writer.drain()


async def _frames(socket: Socket) -> AsyncIterator[tuple[int, bytes]]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY and message.data:
            yield message.data[0], message.data[1:]


async def within(seconds: float, doing: Awaitable[Executed], what: str) -> Executed:
    try:
        async with asyncio.timeout(seconds):
            return await doing
    except TimeoutError:
        raise ClusterError(Fault.AWAY, f"{what}: it had not ended after {seconds:.0f} s") from None
