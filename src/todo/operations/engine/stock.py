"""The real engine on one host: a broker, Dapr's Scheduler, and one stock daprd beside each process of a service.

Everything is below `<data>/engine/`. All sidecars watch one folder, `resources/`, made of the files that a cluster
applies; the broker of `resources/pubsub.yaml` stays the folder's broker until `todo swap` moves it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from daprlet import checker
from todo.contracts import names
from todo.operations import brokers, logins, topics
from todo.operations.brokers import BrokerError
from todo.operations.datafolder import DataFolder, EngineRun, write_secret
from todo.operations.engine import daprd, hosted, resources, scheduler
from todo.operations.engine.daprd import Sidecar
from todo.operations.engine.environments import ENVIRONMENTS, KAFKA, POSTGRES_SECRETS
from todo.operations.engine.hosted import Addresses, BrokerChoiceError, Hosted
from todo.operations.engine.resources import ResourceError
from todo.operations.engine.secrets import Secrets
from todo.operations.host import Host, UpOptions, instances
from todo.operations.supervisor import ChildSpec, Probe
from todo.service import tracing

CONNECTION: Final = "POSTGRES_CONNECTION_STRING"


class StockDapr:
    """Stock Dapr on a broker; see `composition.Engine`."""

    def __init__(self, options: UpOptions, data: DataFolder) -> None:
        """Decide on the broker. Raises BrokerChoiceError and ResourceError."""
        self._options = options
        self._folder = data.folder("engine")
        self._resources = self._folder / "resources"
        self._addresses = Addresses(self._folder / "hosted.json")
        self.broker = self._choose(options.broker)
        for name in options.standby:
            if name not in ENVIRONMENTS:
                raise BrokerChoiceError(f"--standby {name}: only {', '.join(ENVIRONMENTS)} can be started here")
        self._hosted: dict[str, Hosted] = {}

    @property
    def further_ports(self) -> list[str]:
        servers = dict.fromkeys(hosted.SERVERS[name] for name in self._environments())
        own = [name for server in servers for name in hosted.further_ports(server)]
        return [*own, *scheduler.PORTS, *(port for name in self._names() for port in daprd.further_ports(name))]

    async def prepare(self, at: Host, dsn: str) -> dict[str, str]:
        """Write every file. Raises BrokerError when a broker of somebody else's does not let us in."""
        store = Secrets(self._secrets)
        self._write_logins(dsn, store)
        making = hosted.Making(self._folder, at.ports, store, self._addresses)
        servers = {hosted.SERVERS[name]: name for name in self._environments()}  # two environments may share one
        made = {server: making.hosted(name) for server, name in servers.items()}
        self._hosted = {name: made[hosted.SERVERS[name]] for name in self._environments()}
        self._addresses.save({one.child.name: one.child.address for one in self._hosted.values()})
        store.save()
        resources.write_common(self._resources, store.place)
        daprd.write_configuration(self._folder, tracing.collector(self._options.environ))
        await self._put_in_place()
        return {"DATABASE_URL_FILE": str(self._login_file)}

    async def database_is_up(self, dsn: str) -> None:
        """Let in whom services and sidecars log in as."""
        written = {self._login_file.read_text(), Secrets(self._secrets).of(POSTGRES_SECRETS)[CONNECTION]}
        for login in map(logins.of_dsn, sorted(written)):
            await logins.admit(dsn, login)

    def children(self, at: Host, database: list[str]) -> list[ChildSpec]:
        own = {one.child.name: one.child for one in self._hosted.values()}
        needed = [self._hosted[self.broker].child.name] if self.broker in self._hosted else []
        ticking = scheduler.child(self._folder / "scheduler", at.ports, as_json=at.options.log_format == "json")
        sidecars = [one.child([*database, *needed, ticking.name]) for one in self._sidecars(at)]
        return [*own.values(), ticking, *sidecars]

    def sidecar_of(self, name: str) -> str:
        return daprd.child_name(name)

    def flowing(self, at: Host) -> Mapping[str, Probe]:
        return {one.address.name: one.flowing for one in self._sidecars(at)}

    async def tend(self, say: Callable[[str], None]) -> None:
        """Delete what every app has acknowledged from Redis, which grows for ever otherwise."""
        try:
            component = resources.current(self._resources)  # a swap may have changed it
            if component["spec"]["type"] == "pubsub.redis":
                async with brokers.connected(component, resources.resolved(component, self._secrets)) as broker:
                    await topics.trim(broker)
        except (BrokerError, ResourceError) as error:
            say(f"events that everybody has read could not be deleted: {error}")

    def run(self, at: Host) -> EngineRun:
        return EngineRun(
            environment=self.broker,
            resources=str(self._resources),
            secrets=str(self._secrets),
            sidecars=[one.address for one in self._sidecars(at)],
            environments={name: dict(one.values) for name, one in self._hosted.items()},
        )

    def _choose(self, wanted: str | None) -> str:
        """Return an environment's name, or the file of a component whose broker is somebody else's.

        A folder has one broker: what was not consumed yet is there, and a swap takes care of it.
        """
        place = self._resources / resources.PUBSUB_FILE
        if not place.exists():
            return KAFKA.name if wanted is None else _known(wanted)
        component = resources.current(self._resources)
        present = self._hosted_environment(component) or str(place)
        if wanted is None or _known(wanted) == present:
            return present
        if _is_file(wanted) and resources.read(Path(wanted)) == component:
            return present
        standby = "" if _is_file(wanted) else f" but with --standby {wanted}"
        raise BrokerChoiceError(
            f"this data folder is on {present}: start it without --broker{standby}, "
            f"and move it with `todo swap --to {wanted}`"
        )

    def _hosted_environment(self, component: Mapping[str, Any]) -> str | None:
        """The environment whose broker ran here and is meant by the component; None: the broker is somebody else's."""
        environment = environment_of(component)
        if environment is None:
            return None
        settings = resources.resolved(component, self._secrets)
        meant = settings.get("brokers") or settings.get("redisHost")
        return environment if meant == self._addresses.of(hosted.SERVERS[environment]) else None

    def _environments(self) -> list[str]:
        """The environments whose brokers run here."""
        return [name for name in dict.fromkeys([self.broker, *self._options.standby]) if name in ENVIRONMENTS]

    def _names(self) -> Iterator[str]:
        return (name for _, name in instances(self._options))

    def _sidecars(self, at: Host) -> list[Sidecar]:
        return [Sidecar(app.app_id, name, at, self._folder) for app, name in instances(self._options)]

    @property
    def _secrets(self) -> Path:
        return self._folder / "secrets.json"

    @property
    def _login_file(self) -> Path:
        return self._folder / "database-url"

    def _write_logins(self, dsn: str, store: Secrets) -> None:
        """Make what services and sidecars log in to the database with; what a rotation put there stays.

        A database of somebody else's comes with a login. On ours it is one of two roles, whose address may have moved.
        """
        if self._options.environ.get("DATABASE_URL"):
            if not self._login_file.exists():
                write_secret(self._login_file, dsn.encode())
            store.keep(POSTGRES_SECRETS, **{CONNECTION: self._login_file.read_text().strip()})
            return
        services = logins.of_dsn(self._login_file.read_text()) if self._login_file.exists() else logins.fresh()
        write_secret(self._login_file, services.dsn(dsn).encode())
        kept = store.keep(POSTGRES_SECRETS, **{CONNECTION: services.dsn(dsn)})
        kept[CONNECTION] = logins.of_dsn(kept[CONNECTION]).dsn(dsn)

    async def _put_in_place(self) -> None:
        """Put the broker's component where the sidecars look. Somebody else's must be right, and let us in, first."""
        if self.broker in ENVIRONMENTS:
            resources.render(self.broker, self._hosted[self.broker].values, self._resources)
            return
        file = Path(self.broker)
        component = resources.read(file)
        if component["metadata"]["name"] != names.PUBSUB:
            raise ResourceError(f"{file}: the component must be named {names.PUBSUB}, which the services publish to")
        _check(file, self._resources)
        async with brokers.connected(component, resources.resolved(component, self._secrets)) as broker:
            await broker.check()
            await topics.create(broker)
        if file != self._resources / resources.PUBSUB_FILE:
            resources.place(yaml.safe_dump(component, sort_keys=False).encode(), self._resources)


