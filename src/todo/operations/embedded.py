"""The embedded engine: one daprlet is the sidecar of every app, and the broker, the state store and the scheduler."""

import signal
from collections.abc import Callable, Mapping
from typing import Final

from todo.contracts import names
from todo.operations import host, ports, runfile
from todo.operations.datafolder import EngineRun
from todo.operations.host import Host
from todo.operations.supervisor import ChildSpec, Probe, all_of, http_probe

DAPRLET: Final = "daprlet"
STOP_STEPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))


class Embedded:
    """The default engine; see `composition.Engine`."""

    further_ports: tuple[str, ...] = ()

    def __init__(self, chaos: int | None) -> None:
        self._chaos = chaos

    async def prepare(self, at: Host, dsn: str) -> dict[str, str]:
        runfile.write(at.data, at.ports, at.options.replicas)
        return {"DATABASE_URL": dsn}

    async def database_is_up(self, dsn: str) -> None:
        del dsn  # services log in as its operator

    def children(self, at: Host, database: list[str]) -> list[ChildSpec]:
        del database
        chaos = [] if self._chaos is None else ["--chaos", str(self._chaos)]
        secrets = str(runfile.secrets_file(at.data))
        log = ["--log-format", at.options.log_format]
        run_file, kept = at.data.path / "dapr.yaml", at.data.folder(DAPRLET)
        sidecars = [at.ports[ports.sidecar(name)] for _, name in at.instances()]
        return [
            ChildSpec(
                DAPRLET,
                [*host.python("daprlet"), "run", "-f", str(run_file), "--data-path", str(kept), *log, *chaos],
                at.env(DAPRLET, DAPR_API_TOKEN=at.data.api_token, TODO_SECRETS_FILE=secrets),
                ready=all_of(*(http_probe(port, "/v1.0/healthz/outbound") for port in sidecars)),
                stop_steps=STOP_STEPS,
                address=at.sidecar_url(names.BACKEND.app_id),
            )
        ]

    def sidecar_of(self, name: str) -> str:
        del name
        return DAPRLET

    def flowing(self, at: Host) -> Mapping[str, Probe]:
        del at
        return {}  # it reaches apps as they come

    async def tend(self, say: Callable[[str], None]) -> None:
        """Nothing: daprlet deletes what was consumed by itself."""

    def run(self, at: Host) -> EngineRun | None:
        del at
        return None
