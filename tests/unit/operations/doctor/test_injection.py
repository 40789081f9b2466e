import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.operations.doctor.shapes import annotations, cluster, codes, deployment, found, pod
from todo.contracts import names
from todo.operations.doctor.examination import examine
from todo.operations.doctor.findings import Code
from todo.operations.doctor.seen import Moment, Seen, Service

APP = names.RECURRING


def with_pod(one: dict[str, Any], **changes: Any) -> Any:  # noqa: ANN401 - what Kubernetes says
    return cluster(pods=[one, *(pod(app) for app in names.APPS if app is not APP)], **changes)


def with_deployment(one: dict[str, Any], **changes: Any) -> Any:  # noqa: ANN401 - what Kubernetes says
    return cluster(deployments=[one, *(deployment(app) for app in names.APPS if app is not APP)], **changes)


def test_a_healthy_cluster_has_no_finding() -> None:
    assert not found(cluster())


def test_what_may_not_be_seen_is_no_finding() -> None:
    assert not found(cluster(webhooks=None, injector=None, namespace=None, has_definitions=None))


def test_a_cluster_without_dapr() -> None:
    """One finding, whatever else is missing for want of it."""
    bare = [pod(app, sidecar=False) for app in names.APPS]
    assert codes(cluster(webhooks=(), injector=(), has_definitions=False, pods=bare)) == [Code.DAPR_NOT_INSTALLED]


def test_a_deployment_that_is_not_there() -> None:
    assert codes(cluster(deployments=[deployment(app) for app in names.APPS if app is not APP])) == [
        Code.DEPLOYMENT_MISSING
    ]


def test_a_deployment_without_replicas() -> None:
    one = deployment(APP)
    one["spec"]["replicas"] = 0
    assert codes(with_deployment(one, pods=[pod(app) for app in names.APPS if app is not APP])) == [
        Code.DEPLOYMENT_STOPPED
    ]


@pytest.mark.parametrize(("value", "is_taken"), [("true", True), ("True", True), ("yes", False), ("1", False)])
def test_what_the_injector_takes_for_yes(value: str, is_taken: bool) -> None:
    """Of all switches this one only knows `true`: the webhook looks at it before the others are read."""
    one = deployment(APP)
    one["spec"]["template"]["metadata"]["annotations"]["dapr.io/enabled"] = value
    running = pod(APP)
    running["metadata"]["annotations"]["dapr.io/enabled"] = value
    seen = cluster(
        deployments=[one, *(deployment(app) for app in names.APPS if app is not APP)],
        pods=[running, *(pod(app) for app in names.APPS if app is not APP)],
    )
    assert codes(seen) == ([] if is_taken else [Code.ANNOTATION_NOT_TRUE])


def test_another_apps_id() -> None:
    one = deployment(APP)
    one["spec"]["template"]["metadata"]["annotations"]["dapr.io/app-id"] = "backend"
    (finding,) = found(with_deployment(one))
    assert finding.code is Code.APP_ID_WRONG
    assert "another's app id" in finding.what


def test_an_old_pod_in_a_rollout_that_goes_on_is_none() -> None:
    one = deployment(APP)
    one["spec"]["template"]["metadata"]["annotations"] = annotations(APP)
    one["status"]["conditions"] = [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]
    old = pod(APP, sidecar=False)
    old["metadata"]["annotations"] = {}
    seen = with_pod(old, deployments=[one, *(deployment(app) for app in names.APPS if app is not APP)])
    assert not found(seen)
    one["spec"]["paused"] = True
    assert codes(seen) == [Code.POD_OUTDATED]


def test_a_pod_without_its_sidecar() -> None:
    """Made before the injector was ready, or although it was: two causes, two things to do."""
    early, late = pod(APP, sidecar=False), pod(APP, sidecar=False)
    early["metadata"]["creationTimestamp"] = "2026-01-01T10:00:00Z"
    assert codes(with_pod(early)) == [Code.POD_WITHOUT_SIDECAR]
    assert codes(with_pod(late)) == [Code.INJECTOR_UNREACHABLE]


def test_pods_that_the_webhook_does_not_select() -> None:
    hook = {"failurePolicy": "Ignore", "objectSelector": {"matchLabels": {"sidecar": "wanted"}}}
    assert {one.code for one in found(cluster(webhooks=[hook]))} == {Code.WEBHOOK_EXCLUDES}


def in_state(state: dict[str, Any], **status: Any) -> dict[str, Any]:  # noqa: ANN401 - a container's status
    one = pod(APP)
    one["status"]["containerStatuses"][0] |= {"ready": False, "state": state, **status}
    return one


def test_a_container_that_crashes_says_its_last_line() -> None:
    ended = {"terminated": {"reason": "Error", "exitCode": 3}}
    one = in_state({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended, restartCount=4)
    said = {(one["metadata"]["name"], APP.app_id): "starting\nerror: APP_PORT is 'x'\n"}
    (finding,) = found(with_pod(one, said=said))
    assert finding.code is Code.CONTAINER_CRASHING
    assert finding.evidence == (
        "4 restarts; the last ended with Error, exit code 3",
        "its last line: error: APP_PORT is 'x'",
    )


def test_between_two_crashes_a_container_that_runs_is_known_by_its_last_end() -> None:
    now = dt.datetime.now(dt.UTC)
    for ago, expected in ((20, [Code.CONTAINER_CRASHING]), (3600, [Code.POD_NOT_READY])):
        ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": (now - dt.timedelta(seconds=ago)).isoformat()}
        one = in_state({"running": {}}, lastState={"terminated": ended}, restartCount=4)
        assert codes(with_pod(one)) == expected


async def test_what_lasts_is_told_although_its_cause_is_new_at_the_second_look() -> None:
    """It crashes and starts: each look finds another state, and neither must hide that the pod is never ready."""
    never = in_state({"running": {}})
    crashed = in_state({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=4)

    looks: list[Seen] = [with_pod(never), with_pod(crashed)]
    for seen in looks:
        seen.replicas = [
            replace(one, service=Service(away="refused")) for one in seen.replicas if one.app_id == APP.app_id
        ]

    class Patient:
        async def look(self) -> Seen:
            return looks.pop(0)

        async def moment(self, seen: Seen) -> Moment:
            del seen
            return Moment(at=0.0)

    report = await examine(Patient(), watch=0.01)
    assert [one.code for one in report.findings] == [Code.SERVICE_AWAY]


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_had(reason: str) -> None:
    assert codes(with_pod(in_state({"waiting": {"reason": reason, "message": "no such image"}}))) == [
        Code.IMAGE_NOT_PULLED
    ]


def test_a_pod_without_a_node() -> None:
    one = pod(APP)
    one["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}],
    }
    (finding,) = found(with_pod(one))
    assert (finding.code, finding.evidence) == (Code.POD_NOT_SCHEDULED, ("0/1 nodes are available",))


def test_a_pod_that_was_just_made_may_not_be_ready_yet() -> None:
    one = in_state({"running": {}})
    assert codes(with_pod(one)) == [Code.POD_NOT_READY]
    one["metadata"]["creationTimestamp"] = dt.datetime.now(dt.UTC).isoformat()
    assert not codes(with_pod(one))


def test_a_pod_that_ends_is_not_looked_at() -> None:
    one = in_state({"waiting": {"reason": "CrashLoopBackOff"}})
    one["metadata"]["deletionTimestamp"] = "2026-01-01T12:01:00Z"
    assert not codes(with_pod(one))
