"""Dapr's multi-app run file (`dapr.yaml`), read strictly."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from daprlet.checker import documents, read
from daprlet.errors import SetupError
from daprlet.settings import AppSettings, HealthCheck


def _dapr_name(name: str) -> str:
    """The key as Dapr's run file spells it: camel case, with a few abbreviations in capitals."""
    first, *others = name.split("_")
    return first + "".join({"id": "ID", "http": "HTTP"}.get(part, part.title()) for part in others)


class Common(msgspec.Struct, rename="camel"):
    """What holds for every app that does not say otherwise."""

    resources_path: str = ""
    resources_paths: list[str] = []
    config_file_path: str = ""
    env: dict[str, str | int | float | bool] = {}
    app_protocol: str = "http"
    app_channel_address: str = ""
    enable_app_health_check: bool | None = None
    app_health_check_path: str = ""
    app_health_probe_interval: int | None = None
    app_health_probe_timeout: int | None = None
    app_health_threshold: int | None = None
    app_max_concurrency: int | None = None


class Entry(Common, rename=_dapr_name):
    app_id: str = ""
    app_dir_path: str = ""
    app_port: int = 0
    dapr_http_port: int = 0
    metrics_port: int = 0
    command: list[str] | str = []


class RunFile(msgspec.Struct, rename="camel"):
    version: int
    apps: list[Entry]
    common: Common = msgspec.field(default_factory=Common)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> list[AppSettings]:
    """The apps of a run file; relative paths in it are relative to the file. Raises `SetupError`."""
    if path.is_dir():
        path = path / "dapr.yaml"
    found = documents(path)
    if len(found) != 1:
        raise SetupError(f"{path}: a run file is one YAML document")
    run = read(str(path), found[0], RunFile)
    if run.version != 1:
        raise SetupError(f"{path}: version {run.version} is unknown; it is 1")
    if not run.apps:
        raise SetupError(f"{path}: apps is empty")
    return [_app(path, run.common, entry, environment) for entry in run.apps]


def _app(path: Path, common: Common, entry: Entry, environment: Mapping[str, str]) -> AppSettings:
    folder = path.parent.resolve()
    directory = folder / entry.app_dir_path
    app_id = entry.app_id or directory.name
    if (entry.app_protocol, common.app_protocol) != ("http", "http"):
        raise SetupError(f"{path}: app {app_id}: appProtocol can only be http")
    env = {name: _text(value) for name, value in {**common.env, **entry.env}.items()}
    config = entry.config_file_path or common.config_file_path
    return AppSettings(
        app_id=app_id,
        app_port=entry.app_port,
        dapr_http_port=entry.dapr_http_port,
        metrics_port=entry.metrics_port,
        app_host=entry.app_channel_address or common.app_channel_address or "127.0.0.1",
        resources=[folder / one for one in _resources(entry) or _resources(common)],
        configuration=folder / config if config else None,
        health_check=_health_check(common, entry),
        max_concurrency=_either(entry.app_max_concurrency, common.app_max_concurrency, 0),
        command=shlex.split(entry.command) if isinstance(entry.command, str) else entry.command,
        directory=directory,
        environment=env,
        api_token=env.get("DAPR_API_TOKEN", environment.get("DAPR_API_TOKEN", "")),
        app_token=env.get("APP_API_TOKEN", environment.get("APP_API_TOKEN", "")),
    )


def _resources(part: Common) -> list[str]:
    return [*([part.resources_path] if part.resources_path else []), *part.resources_paths]


def _health_check(common: Common, entry: Entry) -> HealthCheck | None:
    if not _either(entry.enable_app_health_check, common.enable_app_health_check, default=False):
        return None
    default = HealthCheck()
    return HealthCheck(
        path=entry.app_health_check_path or common.app_health_check_path or default.path,
        interval=_either(entry.app_health_probe_interval, common.app_health_probe_interval, default.interval),
        timeout=_either(entry.app_health_probe_timeout, common.app_health_probe_timeout, default.timeout * 1000) / 1000,
        threshold=_either(entry.app_health_threshold, common.app_health_threshold, default.threshold),
    )


def _either(own: Any, shared: Any, default: Any) -> Any:  # noqa: ANN401 - one type for all three
    return own if own is not None else shared if shared is not None else default


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
