"""The folder of resources that all sidecars of one host watch, made of the files that a cluster applies.

Files are replaced by renaming, never written in place: a sidecar sees the old component or the new one, no half of one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from todo.contracts import names
from todo.operations.datafolder import write_secret
from todo.operations.engine.environments import COMPONENTS, ENVIRONMENTS, Environment

PUBSUB_FILE: Final = "pubsub.yaml"
COMMON: Final = ("statestore-postgres.yaml", "resiliency.yaml")
EVERYONE: Final = [app.app_id for app in names.APPS]
_INIT_TIMEOUTS: Final = ("30s", "31s")


class ResourceError(RuntimeError):
    """A component cannot be made or read; the message names the file or setting and what to do."""


def render(environment: str, values: Mapping[str, str], target: Path) -> None:
    """Put the environment's component in place as `pubsub.yaml`.

    `values` replace the plain values of its file, by metadata name (`Environment.values` lists them). Raises
    `ResourceError` for an unknown environment and for values that are missing or that the file does not take.
    """
    known = ENVIRONMENTS.get(environment)
    if known is None:
        raise ResourceError(f"environment {environment!r} is unknown: use one of {', '.join(ENVIRONMENTS)}")
    _check_values(known, values)
    original = known.path.read_bytes()
    _replace(target / PUBSUB_FILE, _with_values(original, values) if values else original)


def place(content: bytes, target: Path) -> None:
    """Put a component in place as `pubsub.yaml`, exactly as it is."""
    _replace(target / PUBSUB_FILE, content)


def write_common(target: Path, secrets_file: Path) -> None:
    """Write what is the same in every environment: state store, Resiliency, and the file store named `kubernetes`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COMMON:
        _replace(target / name, (COMPONENTS / name).read_bytes())
    _replace(target / "secrets.yaml", _dumped(_secret_store(secrets_file)))


def current(target: Path) -> Mapping[str, Any]:
    """The component now in place. Raises `ResourceError` when there is none that can be read."""
    return read(target / PUBSUB_FILE)


def read(path: Path) -> Mapping[str, Any]:
    """A component file, parsed. Raises `ResourceError` when it is not there or holds no single component."""
    return parsed(str(path), text_of(path))


def text_of(path: Path) -> str:
    """Raises `ResourceError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ResourceError(f"{path} cannot be read: {problem}") from error


def parsed(where: str, text: str) -> Mapping[str, Any]:
    """One component. Raises `ResourceError`, which quotes none of the text: there may be a password in it."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that the calendar has not
        raise ResourceError(f"{where} cannot be read: it is not YAML{_fault(error)}") from None
    if not isinstance(found, dict) or found.get("kind") != "Component":
        raise ResourceError(f"{where} holds no component: it needs one document of kind Component")
    return found


def _fault(error: Exception) -> str:
    """Where and what, up to the first word that is quoted: an alias or a tag may be how a password begins."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f", line {mark.line + 1}" if mark else ""
    return place + (f": {problem.partition(chr(39))[0].strip()}" if problem else "")


def resolved(component: Mapping[str, Any], secrets_file: Path) -> dict[str, str]:
    """The component's metadata by name, each secretKeyRef looked up in the file behind the secret store.

    Raises `ResourceError` naming the secret and key that are not there; never with a secret's value.
    """
    secrets = _secrets(secrets_file)
    return {item["name"]: _resolve(item, secrets, secrets_file) for item in component["spec"].get("metadata") or ()}


def _check_values(environment: Environment, values: Mapping[str, str]) -> None:
    missing, extra = set(environment.values) - set(values), set(values) - set(environment.values)
    if missing:
        raise ResourceError(f"environment {environment.name} needs a value for {', '.join(sorted(missing))}")
    if extra:
        raise ResourceError(f"environment {environment.name} takes no value for {', '.join(sorted(extra))}")


def _with_values(original: bytes, values: Mapping[str, str]) -> bytes:
    component = yaml.safe_load(original)
    for item in component["spec"]["metadata"]:
        if item["name"] in values:
            item["value"] = values[item["name"]]
    return _dumped(component)


def _secret_store(secrets_file: Path) -> dict[str, Any]:
    settings = {"secretsFile": str(secrets_file), "multiValued": "true"}
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": names.SECRET_STORE, "namespace": names.NAMESPACE},
        "spec": {
            "type": "secretstores.local.file",
            "version": "v1",
            "metadata": [{"name": name, "value": value} for name, value in settings.items()],
        },
        "scopes": EVERYONE,
    }


def _dumped(resource: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(resource), sort_keys=False, allow_unicode=True).encode()


def _replace(place: Path, content: bytes) -> None:
    """Rename a finished file into place. It is made beside the folder: sidecars read every YAML file in it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    write_secret(place, content, made_in=place.parent.parent)


def _secrets(secrets_file: Path) -> Mapping[str, Any]:
    """What a file of the store's form holds, or a folder with a folder for each secret, as Kubernetes mounts them."""
    try:
        if secrets_file.is_dir():
            return {one.name: _mounted(one) for one in secrets_file.iterdir() if one.is_dir()}
        found = json.loads(secrets_file.read_bytes())
    except (OSError, ValueError) as error:
        raise ResourceError(f"the secrets file {secrets_file} cannot be read: {type(error).__name__}") from None
    return found if isinstance(found, dict) else {}


def _mounted(secret: Path) -> dict[str, str]:
    return {key.name: key.read_text() for key in secret.iterdir() if key.is_file()}


def _resolve(item: Mapping[str, Any], secrets: Mapping[str, Any], secrets_file: Path) -> str:
    ref = item.get("secretKeyRef")
    if ref is None:
        value = item.get("value", "")
        return str(value).lower() if isinstance(value, bool) else str(value)
    secret, key = ref["name"], ref.get("key") or ref["name"]
    try:
        return str(secrets[secret][key])
    except (KeyError, TypeError):
        message = f"setting {item['name']}: {secrets_file} has no key {key} in secret {secret}: add it there"
        raise ResourceError(message) from None


def show_again(path: Path, *, force: bool = False) -> None:
    """Have every sidecar look at a component file again, which makes it look up the file's secrets again.

    One whose settings are the same as before keeps what it has loaded. With `force` it loads the component anew all
    the same: `initTimeout`, how long that may take, alternates between two values.
    """
    content = path.read_bytes()
    if force:
        component = yaml.safe_load(content)
        component["spec"]["initTimeout"] = other_init_timeout(component)
        content = _dumped(component)
    _replace(path, content)


def other_init_timeout(component: Mapping[str, Any]) -> str:
    """A value that a component does not have now."""
    now = str(component["spec"].get("initTimeout", ""))
    return next(one for one in _INIT_TIMEOUTS if one != now)
