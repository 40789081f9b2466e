"""Secrets that somebody refers to. Their values are looked at here, and never told."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from daprlet.checker import nearest
from todo.operations.doctor.findings import Code, Finding, found
from todo.operations.doctor.seen import Key, Object, Reference, Seen

MAY_BE_EMPTY: Final = ("KAFKA_CA_CERT",)  # then the authorities that the system trusts


def look(secrets: Mapping[str, Mapping[str, str] | None]) -> dict[str, Mapping[str, Key] | None]:
    """What may be told of secrets; None: one that is not there."""
    return {
        name: None if values is None else {key: _key(value) for key, value in values.items()}
        for name, values in secrets.items()
    }


def of_component(component: Object) -> Iterator[Reference]:
    """The keys that a component's metadata comes from."""
    by = f"component {component['metadata']['name']}"
    for item in component.get("spec", {}).get("metadata") or ():
        ref = item.get("secretKeyRef")
        if ref:
            yield Reference(ref["name"], ref.get("key") or ref["name"], f"{by} ({item['name']})")


def of_template(app: str, template: Mapping[str, Any]) -> Iterator[Reference]:
    """The keys that a pod template's environment, volumes and annotations come from."""
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        yield from _of_container(f"Deployment {app}, container {container['name']}", container)
    for volume in spec.get("volumes") or ():
        yield from _of_volume(f"Deployment {app}, volume {volume['name']}", volume)
    for annotation in ("dapr.io/api-token-secret", "dapr.io/app-token-secret"):
        if annotations.get(annotation):
            yield Reference(annotations[annotation], "token", f"Deployment {app}, annotation {annotation}")


def check(seen: Seen) -> Iterator[Finding]:
    """Which secrets and keys are not there, empty, or surrounded by white space."""
    if seen.secrets is None:
        return
    wanted: dict[str, list[Reference]] = {}
    for ref in seen.references:
        wanted.setdefault(ref.secret, []).append(ref)
    for name, refs in sorted(wanted.items()):
        if name not in seen.secrets:
            continue
        keys = seen.secrets[name]
        needed = [ref for ref in refs if not ref.optional]
        if keys is None and needed:
            yield found(Code.SECRET_MISSING, name, f"secret {name} does not exist", *_who(needed))
        elif keys is not None:
            yield from _keys(name, keys, refs)


def _keys(name: str, keys: Mapping[str, Key], refs: Iterable[Reference]) -> Iterator[Finding]:
    by_key: dict[str, list[Reference]] = {}
    for ref in refs:
        if ref.key is not None:
            by_key.setdefault(ref.key, []).append(ref)
    for key, users in sorted(by_key.items()):
        subject = f"{name}/{key}"
        if key not in keys:
            if any(not one.optional for one in users):
                close = nearest(key, keys)
                has = f"it has {', '.join(sorted(keys)) or 'no key at all'}"
                hint = f"rename {close} to {key}, or add {key}" if close else ""
                yield found(
                    Code.SECRET_KEY_MISSING, subject, f"secret {name} lacks key {key}", has, *_who(users), to_do=hint
                )
        elif keys[key].empty and key not in MAY_BE_EMPTY:
            yield found(Code.SECRET_KEY_EMPTY, subject, f"key {key} of secret {name} is empty", *_who(users))
        elif keys[key].blanks:
            what = f"key {key} of secret {name} begins or ends with white space"
            yield found(Code.SECRET_BLANKS, subject, what, *_who(users))


def _key(value: str) -> Key:
    """A PEM text ends with a line end, as it has to."""
    return Key(empty=not value, blanks=value != value.strip() and "-----BEGIN" not in value)


def _who(refs: Iterable[Reference]) -> list[str]:
    return [f"{by} refers to it" for by in sorted({ref.by for ref in refs})]


def _of_container(by: str, container: Mapping[str, Any]) -> Iterator[Reference]:
    for item in container.get("env") or ():
        ref = (item.get("valueFrom") or {}).get("secretKeyRef")
        if ref:
            yield Reference(ref["name"], ref["key"], f"{by} ({item['name']})", bool(ref.get("optional")))
    for item in container.get("envFrom") or ():
        ref = item.get("secretRef")
        if ref:
            yield Reference(ref["name"], None, by, bool(ref.get("optional")))


def _of_volume(by: str, volume: Mapping[str, Any]) -> Iterator[Reference]:
    sources = [
        volume.get("secret"),
        *(one.get("secret") for one in (volume.get("projected") or {}).get("sources", ())),
    ]
    for source in filter(None, sources):
        name, optional = source.get("secretName") or source.get("name", ""), bool(source.get("optional"))
        items = source.get("items")
        for key in [one["key"] for one in items] if items else [None]:
            yield Reference(name, key, by, optional)
