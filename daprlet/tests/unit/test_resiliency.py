import itertools

import pytest

from daprlet.errors import SetupError
from daprlet.resiliency import (
    NO_RETRY,
    ComponentTarget,
    Matching,
    Policies,
    PolicyNames,
    ResiliencySpec,
    Retry,
    RetrySpec,
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
