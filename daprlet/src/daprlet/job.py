"""What a job is: the request for it, when it ticks, and how a failed tick is treated."""

import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from daprlet import go_json
from daprlet.durations import instant, is_duration, proto_duration, proto_text
from daprlet.errors import MALFORMED, DaprletError
from daprlet.schedule import Every, Schedule, parse

_log = logging.getLogger(__name__)

_FORBIDDEN: Final = frozenset("/\\#?")
_Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class InvalidJobError(DaprletError):
    """The request cannot be a job at all (HTTP 400)."""


class UnschedulableJobError(DaprletError):
    """The scheduler does not take the job (HTTP 500, as Dapr answers for it)."""


class Constant(msgspec.Struct, rename="camel", omit_defaults=True):
    interval: str | None = None
    max_retries: _Uint32 | None = None


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
        return proto_duration(self.constant.interval or "0s") if limit is None or attempts <= limit else None


DEFAULT_POLICY: Final = FailurePolicy(constant=Constant(interval="1s", max_retries=3))


class JobSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    """A job as it is asked for and shown. `data` is JSON, passed on as it came."""

    schedule: str | None = None
    repeats: _Uint32 | None = None
    due_time: str | None = None
    ttl: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    failure_policy: FailurePolicy | None = None


class _Request(JobSpec, rename="camel"):
    failure_policy: Any = None  # read on its own
    name: str = ""
    overwrite: bool = False


_SNAKE: Final = re.compile(r"_([a-z])")


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

    @property
    def is_over(self) -> bool:
        """Whether its time to live ends before the tick."""
        return self.expires is not None and self.due > self.expires

    @property
    def is_relative(self) -> bool:
        """Whether the present tick comes a while after something, not at an instant of the calendar."""
        if self.fired == 0 and self.spec.due_time is not None:
            return is_duration(self.spec.due_time)
        return isinstance(self._schedule, Every)

    @property
    def _schedule(self) -> Schedule | None:
        return parse(self.spec.schedule) if self.spec.schedule is not None else None

    def wait(self, now: float) -> float:
        """Seconds until the present tick; an interval is never waited for longer than it is."""
        left = max(0.0, self.due - now)
        schedule = self._schedule
        is_first = self.fired == 0 and self.spec.due_time is not None
        if isinstance(schedule, Every) and not is_first:
            return min(left, schedule.interval.total_seconds())
        return left

    def following(self) -> "Job | None":
        """The job with its next tick after the present one; None when this was the last."""
        fired = self.fired + 1
        if self.spec.schedule is None or (self.spec.repeats is not None and fired >= self.spec.repeats):
            return None
        later = parse(self.spec.schedule).after(datetime.fromtimestamp(self.due, UTC))
        following = replace(self, due=later.timestamp(), fired=fired, attempts=0) if later else None
        return None if following is None or following.is_over else following


def read_request(body: bytes) -> tuple[JobSpec, str, bool]:
    """The job in a request body, the name it must not have, and whether it may overwrite; raises `InvalidJobError`."""
    try:
        fields = _fields(body or b"{}", number="repeats", null="data")
        request = msgspec.json.decode(msgspec.json.encode(fields), type=_Request)
        policy = _policy(fields["failurePolicy"]) if "failurePolicy" in fields else None
        data = msgspec.Raw(go_json.as_doubles(bytes(request.data))) if "data" in fields else JobSpec().data
    except MALFORMED as error:
        raise InvalidJobError(str(error)) from error
    unknown = sorted(set(fields) - {field.encode_name for field in msgspec.structs.fields(_Request)})
    if unknown:
        _log.warning("a job request has fields that mean nothing: %s", ", ".join(unknown))
    spec = JobSpec(request.schedule, request.repeats, request.due_time, request.ttl, data, policy)
    return spec, request.name, request.overwrite


def _fields(body: bytes | msgspec.Raw, number: str = "", null: str = "") -> dict[str, msgspec.Raw]:
    """The fields of an object as protobuf's JSON has them.

    Names may be in snake case, null is no value (but in the field `null`), a whole number may be in quotes.
    """
    given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    named = {_SNAKE.sub(lambda match: match[1].upper(), name): value for name, value in given.items()}
    found = {name: value for name, value in named.items() if name == null or bytes(value) != b"null"}
    if number in found:
        found[number] = msgspec.Raw(bytes(found[number]).strip(b'"'))
    return found


def _policy(given: msgspec.Raw) -> FailurePolicy | None:
    fields = _fields(given)
    if {"constant", "drop"} <= fields.keys():
        raise ValueError("failurePolicy is either constant or drop")
    if "constant" in fields:
        fields["constant"] = msgspec.Raw(msgspec.json.encode(_fields(fields["constant"], number="maxRetries")))
    policy = msgspec.json.decode(msgspec.json.encode(fields), type=FailurePolicy)
    if policy.constant is not None and policy.constant.interval is not None:
        try:
            proto_duration(policy.constant.interval)
            policy.constant.interval = proto_text(policy.constant.interval)
        except ValueError as error:
            raise ValueError(f"failurePolicy.constant.interval: {error}") from error
    return policy if policy.constant or policy.drop else None


def check_name(name: str) -> None:
    """Raise `UnschedulableJobError` for a name that no job may have."""
    if name in ("", ".", "..") or any(c in _FORBIDDEN or not c.isprintable() for c in name):
        raise UnschedulableJobError(f"the job name {name!r} is not allowed: it holds /, \\, #, ? or control characters")


def first(key: Key, spec: JobSpec, now: datetime) -> Job:
    """The job with its first tick; raises `UnschedulableJobError`."""
    check_name(key.name)
    try:
        schedule = parse(spec.schedule) if spec.schedule is not None else None
        _check_together(spec)
        due = instant(spec.due_time, now) if spec.due_time is not None else None
        expires = instant(spec.ttl, due or now) if spec.ttl is not None else None
        if due is not None and expires is not None and due > expires:
            raise ValueError("ttl must be greater than due time")  # noqa: TRY301 - one kind of answer for all
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
    if bytes(spec.data):
        fields["data"] = {"@type": "type.googleapis.com/google.protobuf.Value", "value": spec.data}
    return fields
