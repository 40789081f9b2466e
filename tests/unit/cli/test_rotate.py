import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from todo.cli.main import app
from todo.operations.datafolder import DataFolder, EngineRun, RunningSystem

RUNNER = CliRunner()
KAFKA = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub-kafka}
spec: {type: pubsub.kafka, version: v1, metadata: [{name: authType, value: none}]}
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder(tmp_path / "data") as folder:
        yield folder


@pytest.mark.parametrize(
    "options",
    [
        ["--generate", "--retire"],
        ["--generate", "--username", "u", "--password-file", "-"],
        ["--back", "--status"],
        ["--username", "u"],
        ["--password-file", "-"],
        ["--retire", "--dry-run"],
        ["--against", "elsewhere", "--generate"],
        ["--against", "elsewhere", "--dry-run"],
        ["--username", "u", "--password-file", "/nowhere/at/all"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_ends_with_2_before_anything_is_asked(options: list[str]) -> None:
    done = RUNNER.invoke(app, ["rotate", "kafka", *options], input="\n")
    assert done.exit_code == 2, done.output


def test_an_empty_password_is_none() -> None:
    done = RUNNER.invoke(app, ["rotate", "kafka", "--username", "u", "--password-file", "-"], input="\n")
    assert done.exit_code == 2
    assert "holds no password" in done.output


def complaint(data: Path, *options: str) -> str:
    done = RUNNER.invoke(app, ["rotate", *options, "--data", str(data)])
    assert done.exit_code == 1, done.output
    assert done.output.count("\n") == 1
    return done.output


def test_no_system_is_told_in_one_line(tmp_path: Path) -> None:
    assert "no system runs on" in complaint(tmp_path, "kafka", "--generate")


def test_the_embedded_engine_has_no_login(data: DataFolder) -> None:
    data.announce(RunningSystem(os.getpid(), {}, ""))
    assert "runs on daprlet" in complaint(data.path, "database", "--generate")


def test_only_what_is_in_use_is_rotated(data: DataFolder) -> None:
    """A broker that nobody is on, and one that asks nobody for a login."""
    resources = data.folder("engine") / "resources"
    resources.mkdir()
    (resources / "pubsub.yaml").write_text(KAFKA)
    secrets = data.path / "engine" / "secrets.json"
    secrets.write_text(json.dumps({}))
    engine = EngineRun("kafka", str(resources), str(secrets), [], {})
    data.announce(RunningSystem(os.getpid(), {"backend": "http://127.0.0.1:1"}, "", engine))
    assert "the sidecars use pubsub.kafka now, not redis" in complaint(data.path, "redis", "--generate")
    assert "logs in without a secret" in complaint(data.path, "kafka", "--generate")
    assert "there is no secret postgres-secrets" in complaint(data.path, "database", "--status")
