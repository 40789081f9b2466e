import asyncio
import itertools

import pytest

from daprlet.errors import SetupError, StorageError
from daprlet.resiliency import (
    NO_RETRY,
    ComponentTarget,
    Matching,
    Policies,
    PoliciesSpec,
    Policy,
    PolicyNames,
    ResiliencySpec,
    Retry,
    RetrySpec,
    TargetsSpec,
    carry_out,
)


def policies(retries: dict[str, RetrySpec], inbound: dict[str, PolicyNames] | None = None) -> Policies:
    spec = ResiliencySpec()
    spec.policies.retries = retries
    spec.targets.components = {name: ComponentTarget(names) for name, names in (inbound or {}).items()}
    return Policies({"file.yaml": spec})


def test_constant_retries_end() -> None:
    """As many delays as there are retries."""
    assert list(Retry(interval=2, max_retries=3).delays()) == [2, 2, 2]
    assert list(NO_RETRY.delays()) == []


def test_exponential_delays_grow_to_their_limit() -> None:
    """Within half around 0.5 s, 0.75 s, ... and never beyond one and a half times the longest interval."""
    delays = list(itertools.islice(Retry(exponential=True, max_interval=10).delays(), 30))
    assert 0.25 <= delays[0] <= 0.75
    assert max(delays) <= 15
    assert min(delays[-10:]) >= 5


def test_a_target_uses_the_policies_it_names() -> None:
    """And a component without a target has no retry."""
    found = policies({"mine": RetrySpec(max_retries=2)}, {"bus": PolicyNames(retry="mine")})
    assert found.inbound("bus").retry.max_retries == 2
    assert found.inbound("other").retry == NO_RETRY


@pytest.mark.parametrize("name", ["DefaultPubsubComponentInboundRetryPolicy", "DefaultRetryPolicy"])
def test_default_names_apply_without_a_target(name: str) -> None:
    """Dapr's convention."""
    assert policies({name: RetrySpec(max_retries=7)}).inbound("bus").retry.max_retries == 7


def test_an_unknown_policy_is_an_error() -> None:
    """A target that names what nobody defines would silently mean no retry."""
    with pytest.raises(SetupError, match=r"inbound\.retry names 'mine'"):
        policies({}, {"bus": PolicyNames(retry="mine")})


def test_matching_statuses() -> None:
    """Statuses outside the list are not retried; no answer at all always is."""
    retry = policies({"DefaultRetryPolicy": RetrySpec(matching=Matching("429,500-599"))}).inbound("bus").retry
    assert [retry.retries(status) for status in (429, 500, 599, 422, None)] == [True, True, True, False, True]


@pytest.mark.parametrize("broken", [RetrySpec(duration="5"), RetrySpec(matching=Matching("abc"))])
def test_unreadable_values_are_errors(broken: RetrySpec) -> None:
    """The message names the policy."""
    with pytest.raises(SetupError, match=r"retries\.mine"):
        policies({"mine": broken})


def test_an_exponential_policy_ends_after_fifteen_minutes_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own delays: while the app is down no attempt is made, and the time does not count."""
    delays = Retry(exponential=True).delays()
    waited = next(delays)
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    rest = list(delays)
    assert 900 < waited + sum(rest) < 1000


def test_what_daprlet_does_not_have_is_named() -> None:
    """One line that says where it stands and what to do."""
    breakers = ResiliencySpec(PoliciesSpec(circuit_breakers={"cb": {}}))
    with pytest.raises(SetupError, match=r"file.yaml: spec.policies.circuitBreakers: daprlet has no circuit breakers"):
        Policies({"file.yaml": breakers})
    named = ResiliencySpec(targets=TargetsSpec(apps={"shop": PolicyNames(circuit_breaker="cb")}))
    with pytest.raises(SetupError, match=r"spec.targets.apps.shop.circuitBreaker: daprlet has no"):
        Policies({"file.yaml": named})


def test_each_target_has_policies_of_its_own() -> None:
    """Inbound, outbound and apps; the default by name is used where no target says otherwise."""
    retries = {"three": RetrySpec(max_retries=3), "DefaultAppRetryPolicy": RetrySpec(max_retries=7)}
    targets = TargetsSpec(components={"bus": ComponentTarget(outbound=PolicyNames(retry="three"))})
    found = Policies({"file.yaml": ResiliencySpec(PoliciesSpec(retries=retries), targets)})
    assert found.outbound("bus", "Pubsub").retry.max_retries == 3
    assert found.inbound("bus").retry == found.outbound("store", "Statestore").retry == NO_RETRY
    assert (found.app("shop").retry.max_retries, found.app("shop").refused_only) == (7, False)
    assert Policies({}).app("shop").refused_only


async def test_a_write_is_repeated_as_its_policy_says() -> None:
    """And its last failure is raised; out of time is a failure."""
    tried: list[int] = []

    async def fail() -> None:
        tried.append(1)
        raise StorageError("disk full")

    with pytest.raises(StorageError, match="disk full"):
        await carry_out(Policy(Retry(interval=0, max_retries=2)), fail)
    assert len(tried) == 3
    with pytest.raises(StorageError, match="not stored within"):
        await carry_out(Policy(timeout=0.01), asyncio.Event().wait)
