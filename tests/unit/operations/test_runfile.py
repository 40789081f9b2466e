from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from todo.contracts import names
from todo.operations import ports, runfile
from todo.operations.datafolder import DataFolder

RUN_FILE = """
version: 1
common:
  resourcesPaths: [resources]
  configFilePath: config.yaml
apps:
  - appID: backend
    appDirPath: .
    appPort: 8000
    daprHTTPPort: 3500
    metricsPort: 9090
    appHealthProbeInterval: 1
    env: {LANG: C}
    command: [python, -m, todo.backend]
"""


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "dapr.yaml").write_text(RUN_FILE)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder(tmp_path / "data") as folder:
        yield folder


def test_each_replica_is_an_entry_with_its_ports_token_and_health_check(local: Path, data: DataFolder) -> None:
    numbers = ports.chosen({}, {"backend": 2}, all_free=True)
    written = yaml.safe_load(runfile.write(data, numbers, {"backend": 2}, local).read_text())
    assert [app["appID"] for app in written["apps"]] == ["backend", *(app.app_id for app in names.APPS)]
    first, second = written["apps"][:2]
    assert first == {
        "appID": "backend",
        "appPort": numbers["backend"],
        "daprHTTPPort": numbers["backend-dapr"],
        "enableAppHealthCheck": True,
        "appHealthCheckPath": "/healthz/consume",
        "appHealthProbeInterval": 1,
        "env": {"LANG": "C", "APP_API_TOKEN": data.app_token("backend"), "DAPR_API_TOKEN": data.api_token},
    }
    assert second["appPort"] == numbers["backend-2"]
    assert written["apps"][2]["env"]["APP_API_TOKEN"] == data.app_token(names.NOTIFICATION.app_id)


def test_paths_are_those_of_the_checkout(local: Path, data: DataFolder) -> None:
    written = yaml.safe_load(runfile.write(data, ports.chosen({}, {}, all_free=True), {}, local).read_text())
    assert written["common"] == {
        "resourcesPaths": [str(local / "resources")],
        "configFilePath": str(local / "config.yaml"),
    }


def test_the_run_file_holds_tokens_and_is_the_owners_alone(local: Path, data: DataFolder) -> None:
    written = runfile.write(data, ports.chosen({}, {}, all_free=True), {}, local)
    assert written.stat().st_mode & 0o777 == 0o600


def test_secrets_are_made_empty_once_and_kept(data: DataFolder) -> None:
    place = runfile.secrets_file(data)
    assert place.read_text() == "{}\n"
    place.write_text('{"smtp": {"password": "kept"}}')
    assert "kept" in runfile.secrets_file(data).read_text()


def test_a_missing_run_file_is_one_clear_error(tmp_path: Path, data: DataFolder) -> None:
    with pytest.raises(runfile.RunFileError, match=r"dapr\.yaml is missing"):
        runfile.write(data, ports.chosen({}, {}, all_free=True), {}, tmp_path)
