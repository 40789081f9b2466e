"""`todo rotate`, put together: which secret of which running system, and that nobody else changes it meanwhile."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import aiohttp

from todo.operations import datafolder
from todo.operations.datafolder import EngineRun, RunningSystem
from todo.operations.engine import resources
from todo.operations.engine.environments import POSTGRES_SECRETS
from todo.operations.rotation.authority import Authority, RotationError
from todo.operations.rotation.broker import secret_of
from todo.operations.rotation.calm import Calm
from todo.operations.rotation.database import DatabaseLogins
from todo.operations.rotation.exclusive import alone
from todo.operations.rotation.host import Host
from todo.operations.rotation.journal import Entry, Journal
from todo.operations.rotation.steps import Rotation
from todo.operations.swapping.host import HostTarget

__all__ = ["Subject", "alone", "rotation"]

STATE_FILE: Final = "statestore-postgres.yaml"


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
        yield Rotation(secret, component, place, authority, Journal(data), tell)


def _parts(subject: Subject, running: RunningSystem, engine: EngineRun) -> tuple[str, str, Authority]:
    if subject is Subject.DATABASE:
        return POSTGRES_SECRETS, STATE_FILE, DatabaseLogins(running.database_url)
    component = resources.current(Path(engine.resources))
    kind = component["spec"]["type"]
    if kind != f"pubsub.{subject}":
        raise RotationError(f"the sidecars use {kind} now, not {subject}: rotate what is in use, or swap first")
    secret = secret_of(component)
    if secret is None:
        raise RotationError(
            f"component {component['metadata']['name']} logs in without a secret: there is nothing to rotate"
        )
    return secret, resources.PUBSUB_FILE, _broker_logins(subject, component, secret)


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
