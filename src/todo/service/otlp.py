"""Spans on OpenTelemetry's SDK. Imported by processes that export traces and by no others."""

import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from todo.contracts.envelope import trace_id
from todo.contracts.spans import Attributes, Kind

_LAST_EXPORT: Final = 3.0  # seconds that a service which ends waits for a collector


class Recorder:
    """A `spans.Tracer` that sends what it records, in the background, where OpenTelemetry's variables say."""

    def __init__(self, service: str, version: str, instance: str) -> None:
        own = {"service.name": service, "service.version": version, "service.instance.id": instance}
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("todo", version)

    def begin(self, name: str, kind: Kind, cause: str, attributes: Attributes, links: Sequence[str]) -> "_Recorded":
        nothing = Context()  # not what happens to be current: what a span follows from is said
        parent = _read(cause)
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(trace.NonRecordingSpan(parent), nothing) if parent else nothing,
            SpanKind[kind.name],
            dict(attributes),
            [trace.Link(one) for link in links if (one := _read(link))],
        )
        return _Recorded(span)

    def end(self) -> None:
        """Send what is left; a collector that does not answer keeps nobody from ending."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_EXPORT)


class _Recorded:
    """A `spans.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def fail(self, kind: str) -> None:
        self._span.set_status(StatusCode.ERROR, kind)

    def end(self) -> None:
        self._span.end()


def _read(traceparent: str) -> SpanContext | None:
    if not trace_id(traceparent):
        return None
    _, trace_hex, span_hex, flags = traceparent.split("-")
    return SpanContext(int(trace_hex, 16), int(span_hex, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
