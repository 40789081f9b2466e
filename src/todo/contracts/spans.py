"""Spans, for whoever wants them. A service that exports traces installs a `Tracer` at its start (`service/tracing.py`).

Without one a span is a W3C trace context and nothing else. Names and attributes of spans are names, ids and counts:
no title, no address and no token is ever among them, and of an error only its type is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum, auto
from typing import Final, Protocol

from todo.contracts.envelope import child_trace

Attributes = Mapping[str, str | int]


class Kind(Enum):
    """OpenTelemetry's kinds of span."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span(Protocol):
    """A piece of work in a trace. `traceparent` is what follows from it continues."""

    @property
    def traceparent(self) -> str: ...

    def name(self, name: str) -> None:
        """Call it otherwise, once more is known."""
        ...

    def note(self, attributes: Attributes) -> None: ...

    def fail(self, kind: str) -> None:
        """Mark it as failed; `kind` is a type of error, never its text."""
        ...

    def end(self) -> None: ...


class Tracer(Protocol):
    """Records spans. A `cause` whose flag says that it is not sampled makes a span that is not recorded either."""

    def begin(self, name: str, kind: Kind, cause: str, attributes: Attributes, links: Sequence[str]) -> Span:
        """Begin a span that follows from `cause`, a traceparent; one that is none starts a trace."""
        ...


class _Unrecorded:
    __slots__ = ("traceparent",)

    def __init__(self, cause: str) -> None:
        self.traceparent = child_trace(cause)

    def name(self, name: str) -> None: ...

    def note(self, attributes: Attributes) -> None: ...

    def fail(self, kind: str) -> None: ...

    def end(self) -> None: ...


_NOTHING: Final[Attributes] = {}
_current: ContextVar[str] = ContextVar("traceparent", default="")
_tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Record spans with this from now on; None: record none."""
    global _tracer  # noqa: PLW0603 - one process is one service, as with the loggers
    _tracer = tracer


def are_recorded() -> bool:
    return _tracer is not None


def current() -> str:
    """The traceparent of what this task works on, or nothing; calls to the sidecar carry it."""
    return _current.get()


def begin(name: str, kind: Kind, cause: str, attributes: Attributes = _NOTHING, links: Sequence[str] = ()) -> Span:
    """Begin a span, which is to be ended. `links` are traceparents of what it is about besides its cause."""
    return _tracer.begin(name, kind, cause, attributes, links) if _tracer else _Unrecorded(cause)


def mark(name: str, kind: Kind, cause: str, attributes: Attributes = _NOTHING) -> str:
    """Record that something happened at this moment; returns the traceparent that what follows from it continues."""
    if _tracer is None:
        return child_trace(cause)
    span = _tracer.begin(name, kind, cause, attributes, ())
    span.end()
    return span.traceparent


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """Let calls to the sidecar continue this trace."""
    before = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(before)


@contextmanager
def span(
    name: str, kind: Kind, cause: str, attributes: Attributes = _NOTHING, links: Sequence[str] = ()
) -> Iterator[Span]:
    """Work in a span, which calls to the sidecar continue."""
    begun = begin(name, kind, cause, attributes, links)
    try:
        with continued(begun.traceparent):
            yield begun
    except BaseException as error:
        begun.fail(type(error).__name__)
        raise
    finally:
        begun.end()
