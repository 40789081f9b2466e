"""`todo rotate`, put together: which secret of which running system, and that nobody else changes it meanwhile."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import aiohttp

from todo.contracts import names
from todo.operations import datafolder
from todo.operations.cluster import ClusterError
from todo.operations.cluster.system import System, deployed
from todo.operations.datafolder import EngineRun, RunningSystem
from todo.operations.engine import resources
from todo.operations.engine.environments import POSTGRES_OPERATOR, POSTGRES_SECRETS
from todo.operations.logins import Login
from todo.operations.rotation import kubernetes
from todo.operations.rotation.authority import Authority, RotationError
from todo.operations.rotation.broker import secret_of
from todo.operations.rotation.calm import Calm
from todo.operations.rotation.database import DSN, DatabaseLogins
from todo.operations.rotation.exclusive import alone
from todo.operations.rotation.host import Host
from todo.operations.rotation.journal import Entry, FileJournal
from todo.operations.rotation.steps import Rotation
from todo.operations.swapping.host import HostTarget
from todo.operations.swapping.kubernetes import KubernetesTarget

__all__ = ["Subject", "alone", "rotation", "rotation_on_kubernetes"]

STATE_FILE: Final = "statestore-postgres.yaml"
OPERATOR: Final = "postgres"  # the role whose password is POSTGRES_PASSWORD, where the database is ours
OPERATOR_PASSWORD: Final = "POSTGRES_PASSWORD"  # noqa: S105 - a key's name


class Subject(StrEnum):
    """Whose login is exchanged."""

    KAFKA = "kafka"
    REDIS = "redis"
    DATABASE = "database"


@asynccontextmanager
async def rotation(
    subject: Subject, data: Path, tell: Callable[[Entry], None], *, changes: bool = True
) -> AsyncIterator[Rotation]:
    """The rotation of one secret of the system that runs on a data folder. Raises `RotationError`.

    If it `changes` something it is the only one that does.
    """
    running = datafolder.running_system(data)
    if running is None:
        raise RotationError(
            f"no system runs on {data}: start it with `todo up --engine dapr`, or name its folder with --data"
        )
    if running.engine is None:
        raise RotationError(f"the system on {data} runs on daprlet, which logs in nowhere: there is nothing to rotate")
    async with AsyncExitStack() as stack:
        if changes:
            stack.enter_context(alone(Path(running.engine.secrets).parent))
        secret, component, authority = _parts(subject, running, running.engine)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        place = Host(running.engine, http, Calm(HostTarget(data), http))
        yield Rotation(secret, component, place, authority, FileJournal(data), tell)


@asynccontextmanager
async def rotation_on_kubernetes(
    subject: Subject, environ: Mapping[str, str], tell: Callable[[Entry], None], *, changes: bool = True
) -> AsyncIterator[Rotation]:
    """The rotation of one secret of the system that is deployed; as above. Run it in the system's operations pod."""
    try:
        async with AsyncExitStack() as stack:
            system = await stack.enter_async_context(deployed(environ))
            if changes:
                await stack.enter_async_context(kubernetes.alone(system.cluster))
            secret, component, authority = await _deployed_parts(subject, system, environ)
            http = await stack.enter_async_context(aiohttp.ClientSession())
            target = KubernetesTarget(system, await system.place(environ))
            place = kubernetes.KubernetesPlace(system, http, Calm(target, http), secret)
            yield Rotation(secret, component, place, authority, kubernetes.ClusterJournal(system.cluster), tell)
    except ClusterError as error:
        raise RotationError(str(error)) from error


def _parts(subject: Subject, running: RunningSystem, engine: EngineRun) -> tuple[str, str, Authority]:
    if subject is Subject.DATABASE:
        return POSTGRES_SECRETS, STATE_FILE, DatabaseLogins(running.database_url)
    secret, authority = _of_component(subject, resources.current(Path(engine.resources)))
    return secret, resources.PUBSUB_FILE, authority


async def _deployed_parts(subject: Subject, system: System, environ: Mapping[str, str]) -> tuple[str, str, Authority]:
    if subject is Subject.DATABASE:
        file = environ.get("DATABASE_URL_FILE")
        logins = DatabaseLogins(await _operator(system), Path(file) if file else None)
        return POSTGRES_SECRETS, names.STATE_STORE, logins
    secret, authority = _of_component(subject, await system.component(names.PUBSUB))
    return secret, names.PUBSUB, authority


async def _operator(system: System) -> str | None:
    """The operator's way into the database, if it is one of ours."""
    services = await system.secret(POSTGRES_SECRETS) or {}
    own = await system.secret(POSTGRES_OPERATOR) or {}
    if DSN not in services or OPERATOR_PASSWORD not in own:
        return None
    return Login(OPERATOR, own[OPERATOR_PASSWORD]).dsn(services[DSN])


def _of_component(subject: Subject, component: Mapping[str, Any]) -> tuple[str, Authority]:
    """The secret that a broker's component takes its login from, and who decides about that."""
    kind = component["spec"]["type"]
    if kind != f"pubsub.{subject}":
        raise RotationError(f"the sidecars use {kind} now, not {subject}: rotate what is in use, or swap first")
    secret = secret_of(component)
    if secret is None:
        raise RotationError(
            f"component {component['metadata']['name']} logs in without a secret: there is nothing to rotate"
        )
    return secret, _broker_logins(subject, component, secret)


def _broker_logins(subject: Subject, component: Mapping[str, Any], secret: str) -> Authority:
    try:
        if subject is Subject.KAFKA:
            from todo.operations.rotation.kafka import KafkaLogins  # noqa: PLC0415 - of the extra `engine`

            return KafkaLogins(component, secret)
        from todo.operations.rotation.redis import RedisLogins  # noqa: PLC0415 - of the extra `engine`

        return RedisLogins(component, secret)
    except ImportError as error:
        raise RotationError(
            f"the client for {subject} is not installed ({error.name}): install todo[engine]"
        ) from error
