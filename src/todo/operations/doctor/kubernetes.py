"""A system on Kubernetes, as the API server and its pods tell it.

What a pod serves is read through port-forwards, because a sidecar's API listens on its pod's loopback only. The
broker, and a database of somebody else's, are reached from a pod of the namespace only; from elsewhere the sidecars'
logs and the services' probes have to do.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from daprlet.checker import Document
from todo.contracts import names
from todo.contracts.clock import Clock, utc_now
from todo.messaging.database import Where
from todo.operations import brokers
from todo.operations.brokers import BrokerError
from todo.operations.cluster import Cluster, ClusterError, Fault, connected, is_inside
from todo.operations.cluster.access import own_namespace
from todo.operations.doctor import asking, broker, components, database, injection, secrets
from todo.operations.doctor.asking import Asking
from todo.operations.doctor.examination import CannotLookError, attempt, now
from todo.operations.doctor.host import DATABASE_FAILS
from todo.operations.doctor.seen import (
    BrokerLook,
    Moment,
    Object,
    Outbox,
    Pods,
    Reference,
    Replica,
    Seen,
    Series,
    Service,
    Sidecar,
)
from todo.service.settings import SettingsError, database_url

RESOURCES: Final = ("components", "resiliencies", "configurations", "subscriptions")
DAPR_NAMESPACE: Final = "dapr-system"
WEBHOOK: Final = "dapr-sidecar-injector"
EXPECTED: Final = "expected-secrets"
TOKEN: Final = "dapr-api-token"  # noqa: S105 - a secret's name
DATABASE_SECRET: Final = ("postgres-secrets", "POSTGRES_CONNECTION_STRING")
METRICS_PORT: Final = 9090
LOG_LINES: Final = 60
MAY_FORWARD: Final = {"namespace": "", "verb": "create", "resource": "pods", "subresource": "portforward"}
FROM_INSIDE: Final = "`kubectl exec -n {namespace} deploy/operations -- todo doctor` looks at it"

T = TypeVar("T")


@asynccontextmanager
async def opened(
    http: aiohttp.ClientSession, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> AsyncIterator["ClusterPatient"]:
    """The system of a namespace. Raises `CannotLookError`."""
    where = namespace or os.environ.get("TODO_NAMESPACE") or own_namespace() or names.NAMESPACE
    try:
        async with connected(where, kubeconfig, context) as cluster, AsyncExitStack() as stack:
            yield ClusterPatient(cluster, http, stack)
    except ClusterError as error:
        raise CannotLookError(str(error)) from error


class ClusterPatient:
    """`Patient`: one namespace. `inside`: this runs in a pod, whose network is that of the system."""

    def __init__(
        self, cluster: Cluster, http: aiohttp.ClientSession, stack: AsyncExitStack, clock: Clock = utc_now
    ) -> None:
        self._cluster = cluster
        self._http = http
        self._stack = stack
        self._clock = clock
        self._inside = is_inside()
        self._asking = Asking(http, None, clock)
        self._reached: dict[tuple[str, int], str] = {}
        self._opening = asyncio.Lock()
        self._secrets: dict[str, Mapping[str, str] | None] = {}
        self._metadata: dict[str, str] = {}
        self._where: Where | None = None
        self._may_forward = True

    async def look(self) -> Seen:
        seen = Seen(
            where=f"namespace {self._cluster.namespace} of {self._cluster.server}", namespace=self._cluster.namespace
        )
        pods = await self._cluster.list("pods")
        self._may_forward = await self._forwarding()
        seen.pods = await self._kubernetes(seen, pods)
        seen.stores = (names.SECRET_STORE,)
        await self._read_resources(seen)
        await self._read_secrets(seen)
        token = os.environ.get("DAPR_API_TOKEN") or (self._secrets.get(TOKEN) or {}).get("token")
        self._asking = Asking(self._http, token, self._clock)
        seen.replicas = await self._replicas(seen, seen.pods)
        await asyncio.gather(self._look_at_broker(seen), self._look_at_database(seen), self._look_at_mail(seen))
        return seen

    async def moment(self, seen: Seen) -> Moment:
        samples = [one for one in await asyncio.gather(*map(self._samples, seen.replicas)) if one is not None]
        outboxes: dict[str, Outbox] = asking.outboxes(samples)
        relays: dict[str, int] = {}
        lag: Mapping[tuple[str, str], brokers.Lag] | None = None
        ends: Mapping[str, int] = {}
        if self._where is not None and seen.database and not seen.database.refusals and not seen.database.behind:
            try:
                outboxes, relays = await database.moving(self._where)
            except DATABASE_FAILS as error:
                seen.not_looked_at["outboxes"] = f"{type(error).__name__}: {error}"
        component = components.pubsub(seen.resources or [])
        if component and seen.broker and not seen.broker.error and not all(seen.broker.ports.values()):
            try:
                lag, ends = await broker.left(component, self._metadata)
            except BrokerError as error:
                seen.not_looked_at["consumer lag"] = str(error)
        return Moment(
            at=now(), outboxes=outboxes, relays=relays, lag=lag, published=ends, refused=asking.refused(samples)
        )

    async def _forwarding(self) -> bool:
        """Whether this account may read through port-forwards; one that may not ask is tried."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {"name": ""},
            "spec": {"resourceAttributes": MAY_FORWARD | {"namespace": self._cluster.namespace}},
        }
        try:
            answer = await self._cluster.create(review)
        except ClusterError:
            return True
        return bool((answer.get("status") or {}).get("allowed"))

    async def _kubernetes(self, seen: Seen, pods: Sequence[Object]) -> Pods:
        deployments, namespace, hook, injector, definitions = await asyncio.gather(
            self._cluster.list("deployments"),
            self._allowed(seen, "namespace", lambda: self._cluster.get("namespace", self._cluster.namespace)),
            self._allowed(seen, "Dapr's webhook", lambda: self._cluster.get("mutatingwebhookconfigurations", WEBHOOK)),
            self._allowed(
                seen,
                "Dapr's injector",
                lambda: self._cluster.list("pods", namespace=DAPR_NAMESPACE, labels={"app": WEBHOOK}),
            ),
            self._definitions(),
        )
        webhooks = None if "Dapr's webhook" in seen.not_looked_at else (hook or {}).get("webhooks", ())
        count = sum(1 for app in names.APPS for _ in injection.pods_of(pods, app.app_id))
        seen.looked_at["pods"] = f"{len(deployments)} Deployments, {count} pods of services: annotations, containers"
        return Pods(
            deployments=deployments,
            pods=pods,
            namespace=namespace,
            webhooks=webhooks,
            has_definitions=definitions,
            injector=injector,
            said=await self._said(pods),
        )

    async def _definitions(self) -> bool:
        try:
            await self._cluster.list("components")
        except ClusterError as error:
            return error.fault is not Fault.ABSENT
        return True

    async def _said(self, pods: Sequence[Object]) -> dict[tuple[str, str], str]:
        """What containers wrote that have ended or are not ready; what others wrote is no fault in force."""
        asked = [
            (pod["metadata"]["name"], one["name"], "waiting" in (one.get("state") or {}))
            for app in names.APPS
            for pod in injection.pods_of(pods, app.app_id)
            for one in injection.statuses(pod)
            if not one.get("ready") and (one.get("restartCount") or "running" in (one.get("state") or {}))
        ]
        written = await asyncio.gather(*(self._log(pod, container, previous=ended) for pod, container, ended in asked))
        return {(pod, container): text for (pod, container, _), text in zip(asked, written, strict=True)}

    async def _log(self, pod: str, container: str, *, previous: bool) -> str:
        try:
            return await self._cluster.logs(pod, container, tail=LOG_LINES, previous=previous)
        except ClusterError:
            return ""

    async def _read_resources(self, seen: Seen) -> None:
        async def listed(kind: str) -> Sequence[Object]:
            return await self._allowed(seen, kind, lambda: self._cluster.list(kind)) or ()

        kinds = await asyncio.gather(*map(listed, RESOURCES))
        if RESOURCES[0] not in seen.not_looked_at:
            seen.resources = [
                Document(Path(f"{kind}/{one['metadata']['name']}"), 1, _plain(one))
                for kind, objects in zip(RESOURCES, kinds, strict=True)
                for one in objects
            ]
            seen.looked_at["resources"] = f"{len(seen.resources)}: {', '.join(RESOURCES)}"

    async def _read_secrets(self, seen: Seen) -> None:
        documents = seen.resources or []
        refs: list[Reference] = [
            ref for one in documents if one.kind == "Component" for ref in secrets.of_component(one.data)
        ]
        for one in seen.pods.deployments if seen.pods else ():
            refs += secrets.of_template(one["metadata"]["name"], one["spec"]["template"])
        expected = await self._allowed(seen, EXPECTED, lambda: self._cluster.get("configmap", EXPECTED))
        for name, keys in ((expected or {}).get("data") or {}).items():
            refs += [Reference(name, key, f"the environment's list ({EXPECTED})") for key in keys.split()]
        wanted = sorted({ref.secret for ref in refs} | {TOKEN})
        await asyncio.gather(*(self._read_secret(seen, name) for name in wanted))
        seen.references, seen.secrets = refs, secrets.look(self._secrets)
        seen.looked_at["secrets"] = f"{', '.join(self._secrets)}: their keys"

    async def _read_secret(self, seen: Seen, name: str) -> None:
        """One secret; one that we may not read is noted, and nothing is said of it."""
        try:
            found = await self._cluster.get("secret", name)
        except ClusterError as error:
            if error.fault is not Fault.FORBIDDEN:
                raise
            seen.not_looked_at[f"secret {name}"] = str(error)
        else:
            self._secrets[name] = None if found is None else _decoded(found)

    async def _replicas(self, seen: Seen, pods: Pods) -> list[Replica]:
        living = [(app, pod) for app in names.APPS for pod in injection.pods_of(pods.pods, app.app_id)]
        if not self._may_forward:
            seen.not_looked_at["services and sidecars"] = "this account may not create pods/portforward"
            return [Replica(name=pod["metadata"]["name"], app_id=app.app_id) for app, pod in living]
        listed = ", ".join(pod["metadata"]["name"] for _, pod in living)
        seen.looked_at["services"] = f"{listed}: their /readyz"
        seen.looked_at["sidecars"] = "of the same: health, components, subscriptions, jobs, Scheduler"
        return list(await asyncio.gather(*(self._replica(app, pod) for app, pod in living)))

    async def _replica(self, app: names.App, pod: Object) -> Replica:
        """A container that does not run is its pod's matter, and not asked."""
        name = pod["metadata"]["name"]
        running = {one["name"] for one in injection.statuses(pod) if "running" in (one.get("state") or {})}
        service, sidecar = await asyncio.gather(
            self._service(name, app) if app.app_id in running else _none(Service),
            self._sidecar(name, app) if injection.DAPRD in running else _none(Sidecar),
        )
        return Replica(name=name, app_id=app.app_id, service=service, sidecar=sidecar)

    async def _service(self, pod: str, app: names.App) -> Service:
        return await self._asking.service(await self._reach(pod, app.port))

    async def _sidecar(self, pod: str, app: names.App) -> Sidecar:
        return await self._asking.sidecar(await self._reach(pod, names.BACKEND.dapr_port), app.app_id)

    async def _samples(self, one: Replica) -> asking.Scraped | None:
        if one.service is None or one.service.away:
            return None
        port = next(app.port for app in names.APPS if app.app_id == one.app_id)
        service = await self._metrics(one.name, port)
        sidecar = await self._metrics(one.name, METRICS_PORT) if one.sidecar is not None else None
        return asking.Scraped(one.name, one.app_id, service, sidecar)

    async def _metrics(self, pod: str, port: int) -> Mapping[Series, float] | None:
        try:
            return await self._asking.metrics(f"{await self._reach(pod, port)}/metrics")
        except asking.NoAnswerError:
            return None

    async def _look_at_broker(self, seen: Seen) -> None:
        component = components.pubsub(seen.resources or [])
        if component is None:
            return
        try:
            self._metadata = self._settings(component)
        except KeyError:
            seen.not_looked_at["broker"] = "its component's secrets cannot be read here"
            return
        if not self._inside and not await self._forward_redis(component):
            seen.not_looked_at["broker"] = f"not from outside the cluster: {self._from_inside}"
            return

        async def ask() -> BrokerLook:
            return await broker.look(component, self._metadata)

        seen.broker = await attempt(seen, "broker", ask, may_fail=(BrokerError,), told=broker.told)

    async def _forward_redis(self, component: Object) -> bool:
        """Reach a Redis of this namespace through its pod; Kafka's brokers name addresses of their own."""
        host = self._metadata.get("redisHost", "")
        if component["spec"]["type"] != "pubsub.redis" or self._metadata.get("enableTLS") == "true":
            return False
        local = await self._forwarded(host)
        if local is not None:
            self._metadata |= {"redisHost": local}
        return local is not None

    async def _look_at_database(self, seen: Seen) -> None:
        self._where = await self._database()
        if self._where is None:
            seen.not_looked_at["database"] = f"only what services say of it; {self._from_inside}"
            return
        where = self._where
        seen.database = await attempt(
            seen,
            "database",
            lambda: database.look({"the services": where}, self._clock),
            may_fail=DATABASE_FAILS,
            told=lambda _: "login, revisions, clock, outboxes, dead letters, delivery history, other systems on it",
        )

    async def _database(self) -> Where | None:
        if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
            try:
                return database_url()
            except SettingsError:
                return None
        dsn = (self._secrets.get(DATABASE_SECRET[0]) or {}).get(DATABASE_SECRET[1], "").strip()
        try:
            url = urlsplit(dsn)
            host, port = url.hostname, url.port or 5432
        except ValueError:
            return None
        if not host or self._inside:
            return dsn or None
        local = await self._forwarded(f"{host}:{port}")
        login = url.netloc.rpartition("@")[0]
        return None if local is None else url._replace(netloc=f"{login}@{local}" if login else local).geturl()

    async def _look_at_mail(self, seen: Seen) -> None:
        pod = next(
            (
                one.name
                for one in seen.replicas
                if one.app_id == names.EMAIL_DELIVERY.app_id and one.sidecar is not None
            ),
            None,
        )
        if pod is None:
            seen.not_looked_at["mail server"] = "email-delivery tries it, and no sidecar of it can be asked"
            return
        url = await self._reach(pod, names.BACKEND.dapr_port)
        seen.mail = await attempt(
            seen,
            "mail server",
            lambda: self._asking.mail(url),
            may_fail=(asking.NoAnswerError,),
            told=lambda said: f"{said.server}, tried by email-delivery; nothing was sent",
        )

    def _settings(self, component: Object) -> dict[str, str]:
        """The component's metadata with its secrets. Raises KeyError for one that is not there or not to be read."""
        found: dict[str, str] = {}
        for item in component["spec"].get("metadata") or ():
            ref = item.get("secretKeyRef")
            if ref is None:
                value = item.get("value", "")
                found[item["name"]] = str(value).lower() if isinstance(value, bool) else str(value)
            else:
                found[item["name"]] = (self._secrets[ref["name"]] or {})[ref.get("key") or ref["name"]]
        return found

    async def _forwarded(self, address: str) -> str | None:
        """A local address of what a Service of this namespace stands for; None: it is none of ours."""
        host, _, port = address.rpartition(":")
        parts = host.split(".")
        if not self._may_forward or (len(parts) > 1 and parts[1] != self._cluster.namespace):
            return None
        service = await self._cluster.get("service", parts[0])
        selector = ((service or {}).get("spec") or {}).get("selector")
        pods = await self._cluster.list("pods", labels=selector) if selector else []
        ready = [one for one in pods if (one.get("status") or {}).get("phase") == "Running"]
        if not ready or not port.isdecimal():
            return None
        return (await self._reach(ready[0]["metadata"]["name"], int(port))).removeprefix("http://")

    async def _reach(self, pod: str, port: int) -> str:
        async with self._opening:
            if (pod, port) not in self._reached:
                self._reached[pod, port] = await self._stack.enter_async_context(self._cluster.reach(pod, port))
            return self._reached[pod, port]

    async def _allowed(self, seen: Seen, theme: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What we may see; what we may not is noted."""
        try:
            return await ask()
        except ClusterError as error:
            if error.fault not in {Fault.FORBIDDEN, Fault.ABSENT}:
                raise
            if error.fault is Fault.FORBIDDEN:
                seen.not_looked_at[theme] = str(error)
            return None

    @property
    def _from_inside(self) -> str:
        return FROM_INSIDE.format(namespace=self._cluster.namespace)


async def _none(kind: type[T]) -> T | None:
    del kind
    return None


def _decoded(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()}


def _plain(resource: Object) -> dict[str, object]:
    """A resource without what the API server added."""
    metadata = {key: resource["metadata"][key] for key in ("name", "namespace") if key in resource["metadata"]}
    return {key: value for key, value in resource.items() if key != "status"} | {"metadata": metadata}
