"""How one system is to be run, and what every part of it is started with, whichever engine it runs on."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from todo.contracts import names
from todo.operations import datafolder, ports
from todo.operations.datafolder import DataFolder
from todo.operations.logs import LogFormat

EngineName = Literal["daprlet", "dapr"]
# Each goes to those who need it and to nobody else.
HANDED_OUT: Final = (
    *("DATABASE_URL", "DATABASE_URL_FILE", "SMTP_URL", "DAPR_API_TOKEN", "APP_API_TOKEN"),
    *("TODO_EMAIL", "TODO_MAIL_FROM"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How to run. `environ` is where `DATABASE_URL`, `SMTP_URL`, `TODO_EMAIL` and `TODO_MAIL_FROM` are looked up.

    `engine` is `daprlet`, the embedded one, or `dapr`: stock Dapr on `broker` (an environment's name or a component
    file; by default the one the data folder is on, else kafka), with the brokers of the environments in `standby`
    started too, for a swap. `temporary` uses a folder of its own and removes it at the end. `ports` are by the names
    of `ports.defaults()`; `free_ports` takes free ones for all others. `replicas` is the number of processes by app id
    (1). `chaos` is the seed of daprlet's hostile delivery. `extra_env` is added to the environment of a child, by its
    name or app id. `mailbox_keep` is the number of mails kept. `durable=False` lets a test's PostgreSQL skip fsync.
    `ask` asks a person and returns the answer.
    """

    data: Path = field(default_factory=datafolder.default_path)
    engine: EngineName = "daprlet"
    broker: str | None = None
    standby: Sequence[str] = ()
    temporary: bool = False
    free_ports: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    chaos: int | None = None
    log_format: LogFormat = "pretty"
    extra_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mailbox_keep: int | None = None
    durable: bool = True
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One system's options, data folder and ports, and what follows from them."""

    options: UpOptions
    data: DataFolder
    ports: Mapping[str, int]

    def instances(self) -> Iterator[tuple[names.App, str]]:
        return instances(self.options)

    def sidecar_url(self, name: str) -> str:
        return url(self.ports[ports.sidecar(name)])

    def env(self, *extra_of: str, **own: str) -> dict[str, str]:
        """The environment of a child: ours without what is handed out one by one, its own, and what a test adds."""
        inherited = {
            key: value
            for key, value in self.options.environ.items()
            if key not in HANDED_OUT and not key.startswith("DAPR_")  # or our tokens would go to another sidecar
        }
        env = inherited | {"PYTHONUNBUFFERED": "1"} | own
        for name in extra_of:
            env |= self.options.extra_env.get(name, {})
        return env


def instances(options: UpOptions) -> Iterator[tuple[names.App, str]]:
    """Every process of every service: its app and its name."""
    for app in names.APPS:
        for index in range(options.replicas.get(app.app_id, 1)):
            yield app, ports.replica(app.app_id, index)


def python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def url(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port}"
