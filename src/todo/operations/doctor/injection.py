"""Deployments and their pods: whether each has its sidecar, if not why, and what else keeps a pod from running."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from todo.contracts import names
from todo.contracts.names import App
from todo.operations.doctor import logs
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Object, Pods, Seen

ENABLED: Final = "dapr.io/enabled"
APP_ID: Final = "dapr.io/app-id"
APP_PORT: Final = "dapr.io/app-port"
DAPRD: Final = "daprd"
RELEVANT: Final = (ENABLED, APP_ID, APP_PORT)
NOT_PULLED: Final = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
CRASHING: Final = {"CrashLoopBackOff", "RunContainerError", "CreateContainerError", "StartError"}
SETTLES_IN: Final = dt.timedelta(seconds=60)  # what a pod that was just made may take to become ready
LATELY: Final = dt.timedelta(minutes=10)
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"


def check(seen: Seen) -> Iterator[Finding]:
    """Nothing outside Kubernetes."""
    pods = seen.pods
    if pods is None:
        return
    yield from _installed(pods)
    if any(_wants_sidecar(one) for one in pods.deployments):
        yield from _left_out(pods, seen.namespace)
    deployments = {one["metadata"]["name"]: one for one in pods.deployments}
    for app in names.APPS:
        deployment = deployments.get(app.app_id)
        if deployment is None:
            what = f"there is no Deployment {app.app_id} in namespace {seen.namespace}"
            yield found(Code.DEPLOYMENT_MISSING, app.app_id, what, app=app.app_id)
            continue
        if deployment["spec"].get("replicas") == 0:
            what = f"Deployment {app.app_id} is scaled to 0"
            yield found(Code.DEPLOYMENT_STOPPED, app.app_id, what, "its spec.replicas", app=app.app_id)
        yield from _deployment(app, deployment)
        for pod in pods_of(pods.pods, app.app_id):
            yield from _pod(app, deployment, pod, pods)


def pods_of(pods: Sequence[Object], app_id: str) -> Iterator[Object]:
    """The living pods of an app."""
    for pod in pods:
        labels, status = pod["metadata"].get("labels") or {}, pod.get("status") or {}
        is_going = "deletionTimestamp" in pod["metadata"] or status.get("phase") in {"Succeeded", "Failed"}
        if labels.get("app") == app_id and not is_going:
            yield pod


def statuses(pod: Object) -> Iterator[Mapping[str, Any]]:
    """The states of a pod's containers, those of init containers first."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def has_sidecar(pod: Object) -> bool:
    spec = pod["spec"]
    return any(one["name"] == DAPRD for one in (*(spec.get("initContainers") or ()), *spec["containers"]))


def _installed(pods: Pods) -> Iterator[Finding]:
    if pods.webhooks is not None and not pods.webhooks:
        definitions = "Dapr's kinds are known" if pods.has_definitions else "the API server knows none of Dapr's kinds"
        what = "Dapr is not installed: pods get no sidecar"
        yield found(Code.DAPR_NOT_INSTALLED, "dapr", what, "no webhook dapr-sidecar-injector", definitions)
    elif pods.injector is not None and not any(map(_ready_since, pods.injector)):
        listed = ", ".join(f"{one['metadata']['name']}: {_phase(one)}" for one in pods.injector)
        policy = next((str(hook.get("failurePolicy")) for hook in pods.webhooks or ()), "Ignore")
        effect = "no pod starts" if policy == "Fail" else "pods that start now get no sidecar, and nothing says so"
        yield found(
            Code.INJECTOR_DOWN,
            "dapr-sidecar-injector",
            f"Dapr's injector is down: {effect}",
            f"its pods: {listed or 'none'}",
            f"the webhook's failurePolicy is {policy}",
        )


