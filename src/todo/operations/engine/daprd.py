"""Stock daprd beside one process of a service, on loopback, with tokens on both sides."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from todo.operations import host, ports
from todo.operations.datafolder import SidecarAddress, write_secret
from todo.operations.engine import binaries
from todo.operations.engine.scheduler import NAME as SCHEDULER
from todo.operations.host import Host
from todo.operations.runfile import HEALTH_PATH
from todo.operations.supervisor import ChildSpec, Probe, http_probe

STOP_STEPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))
FURTHER_PORTS: Final = ("grpc", "internal", "metrics")
PASSED_ON: Final = ("OTEL_EXPORTER_OTLP_", "OTEL_BSP_")  # where traces go, and how: daprd reads these too
OWN_TRACES: Final = "0.0001"  # of what begins in a sidecar; what continues a trace is sampled as the trace is


def child_name(name: str) -> str:
    return f"daprd-{name}"


def further_ports(name: str) -> list[str]:
    return [f"{ports.sidecar(name)}-{kind}" for kind in FURTHER_PORTS]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The daprd of one process: `name` is the service's child, `engine` the folder with resources and configuration."""

    app_id: str
    name: str
    at: Host
    engine: Path

    @property
    def address(self) -> SidecarAddress:
        metrics = host.url(self._port("metrics")) + "/metrics"
        return SidecarAddress(child_name(self.name), self.app_id, self.at.sidecar_url(self.name), metrics)

    @property
    def flowing(self) -> Probe:
        """Holds once the app was reached, its subscriptions run, and the Scheduler sends jobs."""
        return http_probe(self.at.ports[ports.sidecar(self.name)], "/v1.0/healthz")

    def child(self, after: list[str]) -> ChildSpec:
        name = child_name(self.name)
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "DAPR_API_TOKEN": self.at.data.api_token,
            "APP_API_TOKEN": self.at.data.app_token(self.app_id),
            "DAPR_HOST_IP": ports.LOOPBACK,  # what the name resolver tells the others
            **{key: value for key, value in self.at.options.environ.items() if key.startswith(PASSED_ON)},
        }
        return ChildSpec(
            name,
            [str(binaries.dapr("daprd")), *(f"--{flag}={value}" for flag, value in self._flags().items())],
            env | dict(self.at.options.extra_env.get(name, {})),
            after=after,
            ready=http_probe(self.at.ports[ports.sidecar(self.name)], "/v1.0/healthz/outbound"),
            stop_steps=STOP_STEPS,
            address=self.at.sidecar_url(self.name),
        )

    def _flags(self) -> dict[str, Any]:
        return {
            "app-id": self.app_id,
            "app-port": self.at.ports[self.name],
            "app-channel-address": ports.LOOPBACK,
            "enable-app-health-check": "true",
            "app-health-check-path": HEALTH_PATH,
            "app-health-probe-interval": 1,
            "app-health-probe-timeout": 900,  # daprd wants less than the interval
            "app-health-threshold": 3,
            "dapr-listen-addresses": ports.LOOPBACK,
            "dapr-http-port": self.at.ports[ports.sidecar(self.name)],
            "dapr-grpc-port": self._port("grpc"),
            "dapr-internal-grpc-listen-address": ports.LOOPBACK,
            "dapr-internal-grpc-port": self._port("internal"),
            "metrics-listen-address": ports.LOOPBACK,
            "metrics-port": self._port("metrics"),
            "scheduler-host-address": f"{ports.LOOPBACK}:{self.at.ports[SCHEDULER]}",
            "resources-path": self.engine / "resources",
            "config": self.engine / "config.yaml",
            "log-level": "warn",
            "log-as-json": str(self.at.options.log_format == "json").lower(),
        }

    def _port(self, kind: str) -> int:
        return self.at.ports[f"{ports.sidecar(self.name)}-{kind}"]


def write_configuration(engine: Path, collector: str | None = None) -> None:
    """Let the sidecars find each other through a file of this run; the last run's addresses are forgotten.

    With a collector's URL they send traces there.
    """
    names = engine / "names.sqlite"
    for leftover in engine.glob(f"{names.name}*"):
        leftover.unlink()
    resolution = {"component": "sqlite", "configuration": {"connectionString": str(names)}}
    spec: dict[str, Any] = {
        "nameResolution": resolution,
        "metric": {"enabled": True, "http": {"increasedCardinality": False}},
    }
    if collector:
        spec["tracing"] = _tracing(collector)
    configuration = {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": {"name": "todo"},
        "spec": spec,
    }
    write_secret(engine / "config.yaml", yaml.safe_dump(configuration, sort_keys=False).encode())


def _tracing(collector: str) -> dict[str, Any]:
    to = urlsplit(collector)
    otel = {"protocol": "http", "endpointAddress": to.netloc, "isSecure": to.scheme == "https"}
    return {"samplingRate": OWN_TRACES, "otel": otel}
