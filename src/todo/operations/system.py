"""One embedded system: which processes it is made of, and a handle on them for the CLI, the demo and the tests."""

import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from todo.contracts import names
from todo.email_delivery import lease
from todo.operations import datafolder, ports, postgres, runfile
from todo.operations.datafolder import DataFolder, RunningSystem
from todo.operations.logs import LogFormat, LogSink, Silence
from todo.operations.ports import UnknownNameError
from todo.operations.postgres import PostgresServer
from todo.operations.supervisor import Child, ChildSpec, Supervisor, all_of, http_probe

__all__ = ["AddressNeededError", "System", "UnknownNameError", "UpOptions", "prepared_system", "running_system"]

POSTGRES: Final = "postgres"
DAPRLET: Final = "daprlet"
MAILBOX: Final = "mailbox"
DRAIN_STEPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))
MAIL_DRAIN_STEPS: Final = ((signal.SIGTERM, lease.DRAIN + 5.0), (signal.SIGKILL, 5.0))  # no mail is cut off
DEMO_ADDRESS: Final = "you@example.org"
DEMO_SENDER: Final = "Todo <todo@example.org>"
# Each goes to those who need it and to nobody else.
HANDED_OUT: Final = ("DATABASE_URL", "SMTP_URL", "DAPR_API_TOKEN", "APP_API_TOKEN", "TODO_EMAIL", "TODO_MAIL_FROM")


class AddressNeededError(RuntimeError):
    """A real SMTP server is configured, and nobody said whom to write to."""

    def __init__(self) -> None:
        super().__init__(
            "SMTP_URL names a real mail server, so whom to write to must be known: set TODO_EMAIL to your address"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How to run. `environ` is where `DATABASE_URL`, `SMTP_URL`, `TODO_EMAIL` and `TODO_MAIL_FROM` are looked up.

    `temporary` uses a folder of its own and removes it at the end. `ports` are by the names of `ports.defaults()`;
    `free_ports` takes free ones for all others. `replicas` is the number of processes by app id (1). `chaos` is the
    seed of daprlet's hostile delivery. `extra_env` is added to the environment of a child, by its name or app id.
    `mailbox_keep` is the number of mails kept. `durable=False` lets a test's PostgreSQL skip fsync. `ask` asks a
    person and returns the answer.
    """

    data: Path = field(default_factory=datafolder.default_path)
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
class System:
    """A running system. Children are named as in the status table: `postgres`, `daprlet`, `mailbox`, `backend`, ..."""

    supervisor: Supervisor
    data: DataFolder
    ports: Mapping[str, int]
    addresses: Mapping[str, str]
    database_url: str

    @property
    def backend_url(self) -> str:
        return self.addresses[names.BACKEND.app_id]

    @property
    def mailbox_url(self) -> str | None:
        """Where mails are read, or None with a real mail server."""
        return self.addresses.get(MAILBOX)

    @property
    def children(self) -> Mapping[str, Child]:
        return self.supervisor.children

    def pid(self, name: str) -> int | None:
        return self.supervisor.children[name].pid

    async def wait_ready(self, *only: str, seconds: float = 60.0) -> None:
        """Wait until everything, or the named children, are ready; ChildFailedError when one cannot."""
        await self.supervisor.wait_ready(only or None, seconds=seconds)

    async def kill(self, name: str, sent: signal.Signals = signal.SIGKILL) -> int:
        """Kill one child and return the dead pid, its death noticed; the supervisor starts it again."""
        return await self.supervisor.kill(name, sent)

    async def stop(self, name: str) -> None:
        """Stop one child gracefully, until `start(name)`."""
        await self.supervisor.stop_child(name)

    async def start(self, name: str) -> None:
        self.supervisor.start_child(name)
        await self.supervisor.wait_ready([name])


@asynccontextmanager
async def running_system(options: UpOptions, sink: LogSink | None = None) -> AsyncIterator[System]:
    """Start a whole system, wait until it is ready, and stop it, draining, at the end."""
    async with prepared_system(options, sink) as system:
        try:
            await system.supervisor.start()
            yield system
        finally:
            await system.supervisor.stop()


@asynccontextmanager
async def prepared_system(options: UpOptions, sink: LogSink | None = None) -> AsyncIterator[System]:
    """Take the data folder and the ports and make every file ready; starting and stopping is the caller's."""
    with ExitStack() as stack:
        path = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="todo-")))
            if options.temporary
            else options.data
        )
        data = stack.enter_context(DataFolder(path))
        data.end_leftovers()
        composition = Composition(options, data)
        composition.write_files()
        specs = composition.specs()
        addresses = {spec.name: spec.address for spec in specs if spec.address.startswith("http")}
        data.announce(RunningSystem(os.getpid(), addresses, composition.database_url))
        supervisor = Supervisor(specs, sink or Silence(), watch=lambda: data.note_children(_commands(supervisor)))
        yield System(supervisor, data, composition.ports, addresses, composition.database_url)


