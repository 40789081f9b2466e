"""The tables of the checker are those of the pinned Dapr, and what the checker says of a mistake is what daprd does."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from daprlet.checker import Severity, Surroundings, check, dapr
from daprlet.checker.corrections import COMPLETE
from tests.engine.engine import free_ports
from tests.engine.resources import component, document, write
from todo.contracts import names
from todo.operations.engine import binaries
from tools import components

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = ROOT / "tests" / "data" / "guide"
SURROUNDINGS: Final = Surroundings(dapr(), [app.app_id for app in names.APPS], stores={names.SECRET_STORE})
PATIENCE: Final = 60.0  # seconds
CONTRIB: Final = Path(components.module(components.CONTRIB)["Dir"])
AWS: Final = "common/aws/auth/auth.go"
SOURCES: Final = {  # the structs that settings are decoded into
    ("pubsub.kafka", "v1"): ["common/component/kafka/metadata.go", AWS],
    ("pubsub.redis", "v1"): ["common/component/redis/settings.go"],
    ("state.redis", "v1"): ["common/component/redis/settings.go"],
    ("state.postgresql", "v1"): [
        "common/component/postgresql/v1/metadata.go",
        "common/authentication/postgresql/metadata.go",
        AWS,
    ],
    ("state.postgresql", "v2"): [
        "state/postgresql/v2/metadata.go",
        "common/authentication/postgresql/metadata.go",
        AWS,
    ],
    ("state.sqlite", "v1"): ["state/sqlite/sqlite_metadata.go", "common/authentication/sqlite/metadata.go"],
    ("secretstores.kubernetes", "v1"): ["secretstores/kubernetes/metadata.go"],
    ("secretstores.local.file", "v1"): ["secretstores/local/file/filestore.go"],
}


@dataclass(frozen=True)
class Daprd:
    """One daprd without an app, on one folder."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ends(self) -> str:
        """Its log, once it has ended by itself with an error."""
        assert self.process.wait(PATIENCE) != 0
        return self.log.read_text()

    def metadata(self) -> dict[str, Any]:
        """What it has loaded, once it has."""
        self.answer("/v1.0/healthz/outbound", 204)
        return dict(json.loads(self.answer("/v1.0/metadata", 200)))

    def answer(self, path: str, status: int, body: bytes | None = None) -> bytes:
        """The answer of this status, waited for."""
        seen, until = "nothing", time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=5) as answer:
                    seen, content = str(answer.status), answer.read()
            except urllib.error.HTTPError as error:
                seen, content = str(error.code), error.read()
            except OSError as error:
                seen, content = str(error), b""
            if seen == str(status):
                return bytes(content)
            time.sleep(0.02)
        raise AssertionError(f"{path}: {seen} instead of {status}\n{self.log.read_text()[-3000:]}")


@contextmanager
def daprd(resources: Path) -> Iterator[Daprd]:
    http, grpc, internal, metrics = free_ports(4)
    ports = {"http": http, "grpc": grpc, "internal-grpc": internal}
    command = [
        str(binaries.dapr("daprd")),
        *("--app-id", "backend", "--resources-path", str(resources), "--metrics-port", str(metrics)),
        *(f"--dapr-{name}-port={port}" for name, port in ports.items()),
        *("--dapr-listen-addresses", "127.0.0.1", "--dapr-graceful-shutdown-seconds", "1"),
    ]
    log = resources.parent / "daprd.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield Daprd(process, http, log)
        finally:
            process.kill()


def tags(source: Path, kind: str) -> Iterator[str]:
    """The names of settings in a Go file, other spellings included; not those for components of another category."""
    for line in source.read_text().splitlines():
        only = re.search(r'mdonly:"(\w+)"', line)
        if only and only[1] != kind.partition(".")[0]:
            continue
        for name in re.findall(r'(?:json|mapstructure|mapstructurealiases):"([^"]+)"', line):
            yield from (one for one in name.split(",") if one not in ("", "-", "squash"))


def rules(resources: Path) -> set[str]:
    return {one.rule for one in check([resources], SURROUNDINGS) if one.severity is Severity.ERROR}


def kafka(**settings: str) -> dict[str, Any]:
    given = {"brokers": f"127.0.0.1:{free_ports(1)[0]}", "authType": "none"} | settings
    return component(names.PUBSUB, "pubsub.kafka", **given)