def _check(file: Path, folder: Path) -> None:
    """Raise ResourceError for what Dapr would not tell of a component beside the resources of the folder."""
    others = [one for one in checker.yaml_files(folder) if one.name != resources.PUBSUB_FILE]
    apps = [app.app_id for app in names.APPS]
    findings = checker.check([file, *others], checker.Surroundings(checker.dapr(), apps, names.NAMESPACE))
    errors = [str(one) for one in findings if one.severity is checker.Severity.ERROR]
    if errors:
        raise ResourceError("\n".join(errors))


def environment_of(component: Mapping[str, Any]) -> str | None:
    """Which environment's component this is, by its type and the secret it takes; None: one of somebody's own."""
    items = component["spec"].get("metadata") or ()
    taken = {item["secretKeyRef"]["name"] for item in items if "secretKeyRef" in item}
    for one in ENVIRONMENTS.values():
        if component["spec"]["type"] == f"pubsub.{one.broker}" and taken == ({one.secret} if one.secret else set()):
            return one.name
    return None


def _is_file(broker: str) -> bool:
    return broker.endswith((".yaml", ".yml"))


def _known(environment: str) -> str:
    if environment not in ENVIRONMENTS and not _is_file(environment):
        known = ", ".join(ENVIRONMENTS)
        raise BrokerChoiceError(f"there is no broker {environment!r}: use one of {known}, or a component file (.yaml)")
    return environment
