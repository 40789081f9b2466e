"""Dapr's Resiliency resource: retries and timeouts of deliveries, of what components are asked for, and of invocations.

There are no circuit breakers. What they protect from is met otherwise here: deliveries wait for an app that is down or
unhealthy without using up attempts, and storage is local.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import msgspec

from daprlet.durations import go_duration
from daprlet.errors import SetupError, StorageError

T = TypeVar("T")

_INITIAL_INTERVAL: Final = 0.5  # of an exponential policy, as Dapr's back-off library has it
_MULTIPLIER: Final = 1.5
_RANDOMIZATION: Final = 0.5
_MAX_ELAPSED: Final = 900.0  # an exponential policy of Dapr ends after 15 minutes whatever maxRetries says
_INBOUND: Final = (
    "DefaultPubsubComponentInbound{}Policy",
    "DefaultComponentInbound{}Policy",
    "DefaultComponent{}Policy",
    "Default{}Policy",
)
_APP: Final = ("DefaultApp{}Policy", "Default{}Policy")
_SUCCESS: Final = range(200, 400)


class Matching(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    http_status_codes: str = msgspec.field(name="httpStatusCodes", default="")


class RetrySpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    policy: Literal["constant", "exponential"] = "constant"
    duration: str = "5s"
    max_interval: str = "60s"
    max_retries: int = -1
    matching: Matching | None = None


class PoliciesSpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    timeouts: dict[str, str] = {}
    retries: dict[str, RetrySpec] = {}
    circuit_breakers: dict[str, Any] = {}


class PolicyNames(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    timeout: str = ""
    retry: str = ""
    circuit_breaker: str = ""


class ComponentTarget(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    inbound: PolicyNames | None = None
    outbound: PolicyNames | None = None


class TargetsSpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    components: dict[str, ComponentTarget] = {}
    apps: dict[str, PolicyNames] = {}
    actors: dict[str, Any] = {}


class ResiliencySpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    policies: PoliciesSpec = msgspec.field(default_factory=PoliciesSpec)
    targets: TargetsSpec = msgspec.field(default_factory=TargetsSpec)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after how long a failed delivery is tried again; `max_retries` of -1 means for ever."""

    exponential: bool = False
    interval: float = 5.0
    max_interval: float = 60.0
    max_retries: int = -1
    statuses: tuple[range, ...] = ()

    def delays(self) -> Iterator[float]:
        """Seconds to wait before each further attempt, in order; ends when the policy gives up.

        Only these seconds count: the time that an app was down uses up nothing.
        """
        interval = _INITIAL_INTERVAL if self.exponential else self.interval
        done, waited = 0, 0.0
        while self.max_retries < 0 or done < self.max_retries:
            if self.exponential and waited > _MAX_ELAPSED:
                return
            jitter = random.uniform(1 - _RANDOMIZATION, 1 + _RANDOMIZATION) if self.exponential else 1  # noqa: S311 - no secret
            yield interval * jitter
            waited += interval * jitter
            interval = min(interval * _MULTIPLIER, self.max_interval) if self.exponential else interval
            done += 1

    def retries(self, status: int | None) -> bool:
        """Whether a failure with this HTTP status (None: no answer) is one the policy retries."""
        return status is None or not self.statuses or any(status in codes for codes in self.statuses)


