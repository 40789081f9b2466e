"""Services, their sidecars, what these have subscribed to and registered."""

from collections.abc import Iterator
from typing import Any, Final

from todo.contracts import names
from todo.operations import topics
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Replica, Seen, Sidecar

DATABASE: Final = "database"  # the need that services with a schema have; the database's own check tells it better


def check(seen: Seen) -> Iterator[Finding]:
    """What is away, not ready, not subscribed or not registered."""
    for one in seen.replicas:
        yield from _service(one, seen)
        if one.sidecar is not None:
            yield from _sidecar(one, one.sidecar)


def _service(one: Replica, seen: Seen) -> Iterator[Finding]:
    service = one.service
    if service is None:
        return
    if service.away:
        yield found(Code.SERVICE_AWAY, one.name, f"{one.name} does not answer", service.away, app=one.app_id)
    for need, reason in service.failed.items():
        if need == DATABASE and seen.database is None:
            yield found(
                Code.DATABASE_AWAY,
                one.app_id,
                f"{one.name} cannot use its database",
                f"its /readyz says: {need}: {reason}",
            )
        else:
            yield found(
                Code.SERVICE_NOT_READY,
                one.name,
                f"{one.name} is not ready: {need}",
                f"its /readyz says: {need}: {reason}",
                app=one.app_id,
            )


def _sidecar(one: Replica, sidecar: Sidecar) -> Iterator[Finding]:
    if sidecar.away:
        yield found(
            Code.SIDECAR_AWAY, one.name, f"the sidecar of {one.name} does not answer", sidecar.away, app=one.app_id
        )
    if sidecar.refused_token:
        yield found(
            Code.API_TOKEN_REFUSED,
            one.name,
            f"the sidecar of {one.name} does not take the API token",
            "GET /v1.0/metadata with the token: 401",
            app=one.app_id,
        )
    if sidecar.waits:
        yield found(
            Code.SIDECAR_NOT_READY,
            one.name,
            f"the sidecar of {one.name} is not ready",
            f"its /v1.0/healthz says: {sidecar.waits}",
            app=one.app_id,
        )
    if sidecar.metadata is not None:
        yield from _metadata(one, sidecar, sidecar.metadata)


def _metadata(one: Replica, sidecar: Sidecar, metadata: dict[str, Any] | Any) -> Iterator[Finding]:  # noqa: ANN401 - JSON
    if not (metadata.get("scheduler") or {}).get("connected_addresses"):
        yield found(
            Code.SCHEDULER_AWAY,
            one.name,
            f"the sidecar of {one.name} has no connection to the Scheduler",
            "its metadata lists no scheduler.connected_addresses",
            app=one.app_id,
        )
    there = {
        item.get("topic") for item in metadata.get("subscriptions") or () if item.get("pubsubname") == names.PUBSUB
    }
    missing = [topic for topic in topics.consumed().get(one.app_id, ()) if topic not in there]
    if missing:
        yield found(
            Code.SUBSCRIPTION_MISSING,
            one.name,
            f"{one.name} is not subscribed to {', '.join(missing)}",
            f"its sidecar's metadata lists {', '.join(sorted(filter(None, there))) or 'no subscription'}",
            app=one.app_id,
        )
    for name, schedule in sidecar.jobs.items():
        if schedule is None:
            yield found(
                Code.JOB_NOT_REGISTERED,
                name,
                f"job {name} of {one.app_id} is not registered",
                f"GET /v1.0/jobs/{name} through its sidecar finds none",
                app=one.app_id,
            )
