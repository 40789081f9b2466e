"""What a job is: the request for it, when it ticks, and how a failed tick is treated."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from daprlet.durations import instant, proto_duration
from daprlet.errors import MALFORMED, DaprletError
from daprlet.schedule import Schedule, parse

_log = logging.getLogger(__name__)

_FORBIDDEN: Final = frozenset("/\\#?")
_MAX_REPEATS: Final = 2**32 - 1


class InvalidJobError(DaprletError):
    """The request cannot be a job at all (HTTP 400)."""


class UnschedulableJobError(DaprletError):
    """The scheduler does not take the job (HTTP 500, as Dapr answers for it)."""


class Constant(msgspec.Struct, rename="camel"):
    interval: str = "0s"
    max_retries: int | None = None


class Drop(msgspec.Struct):
    pass


class FailurePolicy(msgspec.Struct, rename="camel", omit_defaults=True):
    constant: Constant | None = None
    drop: Drop | None = None

    def delay(self, attempts: int) -> float | None:
        """Seconds until a tick that failed `attempts` times is tried again; None gives it up."""
        if self.drop is not None or self.constant is None:
            return None
        limit = self.constant.max_retries
        return proto_duration(self.constant.interval) if limit is None or attempts <= limit else None


DEFAULT_POLICY: Final = FailurePolicy(constant=Constant(interval="1s", max_retries=3))


class JobSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    """A job as it is asked for and shown. `data` is JSON, passed on as it came."""

    schedule: str | None = None
    repeats: int | None = None
    due_time: str | None = None
    ttl: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    failure_policy: FailurePolicy | None = None


class _Request(JobSpec, rename="camel"):
    name: str = ""
    overwrite: bool = False


_SNAKE: Final = {"due_time": "dueTime", "failure_policy": "failurePolicy"}


class Key(NamedTuple):
    app: str
    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job. `version` changes with every overwrite, so what an old version began cannot touch the new one."""

    key: Key
    version: str
    spec: JobSpec
    due: float
    expires: float | None
    fired: int = 0
    attempts: int = 0

    def following(self) -> "Job | None":
        """The job with its next tick after the present one; None when this was the last."""
        fired = self.fired + 1
        if self.spec.schedule is None or (self.spec.repeats is not None and fired >= self.spec.repeats):
            return None
        later = parse(self.spec.schedule).after(datetime.fromtimestamp(self.due, UTC))
        if later is None or (self.expires is not None and later.timestamp() > self.expires):
            return None
        return replace(self, due=later.timestamp(), fired=fired, attempts=0)


def read_request(body: bytes) -> tuple[JobSpec, bool]:
    """The job in a request body and whether it may overwrite; raises `InvalidJobError`."""
    try:
        fields = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
        named = {_SNAKE.get(name, name): value for name, value in fields.items()}
        request = msgspec.json.decode(msgspec.json.encode(named), type=_Request)
    except MALFORMED as error:
        raise InvalidJobError(str(error)) from error
    unknown = sorted(set(named) - {field.encode_name for field in msgspec.structs.fields(_Request)})
    if unknown:
        _log.warning("a job request has fields that mean nothing: %s", ", ".join(unknown))
    if request.name:
        raise InvalidJobError("Set the job name in the url only")
    _check(request)
    spec = JobSpec(
        request.schedule, request.repeats, request.due_time, request.ttl, request.data, request.failure_policy
    )
    return spec, request.overwrite


def _check(request: _Request) -> None:
    if request.repeats is not None and not 0 <= request.repeats <= _MAX_REPEATS:
        raise InvalidJobError(f"repeats: {request.repeats} is not a whole number from 0 to {_MAX_REPEATS}")
    policy = request.failure_policy
    if policy is not None and policy.constant is not None:
        try:
            proto_duration(policy.constant.interval)
        except ValueError as error:
            raise InvalidJobError(f"failurePolicy.constant.interval: {error}") from error


def first(key: Key, spec: JobSpec, now: datetime) -> Job:
    """The job with its first tick; raises `UnschedulableJobError`."""
    try:
        if not key.name or key.name in (".", "..") or any(c in _FORBIDDEN or not c.isprintable() for c in key.name):
            raise ValueError(f"the job name {key.name!r} is not allowed")  # noqa: TRY301 - one kind of answer for all
        schedule = parse(spec.schedule) if spec.schedule is not None else None
        _check_together(spec)
        due = instant(spec.due_time, now) if spec.due_time is not None else None
        expires = instant(spec.ttl, due or now) if spec.ttl is not None else None
        if due is not None and expires is not None and due > expires:
            raise ValueError("ttl must be greater than due time")  # noqa: TRY301 - the same
    except (ValueError, OverflowError) as error:
        raise UnschedulableJobError(str(error)) from error
    begin = due or (_tick(schedule, now) if schedule else now)
    policy = spec.failure_policy or DEFAULT_POLICY
    stored = msgspec.structs.replace(spec, failure_policy=policy)
    return Job(key, secrets.token_hex(8), stored, begin.timestamp(), expires.timestamp() if expires else None)


def _tick(schedule: Schedule, now: datetime) -> datetime:
    first = schedule.after(now)
    if first is None:
        raise UnschedulableJobError("the schedule never fires")
    return first


def _check_together(spec: JobSpec) -> None:
    if spec.repeats == 0:
        raise ValueError("defined repeats must be greater than 0")
    if spec.schedule is None and (spec.repeats or 0) > 1:
        raise ValueError("job must have a schedule to repeat")
    if spec.schedule is None and spec.ttl is not None:
        raise ValueError("job must have a schedule to have a ttl")


def shown(name: str, spec: JobSpec) -> Mapping[str, Any]:
    """A job the way `GET /v1.0/jobs/{name}` shows it."""
    fields: dict[str, Any] = {"name": name, **msgspec.json.decode(msgspec.json.encode(spec))}
    if fields.pop("data", None) is not None:
        fields["data"] = {"@type": "type.googleapis.com/google.protobuf.Value", "value": spec.data}
    return fields
