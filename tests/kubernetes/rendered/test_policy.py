"""What holds for every pod of every environment."""

import re
from typing import Any, Final

import pytest

import todo
from tests.kubernetes.rendered.manifests import LOCAL, OVERLAYS, containers, named, of_kind, overlay, pods
from todo.contracts import names
from todo.operations.topics import PARTITIONS

SERVICES: Final = tuple(app.app_id for app in names.APPS)
SCALER: Final = "HorizontalPodAutoscaler"
WITH_TOKEN: Final = {"operations"}
PODS: Final = [(name, pod) for name in OVERLAYS for pod in pods(overlay(name))]
MAX_SHUTDOWN: Final = 60  # seconds in which email-delivery ends what it has begun


@pytest.fixture(params=PODS, ids="-".join)
def template(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - a manifest
    environment, name = request.param
    return pods(overlay(environment))[name]


def test_pods_run_as_nobody_special(template: Any) -> None:  # noqa: ANN401
    security = template["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & template["spec"].keys()
    assert not [one for one in template["spec"].get("volumes", ()) if "hostPath" in one]


def test_containers_may_do_nothing_special(template: Any) -> None:  # noqa: ANN401
    for container in containers(template):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]


def test_containers_have_requests_and_limits(template: Any) -> None:  # noqa: ANN401
    for container in containers(template):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys(), container["name"]


def test_images_are_versions_and_ours_is_this_one(template: Any) -> None:  # noqa: ANN401
    for container in containers(template):
        image = container["image"]
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+:[\w.-]+", image), image
        assert not image.endswith(":latest")
        assert container["imagePullPolicy"] == "IfNotPresent"
        if image.startswith("localhost/todo"):
            assert image == f"localhost/todo:{todo.__version__}"


def test_only_the_toolbox_has_a_token_of_the_api_server(template: Any) -> None:  # noqa: ANN401
    expected = template["metadata"]["labels"]["app"] in WITH_TOKEN
    assert template["spec"]["automountServiceAccountToken"] is expected


def test_temporary_files_are_bounded(template: Any) -> None:  # noqa: ANN401
    for volume in template["spec"].get("volumes", ()):
        assert volume["name"] == "data" or volume.get("emptyDir", {"sizeLimit": 1}).get("sizeLimit")


@pytest.mark.parametrize("environment", OVERLAYS)
@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_has_the_names_and_the_port_of_the_table(self, environment: str, name: str) -> None:
        (app,) = (one for one in names.APPS if one.app_id == name)
        template = pods(overlay(environment))[name]
        (container,) = template["spec"]["containers"]
        notes = template["metadata"]["annotations"]
        assert (container["name"], container["command"]) == (name, ["python", "-m", app.module])
        assert container["ports"] == [{"name": "http", "containerPort": app.port}]
        assert (notes["dapr.io/app-id"], notes["dapr.io/app-port"]) == (name, str(app.port))
        service = named(overlay(environment), "Service", name)
        assert service["spec"]["selector"] == {"app": name}
        assert service["spec"]["ports"] == [{"name": "http", "port": app.port, "targetPort": "http"}]
        assert named(overlay(environment), "ServiceAccount", name)["automountServiceAccountToken"] is False
        assert template["spec"]["serviceAccountName"] == name

    def test_is_restarted_for_nothing_that_is_away(self, environment: str, name: str) -> None:
        (container,) = pods(overlay(environment))[name]["spec"]["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}

    def test_its_sidecar_is_as_guarded_as_itself(self, environment: str, name: str) -> None:
        notes = pods(overlay(environment))[name]["metadata"]["annotations"]
        assert notes["dapr.io/enabled"] == "true"
        assert notes["dapr.io/sidecar-seccomp-profile-type"] == "RuntimeDefault"
        assert (notes["dapr.io/enable-app-health-check"], notes["dapr.io/app-health-check-path"]) == (
            "true",
            "/healthz/consume",
        )
        assert int(notes["dapr.io/app-health-probe-timeout"]) < 1000 * int(notes["dapr.io/app-health-probe-interval"])
        for one in ("cpu-request", "cpu-limit", "memory-request", "memory-limit"):
            assert f"dapr.io/sidecar-{one}" in notes

    def test_its_tokens_are_its_sidecars(self, environment: str, name: str) -> None:
        template = pods(overlay(environment))[name]
        notes, (container,) = template["metadata"]["annotations"], template["spec"]["containers"]
        env = {one["name"]: one.get("valueFrom") for one in container["env"]}
        for variable, annotation in (("DAPR_API_TOKEN", "api-token-secret"), ("APP_API_TOKEN", "app-token-secret")):
            assert env[variable] == {"secretKeyRef": {"name": notes[f"dapr.io/{annotation}"], "key": "token"}}

    def test_only_its_sidecar_has_the_token_of_the_api_server(self, environment: str, name: str) -> None:
        template = pods(overlay(environment))[name]
        volume, place = template["metadata"]["annotations"]["dapr.io/volume-mounts"].split(":")
        assert place == "/var/run/secrets/kubernetes.io/serviceaccount"
        (projected,) = (one["projected"] for one in template["spec"]["volumes"] if one["name"] == volume)
        assert any("serviceAccountToken" in one for one in projected["sources"])
        mounted = {one["name"] for container in containers(template) for one in container["volumeMounts"]}
        assert volume not in mounted

    def test_what_it_has_begun_it_may_end(self, environment: str, name: str) -> None:
        """First preStop, while proxies forget it; then its own drain; its sidecar waits for both."""
        template = pods(overlay(environment))[name]
        (container,) = template["spec"]["containers"]
        notes = template["metadata"]["annotations"]
        drain = MAX_SHUTDOWN if name == "email-delivery" else 10
        needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain
        blocked = int(notes["dapr.io/block-shutdown-duration"].removesuffix("s"))
        assert needed < blocked
        assert blocked + int(notes["dapr.io/graceful-shutdown-seconds"]) < _grace(template)

    def test_a_rollout_takes_none_away_first(self, environment: str, name: str) -> None:
        deployment = named(overlay(environment), "Deployment", name)
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        budget = named(overlay(environment), "PodDisruptionBudget", name)
        assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}

    def test_settings_refuse_strangers(self, environment: str, name: str) -> None:
        (container,) = pods(overlay(environment))[name]["spec"]["containers"]
        (source,) = container["envFrom"]
        settings = named(overlay(environment), "ConfigMap", source["configMapRef"]["name"])["data"]
        assert settings["TODO_AUTH"] == "required"
        assert "*" not in settings.get("FORWARDED_ALLOW_IPS", "")
        assert environment in LOCAL or settings["TODO_PUBLIC_URL"].startswith("https://")


def _grace(template: Any) -> int:  # noqa: ANN401
    grace: int = template["spec"]["terminationGracePeriodSeconds"]
    return grace


@pytest.mark.parametrize("environment", OVERLAYS)
def test_what_is_scaled_has_no_fixed_number(environment: str) -> None:
    scalers = of_kind(overlay(environment), "HorizontalPodAutoscaler")
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in scalers}
    assert targets == {"backend", "notification-service", "email-delivery"}
    for name in targets:
        assert "replicas" not in named(overlay(environment), "Deployment", name)["spec"]


