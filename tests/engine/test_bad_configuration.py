"""What is wrong is told in one clear line, before anything starts: no stack trace, exit code 1."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from tests.engine.systems import keep_secret, on_dapr
from todo.operations import datafolder, ports, up
from todo.operations.engine.environments import COMPONENTS, KAFKA_SECRETS
from todo.operations.engine.kafka import KafkaServer, Listener

COMPONENT: Final = COMPONENTS / "pubsub-kafka.yaml"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def somebodys(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaServer]:
    """A broker that is not the system's own."""
    async with KafkaServer(tmp_path_factory.mktemp("kafka"), {Listener.SASL_SSL: 0}) as kafka:
        yield kafka


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Runs `todo up` on a new folder and returns the one line that it ends with."""

    folder: Path
    screen: pytest.CaptureFixture[str]

    async def line(self, broker: str | None, **changes: Any) -> str:  # noqa: ANN401 - any of the options
        assert await up.up(on_dapr(broker, data=self.folder, **changes)) == 1
        (line,) = self.screen.readouterr().err.splitlines()
        assert not (self.folder / "children.json").exists(), "something was started"
        assert datafolder.running_system(self.folder) is None
        return line

    def keep(self, kafka: KafkaServer, **changed: str) -> None:
        keep_secret(self.folder, kafka, **changed)


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    return Refusal(tmp_path / "data", capsys)


async def test_a_wrong_address(refusal: Refusal, somebodys: KafkaServer) -> None:
    (nobody,) = ports.free(1)
    refusal.keep(somebodys, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{nobody}")
    line = await refusal.line(str(COMPONENT))
    assert f"127.0.0.1:{nobody}" in line
    assert "does not answer" in line


async def test_a_wrong_password(refusal: Refusal, somebodys: KafkaServer) -> None:
    refusal.keep(somebodys, KAFKA_SASL_PASSWORD="not-this-one")
    line = await refusal.line(str(COMPONENT))
    assert "saslPassword" in line
    assert "not-this-one" not in line


async def test_an_untrusted_authority(refusal: Refusal, somebodys: KafkaServer, tmp_path: Path) -> None:
    other = KafkaServer(tmp_path / "other", {Listener.SASL_SSL: 0})
    refusal.keep(somebodys, KAFKA_CA_CERT=other.ca_certificate())
    assert "caCert" in await refusal.line(str(COMPONENT))


async def test_a_mechanism_that_dapr_takes_for_plain(refusal: Refusal, somebodys: KafkaServer, tmp_path: Path) -> None:
    refusal.keep(somebodys)
    file = changed(tmp_path, {"saslMechanism": "SCRAM-SHA-256"})
    line = await refusal.line(str(file))
    assert f"{file}:" in line
    assert "SHA-256" in line.partition("SCRAM-SHA-256")[2]


async def test_a_secret_that_is_not_there(refusal: Refusal) -> None:
    line = await refusal.line(str(COMPONENT))
    assert f"{refusal.folder}/engine/secrets.json has no key" in line


async def test_a_secret_that_is_somebody_elses(refusal: Refusal, somebodys: KafkaServer) -> None:
    """A broker of ours would overwrite it."""
    refusal.keep(somebodys)
    line = await refusal.line("redis", standby=["kafka-sasl"])
    assert f"the secret {KAFKA_SECRETS} is for {somebodys.sasl_bootstrap}" in line


async def test_a_component_of_another_name(refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / "pubsub.yaml"
    file.write_text(COMPONENT.read_text().replace("name: pubsub-kafka", "name: pubsub"))
    assert "must be named pubsub-kafka" in await refusal.line(str(file))


async def test_a_file_that_is_not_there(refusal: Refusal) -> None:
    assert "elsewhere.yaml cannot be read" in await refusal.line("elsewhere.yaml")


async def test_an_unknown_broker(refusal: Refusal) -> None:
    line = await refusal.line("kafak")
    assert "'kafak'" in line
    assert "kafka, kafka-sasl, kafka-sasl-512, redis" in line
    assert "--standby kafak" in await refusal.line("redis", standby=["kafak"])


async def test_no_java(refusal: Refusal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    line = await refusal.line("kafka")
    assert f"no Java in JAVA_HOME={tmp_path}" in line
    assert "install a JDK 17" in line


async def test_an_old_java(refusal: Refusal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("""#!/bin/sh\necho 'openjdk version "1.8.0_402"' >&2\n""")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert f"{java} is Java 8: install a JDK 17" in await refusal.line("kafka")


@pytest.mark.parametrize("broker", ["kafka", "redis"])
async def test_an_engine_that_is_not_built(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broker: str
) -> None:
    monkeypatch.setenv("TODO_ENGINE_CACHE", str(tmp_path / "empty"))
    assert "run `make engine`" in await refusal.line(broker)


async def test_a_taken_port(refusal: Refusal, somebodys: KafkaServer) -> None:
    port = somebodys.listeners[Listener.SASL_SSL]
    line = await refusal.line("kafka", ports={"kafka": port})
    assert f"port {port} (kafka) is taken by process" in line
    assert "--port kafka=" in line


def changed(folder: Path, settings: Mapping[str, str]) -> Path:
    """A copy of the component file with other settings."""
    component = yaml.safe_load(COMPONENT.read_text())
    for item in component["spec"]["metadata"]:
        if item["name"] in settings:
            item["value"] = settings[item["name"]]
    place = folder / "pubsub.yaml"
    place.write_text(yaml.safe_dump(component))
    return place
