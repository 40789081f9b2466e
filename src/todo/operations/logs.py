"""Where the lines of all children go: one stream, prefixed and coloured for people, or JSON lines for programs."""

import io
import json
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.style import Style
from rich.text import Text

SUPERVISOR: Final = "todo"
COLOURS: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
NAME_WIDTH: Final = 20
QUEUE_LINES: Final = 10_000

LogFormat = Literal["pretty", "json"]


class LogSink(Protocol):
    """Takes lines of children, in order; never blocks and never raises."""

    def line(self, name: str, text: str) -> None: ...


class Silence:
    """Drops everything: for tests, which read a child's last lines from the supervisor."""

    def line(self, name: str, text: str) -> None: ...


class StreamSink:
    """Writes from a thread of its own, so that a paused terminal never stops the supervisor.

    When the reader is 10,000 lines behind, lines are dropped and counted; a reader that went away ends the writing.
    """

    def __init__(self, log_format: LogFormat, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")  # a terminal without UTF-8 must not end the writing
        self._console = Console(file=self._stream, highlight=False)
        self._styles = {SUPERVISOR: Style(bold=True)}
        self._write = self._write_json if log_format == "json" else self._write_pretty
        self._entries: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LINES)
        self._dropped = 0
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    def line(self, name: str, text: str) -> None:
        self._put(partial(self._write, name, text))

    def show(self, what: RenderableType) -> None:
        """Print something of Rich's between the lines, as it is."""
        self._put(partial(self._console.print, what, soft_wrap=True))

    def close(self) -> None:
        """Write what is queued; gives up after a second when nobody reads."""
        try:
            self._entries.put(None, timeout=1.0)
        except queue.Full:
            return
        self._writer.join(1.0)

    def _put(self, entry: Callable[[], None]) -> None:
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        try:
            while (write := self._entries.get()) is not None:
                write()
                if self._dropped and self._entries.empty():
                    dropped, self._dropped = self._dropped, 0
                    self._write(SUPERVISOR, f"{dropped} lines were dropped: the reader was too slow")
        except (OSError, ValueError):  # a closed pipe or terminal; a stream closed at the interpreter's exit
            return

    def _write_pretty(self, name: str, text: str) -> None:
        style = self._styles.setdefault(name, Style(color=COLOURS[len(self._styles) % len(COLOURS)]))
        line = Text.assemble((f"{name:>{NAME_WIDTH}} │ ", style), Text.from_ansi(text))
        self._console.print(line, soft_wrap=True)

    def _write_json(self, name: str, text: str) -> None:
        line = text if text.startswith("{") else json.dumps({"process": name, "event": text}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()
