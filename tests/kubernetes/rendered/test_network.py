"""Who may talk to whom: what the NetworkPolicies of an environment allow, all together, is this table."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from tests.kubernetes.rendered.manifests import LOCAL, OVERLAYS, Manifest, containers, of_kind, overlay, pods
from todo.contracts import names

Flow = tuple[str, str, int]  # from, to, port; a place that is no pod of ours is its namespace or "anywhere"

SERVICES: Final = tuple(app.app_id for app in names.APPS)
INSIDE: Final = (*SERVICES, "operations")
DAPR_PORTS: Final = (50001, 6500, 50005, 50006)  # sentry, operator, placement, scheduler
METRICS, INTERNAL_GRPC = 9090, 50002


def _everywhere() -> set[Flow]:
    return {
        *((one, "dapr-system", port) for one in SERVICES for port in DAPR_PORTS),
        *((one, other, INTERNAL_GRPC) for one in SERVICES for other in SERVICES),
        *((one, "anywhere", port) for one in INSIDE for port in (443, 6443)),
        *(
            (asking, app.app_id, port)
            for asking in ("monitoring", "operations")
            for app in names.APPS
            for port in (app.port, METRICS)
        ),
        ("ingress-nginx", "backend", 8000),
    }


def _servers(broker: str, port: int, *clients: str) -> set[Flow]:
    return {
        *((one, "postgres", 5432) for one in INSIDE),
        *((one, broker, port) for one in (*INSIDE, *clients)),
        ("email-delivery", "mailbox", names.MAILBOX_SMTP_PORT),
    }


OUTSIDE: Final[set[Flow]] = {
    *((one, "anywhere", 5432) for one in INSIDE),
    *((one, "anywhere", port) for one in (*INSIDE, "topics") for port in (9092, 9096)),
    *(("email-delivery", "anywhere", port) for port in (25, 465, 587)),
}
TABLE: Final = {
    "local-kafka": _everywhere() | _servers("kafka-local", 9092),
    "redis": _everywhere() | _servers("redis", 6379, "topics-trim"),
    "redpanda": _everywhere() | OUTSIDE,
    "msk": _everywhere() | OUTSIDE,
}


@pytest.mark.parametrize("environment", OVERLAYS)
def test_what_is_allowed_is_in_the_table(environment: str) -> None:
    allowed = _allowed(overlay(environment))
    assert {(one, DNS[0], port) for one in pods(overlay(environment)) for port in DNS[1]} <= allowed
    assert {flow for flow in allowed if flow[1] != DNS[0]} == TABLE[environment]


@pytest.mark.parametrize("environment", OVERLAYS)
def test_everything_else_is_refused(environment: str) -> None:
    (policy,) = (one for one in _policies(environment) if one["metadata"]["name"] == "default-deny")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("environment", OVERLAYS)
def test_labels_of_policies_are_labels_of_pods(environment: str) -> None:
    """A selector that fits no pod is a misspelt one; kafka-local and redis may stand beside another broker."""
    for policy in _policies(environment):
        assert _fitting(policy["spec"]["podSelector"], overlay(environment)), policy["metadata"]["name"]


@pytest.mark.parametrize("environment", LOCAL)
def test_both_ends_agree(environment: str) -> None:
    """Between pods a flow needs a way out and a way in: a policy for one end alone allows nothing."""
    manifests = overlay(environment)
    out = {flow for flow in _half(manifests, "egress") if flow[1] in pods(manifests)}
    into = {flow for flow in _half(manifests, "ingress") if flow[0] in pods(manifests)}
    assert out == into


DNS: Final = ("kube-system", (53,))


def _policies(environment: str) -> list[Manifest]:
    return of_kind(overlay(environment), "NetworkPolicy")


def _allowed(manifests: tuple[Manifest, ...]) -> set[Flow]:
    own = pods(manifests).keys()
    out, into = _half(manifests, "egress"), _half(manifests, "ingress")
    return {
        *(flow for flow in out if flow[1] not in own or flow in into),
        *(flow for flow in into if flow[0] not in own),
    }


def _half(manifests: tuple[Manifest, ...], direction: str) -> set[Flow]:
    """What policies of one direction say, whatever the other end says."""
    found: set[Flow] = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get(direction, ()):
            assert rule["ports"], "a rule without ports opens all of them"
            for pod in _fitting(policy["spec"]["podSelector"], manifests):
                for peer in _peers(rule["to" if direction == "egress" else "from"], manifests):
                    source, target = (pod, peer) if direction == "egress" else (peer, pod)
                    found |= {(source, target, _port(one["port"], target, manifests)) for one in rule["ports"]}
    return found


def _peers(rule: list[Mapping[str, Any]], manifests: tuple[Manifest, ...]) -> Iterator[str]:
    assert rule, "a rule without peers is for everybody"
    for peer in rule:
        if "ipBlock" in peer:
            assert peer["ipBlock"] == {"cidr": "0.0.0.0/0"}
            yield "anywhere"
        elif "namespaceSelector" in peer:
            (namespace,) = peer["namespaceSelector"]["matchLabels"].values()
            yield namespace
        else:
            yield from _fitting(peer["podSelector"], manifests)


def _fitting(selector: Mapping[str, Any], manifests: tuple[Manifest, ...]) -> list[str]:
    return [name for name, pod in pods(manifests).items() if _fits(selector, pod["metadata"]["labels"])]


def _fits(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def _port(port: int | str, target: str, manifests: tuple[Manifest, ...]) -> int:
    if isinstance(port, int):
        return port
    named = {
        one["name"]: one["containerPort"] for c in containers(pods(manifests)[target]) for one in c.get("ports", ())
    }
    found: int = named[port]
    return found