@pytest.mark.parametrize("environment", sorted(set(OVERLAYS) - set(LOCAL)))
def test_in_production_there_are_two_of_everything(environment: str) -> None:
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"]
        for one in of_kind(overlay(environment), "HorizontalPodAutoscaler")
    }
    assert scaled == dict.fromkeys(("backend", "notification-service", "email-delivery"), 2)
    assert named(overlay(environment), "Deployment", "recurring-service")["spec"]["replicas"] == 2
    most = {one["metadata"]["name"]: one["spec"]["maxReplicas"] for one in of_kind(overlay(environment), SCALER)}
    assert max(most["notification-service"], most["email-delivery"]) <= PARTITIONS, "more would get no events"


@pytest.mark.parametrize("environment", OVERLAYS)
def test_migrations_come_before_the_services_that_own_tables(environment: str) -> None:
    for app in names.APPS:
        before = [one["command"] for one in pods(overlay(environment))[app.app_id]["spec"].get("initContainers", ())]
        assert bool(app.schema) == bool(before)
        assert all(f"python -m {app.module} migrate" in command[-1] for command in before)


@pytest.mark.parametrize("environment", OVERLAYS)
def test_everything_is_in_the_namespace(environment: str) -> None:
    for one in overlay(environment):
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == names.NAMESPACE, one["metadata"]["name"]


@pytest.mark.parametrize("environment", OVERLAYS)
def test_nobody_may_do_everything(environment: str) -> None:
    """Roles name what they are for; secrets always by name, and only get and patch; no role outside the namespace."""
    manifests = overlay(environment)
    assert not of_kind(manifests, "ClusterRole", "ClusterRoleBinding", "Secret")
    for role in of_kind(manifests, "Role"):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            if "secrets" in rule["resources"]:
                assert rule["resourceNames"]
                assert set(rule["verbs"]) <= {"get", "patch"}
    holders = {one["roleRef"]["name"]: one["subjects"] for one in of_kind(manifests, "RoleBinding")}
    assert holders == {
        name: [{"kind": "ServiceAccount", "name": name, "namespace": names.NAMESPACE}]
        for name in ("backend", "notification-service", "email-delivery", "operations")
    }
