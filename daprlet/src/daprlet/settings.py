"""What one run is made of, however it was asked for: a run file or flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an app's health is probed: seconds between probes, seconds a probe may take, failures in a row."""

    path: str = "/healthz"
    interval: float = 5.0
    timeout: float = 0.5
    threshold: int = 3


@dataclass(frozen=True, slots=True)
class AppSettings:
    """One sidecar: an app process (or a client without a port) and the ports its sidecar listens on.

    Two of them may have the same `app_id`: replicas. A port of 0 for `dapr_http_port` means any free one; an `app_port`
    or `metrics_port` of 0 means none.
    """

    app_id: str
    app_port: int = 0
    dapr_http_port: int = 0
    metrics_port: int = 0
    app_host: str = "127.0.0.1"
    resources: Sequence[Path] = ()
    configuration: Path | None = None
    health_check: HealthCheck | None = None
    max_concurrency: int = 0
    command: Sequence[str] = ()
    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    api_token: str = ""
    app_token: str = ""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A whole run. `graceful_seconds` bounds how long deliveries in flight may take to end after a stop signal."""

    apps: Sequence[AppSettings]
    data_path: Path = Path(".daprlet")
    listen_address: str = "127.0.0.1"
    graceful_seconds: float = 5.0
    chaos_seed: int | None = None
