"""Rendered environments: the files of kubernetes/dapr-components, with this run's addresses, checked."""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from daprlet.checker import Surroundings, check, dapr
from todo.contracts import names
from todo.operations.engine import resources
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.engine.resources import ResourceError

APPS: Final = [app.app_id for app in names.APPS]
VALUES: Final[dict[str, dict[str, str]]] = {
    "kafka": {"brokers": "127.0.0.1:9"},
    "kafka-sasl": {},
    "kafka-sasl-512": {},
    "redis": {"redisHost": "127.0.0.1:9"},
}
KAFKA_SECRET: Final = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:8",
    "KAFKA_SASL_USERNAME": "user",
    "KAFKA_SASL_PASSWORD": "made up",
    "KAFKA_CA_CERT": "",
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    place = tmp_path / "secrets.json"
    content = {
        "kafka-secrets": KAFKA_SECRET,
        "kafka-secrets-msk": KAFKA_SECRET,
        "redis-secrets": {"REDIS_PASSWORD": "made up"},
        "postgres-secrets": {"POSTGRES_CONNECTION_STRING": "host=/nowhere"},
    }
    place.write_text(json.dumps(content))
    return place


@pytest.fixture
def folder(tmp_path: Path, secrets: Path) -> Path:
    target = tmp_path / "engine" / "resources"
    resources.write_common(target, secrets)
    return target


def test_every_environment_has_its_values() -> None:
    assert VALUES.keys() == ENVIRONMENTS.keys()


@pytest.mark.parametrize(("environment", "values"), VALUES.items())
def test_a_rendered_folder_has_no_mistakes(folder: Path, environment: str, values: Mapping[str, str]) -> None:
    """And needs no secret store that is not in it."""
    resources.render(environment, values, folder)
    assert check([folder], Surroundings(dapr(), APPS, names.NAMESPACE)) == []


@pytest.mark.parametrize(("environment", "values"), VALUES.items())
def test_only_the_addresses_differ_from_the_clusters_file(
    folder: Path, environment: str, values: Mapping[str, str]
) -> None:
    resources.render(environment, values, folder)
    original = yaml.safe_load(ENVIRONMENTS[environment].path.read_text())
    for item in original["spec"]["metadata"]:
        item["value"] = values.get(item["name"], item.get("value"))
    found = yaml.safe_load((folder / "pubsub.yaml").read_text())
    for item in found["spec"]["metadata"]:
        item.setdefault("value", None)
    assert found == original


def test_a_swap_replaces_the_component_and_nothing_else(folder: Path) -> None:
    """By a rename; nothing half-written ever lies among the files that sidecars read."""
    resources.render("kafka", VALUES["kafka"], folder)
    before = sorted(folder.iterdir())
    inode = (folder / "pubsub.yaml").stat().st_ino
    resources.render("redis", VALUES["redis"], folder)
    assert resources.current(folder)["spec"]["type"] == "pubsub.redis"
    assert sorted(folder.iterdir()) == before
    assert (folder / "pubsub.yaml").stat().st_ino != inode
    assert [one.name for one in folder.parent.iterdir()] == ["resources"]
    assert stat.S_IMODE((folder / "pubsub.yaml").stat().st_mode) & 0o077 == 0


def test_metadata_with_its_secrets(folder: Path, secrets: Path) -> None:
    resources.render("kafka-sasl-512", {}, folder)
    found = resources.resolved(resources.current(folder), secrets)
    assert found["brokers"] == "127.0.0.1:8"
    assert (found["authType"], found["saslMechanism"], found["saslUsername"]) == ("password", "SHA-512", "user")


@pytest.mark.parametrize(
    ("environment", "values", "message"),
    [
        ("kafak", {}, "'kafak' is unknown: use one of kafka, kafka-sasl, kafka-sasl-512, redis"),
        ("kafka", {}, "needs a value for brokers"),
        ("redis", {"redisHost": "a", "brokers": "b"}, "takes no value for brokers"),
    ],
)
def test_what_cannot_be_rendered(folder: Path, environment: str, values: Mapping[str, str], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        resources.render(environment, values, folder)
    assert not (folder / "pubsub.yaml").exists()


def test_a_secret_that_is_not_there_is_named(folder: Path, secrets: Path) -> None:
    secrets.write_text(json.dumps({"kafka-secrets": {"KAFKA_SASL_PASSWORD": "made up"}}))
    resources.render("kafka-sasl", {}, folder)
    with pytest.raises(
        ResourceError, match=r"setting brokers: .*no key KAFKA_BOOTSTRAP_SERVERS in secret kafka-secrets"
    ):
        resources.resolved(resources.current(folder), secrets)


def test_a_secrets_file_that_cannot_be_read_is_not_quoted(folder: Path, secrets: Path) -> None:
    secrets.write_text('{"redis-secrets": {"REDIS_PASSWORD": "made up')
    resources.render("redis", VALUES["redis"], folder)
    with pytest.raises(ResourceError, match="cannot be read") as error:
        resources.resolved(resources.current(folder), secrets)
    assert "made up" not in str(error.value)


@pytest.mark.parametrize(
    "password",
    ["made up: again", "made up\n\tuser: b", "made up\x00", "!made", "*made", "2026-13-45", '"\\made up"', "[" * 9_999],
)
def test_a_component_that_is_not_yaml_is_not_quoted(password: str) -> None:
    with pytest.raises(ResourceError, match=r"mine\.yaml cannot be read: it is not YAML") as error:
        resources.parsed("mine.yaml", "password: " + password)
    assert not re.search("made|month", str(error.value))


def test_a_component_that_is_not_text(folder: Path) -> None:
    (folder / "pubsub.yaml").write_bytes(b"kind: \xff")
    with pytest.raises(ResourceError, match=r"pubsub\.yaml cannot be read: it is not UTF-8"):
        resources.current(folder)


@pytest.mark.parametrize("content", ["", "- a", "kind: Resiliency", "a: ["])
def test_a_folder_without_a_component(folder: Path, content: str) -> None:
    (folder / "pubsub.yaml").write_text(content)
    with pytest.raises(ResourceError, match=r"pubsub\.yaml"):
        resources.current(folder)
