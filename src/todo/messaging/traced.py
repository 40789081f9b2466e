"""Events in spans: one for each event that is processed, one for each call that sends some."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from msgspec.structs import replace

from todo.contracts import envelope, spans
from todo.contracts.envelope import Event
from todo.contracts.spans import Kind, Span


@contextmanager
def processing(topic: str, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The events of a delivery, each in a span of its own, which what follows from it continues."""
    if not spans.are_recorded() or not events:
        yield events
        return
    begun = [_process(topic, event, cause) for event, cause in zip(events, _causes(events), strict=True)]
    try:
        with spans.continued(_sampled(span.traceparent for span in begun)):
            yield [replace(event, traceparent=span.traceparent) for event, span in zip(events, begun, strict=True)]
    except BaseException as error:
        for span in begun:
            span.fail(type(error).__name__)
        raise
    finally:
        for span in begun:
            span.end()


def sending(topic: str, envelopes: Iterable[bytes]) -> AbstractContextManager[object]:
    """One call that publishes events: it continues the trace of the first, and links to all of them."""
    if not spans.are_recorded():
        return nullcontext()
    about = [envelope.traceparent_of(one) for one in envelopes]
    attributes = {**_attributes(topic, "send"), "messaging.batch.message_count": len(about)}
    return spans.span(f"send {topic}", Kind.CLIENT, _sampled(about), attributes, about)


def created(topic: str, event_id: str, event_type: str, cause: str) -> str:
    """The traceparent of an event that is written now, because of `cause`."""
    if not spans.are_recorded():
        return envelope.child_trace(cause)
    attributes = {**_attributes(topic, "create"), "messaging.message.id": event_id, "todo.event.type": event_type}
    return spans.mark(f"create {topic}", Kind.PRODUCER, cause, attributes)


def _process(topic: str, event: Event, cause: str) -> Span:
    attributes = {
        **_attributes(topic, "process"),
        "messaging.message.id": event.id,
        "todo.event.type": event.type,
        "todo.subject": event.subject,
    }
    return spans.begin(f"process {topic}", Kind.CONSUMER, cause, attributes)


def _causes(events: Sequence[Event]) -> list[str]:
    """What each event follows from: the event itself; the last one from what its sidecar did with it.

    daprd makes a span for each event of a batch and sends along that of the last.
    """
    causes = [event.traceparent for event in events]
    carrier = spans.current()
    if envelope.trace_id(carrier) and envelope.trace_id(carrier) == envelope.trace_id(causes[-1]):
        causes[-1] = carrier
    return causes


def _sampled(traceparents: Iterable[str]) -> str:
    """The first that is recorded, else the first: a call can continue one trace only."""
    known = list(traceparents)
    return next((one for one in known if envelope.is_sampled(one)), known[0] if known else "")


def _attributes(topic: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "dapr",
        "messaging.destination.name": topic,
        "messaging.operation.type": operation,
    }