def test_the_tables_are_those_of_the_pinned_version() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "components.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("kind", "version"), sorted(SOURCES))
def test_every_setting_that_the_code_reads_is_known(kind: str, version: str) -> None:
    """Of the types for which any other setting is called a mistake: Dapr's metadata files leave some out."""
    known = dapr().described[kind, version]
    read = {tag for path in SOURCES[kind, version] for tag in tags(CONTRIB / path, kind)}
    assert read
    assert sorted(tag for tag in read if known.find(tag) is None) == []


def test_the_code_of_every_such_type_is_compared() -> None:
    without_tags = {"pubsub.in-memory", "state.in-memory", "secretstores.local.env"}
    assert {kind for kind, _ in SOURCES} == COMPLETE - without_tags


@pytest.mark.parametrize(
    ("resource", "rule", "last_words"),
    [
        (kafka(authType="sasl_ssl"), "value", "invalid value for 'authType' attribute"),
        (kafka(initialOffset="first"), "value", "invalid initialOffset: first"),
        (kafka(initialoffset="first"), "spelling", "client has run out of available brokers"),  # the value is not read
        (kafka(authtype="none"), "twice", "key authtype is duplicate"),
        (kafka(heartbeatInterval="soon"), "value", "soon"),
        (kafka(maxMessageBytes="4MB"), "value", "4MB"),
        (kafka(producerRequiredAcks="some"), "value", "invalid value for 'producerRequiredAcks'"),
        (kafka(authType="password", saslPassword="p"), "required", "missing SASL Username"),
        (component("jobs-scheduler", "jobs.scheduler"), "type", "incorrect type jobs.scheduler"),
        (component("bus", "pubsub.kafak"), "type", "pubsub.kafak"),
        (component("bus", "pubsub.kafka", "v9"), "version", "pubsub.kafka/v9"),
        (component("state", "state.postgresql", "v2", tablePrefix="a"), "required", "connection string"),
    ],
    ids=lambda value: value["spec"]["type"] if isinstance(value, dict) else "",
)
def test_what_daprd_does_not_start_with_is_an_error(
    tmp_path: Path, resource: dict[str, Any], rule: str, last_words: str
) -> None:
    folder = write(tmp_path / "resources", {"one.yaml": resource})
    assert rule in rules(folder)
    with daprd(folder) as running:
        assert last_words.lower() in running.ends().lower()


def test_two_components_of_one_name_end_daprd(tmp_path: Path) -> None:
    folder = write(tmp_path / "resources", {"a.yaml": kafka(), "b.yaml": kafka()})
    assert "duplicate" in rules(folder)
    with daprd(folder) as running:
        assert "duplicate definition of Component name" in running.ends()


def test_the_guides_secret_store_leaves_the_component_unloaded(tmp_path: Path) -> None:
    """No error, and publishing answers 404."""
    folder = tmp_path / "resources"
    folder.mkdir()
    (folder / "pubsub.yaml").write_bytes((GUIDE / "pubsub-kafka.yaml").read_bytes())
    assert "secretStore" in rules(folder)
    with daprd(folder) as running:
        assert not running.metadata().get("components")
        assert b"ERR_PUBSUB_NOT_FOUND" in running.answer("/v1.0/publish/pubsub-kafka/task-reminders", 404, b"{}")


@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        (document("v1alpha1", "Componnet", "store", {"type": "state.in-memory", "version": "v1"}), "kind"),
        (document("v1", "Component", "store", {"type": "state.in-memory", "version": "v1"}), "apiVersion"),
        (document("v1alpha1", "Component", "store", {"type": ["state.in-memory"], "version": "v1"}), "type"),
    ],
)
def test_what_daprd_does_not_load_is_an_error(tmp_path: Path, mistake: dict[str, Any], rule: str) -> None:
    folder = write(tmp_path / "resources", {"mistake.yaml": mistake})
    assert rule in rules(folder)
    with daprd(folder) as running:
        assert not running.metadata().get("components")


def test_a_setting_that_daprd_does_not_know_is_ignored_without_a_word(tmp_path: Path) -> None:
    folder = write(tmp_path / "resources", {"store.yaml": component("store", "state.in-memory", keyPrefx="none")})
    assert "setting" in rules(folder)
    with daprd(folder) as running:
        assert [one["name"] for one in running.metadata()["components"]] == ["store"]
        assert "keyPrefx" not in running.log.read_text()
