"""`todo secrets generate`: what can be made up is made up, the rest is asked for."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from todo.cli.main import app
from todo.email_delivery.settings import parse_smtp_url
from todo.operations import logins, secrets
from todo.operations.secrets import SecretsError

KUBERNETES = Path(__file__).parents[3] / "kubernetes"
RUNNER = CliRunner()
GIVEN = {
    "POSTGRES_CONNECTION_STRING": "postgresql://todo:made-up@db.example.org:5432/todo?sslmode=require",
    "SMTP_URL": "smtp+starttls://todo:made-up@mail.example.org",
    "TODO_MAIL_FROM": "To-do <todo@example.org>",
    "TODO_EMAIL": "me@example.org",
    "KAFKA_BOOTSTRAP_SERVERS": "b-1.example.org:9096,b-2.example.org:9096",
    "KAFKA_SASL_USERNAME": "todo",
    "KAFKA_SASL_PASSWORD": "made=up",
}


def test_local_values_fit_the_servers_of_the_namespace() -> None:
    made = _values(secrets.generate("redis", {}, "elsewhere"))
    login = logins.of_dsn(made["POSTGRES_CONNECTION_STRING"])
    assert login.role in logins.TURNS
    assert made["POSTGRES_CONNECTION_STRING"].endswith("@postgres.elsewhere.svc.cluster.local:5432/todo")
    assert parse_smtp_url(made["SMTP_URL"]).host == "mailbox.elsewhere.svc.cluster.local"
    again = _values(secrets.generate("redis", {}, "elsewhere"))
    for key in ("POSTGRES_CONNECTION_STRING", "POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        assert made[key] != again[key]


def test_what_cannot_be_made_up_is_asked_for() -> None:
    with pytest.raises(SecretsError) as refused:
        secrets.generate("msk", {key: value for key, value in GIVEN.items() if key != "KAFKA_SASL_PASSWORD"})
    assert str(refused.value).startswith("KAFKA_SASL_PASSWORD (kafka-secrets-msk) is missing")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("POSTGRES_CONNECTION_STRING", "mysql://hunter2@db", "POSTGRES_CONNECTION_STRING is not of the form"),
        ("SMTP_URL", "smtp://todo:hunter2@mail.example.org", "SMTP_URL would send its password unencrypted"),
        ("TODO_MAIL_FROM", "hunter2", "TODO_MAIL_FROM is not an address"),
        ("KAFKA_PASSWORD", "hunter2", "KAFKA_PASSWORD: overlay msk has no such key"),
    ],
)
def test_what_services_would_refuse_is_refused_here(key: str, value: str, problem: str) -> None:
    with pytest.raises(SecretsError) as refused:
        secrets.generate("msk", GIVEN | {key: value})
    assert str(refused.value).startswith(problem)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SMTP_URL", "line 1 .* not of the form KEY=value"),
        ("# mail\n\nSMTP_URL=a\nSMTP_URL=b", "SMTP_URL is given twice"),
        ("SMTP_URL=", "SMTP_URL is given without a value"),
    ],
)
def test_values_that_cannot_be_read_are_named(text: str, problem: str) -> None:
    with pytest.raises(SecretsError, match=problem):
        secrets.read_values(text.splitlines())


def test_the_command_takes_values_from_standard_input_and_a_certificate_from_a_file(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nmade up\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_text(pem)
    lines = "".join(f"{key}={value}\n" for key, value in GIVEN.items())
    arguments = ["secrets", "generate", "--for", "redpanda", "--values", "-", "--ca-cert", str(tmp_path / "ca.pem")]
    done = RUNNER.invoke(app, [*arguments, "--namespace", "stage"], input=lines)
    assert done.exit_code == 0, done.output
    made = list(yaml.safe_load_all(done.output))
    assert _values(made).items() >= {**GIVEN, "KAFKA_CA_CERT": pem}.items()
    assert {one["metadata"]["namespace"] for one in made} == {"stage"}


def test_the_command_prints_a_list_as_json() -> None:
    done = RUNNER.invoke(app, ["secrets", "generate", "--for", "local-kafka", "--json"])
    listed = json.loads(done.output)
    assert (listed["kind"], {one["kind"] for one in listed["items"]}) == ("List", {"Secret"})


def test_the_command_says_what_is_wrong() -> None:
    unknown = RUNNER.invoke(app, ["secrets", "generate", "--for", "kafka"])
    assert unknown.exit_code == 2
    assert "local-kafka" in unknown.output
    missing = RUNNER.invoke(app, ["secrets", "generate", "--for", "msk"])
    assert missing.exit_code == 1
    assert missing.stdout == ""
    assert all(line.startswith("error: ") for line in missing.stderr.splitlines())


def test_the_roles_script_finds_the_login_of_a_connection_string() -> None:
    """As the server's first start runs it, with a `psql` that shows what it was told."""
    login = logins.fresh("todo_b")
    url = login.dsn("postgresql://postgres.todo-phasev.svc.cluster.local:5432/todo")
    script = (KUBERNETES / "components/postgres/roles.sh").read_text()
    shown = 'psql() { echo "$TODO_ROLE $TODO_PASSWORD"; cat > /dev/null; }\n'
    env = {"POSTGRES_CONNECTION_STRING": url, "POSTGRES_USER": "postgres", "POSTGRES_DB": "todo"}
    done = subprocess.run(["/bin/sh", "-euc", shown + script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [login.role, login.password]


def _values(manifests: list[dict[str, Any]]) -> dict[str, str]:
    return {key: value for one in manifests for key, value in one["stringData"].items() if key != "token"}