def _left_out(pods: Pods, namespace: str) -> Iterator[Finding]:
    """Whom the webhook's selectors do not select; the default selects everybody."""
    labels = {NAMESPACE_LABEL: namespace} | ((pods.namespace or {}).get("metadata", {}).get("labels") or {})
    for hook in pods.webhooks or ():
        by_namespace, by_pod = hook.get("namespaceSelector") or {}, hook.get("objectSelector") or {}
        if pods.namespace is not None and not _selects(by_namespace, labels):
            what = f"Dapr's webhook leaves namespace {namespace} out"
            evidence = f"its namespaceSelector: {by_namespace}", f"the namespace's labels: {labels}"
            yield found(Code.WEBHOOK_EXCLUDES, namespace, what, *evidence)
            continue
        for one in pods.deployments:
            own = one["spec"]["template"]["metadata"].get("labels") or {}
            if _wants_sidecar(one) and not _selects(by_pod, own):
                name = one["metadata"]["name"]
                what = f"Dapr's webhook leaves the pods of Deployment {name} out"
                evidence = f"its objectSelector: {by_pod}", f"the pods' labels: {own}"
                yield found(Code.WEBHOOK_EXCLUDES, name, what, *evidence, app=name)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(one, labels) for one in selector.get("matchExpressions") or ())


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _wants_sidecar(deployment: Object) -> bool:
    return _is_enabled(_annotations(deployment["spec"]["template"]))


def _is_enabled(annotations: Mapping[str, str]) -> bool:
    """As the injector reads it: its other switches take yes, on and 1, this one does not."""
    return annotations.get(ENABLED, "").lower() == "true"


def _deployment(app: App, deployment: Object) -> Iterator[Finding]:
    template, own = _annotations(deployment["spec"]["template"]), _annotations(deployment)
    name = app.app_id
    yield from _unmade(name, deployment)
    if ENABLED not in template:
        if any(key in own for key in RELEVANT):
            what = f"Deployment {name} has Dapr's annotations on itself, not on its pods"
            at = f"metadata.annotations has {', '.join(key for key in RELEVANT if key in own)}"
            yield found(Code.ANNOTATIONS_MISPLACED, name, what, at, "the pod template has no dapr.io/enabled", app=name)
        else:
            what = f"the pods of Deployment {name} are not to get a sidecar"
            has = ", ".join(key for key in template if key.startswith("dapr.io/")) or "no annotation of Dapr's"
            yield found(Code.ANNOTATIONS_ABSENT, name, what, f"its pod template has {has}", app=name)
        return
    if not _is_enabled(template):
        what = f"Deployment {name} says {ENABLED}: {template[ENABLED]!r}, which the injector takes for no"
        yield found(Code.ANNOTATION_NOT_TRUE, name, what, "the annotation on its pod template", app=name)
        return
    given = template.get(APP_ID, "")
    if given != name:
        known = "an app id that nobody knows" if given not in {one.app_id for one in names.APPS} else "another's app id"
        what = f"the sidecar of {name} has {f'{given!r}, {known}' if given else 'no app id of its own'}"
        yield found(Code.APP_ID_WRONG, name, what, f"{APP_ID} on its pod template", to_do=f"write {name}", app=name)
    ports = _ports(deployment)
    port = template.get(APP_PORT, "")
    if port not in ports:
        what = f"the sidecar of {name} calls port {port or '(none)'}, where the service does not listen"
        serves = f"its containers listen on {', '.join(sorted(ports))}"
        yield found(Code.APP_PORT_WRONG, name, what, serves, to_do=f'write {APP_PORT}: "{app.port}"', app=name)


def _unmade(name: str, deployment: Object) -> Iterator[Finding]:
    """Pods that the API server refused to make: with failurePolicy Fail, for want of the injector."""
    for one in (deployment.get("status") or {}).get("conditions") or ():
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            why = str(one.get("message", ""))
            of_dapr = "webhook" in why and "dapr" in why
            code = Code.INJECTOR_UNREACHABLE if of_dapr else Code.POD_NOT_READY
            yield found(code, name, f"pods of Deployment {name} are not made", why, app=name)


def _ports(deployment: Object) -> set[str]:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {str(port["containerPort"]) for one in containers for port in one.get("ports") or ()}


def _pod(app: App, deployment: Object, pod: Object, pods: Pods) -> Iterator[Finding]:
    if _wants_sidecar(deployment):
        yield from _injected(app, deployment, pod, pods)
    yield from _containers(app, pod, pods)