class Composition:
    """Turns options into child specifications."""

    def __init__(self, options: UpOptions, data: DataFolder) -> None:
        self._options = options
        self._data = data
        self._own_mailbox = not options.environ.get("SMTP_URL")
        self.ports = ports.chosen(
            options.ports, options.replicas, all_free=options.free_ports, mailbox=self._own_mailbox
        )
        given = options.environ.get("DATABASE_URL")
        self._server = None if given else PostgresServer(data.path / "postgres", durable=options.durable)
        self.database_url = given or (self._server.dsn if self._server else "")
        self._email, self._sender = self._mail_addresses()

    def write_files(self) -> None:
        runfile.write(self._data, self.ports, self._options.replicas)

    def specs(self) -> list[ChildSpec]:
        """Every child, in the order of the status table."""
        database = [self._postgres(self._server)] if self._server else []
        mailbox = [self._mailbox()] if self._own_mailbox else []
        migrations = [self._migration(app) for app in names.APPS if app.schema]
        services = [self._service(app, index) for app, index in self._instances()]
        return [*database, *migrations, self._daprlet(), *mailbox, *services]

    def _instances(self) -> Iterator[tuple[names.App, int]]:
        for app in names.APPS:
            for index in range(self._options.replicas.get(app.app_id, 1)):
                yield app, index

    def _postgres(self, server: PostgresServer) -> ChildSpec:
        async def ready(pid: int) -> bool:
            return server.is_ready(pid)

        return ChildSpec(
            POSTGRES,
            server.command(),
            server.environment,
            ready=ready,
            before_start=server.prepare,
            stop_steps=postgres.STOP_STEPS,
            death_signal=signal.SIGINT,
            user=server.account,
            address="Unix socket",
        )

    def _migration(self, app: names.App) -> ChildSpec:
        after = [POSTGRES] if self._server else []
        env = self._env(_migration_name(app), **self._service_env(app, app.app_id))
        return ChildSpec(_migration_name(app), [*_python(app.module), "migrate"], env, after=after, once=True)

    def _daprlet(self) -> ChildSpec:
        chaos = [] if self._options.chaos is None else ["--chaos", str(self._options.chaos)]
        secrets = str(runfile.secrets_file(self._data))
        log = ["--log-format", self._options.log_format]
        run_file, kept = self._data.path / "dapr.yaml", self._data.folder(DAPRLET)
        sidecars = [self.ports[ports.sidecar(ports.replica(app.app_id, index))] for app, index in self._instances()]
        return ChildSpec(
            DAPRLET,
            [*_python("daprlet"), "run", "-f", str(run_file), "--data-path", str(kept), *log, *chaos],
            self._env(DAPRLET, DAPR_API_TOKEN=self._data.api_token, TODO_SECRETS_FILE=secrets),
            ready=all_of(*(http_probe(port, "/v1.0/healthz/outbound") for port in sidecars)),
            stop_steps=DRAIN_STEPS,
            address=_url(self.ports[ports.sidecar(names.BACKEND.app_id)]),
        )

    def _mailbox(self) -> ChildSpec:
        env = self._env(
            MAILBOX,
            TODO_HOST=ports.LOOPBACK,
            MAILBOX_DATA=str(self._data.path / "mailbox"),
            MAILBOX_SMTP_PORT=str(self.ports[ports.MAILBOX_SMTP]),
            MAILBOX_HTTP_PORT=str(self.ports[ports.MAILBOX_HTTP]),
        )
        if self._options.mailbox_keep is not None:
            env["MAILBOX_KEEP"] = str(self._options.mailbox_keep)
        port = self.ports[ports.MAILBOX_HTTP]
        return ChildSpec(MAILBOX, _python("todo.mailbox"), env, ready=http_probe(port, "/readyz"), address=_url(port))

    def _service(self, app: names.App, index: int) -> ChildSpec:
        name = ports.replica(app.app_id, index)
        migrations = [_migration_name(one) for one in names.APPS if one.schema]
        port = self.ports[name]
        return ChildSpec(
            name,
            _python(app.module),
            self._env(app.app_id, name, **self._service_env(app, name)),
            after=[*migrations, DAPRLET, *([MAILBOX] if self._own_mailbox else [])],
            ready=http_probe(port, "/readyz"),
            stop_steps=MAIL_DRAIN_STEPS if app is names.EMAIL_DELIVERY else DRAIN_STEPS,
            address=_url(port),
        )

    def _service_env(self, app: names.App, name: str) -> dict[str, str]:
        own = {
            "APP_PORT": str(self.ports[name]),
            "DAPR_HTTP_PORT": str(self.ports[ports.sidecar(name)]),
            "DAPR_API_TOKEN": self._data.api_token,
            "APP_API_TOKEN": self._data.app_token(app.app_id),
            "TODO_HOST": ports.LOOPBACK,
            "TODO_AUTH": "local",
            "TODO_LOG_FORMAT": self._options.log_format,
            "TODO_PUBLIC_URL": _url(self.ports[names.BACKEND.app_id]),
        }
        if app.schema:
            own["DATABASE_URL"] = self.database_url
        if app is names.BACKEND:
            own["TODO_EMAIL"] = self._email
        if app is names.EMAIL_DELIVERY:
            own |= {"SMTP_URL": self._smtp_url(), "TODO_MAIL_FROM": self._sender}
        return own

    def _env(self, *extra_of: str, **own: str) -> dict[str, str]:
        """The environment of a child: ours without what is handed out one by one, its own, and what a test adds."""
        inherited = {
            key: value
            for key, value in self._options.environ.items()
            if key not in HANDED_OUT and not key.startswith("DAPR_")  # or our tokens would go to another sidecar
        }
        env = inherited | {"PYTHONUNBUFFERED": "1"} | own
        for name in extra_of:
            env |= self._options.extra_env.get(name, {})
        return env

    def _smtp_url(self) -> str:
        given = self._options.environ.get("SMTP_URL")
        return given or f"smtp://{ports.LOOPBACK}:{self.ports[ports.MAILBOX_SMTP]}"

    def _mail_addresses(self) -> tuple[str, str]:
        """Decide who gets the mails of user 1 and who they are from; with a real mail server nothing is made up."""
        settings = self._data.settings()
        email = self._options.environ.get("TODO_EMAIL") or settings.email
        if not email and not self._own_mailbox:
            if self._options.ask is None:
                raise AddressNeededError
            email = self._options.ask("Your e-mail address, for your reminders")
            if "@" not in email:
                raise AddressNeededError
            settings.email = email
            self._data.save(settings)
        sender = self._options.environ.get("TODO_MAIL_FROM")
        return email or DEMO_ADDRESS, sender or (DEMO_SENDER if self._own_mailbox or not email else email)


def _commands(supervisor: Supervisor) -> dict[int, str]:
    """What runs, by pid; PostgreSQL is not in it: it is stopped more gently, by itself."""
    running = (child for name, child in supervisor.children.items() if name != POSTGRES)
    return {child.pid: " ".join(child.spec.command[1:]) for child in running if child.pid is not None}


def _migration_name(app: names.App) -> str:
    return f"migrate-{app.schema}"


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _url(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port}"
