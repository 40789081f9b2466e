"""Tiny real child processes, and ways to wait for what they do."""

import asyncio
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

from todo.operations import processes
from todo.operations.logs import LogSink

# A stand-in for every program of the system: answers every GET with 204 on each port it is given.
SERVER = """
import http.server, signal, sys, threading

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass

print("serving", *sys.argv[1:], flush=True)
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler) for port in sys.argv[1:]]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
signal.sigwait({signal.SIGTERM})
print("drained", flush=True)
"""


def server(*ports: int) -> list[str]:
    return [sys.executable, "-S", "-c", SERVER, *map(str, ports)]


def program(source: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", textwrap.dedent(source)]


class Recorder(LogSink):
    """Keeps the lines of all children."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, name: str, text: str) -> None:
        self.lines.append((name, text))

    def of(self, name: str) -> Sequence[str]:
        return [text for owner, text in self.lines if owner == name]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    await until(lambda: not processes.alive(pid))
