"""Export of traces to an OpenTelemetry collector, where the environment names one; without it nothing is imported.

The variables are OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) turns it on;
OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and the others mean what they mean there.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import Final

import todo
from todo.contracts import spans
from todo.service.settings import Settings, SettingsError

PROTOCOL: Final = "http/protobuf"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def collector(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where traces go, None if nowhere. Raises `SettingsError` when the environment asks for what cannot be had."""
    name = next((one for one in _ENDPOINTS if environ.get(one)), None)
    if name is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if not environ[name].startswith(("http://", "https://")):
        raise SettingsError(f"{name} is {environ[name]!r}: write it like http://collector:4318")
    for one in _PROTOCOLS:
        if environ.get(one, PROTOCOL) != PROTOCOL:
            raise SettingsError(f"{one} is {environ[one]!r}: traces leave as {PROTOCOL} only, to port 4318 mostly")
    if not _has_exporter():
        raise SettingsError(f"{name} is set, but there is no exporter: pip install 'todo[tracing]'")
    return environ[name]


@contextlib.contextmanager
def exporting(settings: Settings, environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Record this process's spans until the end and send them to the collector, if there is one."""
    if collector(environ) is None:
        yield
        return
    from todo.service.otlp import Recorder  # noqa: PLC0415 - OpenTelemetry's SDK, for those who asked for it

    service = environ.get("OTEL_SERVICE_NAME") or settings.app.app_id
    recorder = Recorder(service, todo.__version__, settings.instance)
    spans.install(recorder)
    try:
        yield
    finally:
        spans.install(None)
        recorder.end()


def _has_exporter() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
