"""The optional parts, each added to an environment it is for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kubernetes.rendered.manifests import KUBERNETES, LOCAL, Manifest, named, of_kind, overlay, pods, rendered
from todo.contracts import names
from todo.operations.topics import PARTITIONS

# What KEDA 2.18 takes, by its CRDs and the scalers' own tables; the CRDs leave a trigger's metadata open.
SCALED_OBJECT: Final = {
    *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "idleReplicaCount", "pollingInterval", "cooldownPeriod"),
    *("initialCooldownPeriod", "fallback", "advanced", "triggers"),
}
TRIGGER: Final = {"type", "name", "metricType", "metadata", "authenticationRef", "useCachedMetrics"}
METADATA: Final = {
    "cpu": {"value", "containerName"},
    "kafka": {
        *("bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold", "offsetResetPolicy"),
        *("sasl", "tls", "version"),
    },
    "redis-streams": {"address", "stream", "consumerGroup", "lagCount", "activationLagCount", "enableTLS"},
}
SCALED: Final = {"notification-service": names.TASK_EVENTS, "email-delivery": names.TASK_REMINDERS}
APPS: Final = {app.app_id: app for app in names.APPS}


def with_components(folder: Path, environment: str, *components: str) -> tuple[Manifest, ...]:
    here = os.path.relpath(KUBERNETES, folder)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": names.NAMESPACE,
        "resources": [f"{here}/overlays/{environment}"],
        "components": [f"{here}/components/{one}" for one in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return rendered(folder)


@pytest.mark.parametrize(
    ("environment", "components", "kind"),
    [
        ("local-kafka", ("keda",), "kafka"),
        ("redpanda", ("keda", "keda-sasl"), "kafka"),
        ("redis", ("keda-redis",), "redis-streams"),
    ],
)
def test_keda_scales_by_cpu_and_by_lag(
    environment: str, components: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    manifests = with_components(tmp_path, environment, *components)
    scalers = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(manifests, "HorizontalPodAutoscaler")}
    assert scalers == {"backend"}, "KEDA makes the others itself: two for one Deployment fight"
    for app, topic in SCALED.items():
        spec = named(manifests, "ScaledObject", app)["spec"]
        assert spec.keys() <= SCALED_OBJECT
        assert spec["scaleTargetRef"] == {"name": app}
        assert spec["minReplicaCount"] == (1 if environment in {"local-kafka", "redis"} else 2)
        assert kind != "kafka" or spec["maxReplicaCount"] <= PARTITIONS, "more would get no events"
        assert spec["advanced"]["horizontalPodAutoscalerConfig"]["name"] == app
        by_cpu, by_lag = spec["triggers"]
        assert (by_cpu["type"], by_lag["type"]) == ("cpu", kind)
        assert by_cpu["metadata"]["containerName"] == app
        assert by_lag["metadata"]["consumerGroup"] == app
        assert by_lag["metadata"]["topic" if kind == "kafka" else "stream"] == topic
        assert topic in APPS[app].topics
        for trigger in (by_cpu, by_lag):
            assert trigger.keys() <= TRIGGER
            assert trigger["metadata"].keys() <= METADATA[trigger["type"]]
            assert all(isinstance(value, str) for value in trigger["metadata"].values())


@pytest.mark.parametrize(("environment", "component"), [("local-kafka", "keda"), ("redis", "keda-redis")])
def test_keda_asks_the_broker_that_the_component_names_and_may(
    environment: str, component: str, tmp_path: Path
) -> None:
    manifests = with_components(tmp_path, environment, component)
    settings = {
        one["name"]: one.get("value") for one in named(manifests, "Component", names.PUBSUB)["spec"]["metadata"]
    }
    address = settings.get("brokers") or settings["redisHost"]
    for app in SCALED:
        metadata = named(manifests, "ScaledObject", app)["spec"]["triggers"][1]["metadata"]
        assert (metadata.get("bootstrapServers") or metadata["address"]) == address
    server, port = address.split(".")[0], int(address.rpartition(":")[2])
    policy = named(manifests, "NetworkPolicy", f"{server}-from-keda")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app": server}
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]


def test_keda_logs_in_by_secrets_that_are_expected(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "redpanda", "keda", "keda-sasl")
    expected = named(manifests, "ConfigMap", "expected-secrets")["data"]
    logins = {
        one["metadata"]["name"]: one["spec"]["secretTargetRef"] for one in of_kind(manifests, "TriggerAuthentication")
    }
    for app in SCALED:
        trigger = named(manifests, "ScaledObject", app)["spec"]["triggers"][1]
        assert trigger["metadata"].items() >= {"sasl": "scram_sha256", "tls": "enable"}.items()
        for ref in logins[trigger["authenticationRef"]["name"]]:
            assert ref["key"] in expected[ref["name"]].split()


@pytest.mark.parametrize("environment", LOCAL)
def test_volumes_keep_what_servers_store(environment: str, tmp_path: Path) -> None:
    manifests = with_components(tmp_path, environment, "volumes")
    for server in of_kind(manifests, "StatefulSet"):
        (claim,) = server["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "data"
        assert "data" not in _volumes(server["spec"]["template"])
        before = _volumes(pods(overlay(environment))[server["metadata"]["name"]])
        assert before.pop("data") == {"name": "data", "emptyDir": {}}
        assert _volumes(server["spec"]["template"]) == before


def test_the_other_broker_can_stand_beside(tmp_path: Path) -> None:
    """As `todo swap` needs it: a second server, and still one component."""
    manifests = with_components(tmp_path, "redis", "kafka-local")
    assert {one["metadata"]["name"] for one in of_kind(manifests, "StatefulSet")} == {
        "postgres",
        "redis",
        "kafka-local",
    }
    (component,) = (one for one in of_kind(manifests, "Component") if one["metadata"]["name"] == names.PUBSUB)
    assert component["spec"]["type"] == "pubsub.redis"


def _volumes(template: Manifest) -> dict[str, Mapping[str, Any]]:
    return {one["name"]: one for one in template["spec"].get("volumes", ())}
