"""Dapr's Resiliency resource, the part that acts on deliveries: inbound retries and timeouts of pub/sub components."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from daprlet.durations import go_duration
from daprlet.errors import SetupError

_INITIAL_INTERVAL: Final = 0.5  # of an exponential policy, as Dapr's back-off library has it
_MULTIPLIER: Final = 1.5
_RANDOMIZATION: Final = 0.5
_MAX_ELAPSED: Final = 900.0  # an exponential policy of Dapr ends after 15 minutes whatever maxRetries says
_DEFAULT_NAMES: Final = (
    "DefaultPubsubComponentInbound{}Policy",
    "DefaultComponentInbound{}Policy",
    "DefaultComponent{}Policy",
    "Default{}Policy",
)


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


class PolicyNames(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    timeout: str = ""
    retry: str = ""


class ComponentTarget(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    inbound: PolicyNames


class TargetsSpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    components: dict[str, ComponentTarget] = {}


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
    """What holds for deliveries of one component; a `timeout` of None leaves it to the component."""

    retry: Retry = NO_RETRY
    timeout: float | None = None


class Policies:
    """All Resiliency resources an app sees, merged, and asked by component name."""

    def __init__(self, specs: Mapping[str, ResiliencySpec]) -> None:
        self._retries: dict[str, Retry] = {}
        self._timeouts: dict[str, float] = {}
        self._inbound: dict[str, PolicyNames] = {}
        self._resolved: dict[str, Policy] = {}
        for where, spec in specs.items():
            self._add(where, spec)
        for where, spec in specs.items():
            self._check(where, spec)

    def inbound(self, component: str) -> Policy:
        """What holds for deliveries of a component; asked for every one of them, hence remembered."""
        if component not in self._resolved:
            self._resolved[component] = self._resolve(component)
        return self._resolved[component]

    def _resolve(self, component: str) -> Policy:
        named = self._inbound.get(component, PolicyNames())
        retry = named.retry or _first(self._retries, "Retry")
        timeout = named.timeout or _first(self._timeouts, "Timeout")
        return Policy(self._retries.get(retry, NO_RETRY), self._timeouts.get(timeout))

    def _add(self, where: str, spec: ResiliencySpec) -> None:
        for name, retry in spec.policies.retries.items():
            _once(where, f"retry policy {name!r}", name, self._retries)
            self._retries[name] = _retry(f"{where}: spec.policies.retries.{name}", retry)
        for name, duration in spec.policies.timeouts.items():
            _once(where, f"timeout policy {name!r}", name, self._timeouts)
            self._timeouts[name] = _seconds(f"{where}: spec.policies.timeouts.{name}", duration)
        for name, target in spec.targets.components.items():
            _once(where, f"target component {name!r}", name, self._inbound)
            self._inbound[name] = target.inbound

    def _check(self, where: str, spec: ResiliencySpec) -> None:
        for name, target in spec.targets.components.items():
            at = f"{where}: spec.targets.components.{name}.inbound"
            if target.inbound.retry and target.inbound.retry not in self._retries:
                raise SetupError(f"{at}.retry names {target.inbound.retry!r}, which no policy defines")
            if target.inbound.timeout and target.inbound.timeout not in self._timeouts:
                raise SetupError(f"{at}.timeout names {target.inbound.timeout!r}, which no policy defines")


def _first(known: Mapping[str, object], kind: str) -> str:
    return next((name for pattern in _DEFAULT_NAMES if (name := pattern.format(kind)) in known), "")


def _once(where: str, what: str, name: str, known: Mapping[str, object]) -> None:
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
