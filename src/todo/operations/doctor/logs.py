"""What daprd's own log says of a component that does not start.

Its lines are the only evidence where the broker cannot be reached from here. Only a fault in force writes them: they
are asked for of a sidecar that has not loaded the component, or that has just ended.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from todo.operations.doctor.findings import Code

_FAILED: Final = re.compile(r"initialization error occurred for (?P<name>\S+) \((?P<type>[\w.-]+)/v\d+\): (?P<why>.*)")
_END: Final = re.compile(r'"? app_id=.*|","scope":.*|","time":.*|", ?"type":.*')
# From the most to the least telling: a line may have several reasons, one for each address that was tried.
_BROKER: Final = (
    (r"SASL Authentication failed|WRONGPASS|NOAUTH|invalid username-password", Code.BROKER_CREDENTIALS),
    # Of a mechanism that the broker does not take, the client tells nothing: the broker just hangs up.
    (r"SASL mechanism|available brokers to talk to$", Code.BROKER_MECHANISM),
    (r"x509|tls: |certificate|run out of available brokers to talk to: (unexpected )?EOF", Code.BROKER_TLS),
    (r"authorization failed|NOPERM", Code.BROKER_RIGHTS),
    (r"no such host|server misbehaving", Code.BROKER_ADDRESS),
    (r"connection refused", Code.BROKER_REFUSED),
    (r"i/o timeout|deadline exceeded|init timeout|no route to host", Code.BROKER_TIMEOUT),
    (r"invalid value for|missing|is required", Code.BROKER_SETTING),
)
_DATABASE: Final = (
    (r"password authentication failed|SQLSTATE 28|SQLSTATE 3D000|does not exist", Code.DATABASE_LOGIN),
    (r"dial |timeout|deadline exceeded|hostname resolving|starting up", Code.DATABASE_AWAY),
)
_TABLES: Final = {"pubsub": _BROKER, "state": _DATABASE}


class Failure(NamedTuple):
    """A component that failed to start: what it is, why, and which kind of fault that is."""

    component: str
    type: str
    why: str
    code: Code


def failures(log: str) -> Iterator[Failure]:
    """The newest failure of each component in the log of a sidecar."""
    newest: dict[str, Failure] = {}
    for line in log.splitlines():
        match = _FAILED.search(line)
        if match:
            why = match["why"].rsplit("initialization error occurred for", 1)[-1]
            why = _END.sub("", re.sub(r"^ \S+ \(\S+\): ", "", why)).replace("\\n", " ").replace("\\t", "")
            why = why[:300].strip()
            newest[match["name"]] = Failure(match["name"], match["type"], why, _code(match["type"], why))
    yield from newest.values()


def last_line(log: str) -> str:
    """The last thing a process said, short."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _code(kind: str, why: str) -> Code:
    for pattern, code in _TABLES.get(kind.partition(".")[0], ()):
        if re.search(pattern, why, re.IGNORECASE):
            return code
    return Code.COMPONENT_FAILED