NO_RETRY: Final = Retry(max_retries=0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one target; a `timeout` of None leaves it to the component.

    `refused_only`: nothing is tried again but what certainly did not arrive.
    """

    retry: Retry = NO_RETRY
    timeout: float | None = None
    refused_only: bool = False

    def repeats(self, status: int) -> bool:
        """Whether an invocation that was answered so is made again."""
        return not self.refused_only and status not in _SUCCESS and self.retry.retries(status)


_INVOCATION: Final = Policy(Retry(interval=1.0, max_retries=3), refused_only=True)


async def carry_out(policy: Policy, write: Callable[[], Awaitable[T]]) -> T:
    """Write within the policy's timeout, and again after a `StorageError` as its retry says; raises the last one.

    What is out of time may have been stored all the same.
    """
    delays = policy.retry.delays()
    while True:
        try:
            async with asyncio.timeout(policy.timeout):
                return await write()
        except TimeoutError:
            failure = StorageError(f"not stored within {policy.timeout:g} s")
        except StorageError as error:
            failure = error
        delay = next(delays, None)
        if delay is None:
            raise failure
        await asyncio.sleep(delay)


class Policies:
    """All Resiliency resources an app sees, merged, and asked by the name of a target."""

    def __init__(self, specs: Mapping[str, ResiliencySpec]) -> None:
        self._retries: dict[str, Retry] = {}
        self._timeouts: dict[str, float] = {}
        self._targets: dict[tuple[str, str], PolicyNames] = {}
        self._resolved: dict[tuple[str, str], Policy] = {}
        for where, spec in specs.items():
            self._add(where, spec)
        for where, spec in specs.items():
            for (kind, name), names in _named(spec).items():
                self._check(f"{where}: spec.targets.{_at(kind, name)}", names)

    def inbound(self, component: str) -> Policy:
        """What holds for deliveries of a component; asked for every one of them, hence remembered."""
        return self._of("inbound", component, _INBOUND) or Policy()

    def outbound(self, component: str, kind: str) -> Policy:
        """What holds for what a component, a `Pubsub` or a `Statestore`, is asked to write."""
        names = (f"Default{kind}ComponentOutbound{{}}Policy", "DefaultComponentOutbound{}Policy", *_INBOUND[2:])
        return self._of("outbound", component, names) or Policy()

    def app(self, app_id: str) -> Policy:
        """What holds for invocations of an app; without a policy refused connections are retried, as in Dapr."""
        return self._of("app", app_id, _APP) or _INVOCATION

    def _of(self, kind: str, name: str, defaults: tuple[str, ...]) -> Policy | None:
        if (kind, name) not in self._resolved:
            self._resolved[kind, name] = self._resolve(self._targets.get((kind, name), PolicyNames()), defaults)
        found = self._resolved[kind, name]
        return None if found == Policy() else found

    def _resolve(self, named: PolicyNames, defaults: tuple[str, ...]) -> Policy:
        retry = named.retry or _first(defaults, self._retries, "Retry")
        timeout = named.timeout or _first(defaults, self._timeouts, "Timeout")
        return Policy(self._retries.get(retry, NO_RETRY), self._timeouts.get(timeout))

    def _add(self, where: str, spec: ResiliencySpec) -> None:
        _refuse(where, "policies.circuitBreakers", spec.policies.circuit_breakers, "circuit breakers")
        _refuse(where, "targets.actors", spec.targets.actors, "actors")
        for name, retry in spec.policies.retries.items():
            _once(where, f"retry policy {name!r}", name, self._retries)
            self._retries[name] = _retry(f"{where}: spec.policies.retries.{name}", retry)
        for name, duration in spec.policies.timeouts.items():
            _once(where, f"timeout policy {name!r}", name, self._timeouts)
            self._timeouts[name] = _seconds(f"{where}: spec.policies.timeouts.{name}", duration)
        for target, names in _named(spec).items():
            _once(where, f"target {_at(*target)}", target, self._targets)
            self._targets[target] = names

    def _check(self, at: str, names: PolicyNames) -> None:
        _refuse(at, "circuitBreaker", names.circuit_breaker, "circuit breakers")
        if names.retry and names.retry not in self._retries:
            raise SetupError(f"{at}.retry names {names.retry!r}, which no policy defines")
        if names.timeout and names.timeout not in self._timeouts:
            raise SetupError(f"{at}.timeout names {names.timeout!r}, which no policy defines")


def _named(spec: ResiliencySpec) -> dict[tuple[str, str], PolicyNames]:
    """The targets of a resource by what they are (inbound, outbound, app) and their name."""
    components = spec.targets.components.items()
    found = {("inbound", name): target.inbound for name, target in components if target.inbound is not None}
    found |= {("outbound", name): target.outbound for name, target in components if target.outbound is not None}
    return found | {("app", name): names for name, names in spec.targets.apps.items()}


def _at(kind: str, name: str) -> str:
    return f"apps.{name}" if kind == "app" else f"components.{name}.{kind}"


def _refuse(where: str, key: str, given: object, what: str) -> None:
    if given:
        at = f"{where}.{key}" if ": spec." in where else f"{where}: spec.{key}"
        raise SetupError(f"{at}: daprlet has no {what}; take the key out here, daprd has them")


def _first(patterns: tuple[str, ...], known: Mapping[str, object], kind: str) -> str:
    return next((name for pattern in patterns if (name := pattern.format(kind)) in known), "")


def _once(where: str, what: str, name: object, known: Mapping[Any, object]) -> None:
    if name in known:
        raise SetupError(f"{where}: {what} is defined a second time")


def _retry(where: str, spec: RetrySpec) -> Retry:
    return Retry(
        exponential=spec.policy == "exponential",
        interval=_seconds(f"{where}.duration", spec.duration),
        max_interval=_seconds(f"{where}.maxInterval", spec.max_interval),
        max_retries=spec.max_retries,
        statuses=_statuses(f"{where}.matching.httpStatusCodes", spec.matching) if spec.matching else (),
    )


def _seconds(where: str, text: str) -> float:
    try:
        return go_duration(text)
    except ValueError as error:
        raise SetupError(f"{where}: {error}") from error


def _statuses(where: str, matching: Matching) -> tuple[range, ...]:
    """Read `429,500-599`."""
    try:
        bounds = [part.strip().split("-") for part in matching.http_status_codes.split(",") if part.strip()]
        return tuple(range(int(low_high[0]), int(low_high[-1]) + 1) for low_high in bounds)
    except ValueError as error:
        raise SetupError(f"{where}: {matching.http_status_codes!r} is not a list such as 429,500-599") from error
