"""`todo up`: the whole system in the foreground, until Ctrl-C."""

import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from todo.operations.brokers import BrokerError
from todo.operations.datafolder import DataFolderError
from todo.operations.engine.binaries import EngineMissingError
from todo.operations.engine.hosted import BrokerChoiceError
from todo.operations.engine.kafka import KafkaError
from todo.operations.engine.resources import ResourceError
from todo.operations.logs import SUPERVISOR, StreamSink
from todo.operations.ports import PortTakenError
from todo.operations.postgres import PostgresError
from todo.operations.runfile import RunFileError
from todo.operations.supervisor import ChildFailedError, State
from todo.operations.system import (
    AddressNeededError,
    System,
    UnknownNameError,
    UpOptions,
    prepared_system,
    running_system,
)
from todo.service.settings import SettingsError

__all__ = ["System", "UpOptions", "running_system", "up"]

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILURES: Final = (
    AddressNeededError,
    BrokerChoiceError,
    BrokerError,
    ChildFailedError,
    DataFolderError,
    EngineMissingError,
    KafkaError,
    PortTakenError,
    PostgresError,
    ResourceError,
    RunFileError,
    SettingsError,
    UnknownNameError,
)
STATE_STYLES: Final = {State.READY: "green", State.DONE: "dim"}


async def up(options: UpOptions) -> int:
    """Run the system until a stop signal; return 0 then, and 1 with one clear message when it cannot be had.

    A second stop signal ends it at once, without draining.
    """
    errors = Console(stderr=True)
    if options.ask is None and sys.stdin.isatty():
        options = dataclasses.replace(options, ask=lambda question: errors.input(f"{question}: ").strip())
    try:
        with contextlib.closing(StreamSink(options.log_format)) as sink:
            async with prepared_system(options, sink) as system:
                await _run(system, options, sink)
    except FAILURES as error:
        errors.print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


async def _run(system: System, options: UpOptions, sink: StreamSink) -> None:
    began = time.monotonic()
    with _stop_signals(system) as stopping:
        starting = asyncio.create_task(system.begin())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                await starting
                _show_ready(system, options, sink, time.monotonic() - began)
                await stop
            sink.line(SUPERVISOR, "stopping; Ctrl-C again ends everything at once")
        finally:
            await system.supervisor.stop()
            starting.cancel()
            stop.cancel()
            await asyncio.gather(starting, stop, return_exceptions=True)


@contextlib.contextmanager
def _stop_signals(system: System) -> Iterator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            system.supervisor.kill_all()
        stopping.set()

    for sent in STOP_SIGNALS:
        loop.add_signal_handler(sent, stop)
    try:
        yield stopping
    finally:
        for sent in STOP_SIGNALS:
            loop.remove_signal_handler(sent)


def _show_ready(system: System, options: UpOptions, sink: StreamSink, seconds: float) -> None:
    if options.log_format == "json":
        ready = {"process": SUPERVISOR, "event": "ready", "seconds": round(seconds, 3), "addresses": system.addresses}
        sink.line(SUPERVISOR, json.dumps(ready))
        return
    sink.show(Group("", status_table(system), "", _first_steps(system, seconds), ""))


def status_table(system: System) -> Table:
    """One row for each child: name, address, pid, state, seconds from its start until it was ready."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    for heading in ("name", "address", "pid", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("ready after", justify="right", no_wrap=True)
    for name, child in system.children.items():
        table.add_row(
            name,
            child.spec.address,
            str(child.pid or ""),
            Text(child.state, style=STATE_STYLES.get(child.state, "red")),
            "" if child.start_seconds is None else f"{child.start_seconds:.2f} s",
        )
    return table


def _first_steps(system: System, seconds: float) -> Text:
    where = f"in the mailbox: {system.mailbox_url}" if system.mailbox_url else "at your mail server (SMTP_URL)"
    task = (
        r"{\"title\": \"Water the plants\", \"user_id\": 1, "
        r"\"due_at\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\", \"reminders\": [\"PT0S\"]}"
    )
    command = f"curl -sX POST {system.backend_url}/tasks -H 'content-type: application/json' -d \"{task}\""
    return Text.assemble(
        (f"Ready after {seconds:.1f} s.", "bold green"),
        f" Your tasks: {system.backend_url}\n\nOr from a script, a reminder due now:\n\n",
        (f"  {command}\n\n", "cyan"),
        f"Its mail appears {where}\n",
        "Ctrl-C stops everything.",
    )
