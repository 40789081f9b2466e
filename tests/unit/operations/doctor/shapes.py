"""What was recorded of a healthy system, for tests to change one thing in it."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from daprlet.checker import Document
from todo.contracts import names
from todo.operations import topics
from todo.operations.doctor.examination import judge
from todo.operations.doctor.findings import Code, Finding
from todo.operations.doctor.seen import Pods, Replica, Seen, Service, Sidecar
from todo.operations.engine.environments import COMPONENTS

MADE = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
INJECTOR_SINCE = "2026-01-01T11:00:00Z"


def healthy(**changes: Any) -> Seen:  # noqa: ANN401 - any part of it
    parts: dict[str, Any] = {
        "where": "a test",
        "namespace": names.NAMESPACE,
        "stores": [names.SECRET_STORE],
        "resources": resources(),
        "replicas": [replica(app) for app in names.APPS],
    }
    return Seen(**parts | changes)


def found(seen: Seen) -> list[Finding]:
    return list(judge(seen))


def codes(seen: Seen) -> list[Code]:
    return [one.code for one in judge(seen)]


def resources(*changed: dict[str, Any]) -> list[Document]:
    """The files of the environment redis; those of `changed` take the place of what has their name."""
    files = ("pubsub-redis.yaml", "statestore-postgres.yaml", "resiliency.yaml", "secrets-kubernetes.yaml")
    read = [yaml.safe_load((COMPONENTS / file).read_text()) for file in files]
    others = {one["metadata"]["name"] for one in changed}
    kept = [one for one in read if one["metadata"]["name"] not in others]
    return [Document(Path(one["metadata"]["name"]), 1, one) for one in (*kept, *changed)]


def component(file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPONENTS / file).read_text())
    return loaded


def replica(app: names.App, **changes: Any) -> Replica:  # noqa: ANN401 - any part of the sidecar
    loaded = [names.PUBSUB, names.STATE_STORE, "secrets-kubernetes", names.SECRET_STORE]
    if app is names.BACKEND:
        loaded.remove(names.STATE_STORE)
    metadata = {
        "id": app.app_id,
        "components": [{"name": name, "type": "any", "version": "v1"} for name in loaded],
        "subscriptions": [
            {"pubsubname": names.PUBSUB, "topic": topic, "type": "PROGRAMMATIC"}
            for topic in topics.consumed()[app.app_id]
        ],
        "scheduler": {"connected_addresses": ["127.0.0.1:50006"]},
    }
    sidecar = Sidecar(metadata=metadata)
    return Replica(name=app.app_id, app_id=app.app_id, service=Service(), sidecar=replace(sidecar, **changes))


def with_replica(one: Replica) -> Seen:
    return healthy(replicas=[one if one.app_id == app.app_id else replica(app) for app in names.APPS])


def deployment(app: names.App) -> dict[str, Any]:
    return {
        "metadata": {"name": app.app_id, "annotations": {}},
        "spec": {
            "template": {
                "metadata": {"annotations": annotations(app), "labels": {"app": app.app_id}},
                "spec": {"containers": [{"name": app.app_id, "ports": [{"containerPort": app.port}]}]},
            }
        },
        "status": {"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]},
    }


def annotations(app: names.App) -> dict[str, str]:
    return {"dapr.io/enabled": "true", "dapr.io/app-id": app.app_id, "dapr.io/app-port": str(app.port)}


def pod(app: names.App, *, sidecar: bool = True) -> dict[str, Any]:
    containers = [app.app_id, *(["daprd"] if sidecar else [])]
    return {
        "metadata": {
            "name": f"{app.app_id}-1",
            "labels": {"app": app.app_id},
            "annotations": annotations(app),
            "creationTimestamp": MADE.isoformat(),
        },
        "spec": {"containers": [{"name": name} for name in containers]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": name, "ready": True, "state": {"running": {}}} for name in containers],
        },
    }


def injector() -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": INJECTOR_SINCE}
    return {"metadata": {"name": "dapr-sidecar-injector-1"}, "status": {"phase": "Running", "conditions": [ready]}}


def cluster(**changes: Any) -> Seen:  # noqa: ANN401 - any part of what Kubernetes says
    parts: dict[str, Any] = {
        "deployments": [deployment(app) for app in names.APPS],
        "pods": [pod(app) for app in names.APPS],
        "namespace": {"metadata": {"name": names.NAMESPACE, "labels": {}}},
        "webhooks": [{"name": "sidecar-injector.dapr.io", "failurePolicy": "Ignore", "namespaceSelector": {}}],
        "has_definitions": True,
        "injector": [injector()],
    }
    return healthy(pods=Pods(**parts | changes))
