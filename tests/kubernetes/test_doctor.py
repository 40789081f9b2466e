"""Faults of a cluster, planted in one system, are named, and nothing else for them; then they are undone."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kubernetes.systems import Cluster, System
from todo.operations import doctor
from todo.operations.doctor import CannotLookError, Code, Report

APP: Final = "recurring-service"  # nobody's API waits for it
DAPR: Final = "dapr-system"
INJECTOR: Final = "dapr-sidecar-injector"
SECONDS: Final = 90.0
ENABLED: Final = "dapr.io~1enabled"


@pytest.fixture(scope="module")
def deployed(system: Callable[..., System]) -> System:
    return system("redis")


@pytest.fixture
def whole(deployed: System) -> System:
    """The system, healthy before a fault is planted."""
    deployed.wait_until_ready()
    return deployed


async def look(of: System, kubeconfig: Path | None = None, *, watch: float = 0.0) -> Report:
    """What the API server has at once needs one look; what the cluster does is looked at twice."""
    where = doctor.Where(kubeconfig or of.cluster.kubeconfig, None, of.namespace)
    async with doctor.patient(Path("nowhere"), where) as patient:
        return await doctor.examine(patient, watch=watch)


async def codes(of: System) -> list[tuple[Code, str]]:
    return [(one.code, one.app) for one in (await look(of)).findings]


async def until_found(of: System, code: Code) -> Report:
    """The look that finds it: what the cluster does takes its time."""
    deadline = time.monotonic() + SECONDS
    while True:
        report = await look(of, watch=1.0)
        if code in {one.code for one in report.findings}:
            return report
        assert time.monotonic() < deadline, report.findings


async def test_a_healthy_system_gets_a_clean_bill(whole: System) -> None:
    """From outside the namespace, with what an administrator may see."""
    report = await look(whole, watch=1.0)
    assert not report.findings
    assert {"pods", "resources", "secrets", "services", "sidecars", "database", "broker", "mail server"} == set(
        report.looked_at
    )
    assert not report.not_looked_at


async def test_the_operations_pod_sees_it_from_inside(whole: System) -> None:
    """With the rights of its Role; what it may not see it says."""
    done = whole.attempt("exec", "deploy/operations", "--", "todo", "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {"database", "broker", "mail server", "services", "sidecars"} <= set(report["looked_at"])
    assert "Dapr's webhook" in report["not_looked_at"]


async def test_annotations(whole: System) -> None:
    """Absent, on the wrong level, with a wrong value: a rollout that is paused keeps the pods as they are."""
    template = whole.get("deployment", APP)["spec"]["template"]["metadata"]["annotations"]
    with paused(whole):
        with annotated(whole, **{"dapr.io/enabled": None}):
            assert await codes(whole) == [(Code.ANNOTATIONS_ABSENT, APP)]
            whole.kubectl("annotate", "deployment", APP, "dapr.io/enabled=true")
            assert await codes(whole) == [(Code.ANNOTATIONS_MISPLACED, APP)]
            whole.kubectl("annotate", "deployment", APP, "dapr.io/enabled-")
        with annotated(whole, **{"dapr.io/enabled": "yes"}):
            assert await codes(whole) == [(Code.ANNOTATION_NOT_TRUE, APP)]
        with annotated(whole, **{"dapr.io/app-port": "8080"}):
            assert await codes(whole) == [(Code.APP_PORT_WRONG, APP)]
        with annotated(whole, **{"dapr.io/app-id": "recurring"}):
            (one,) = (await look(whole)).findings
            assert (one.code, one.to_do) == (Code.APP_ID_WRONG, f"write {APP}")
        assert whole.get("deployment", APP)["spec"]["template"]["metadata"]["annotations"] == template


async def test_a_pod_that_is_older_than_its_annotations(whole: System) -> None:
    """The guide's 1/1: made without annotations; adding them changes nothing until the pod is replaced."""
    with annotated(whole, **{"dapr.io/enabled": None}):
        whole.kubectl("rollout", "status", f"deployment/{APP}", f"--timeout={SECONDS:.0f}s")
        assert await codes(whole) == [(Code.ANNOTATIONS_ABSENT, APP)]
        whole.kubectl("rollout", "pause", f"deployment/{APP}")
    assert await codes(whole) == [(Code.POD_OUTDATED, APP)]
    whole.kubectl("rollout", "resume", f"deployment/{APP}")


