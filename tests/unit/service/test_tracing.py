"""Whether traces are exported is for the environment to say; where it does not, nothing of it is imported."""

import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.collector import ROOT, Collector, collecting
from todo.contracts import names, spans
from todo.contracts.envelope import child_trace, is_sampled, trace_id
from todo.contracts.spans import Kind
from todo.service import tracing
from todo.service.settings import Settings, SettingsError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SDK = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.proto",
)  # FastAPI imports the API whatever one says
SETTINGS = Settings(names.BACKEND, "127.0.0.1", 8000, "http://127.0.0.1:3500", "here:8000", "a", "b")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as one:
        monkeypatch.setenv(ENDPOINT, one.url)
        yield one


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_go_nowhere_unless_they_are_asked_for(environ: dict[str, str]) -> None:
    assert tracing.collector(environ) is None


def test_the_endpoint_of_traces_beats_that_of_everything() -> None:
    environ = {ENDPOINT: "http://all:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces:4318/v1/traces"}
    assert tracing.collector(environ) == "https://traces:4318/v1/traces"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({ENDPOINT: "collector:4317"}, f"{ENDPOINT} is 'collector:4317': write it like http://collector:4318"),
        (
            {ENDPOINT: "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc': traces leave as http/protobuf only, to port 4318 mostly",
        ),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_starts(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        tracing.collector(environ)
    assert str(error.value) == said


def test_a_missing_exporter_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _not_found)
    with pytest.raises(SettingsError, match=r"pip install 'todo\[tracing\]'"):
        tracing.collector({ENDPOINT: "http://collector:4318"})


def test_without_an_endpoint_no_service_imports_opentelemetrys_sdk() -> None:
    modules = ", ".join(f"{app.module}.app" for app in names.APPS)
    imported = f"import sys, todo.service.kit, {modules}; print([one for one in sys.modules if one.startswith({SDK})])"
    told = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_without_a_recorder_a_span_is_a_trace_context_and_no_more() -> None:
    cause = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    with spans.span("work", Kind.INTERNAL, cause) as span:
        assert trace_id(span.traceparent) == trace_id(cause)
        assert span.traceparent != cause
        assert spans.current() == span.traceparent
    assert spans.current() == ""
    assert not spans.are_recorded()


def test_what_is_not_sampled_stays_so() -> None:
    unwanted = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    assert not is_sampled(child_trace(unwanted))
    assert is_sampled(child_trace(unwanted.removesuffix("00") + "01"))
    assert is_sampled(child_trace(""))


def test_spans_reach_the_collector_before_the_service_has_ended(collector: Collector) -> None:
    with tracing.exporting(SETTINGS):
        with pytest.raises(LookupError):
            _work()
        inner = spans.mark("create", Kind.PRODUCER, "")
        spans.begin("with links", Kind.CLIENT, "", {}, [inner, "nonsense"]).end()
    assert not spans.are_recorded()
    by_name = {span.name: span for span in collector.spans}
    assert by_name["a part of it"].parent == by_name["work"].id
    assert by_name["work"].parent == ROOT
    assert by_name["work"].failed
    assert by_name["with links"].linked == (inner.split("-")[2],)
    assert {span.service for span in collector.spans} == {"backend"}
    assert "example.org" not in "".join(collector.texts)
    assert "LookupError" in "".join(collector.texts)


def test_a_collector_that_is_away_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends although nothing answers; the pytest timeout is the judge."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    with tracing.exporting(SETTINGS):
        spans.mark("create", Kind.PRODUCER, "")


def _work() -> None:
    with spans.span("work", Kind.SERVER, "") as span:
        spans.mark("a part of it", Kind.INTERNAL, span.traceparent, {"n": 1})
        raise LookupError("ada@example.org")


def _not_found(*_: object) -> None:
    raise ModuleNotFoundError
