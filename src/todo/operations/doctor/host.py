"""A system on one host, as its data folder describes it."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import yaml

from daprlet import checker
from todo.contracts import names
from todo.contracts.clock import Clock, utc_now
from todo.messaging.database import Where
from todo.operations import brokers, datafolder
from todo.operations.brokers import BrokerError
from todo.operations.client import Mailbox, UnreachableError
from todo.operations.datafolder import RunningSystem
from todo.operations.doctor import asking, broker, components, database, secrets
from todo.operations.doctor.asking import Asking
from todo.operations.doctor.examination import CannotLookError, attempt, now
from todo.operations.doctor.seen import BrokerLook, Moment, Outbox, Replica, Seen, Series
from todo.operations.engine import daprd, resources, stock
from todo.operations.engine.environments import POSTGRES_SECRETS
from todo.operations.engine.resources import ResourceError

MAILS: Final = 1000
DATABASE_FAILS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Address:
    """Where one replica and its sidecar are."""

    name: str
    app_id: str
    service: str
    sidecar: str
    metrics: str | None  # the sidecar's


class HostPatient:
    """`Patient`: the system that runs on a data folder. Raises `CannotLookError` when none does."""

    def __init__(self, data: Path, http: aiohttp.ClientSession, clock: Clock = utc_now) -> None:
        running = datafolder.running_system(data)
        if running is None:
            raise CannotLookError(
                f"no system runs on {data}: start one with `todo up`, name its folder with --data, or look at a "
                "cluster with --kubeconfig"
            )
        self._running = running
        self._data = data
        self._http = http
        self._clock = clock
        self._asking = Asking(http, _token(data), clock)
        self._run_file = {} if running.engine else _read(data / "dapr.yaml")
        self._addresses = self._replicas()

    async def look(self) -> Seen:
        engine = "stock Dapr" if self._running.engine else "daprlet"
        seen = Seen(where=f"this host ({engine} on {self._data})", namespace=names.NAMESPACE)
        self._read_resources(seen)
        await asyncio.gather(
            self._look_at_replicas(seen),
            self._look_at_broker(seen),
            self._look_at_database(seen),
            self._look_at_mail(seen),
            self._look_at_mailbox(seen),
        )
        return seen

    async def moment(self, seen: Seen) -> Moment:
        samples = await asyncio.gather(*(self._samples(one) for one in self._addresses))
        outboxes: dict[str, Outbox] = {}
        relays: dict[str, int] = {}
        lag: Mapping[tuple[str, str], brokers.Lag] | None = None
        ends: Mapping[str, int] = {}
        if seen.database and not seen.database.refusals and not seen.database.behind:
            try:
                outboxes, relays = await database.moving(self._running.database_url)
            except DATABASE_FAILS as error:
                seen.not_looked_at["outboxes"] = f"{type(error).__name__}: {error}"
        component = components.pubsub(seen.resources or [])
        if component and seen.broker and not seen.broker.error and not all(seen.broker.ports.values()):
            try:
                lag, ends = await broker.left(component, resources.resolved(component, self._secrets))
            except (BrokerError, ResourceError) as error:
                seen.not_looked_at["consumer lag"] = str(error)
        return Moment(
            at=now(), outboxes=outboxes, relays=relays, lag=lag, published=ends, refused=asking.refused(samples)
        )

    def _read_resources(self, seen: Seen) -> None:
        documents: list[checker.Document] = []
        unreadable: list[checker.Finding] = []
        for folder in self._folders():
            for file in checker.yaml_files(folder):
                read, broken = checker.read_documents(file)
                documents += read
                unreadable += broken
        seen.resources, seen.unreadable, seen.stores = documents, unreadable, ()
        seen.looked_at["resources"] = f"{len(documents)} in {', '.join(map(str, self._folders()))}"
        for one in documents:
            if one.kind == "Component" and isinstance(one.data, dict):
                seen.references = [*seen.references, *secrets.of_component(one.data)]
        values = _read(self._secrets)
        if seen.references:
            wanted = {ref.secret for ref in seen.references}
            seen.secrets = secrets.look({name: values.get(name) for name in wanted})
            seen.looked_at["secrets"] = f"{', '.join(sorted(wanted))} in {self._secrets}"

    async def _look_at_replicas(self, seen: Seen) -> None:
        async def one(address: Address) -> Replica:
            service, sidecar = await asyncio.gather(
                self._asking.service(address.service), self._asking.sidecar(address.sidecar, address.app_id)
            )
            return Replica(name=address.name, app_id=address.app_id, service=service, sidecar=sidecar)

        seen.replicas = await asyncio.gather(*map(one, self._addresses))
        listed = ", ".join(one.name for one in seen.replicas)
        seen.looked_at["services"] = f"{listed}: their /readyz"
        seen.looked_at["sidecars"] = f"of {listed}: health, components, subscriptions, jobs, Scheduler"

    async def _look_at_broker(self, seen: Seen) -> None:
        if self._running.engine is None:
            seen.not_looked_at["broker"] = "daprlet is its own broker, and keeps its log to itself"
            return
        component = components.pubsub(seen.resources or [])
        if component is None:
            seen.not_looked_at["broker"] = f"there is no component {names.PUBSUB}"
            return

        async def ask() -> BrokerLook:
            return await broker.look(component, resources.resolved(component, self._secrets))

        seen.broker = await attempt(seen, "broker", ask, may_fail=(ResourceError,), told=broker.told)

    async def _look_at_database(self, seen: Seen) -> None:
        logins: dict[str, Where] = {"the operator": self._running.database_url}
        if self._running.engine is not None:
            logins["the services"] = Path(self._running.engine.secrets).parent / "database-url"
            connection = _read(self._secrets).get(POSTGRES_SECRETS, {}).get(stock.CONNECTION)
            if connection:
                logins["the state store"] = connection
        seen.database = await attempt(
            seen,
            "database",
            lambda: database.look(logins, self._clock),
            may_fail=DATABASE_FAILS,
            told=lambda _: "logins, revisions, clock, outboxes, dead letters, delivery history, other systems on it",
        )

    async def _look_at_mail(self, seen: Seen) -> None:
        sidecar = next(one.sidecar for one in self._addresses if one.app_id == names.EMAIL_DELIVERY.app_id)
        seen.mail = await attempt(
            seen,
            "mail server",
            lambda: self._asking.mail(sidecar),
            may_fail=(asking.NoAnswerError,),
            told=lambda said: f"{said.server}, tried by email-delivery; nothing was sent",
        )

    async def _look_at_mailbox(self, seen: Seen) -> None:
        url = self._running.addresses.get("mailbox")
        if url is None:
            seen.not_looked_at["mailbox"] = "mails go to a real server"
            return

        async def repeated() -> dict[str, int]:
            page = (await Mailbox(self._http, url).mails(limit=MAILS)).value
            counts = Counter(one.MessageID for one in page.messages)
            return {message_id: count for message_id, count in counts.items() if count > 1}

        seen.repeated_mails = (
            await attempt(
                seen,
                "mailbox",
                repeated,
                may_fail=(UnreachableError,),
                told=lambda _: f"{url}: Message-IDs of the newest {MAILS:,} mails",
            )
            or {}
        )

    async def _samples(self, address: Address) -> asking.Scraped:
        service, sidecar = await asyncio.gather(
            self._metrics(f"{address.service}/metrics"), self._metrics(address.metrics)
        )
        return asking.Scraped(address.name, address.app_id, service, sidecar)

    async def _metrics(self, url: str | None) -> Mapping[Series, float] | None:
        """Nothing of one that does not answer: that is told by its own check."""
        try:
            return await self._asking.metrics(url) if url else None
        except asking.NoAnswerError:
            return None

    def _folders(self) -> Sequence[Path]:
        if self._running.engine is not None:
            return [Path(self._running.engine.resources)]
        return [Path(one) for one in self._run_file.get("common", {}).get("resourcesPaths", ())]

    @property
    def _secrets(self) -> Path:
        return Path(self._running.engine.secrets) if self._running.engine else self._data / "secrets.json"

    def _replicas(self) -> list[Address]:
        return _of_daprd(self._running) if self._running.engine else _of_daprlet(self._running, self._run_file)


def _of_daprd(running: RunningSystem) -> list[Address]:
    services = {daprd.child_name(name): (name, url) for name, url in running.addresses.items()}
    return [
        Address(services[one.name][0], one.app_id, services[one.name][1], one.url, one.metrics_url)
        for one in (running.engine.sidecars if running.engine else ())
    ]


def _of_daprlet(running: RunningSystem, run_file: Mapping[str, Any]) -> list[Address]:
    by_port = {url.rsplit(":", 1)[-1]: (name, url) for name, url in running.addresses.items()}
    return [
        Address(*by_port[str(one["appPort"])][:1], one["appID"], by_port[str(one["appPort"])][1],
                f"http://127.0.0.1:{one['daprHTTPPort']}", None)
        for one in run_file.get("apps", ())
    ]  # fmt: skip


def _token(data: Path) -> str | None:
    try:
        return (data / "tokens" / datafolder.API_TOKEN).read_text()
    except OSError:
        return None


def _read(file: Path) -> Any:  # noqa: ANN401 - JSON or YAML
    """What a file of the data folder holds; nothing if it cannot be read, which others tell."""
    try:
        text = file.read_text()
        return (json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