async def test_an_injector_that_is_away(whole: System) -> None:
    """Down or unreachable: said at once where pods are not made, by their age where they are made without a sidecar."""
    with changed_webhook(whole, injects=False, namespaceSelector=except_for(whole.namespace)):
        assert await codes(whole) == [(Code.WEBHOOK_EXCLUDES, "")]
    with changed_webhook(whole, failurePolicy="Ignore"):
        with injector_down(whole):
            (down,) = (await look(whole)).findings
            assert (down.code, down.evidence[-1]) == (Code.INJECTOR_DOWN, "the webhook's failurePolicy is Ignore")
            replace_pod(whole)
        assert await codes(whole) == [(Code.POD_WITHOUT_SIDECAR, APP)]
        with changed_webhook(whole, injects=False, clientConfig=nobody_there(whole)):
            replace_pod(whole)
        assert await codes(whole) == [(Code.INJECTOR_UNREACHABLE, APP)]
    replace_pod(whole)


async def test_secrets(whole: System) -> None:
    """A key that is misspelt, empty, or ends with a line end; a secret that is not there. No value is told."""
    secret = whole.get("secret", "smtp-secrets")
    url = base64.b64decode(secret["data"]["SMTP_URL"]).decode()
    for changes, code in (
        ({"SMTP_URL": None, "SMTP_URI": url}, Code.SECRET_KEY_MISSING),
        ({"SMTP_URL": ""}, Code.SECRET_KEY_EMPTY),
        ({"SMTP_URL": url + "\n"}, Code.SECRET_BLANKS),
    ):
        whole.kubectl("patch", "secret", "smtp-secrets", "--patch", json.dumps({"stringData": changes, "data": {
            key: None for key, value in changes.items() if value is None}}))  # fmt: skip
        report = await look(whole)
        assert [(one.code, one.subject) for one in report.findings] == [(code, "smtp-secrets/SMTP_URL")]
        assert url not in repr(report)
        restore(whole, secret)
    whole.kubectl("delete", "secret", "smtp-secrets")
    report = await look(whole)
    restore(whole, secret)
    assert [(one.code, one.subject) for one in report.findings] == [(Code.SECRET_MISSING, "smtp-secrets")]


async def test_a_component_that_is_parked(whole: System) -> None:
    """The guide's own mistake: a secret store that nobody has."""
    with component(whole, {"redisHost": "redis:6379"}, kind="pubsub.redis", store="kubernetes-secrets"):
        assert {one for one, _ in await codes(whole)} == {Code.COMPONENT_PARKED}


async def test_a_component_whose_broker_refuses(whole: System) -> None:
    """What daprd's own log says tells the fault, where the broker cannot be asked from here; nothing else is told."""
    with component(whole, {"brokers": "127.0.0.1:9", "authType": "none", "initialOffset": "oldest"}):
        report = await until_found(whole, Code.BROKER_REFUSED)
    assert {(one.code, one.subject) for one in report.findings} == {(Code.BROKER_REFUSED, "extra")}
    assert "connection refused" in report.findings[0].evidence[0]


async def test_an_image_that_is_not_there(whole: System) -> None:
    image = whole.get("deployment", APP)["spec"]["template"]["spec"]["containers"][0]["image"]
    whole.kubectl("set", "image", f"deployment/{APP}", f"{APP}=localhost/todo:nowhere")
    report = await until_found(whole, Code.IMAGE_NOT_PULLED)
    whole.kubectl("set", "image", f"deployment/{APP}", f"{APP}={image}")
    assert {one.code for one in report.findings} == {Code.IMAGE_NOT_PULLED}


async def test_what_an_account_may_not_see_is_said_and_no_finding(whole: System, tmp_path: Path) -> None:
    """One that may list pods and Deployments, and nothing else."""
    whole.kubectl("create", "serviceaccount", "onlooker")
    whole.kubectl("create", "role", "onlooker", "--verb=get,list", "--resource=pods,deployments.apps")
    whole.kubectl(
        "create", "rolebinding", "onlooker", "--role=onlooker", f"--serviceaccount={whole.namespace}:onlooker"
    )
    report = await look(whole, as_account(whole, "onlooker", tmp_path))
    assert not report.findings
    assert {"services and sidecars", "components", "secret dapr-api-token", "database"} <= report.not_looked_at.keys()


