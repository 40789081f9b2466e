"""The Secrets that manifests refer to are the ones that an overlay says it expects, and that `todo secrets` makes."""

from collections.abc import Iterator

import pytest

from tests.kubernetes.rendered.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    containers,
    named,
    of_kind,
    overlay,
    pods,
)
from todo.operations import secrets


def given(name: str) -> dict[str, str]:
    """What cannot be made up, made up."""
    asked = [key.name for key in secrets.KEYS[name] if key.make is None]
    known = {
        "POSTGRES_CONNECTION_STRING": "postgresql://a:b@db/todo",
        "SMTP_URL": "smtps://a:b@mail",
        "TODO_MAIL_FROM": "a@b.test",
    }
    return {one: known.get(one, "made up") for one in asked}


def referenced(manifests: tuple[Manifest, ...]) -> set[tuple[str, str | None]]:
    """(secret, key), the key None for a Secret that is mounted whole; what a pod can do without is not wanted."""
    found: set[tuple[str, str | None]] = set()
    for template in pods(manifests).values():
        found |= set(_of_pod(template))
        notes = template["metadata"].get("annotations", {})
        found |= {
            (notes[key], "token") for key in ("dapr.io/api-token-secret", "dapr.io/app-token-secret") if key in notes
        }
    for component in of_kind(manifests, "Component"):
        refs = [one["secretKeyRef"] for one in component["spec"]["metadata"] if "secretKeyRef" in one]
        found |= {(one["name"], one["key"]) for one in refs}
    return found


def _of_pod(template: Manifest) -> Iterator[tuple[str, str | None]]:
    for container in containers(template):
        for variable in container.get("env", ()):
            if ref := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield ref["name"], ref["key"]
    for volume in template["spec"].get("volumes", ()):
        if (secret := volume.get("secret")) and not secret.get("optional"):
            keys = [item["key"] for item in secret.get("items", ())] or [None]
            yield from ((secret["secretName"], key) for key in keys)


def expected(name: str) -> dict[str, set[str]]:
    data = named(overlay(name), "ConfigMap", "expected-secrets")["data"]
    return {secret: set(keys.split()) for secret, keys in data.items()}


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_expected_is_what_is_used(name: str) -> None:
    used: dict[str, set[str]] = {}
    for secret, key in referenced(overlay(name)):
        used.setdefault(secret, set()).update({key} if key else ())
    assert used == expected(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_expected_is_generated(name: str) -> None:
    made = {one["metadata"]["name"]: set(one["stringData"]) for one in secrets.generate(name, given(name))}
    assert made == expected(name)


def test_every_overlay_has_its_secrets() -> None:
    assert set(secrets.KEYS) == set(OVERLAYS) == {one.name for one in (KUBERNETES / "overlays").iterdir()}
