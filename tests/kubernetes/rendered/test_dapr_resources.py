"""What Dapr is given in each environment: exactly one broker, checked as `todo components check` does it."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from daprlet.checker import Surroundings, check, dapr
from daprlet.component_types import catalog
from tests.kubernetes.rendered.manifests import KUBERNETES, OVERLAYS, named, of_kind, overlay
from todo.contracts import claims, invocation, mail, names, schedule

BROKERS: Final = {
    "local-kafka": "pubsub-kafka-local.yaml",
    "redis": "pubsub-redis.yaml",
    "redpanda": "pubsub-kafka.yaml",
    "msk": "pubsub-kafka-msk.yaml",
}
APPS: Final = [app.app_id for app in names.APPS]
SCHEDULE: Final = {schedule.REMINDERS, schedule.SUMMARY, schedule.PAGE, schedule.TASKS}
BACKEND_ALONE: Final = {invocation.UNFOLLOWED, invocation.DELIVERIES}  # asked by operators, through backend's sidecar
CALLS: Final = {
    ("email-delivery", "backend"): {invocation.RESOLVE_REMINDERS},
    ("notification-service", "backend"): {
        invocation.RESOLVE_REMINDERS,
        invocation.TASK_VERSIONS,
        invocation.TASK_SNAPSHOTS,
    },
    ("backend", "notification-service"): SCHEDULE,
    ("backend", "email-delivery"): {claims.INSPECT_CLAIMS, mail.CHECK_MAIL},
}
SECRETS: Final = {
    "backend": ["postgres-secrets"],
    "notification-service": ["postgres-secrets"],
    "email-delivery": ["smtp-secrets"],
    "recurring-service": [],
}


@pytest.mark.parametrize("environment", OVERLAYS)
def test_there_is_one_broker_and_it_is_the_guides_file(environment: str) -> None:
    original = yaml.safe_load((KUBERNETES / "dapr-components" / BROKERS[environment]).read_text())
    assert named(overlay(environment), "Component", names.PUBSUB)["spec"] == original["spec"]


@pytest.mark.parametrize("environment", OVERLAYS)
def test_the_checker_finds_nothing(environment: str, tmp_path: Path) -> None:
    resources = of_kind(overlay(environment), "Component", "Resiliency", "Configuration", "Subscription")
    for number, one in enumerate(resources):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(dict(one)))
    surroundings = Surroundings(dapr().with_types_of(catalog()), APPS, names.NAMESPACE, stores={names.SECRET_STORE})
    assert [str(one) for one in check([tmp_path], surroundings)] == []
    assert {one["metadata"]["name"] for one in of_kind(resources, "Component", "Resiliency")} == {
        *(names.PUBSUB, names.STATE_STORE, "secrets-kubernetes", "todo-resiliency")
    }


@pytest.mark.parametrize("environment", OVERLAYS)
def test_sidecars_call_what_the_contracts_say_and_nothing_else(environment: str) -> None:
    allowed: dict[tuple[str, str], set[str]] = {}
    for app in APPS:
        policy = _configuration(environment, app)["accessControl"]
        assert policy["defaultAction"] == "deny"
        for caller in policy.get("policies", ()):
            assert (caller["defaultAction"], caller["namespace"]) == ("deny", names.NAMESPACE)
            assert caller["trustDomain"] == policy["trustDomain"] == "public"
            assert {one["action"] for one in caller["operations"]} == {"allow"}
            assert all(one["httpVerb"] == ["POST"] for one in caller["operations"])
            allowed[caller["appId"], app] = {one["name"].removeprefix("/") for one in caller["operations"]}
    assert allowed == CALLS


def test_every_method_of_the_contracts_is_accounted_for() -> None:
    methods = {
        value
        for module in (claims, invocation, mail, schedule)
        for value in vars(module).values()
        if isinstance(value, str) and value.startswith("internal/")
    }
    assert methods == set().union(*CALLS.values()) | BACKEND_ALONE


@pytest.mark.parametrize("environment", OVERLAYS)
@pytest.mark.parametrize("app", APPS)
def test_a_sidecar_hands_out_the_secrets_that_its_app_has(environment: str, app: str) -> None:
    """By its Configuration and by its service account's Role; the two agree."""
    scopes = {one["storeName"]: one for one in _configuration(environment, app)["secrets"]["scopes"]}
    assert scopes.keys() == {names.SECRET_STORE, "secrets-kubernetes"}
    for scope in scopes.values():
        assert scope["defaultAccess"] == "deny"
        assert scope.get("allowedSecrets", []) == SECRETS[app]
    roles = {one["metadata"]["name"]: one["rules"] for one in of_kind(overlay(environment), "Role")}
    readable = [name for rule in roles.get(app, ()) for name in rule["resourceNames"]]
    assert readable == SECRETS[app]


def _configuration(environment: str, app: str) -> Any:  # noqa: ANN401 - a manifest
    annotations = named(overlay(environment), "Deployment", app)["spec"]["template"]["metadata"]["annotations"]
    return named(overlay(environment), "Configuration", annotations["dapr.io/config"])["spec"]
