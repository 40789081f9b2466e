"""Which processes a system is made of, and what each of them is started with."""

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from todo.contracts import names
from todo.email_delivery import lease
from todo.operations import host, ports, postgres
from todo.operations.datafolder import DataFolder, EngineRun
from todo.operations.embedded import Embedded
from todo.operations.engine.stock import StockDapr
from todo.operations.host import Host, UpOptions
from todo.operations.postgres import PostgresServer
from todo.operations.supervisor import ChildSpec, Probe, http_probe

POSTGRES: Final = "postgres"
MAILBOX: Final = "mailbox"
DRAIN_STEPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))
MAIL_DRAIN_STEPS: Final = ((signal.SIGTERM, lease.DRAIN + 5.0), (signal.SIGKILL, 5.0))  # no mail is cut off
DEMO_ADDRESS: Final = "you@example.org"
DEMO_SENDER: Final = "Todo <todo@example.org>"


class AddressNeededError(RuntimeError):
    """A real SMTP server is configured, and nobody said whom to write to."""

    def __init__(self) -> None:
        super().__init__(
            "SMTP_URL names a real mail server, so whom to write to must be known: set TODO_EMAIL to your address"
        )


class Engine(Protocol):
    """What carries events between services: the sidecars and all that stands behind them.

    `further_ports` names the ports it needs besides those of `ports.defaults()`.
    """

    @property
    def further_ports(self) -> Sequence[str]: ...

    async def prepare(self, at: Host, dsn: str) -> dict[str, str]:
        """Write its files and check what can be checked before anything runs; return how services get to the database.

        `dsn` is the operator's.
        """
        ...

    async def database_is_up(self, dsn: str) -> None:
        """Do what the database needs before anybody else logs in; called each time our server has started."""
        ...

    def children(self, at: Host, database: list[str]) -> list[ChildSpec]:
        """Its processes; those that need the database come after the children named in `database`."""
        ...

    def sidecar_of(self, name: str) -> str:
        """Name the child that is the sidecar of a service's process."""
        ...

    def flowing(self, at: Host) -> Mapping[str, Probe]:
        """By child, what holds once events and jobs reach the services, all of which are up."""
        ...

    async def tend(self, say: Callable[[str], None]) -> None:
        """Do what it needs now and then while everything is up; says what went wrong and raises nothing."""
        ...

    def run(self, at: Host) -> EngineRun | None:
        """What `run.json` says of it."""
        ...


def engine_of(options: UpOptions, data: DataFolder) -> Engine:
    return StockDapr(options, data) if options.engine == "dapr" else Embedded(options.chaos)


class Composition:
    """Turns options into child specifications."""

    def __init__(self, options: UpOptions, data: DataFolder, engine: Engine) -> None:
        self._options = options
        self._data = data
        self._engine = engine
        self._own_mailbox = not options.environ.get("SMTP_URL")
        numbers = ports.chosen(
            options.ports,
            options.replicas,
            all_free=options.free_ports,
            mailbox=self._own_mailbox,
            further=engine.further_ports,
        )
        self.host = Host(options, data, numbers)
        given = options.environ.get("DATABASE_URL")
        self._server = None if given else PostgresServer(data.path / "postgres", durable=options.durable)
        self.database_url = given or (self._server.dsn if self._server else "")
        self._email, self._sender = self._mail_addresses()

    async def specs(self) -> list[ChildSpec]:
        """Write every file and return every child, in the order of the status table."""
        login = await self._engine.prepare(self.host, self.database_url)
        database = [self._postgres(self._server)] if self._server else []
        engine = self._engine.children(self.host, [spec.name for spec in database])
        mailbox = [self._mailbox()] if self._own_mailbox else []
        migrations = [self._migration(app, login) for app in names.APPS if app.schema]
        services = [self._service(app, name, login) for app, name in self.host.instances()]
        return [*database, *migrations, *engine, *mailbox, *services]

    def _postgres(self, server: PostgresServer) -> ChildSpec:
        async def ready(pid: int) -> bool:
            if not server.is_ready(pid):
                return False
            await self._engine.database_is_up(server.dsn)
            return True

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

    def _migration(self, app: names.App, login: Mapping[str, str]) -> ChildSpec:
        after = [POSTGRES] if self._server else []
        env = self.host.env(_migration_name(app), **self._service_env(app, app.app_id, login))
        return ChildSpec(_migration_name(app), [*host.python(app.module), "migrate"], env, after=after, once=True)

    def _mailbox(self) -> ChildSpec:
        env = self.host.env(
            MAILBOX,
            TODO_HOST=ports.LOOPBACK,
            MAILBOX_DATA=str(self._data.path / "mailbox"),
            MAILBOX_SMTP_PORT=str(self.host.ports[ports.MAILBOX_SMTP]),
            MAILBOX_HTTP_PORT=str(self.host.ports[ports.MAILBOX_HTTP]),
        )
        if self._options.mailbox_keep is not None:
            env["MAILBOX_KEEP"] = str(self._options.mailbox_keep)
        port = self.host.ports[ports.MAILBOX_HTTP]
        return ChildSpec(
            MAILBOX, host.python("todo.mailbox"), env, ready=http_probe(port, "/readyz"), address=host.url(port)
        )

    def _service(self, app: names.App, name: str, login: Mapping[str, str]) -> ChildSpec:
        migrations = [_migration_name(one) for one in names.APPS if one.schema]
        port = self.host.ports[name]
        return ChildSpec(
            name,
            host.python(app.module),
            self.host.env(app.app_id, name, **self._service_env(app, name, login)),
            after=[*migrations, self._engine.sidecar_of(name), *([MAILBOX] if self._own_mailbox else [])],
            ready=http_probe(port, "/readyz"),
            stop_steps=MAIL_DRAIN_STEPS if app is names.EMAIL_DELIVERY else DRAIN_STEPS,
            address=host.url(port),
        )

    def _service_env(self, app: names.App, name: str, login: Mapping[str, str]) -> dict[str, str]:
        own = {
            "APP_PORT": str(self.host.ports[name]),
            "DAPR_HTTP_PORT": str(self.host.ports[ports.sidecar(name)]),
            "DAPR_API_TOKEN": self._data.api_token,
            "APP_API_TOKEN": self._data.app_token(app.app_id),
            "TODO_HOST": ports.LOOPBACK,
            "TODO_AUTH": "local",
            "TODO_LOG_FORMAT": self._options.log_format,
            "TODO_PUBLIC_URL": host.url(self.host.ports[names.BACKEND.app_id]),
        }
        if app.schema:
            own |= login
        if app is names.BACKEND:
            own["TODO_EMAIL"] = self._email
        if app is names.EMAIL_DELIVERY:
            own |= {"SMTP_URL": self._smtp_url(), "TODO_MAIL_FROM": self._sender}
        return own

    def _smtp_url(self) -> str:
        given = self._options.environ.get("SMTP_URL")
        return given or f"smtp://{ports.LOOPBACK}:{self.host.ports[ports.MAILBOX_SMTP]}"

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


def _migration_name(app: names.App) -> str:
    return f"migrate-{app.schema}"
