"""A collector of traces for tests: takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict, MessageToJson  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = ""


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    kind: str  # SPAN_KIND_SERVER and so on
    trace: str
    id: str
    parent: str  # ROOT for the first
    linked: tuple[str, ...]  # ids of spans
    attributes: Mapping[str, str]
    failed: bool


class Collector:
    """What was exported so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Span] = []
        self.texts: list[str] = []  # all of it, as JSON
        self.headers: list[Mapping[str, str]] = []

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of one trace by id."""
        return {span.id: span for span in list(self.spans) if span.trace == trace}

    def take(self, body: bytes, headers: Mapping[str, str]) -> None:
        told = ExportTraceServiceRequest.FromString(body)
        self.headers.append(headers)
        self.texts.append(MessageToJson(told, ensure_ascii=False))
        for resource in told.resource_spans:
            service = _attributes(resource.resource).get("service.name", "")
            self.spans += [_span(service, one) for scope in resource.scope_spans for one in scope.spans]


def _span(service: str, one: object) -> Span:
    # the generated classes have no types: what is read here is in opentelemetry/proto/trace/v1/trace.proto
    fields = MessageToDict(one)
    return Span(
        service,
        one.name,  # type: ignore[attr-defined]
        fields["kind"],
        one.trace_id.hex(),  # type: ignore[attr-defined]
        one.span_id.hex(),  # type: ignore[attr-defined]
        one.parent_span_id.hex(),  # type: ignore[attr-defined]
        tuple(link.span_id.hex() for link in one.links),  # type: ignore[attr-defined]
        _attributes(one),
        fields.get("status", {}).get("code") == "STATUS_CODE_ERROR",
    )


def _attributes(one: object) -> dict[str, str]:
    found = MessageToDict(one).get("attributes", [])
    return {entry["key"]: str(next(iter(entry["value"].values()), "")) for entry in found}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                collector.take(body, dict(self.headers.items()))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()
