"""Dapr's resource files for tests: written as JSON, which is YAML, one document per file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def document(version: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource of dapr.io/<version>."""
    return {"apiVersion": f"dapr.io/{version}", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def component(name: str, kind: str, version: str = "v1", /, **metadata: object) -> dict[str, Any]:
    """Return a Component; metadata values are written as the strings that Dapr reads."""
    pairs = [{"name": key, "value": str(value)} for key, value in metadata.items()]
    return document("v1alpha1", "Component", name, {"type": kind, "version": version, "metadata": pairs})


def inbound_retries(pubsub: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Resiliency that retries deliveries from this component by this policy."""
    name = f"{pubsub}-inbound"
    spec = {
        "policies": {"retries": {name: dict(policy)}},
        "targets": {"components": {pubsub: {"inbound": {"retry": name}}}},
    }
    return document("v1alpha1", "Resiliency", name, spec)


def redis_streams(
    name: str,
    port: int,
    *,
    concurrency: int = 20,
    processing_timeout: str = "60s",
    scopes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a pub/sub on Valkey or Redis.

    Without a `consumerID` each app is a group of its own. `redeliverInterval` is in bare milliseconds: with a unit
    Dapr ignores it.
    """
    return component(
        name,
        "pubsub.redis",
        redisHost=f"127.0.0.1:{port}",
        concurrency=concurrency,
        processingTimeout=processing_timeout,
        redeliverInterval=500,
        **(scopes or {}),
    )


def write(folder: Path, documents: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write each document into its file, and return the folder. A Resiliency needs a file of its own to be loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents.items():
        (folder / name).write_text(json.dumps(content, indent=2))
    return folder