async def test_a_cluster_that_does_not_answer(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    place = tmp_path / "kubeconfig"
    place.write_text(yaml.safe_dump(config))
    with pytest.raises(CannotLookError, match="does not answer"):
        async with doctor.patient(Path("nowhere"), doctor.Where(place)) as patient:
            await doctor.examine(patient)


@contextmanager
def paused(of: System) -> Iterator[None]:
    of.kubectl("rollout", "pause", f"deployment/{APP}")
    try:
        yield
    finally:
        of.kubectl("rollout", "resume", f"deployment/{APP}")


@contextmanager
def annotated(of: System, **changes: str | None) -> Iterator[None]:
    """Other annotations on the pod template; None: none of that name."""
    before = of.get("deployment", APP)["spec"]["template"]["metadata"]["annotations"]
    annotate(of, changes)
    try:
        yield
    finally:
        annotate(of, {key: before.get(key) for key in changes})


def annotate(of: System, annotations: Any) -> None:  # noqa: ANN401 - a patch
    patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    of.kubectl("patch", "deployment", APP, "--type=merge", "--patch", json.dumps(patch))


@contextmanager
def changed_webhook(of: System, *, injects: bool = True, **changes: Any) -> Iterator[None]:  # noqa: ANN401 - of its fields
    """Another webhook, once the API server goes by it: whether pods of this namespace get a sidecar then."""
    before = of.cluster.get("mutatingwebhookconfiguration", INJECTOR)["webhooks"][0]
    put_webhook(of, before | changes, injects=injects)
    try:
        yield
    finally:
        put_webhook(of, before, injects=True)


def put_webhook(of: System, webhook: dict[str, Any], *, injects: bool) -> None:
    patch = json.dumps({"webhooks": [webhook]})
    of.cluster.kubectl("patch", "mutatingwebhookconfiguration", INJECTOR, "--type=merge", "--patch", patch)
    deadline = time.monotonic() + SECONDS
    while is_injected(of) is not injects:
        assert time.monotonic() < deadline


def is_injected(of: System) -> bool:
    """Whether a pod that is only tried gets a sidecar; it is never made."""
    tried = of.attempt("create", "--dry-run=server", "--output=json", "--filename=-", given=TRIAL)
    return tried.returncode == 0 and "daprd" in {one["name"] for one in json.loads(tried.stdout)["spec"]["containers"]}


def nobody_there(of: System) -> dict[str, Any]:
    """The webhook's address with a port where nobody listens."""
    config: dict[str, Any] = of.cluster.get("mutatingwebhookconfiguration", INJECTOR)["webhooks"][0]["clientConfig"]
    return config | {"service": config["service"] | {"port": 444}}


TRIAL: Final = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "annotations": {"dapr.io/enabled": "true", "dapr.io/app-id": "trial"}},
        "spec": {"containers": [{"name": "trial", "image": "trial"}]},
    }
)


def except_for(namespace: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]}]}


@contextmanager
def injector_down(of: System) -> Iterator[None]:
    scale_injector(of, 0)
    try:
        yield
    finally:
        scale_injector(of, 1)
        of.cluster.kubectl("-n", DAPR, "rollout", "status", f"deployment/{INJECTOR}", f"--timeout={SECONDS:.0f}s")


def scale_injector(of: System, replicas: int) -> None:
    of.cluster.kubectl("-n", DAPR, "scale", "deployment", INJECTOR, f"--replicas={replicas}")
    if not replicas:
        selected = ("pods", f"--selector=app={INJECTOR}")
        of.cluster.kubectl("-n", DAPR, "delete", *selected, "--grace-period=1", "--wait=true")


def replace_pod(of: System) -> None:
    """Another pod, whose app runs."""
    of.kubectl("delete", "pods", f"--selector=app={APP}", "--grace-period=1", "--wait=true")
    deadline = time.monotonic() + SECONDS
    while not any(is_running(pod) for pod in of.pods(APP)):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def is_running(pod: dict[str, Any]) -> bool:
    return any(one["name"] == APP and one["ready"] for one in pod["status"].get("containerStatuses", ()))


def restore(of: System, secret: dict[str, Any]) -> None:
    kept = {key: secret[key] for key in ("apiVersion", "kind", "type", "data")}
    metadata = {"name": secret["metadata"]["name"], "namespace": of.namespace}
    of.attempt("delete", "secret", metadata["name"])
    of.kubectl("create", "-f", "-", given=json.dumps(kept | {"metadata": metadata}))


@contextmanager
def component(
    of: System, settings: dict[str, str], *, kind: str = "pubsub.kafka", store: str | None = None
) -> Iterator[None]:
    """One more component, of one app's sidecar, with the retries that the checker wants of it."""
    items = [{"name": name, "value": value} for name, value in settings.items()]
    made = {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "extra", "namespace": of.namespace},
        "spec": {"type": kind, "version": "v1", "metadata": items},
        "scopes": [APP],
    } | ({"auth": {"secretStore": store}} if store else {})
    retries = {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Resiliency",
        "metadata": {"name": "extra", "namespace": of.namespace},
        "spec": {
            "policies": {"retries": {"extra": {"policy": "constant", "duration": "5s", "maxRetries": 400}}},
            "targets": {"components": {"extra": {"inbound": {"retry": "extra"}}}},
        },
        "scopes": [APP],
    }
    of.kubectl("apply", "-f", "-", given=yaml.safe_dump_all([made, retries]))
    try:
        yield
    finally:
        of.kubectl("delete", "component.dapr.io/extra", "resiliency.dapr.io/extra")


def as_account(of: System, name: str, folder: Path) -> Path:
    """A kubeconfig of a service account."""
    config = yaml.safe_load(of.cluster.kubeconfig.read_text())
    token = of.kubectl("create", "token", name).strip()
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    place = folder / "kubeconfig"
    place.write_text(yaml.safe_dump(config))
    return place