def _injected(app: App, deployment: Object, pod: Object, pods: Pods) -> Iterator[Finding]:
    name, template = pod["metadata"]["name"], _annotations(deployment["spec"]["template"])
    own = _annotations(pod)
    differing = [key for key in RELEVANT if own.get(key) != template.get(key)]
    if differing and not _is_rolling(deployment):
        what = f"pod {name} is older than the annotations of its Deployment"
        has = [f"{key}: the pod has {own.get(key)!r}, the Deployment {template.get(key)!r}" for key in differing]
        yield found(Code.POD_OUTDATED, name, what, *has, app=app.app_id)
        return
    if has_sidecar(pod) or differing:
        return
    since = min(filter(None, map(_ready_since, pods.injector or ())), default=None)
    made = _instant(pod["metadata"]["creationTimestamp"])
    evidence = f"made at {made:%Y-%m-%d %H:%M:%S} UTC, its annotations are right, and it has no container {DAPRD}"
    if since is not None and made > since:
        what = f"pod {name} has no sidecar although the injector was there: the API server did not reach it in time"
        ready = f"the injector is ready since {since:%Y-%m-%d %H:%M:%S} UTC"
        yield found(Code.INJECTOR_UNREACHABLE, name, what, evidence, ready, app=app.app_id)
    else:
        what = f"pod {name} has no sidecar: it was made while the injector was not there"
        ready = f"the injector is ready since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "the injector is not ready"
        yield found(Code.POD_WITHOUT_SIDECAR, name, what, evidence, ready, app=app.app_id)


def _containers(app: App, pod: Object, pods: Pods) -> Iterator[Finding]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    unscheduled = next(
        (one for one in status.get("conditions") or () if one["type"] == "PodScheduled" and one["status"] == "False"),
        None,
    )
    if unscheduled is not None:
        what, why = f"pod {name} has no node", unscheduled.get("message", unscheduled.get("reason", ""))
        yield found(Code.POD_NOT_SCHEDULED, name, what, why, app=app.app_id)
        return
    waits = []
    for one in statuses(pod):
        state = one.get("state") or {}
        waiting = state.get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in NOT_PULLED:
            what = f"container {one['name']} of pod {name} has no image"
            yield found(Code.IMAGE_NOT_PULLED, name, what, f"{reason}: {waiting.get('message', one.get('image'))}",
                        app=app.app_id)  # fmt: skip
        elif reason in CRASHING or (state.get("terminated") or {}).get("exitCode") or _has_crashed_lately(one, pod):
            yield _crashing(app, name, one, pods)
        elif not one.get("ready") and (state.get("terminated") or {}).get("reason") != "Completed":
            waits.append(f"container {one['name']}: {reason or next(iter(state), 'not started')}"
                         + (f" ({waiting['message']})" if waiting.get("message") else ""))  # fmt: skip
    if waits and not _is_young(pod):
        yield found(Code.POD_NOT_READY, name, f"pod {name} is not ready", *waits, app=app.app_id)


def _crashing(app: App, pod: str, one: Mapping[str, Any], pods: Pods) -> Finding:
    ended = (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated") or {}
    last = logs.last_line(pods.said.get((pod, one["name"]), ""))
    restarts = one.get("restartCount", 0)
    return found(
        Code.CONTAINER_CRASHING,
        f"{pod}/{one['name']}",
        f"container {one['name']} of pod {pod} ends again and again",
        f"{restarts} restarts; the last ended with {ended.get('reason', '?')}, exit code {ended.get('exitCode', '?')}",
        f"its last line: {last}" if last else "",
        app=app.app_id,
    )


def _annotations(holder: Object) -> Mapping[str, str]:
    return (holder.get("metadata") or {}).get("annotations") or {}


def _ready_since(pod: Object) -> dt.datetime | None:
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one["type"] == "Ready" and one["status"] == "True":
            return _instant(one["lastTransitionTime"])
    return None


def _phase(pod: Object) -> str:
    waiting = [(one.get("state") or {}).get("waiting") for one in statuses(pod)]
    return next((one["reason"] for one in waiting if one), str((pod.get("status") or {}).get("phase")))


def _is_rolling(deployment: Object) -> bool:
    """Whether pods are being replaced just now; a paused or stuck rollout replaces none."""
    if deployment["spec"].get("paused"):
        return False
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return any(
        one["type"] == "Progressing" and one["status"] == "True" and one.get("reason") != "NewReplicaSetAvailable"
        for one in conditions
    )


def _has_crashed_lately(container: Mapping[str, Any], pod: Object) -> bool:
    """Whether it runs, is not ready, and is not for the first time: between two crashes a container looks like that."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if container.get("ready") or _is_young(pod) or not ended.get("exitCode") or not ended.get("finishedAt"):
        return False
    return dt.datetime.now(dt.UTC) - _instant(ended["finishedAt"]) < LATELY


def _is_young(pod: Object) -> bool:
    return dt.datetime.now(dt.UTC) - _instant(pod["metadata"]["creationTimestamp"]) < SETTLES_IN


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
