"""The TCP ports of one running system: which it needs, whether they are free, and who has them when not."""

import errno
import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from todo.contracts import names
from todo.operations import processes

LOOPBACK: Final = "127.0.0.1"
MAILBOX_SMTP: Final = "mailbox-smtp"
MAILBOX_HTTP: Final = "mailbox"
FREE_RANGE: Final = range(20_000, 32_000)  # below the ports the system gives to outgoing connections


class UnknownNameError(RuntimeError):
    """No port or app has the name; the message lists those that exist."""


class PortTakenError(RuntimeError):
    """Some ports cannot be had; the message has one line for each, with its owner and the flag that changes it."""


@dataclass(frozen=True, slots=True)
class Conflict:
    name: str
    port: int
    pid: int | None
    command: str | None

    def __str__(self) -> str:
        owner = f"process {self.pid}" if self.pid else "another process (not visible to this user)"
        shown = f" ({self.command[:80]})" if self.command else ""
        return (
            f"port {self.port} ({self.name}) is taken by {owner}{shown}: stop it, "
            f"or choose another with --port {self.name}={self.port + 10}, or take any with --free-ports"
        )


def sidecar(name: str) -> str:
    """Name the port of an app's sidecar, as `--port` takes it."""
    return f"{name}-dapr"


def replica(app_id: str, index: int) -> str:
    """Name one replica of an app: the app id itself for the first, then `app-2`, `app-3`."""
    return app_id if index == 0 else f"{app_id}-{index + 1}"


def defaults() -> dict[str, int]:
    """Every port of a system without further replicas, by the name that `--port NAME=NUMBER` takes."""
    ports = {app.app_id: app.port for app in names.APPS}
    ports |= {sidecar(app.app_id): app.dapr_port for app in names.APPS}
    return ports | {MAILBOX_SMTP: names.MAILBOX_SMTP_PORT, MAILBOX_HTTP: names.MAILBOX_HTTP_PORT}


def chosen(
    overrides: Mapping[str, int],
    replicas: Mapping[str, int],
    *,
    all_free: bool = False,
    mailbox: bool = True,
    further: Iterable[str] = (),
) -> dict[str, int]:
    """Decide all ports: the table's, changed by `overrides`; free ones for those named in `further`, or for all.

    Raises UnknownNameError for a name that does not exist, PortTakenError when one that was decided is in use.
    """
    known = defaults()
    further = list(further)
    _check_names(overrides, [*known, *further])
    _check_names(replicas, [app.app_id for app in names.APPS])
    if not mailbox:
        known = {name: port for name, port in known.items() if name not in {MAILBOX_SMTP, MAILBOX_HTTP}}
    further += [
        port_name
        for app_id, count in replicas.items()
        for index in range(1, count)
        for port_name in (replica(app_id, index), sidecar(replica(app_id, index)))
    ]
    fixed = dict(overrides) if all_free else known | dict(overrides)
    check(fixed)
    open_names = [name for name in (*known, *further) if name not in fixed]
    return fixed | dict(zip(open_names, free(len(open_names), avoid=set(fixed.values())), strict=True))


def check(ports: Mapping[str, int]) -> None:
    """Raise PortTakenError when any of the ports cannot be listened on now."""
    conflicts = [_conflict(name, port) for name, port in ports.items() if not _is_free(port)]
    twice = [name for name, port in ports.items() if list(ports.values()).count(port) > 1]
    if conflicts:
        raise PortTakenError("\n".join(map(str, conflicts)))
    if twice:
        raise PortTakenError(f"the same port is given to {' and '.join(twice)}: choose another with --port NAME=NUMBER")


def free(count: int, *, avoid: Iterable[int] = ()) -> list[int]:
    """Return ports nobody listens on now, in random order, so that systems started together rarely meet."""
    taken = set(avoid)
    found: list[int] = []
    candidates: Iterator[int] = iter(random.SystemRandom().sample(FREE_RANGE, len(FREE_RANGE)))
    while len(found) < count:
        port = next(candidates)
        if port not in taken and _is_free(port):
            found.append(port)
    return found


def _check_names(given: Mapping[str, int], known: Iterable[str]) -> None:
    for name, number in given.items():
        if name not in known:
            raise UnknownNameError(f"there is no {name!r} here; the names are {', '.join(known)}")
        if number < 1:
            raise UnknownNameError(f"{name}={number}: a number from 1 on is needed")


def _conflict(name: str, port: int) -> Conflict:
    pid = processes.listener_on(port)
    return Conflict(name, port, pid, processes.command_of(pid) if pid else None)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # any other reason is best told by the program that wants the port
    return True
