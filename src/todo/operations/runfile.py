"""The sidecars' run file of one run: `local/dapr.yaml` with this run's ports, paths and tokens.

The component files stay where they are, in `local/resources/`: an edit there is seen by the running sidecars.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from todo.contracts import names
from todo.operations import ports
from todo.operations.datafolder import DataFolder, write_secret

LOCAL: Final = Path(__file__).parents[3] / "local"
HEALTH_PATH: Final = "/healthz/consume"
OURS: Final = (
    "command",
    "appDirPath",
    "metricsPort",
)  # the supervisor starts the apps, and nobody scrapes sidecars here


class RunFileError(RuntimeError):
    """`local/dapr.yaml` is not there or not what it should be."""


def write(
    data: DataFolder, numbers: Mapping[str, int], replicas: Mapping[str, int], source: Path | None = None
) -> Path:
    """Write `dapr.yaml` into the data folder and return it.

    `numbers` are the ports by name (`ports.chosen`); each replica of an app is one entry with the same `appID`.
    """
    source = source or LOCAL
    template = _load(source / "dapr.yaml")
    entries = {entry.get("appID"): entry for entry in template.get("apps", [])}
    common = dict(template.get("common") or {}) | {
        "resourcesPaths": [str((source / one).resolve()) for one in _resources(template)]
    }
    if "configFilePath" in common:
        common["configFilePath"] = str((source / common["configFilePath"]).resolve())
    apps = [
        _app(entries.get(app.app_id, {}), app, ports.replica(app.app_id, index), numbers, data)
        for app in names.APPS
        for index in range(replicas.get(app.app_id, 1))
    ]
    content = {"version": 1, "common": common, "apps": apps}
    place = data.path / "dapr.yaml"
    write_secret(place, yaml.safe_dump(content, sort_keys=False).encode())
    return place


def _app(
    entry: Mapping[str, Any], app: names.App, name: str, numbers: Mapping[str, int], data: DataFolder
) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key not in OURS and not key.startswith("resourcesPath")}
    return kept | {
        "appID": app.app_id,
        "appPort": numbers[name],
        "daprHTTPPort": numbers[ports.sidecar(name)],
        "enableAppHealthCheck": True,
        "appHealthCheckPath": HEALTH_PATH,
        "env": dict(entry.get("env") or {})
        | {"APP_API_TOKEN": data.app_token(app.app_id), "DAPR_API_TOKEN": data.api_token},
    }


def _load(place: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(place.read_text())
    except FileNotFoundError:
        raise RunFileError(f"{place} is missing: the embedded run starts from a checkout of the project") from None
    except yaml.YAMLError as error:
        raise RunFileError(f"{place} is not YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise RunFileError(f"{place} holds no run file")
    return loaded


def _resources(template: Mapping[str, Any]) -> list[str]:
    """Where the component files are, relative to the run file."""
    return (template.get("common") or {}).get("resourcesPaths") or ["resources"]


def secrets_file(data: DataFolder) -> Path:
    """Return the file behind the secret store (`{"name": {"key": "value"}}`), made empty when absent."""
    place = data.path / "secrets.json"
    if not place.exists():
        write_secret(place, b"{}\n")
    return place
