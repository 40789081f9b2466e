from pathlib import Path
from textwrap import dedent

import pytest

from daprlet.errors import SetupError
from daprlet.runfile import load
from daprlet.settings import HealthCheck

FILE = """
    version: 1
    common:
      resourcesPaths: [resources]
      env: {APP_API_TOKEN: shared, DEBUG: true}
      enableAppHealthCheck: true
      appHealthCheckPath: /ready
      appHealthProbeTimeout: 2000
    apps:
      - {appID: a, appPort: 8000, daprHTTPPort: 3500, metricsPort: 9090, env: {APP_API_TOKEN: own}}
      - {appID: a, appPort: 8001, command: [python, -m, "my app"], resourcesPath: other}
      - {appDirPath: ./b, command: "python -m b", enableAppHealthCheck: false}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "dapr.yaml").write_text(dedent(text))
    return folder / "dapr.yaml"


def test_apps_inherit_and_override(tmp_path: Path) -> None:
    """Relative paths are relative to the file; two entries may be replicas of one app."""
    first, second, third = load(written(tmp_path, FILE), {"DAPR_API_TOKEN": "from outside"})
    assert (first.app_id, first.app_port, first.dapr_http_port, first.metrics_port) == ("a", 8000, 3500, 9090)
    assert first.resources == [tmp_path / "resources"]
    assert (first.api_token, first.app_token, first.environment["DEBUG"]) == ("from outside", "own", "true")
    assert first.health_check == HealthCheck("/ready", 5.0, 2.0, 3)
    assert (second.app_id, second.command, second.resources) == ("a", ["python", "-m", "my app"], [tmp_path / "other"])
    assert second.app_token == "shared"  # noqa: S105 - made up
    assert (third.app_id, third.command, third.health_check) == ("b", ["python", "-m", "b"], None)
    assert third.directory == tmp_path / "b"


def test_a_folder_means_its_dapr_yaml(tmp_path: Path) -> None:
    """As with `dapr run -f .`."""
    written(tmp_path, FILE)
    assert len(load(tmp_path, {})) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("appPort: 8000", "appport: 8000", r"unknown key 'apps\[0\]\.appport'; did you mean 'appPort'"),
        ("daprHTTPPort", "daprHttpPort", "did you mean 'daprHTTPPort'"),
        ("resourcesPaths", "resourcePaths", "common.resourcePaths"),
        ("8000", "eighty", r"apps\[0\].appPort"),
        ("version: 1", "version: 2", "version 2 is unknown"),
        ("metricsPort: 9090", "appProtocol: grpc", "appProtocol can only be http"),
        ("metricsPort: 9090", "daprGRPCPort: 50001", "unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Unknown keys are errors, with the nearest known one."""
    with pytest.raises(SetupError, match=message):
        load(written(tmp_path, FILE.replace(old, new)), {})


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Named as it was given."""
    with pytest.raises(SetupError, match=r"none\.yaml"):
        load(tmp_path / "none.yaml", {})
