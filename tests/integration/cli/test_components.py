"""`todo components check` as a person or a pipeline runs it."""

import json
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from todo.cli.main import app
from todo.operations.engine.environments import COMPONENTS, ENVIRONMENTS, Environment

ROOT: Final = Path(__file__).parents[3]
GUIDE: Final = ROOT / "tests" / "data" / "guide"
SHARED: Final = [COMPONENTS / f"{name}.yaml" for name in ("statestore-postgres", "secrets-kubernetes", "resiliency")]


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["components", "check", *map(str, arguments)])


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=lambda one: str(one.name))
def test_each_environment_of_ours_is_right(environment: Environment) -> None:
    done = check(environment.path, *SHARED)
    assert (done.exit_code, done.output) == (0, "nothing to report\n")


def test_the_embedded_run_is_right() -> None:
    assert check(ROOT / "local" / "resources").exit_code == 0


def test_our_folder_of_alternatives() -> None:
    """It says which files are alternatives and what applying them all would do, and nothing else."""
    done = check(COMPONENTS)
    assert done.exit_code == 1
    assert "3 errors, 0 warnings" in done.output
    assert done.output.count("already defined in") == 3
    assert "`kubectl apply -f` on all leaves pubsub-redis.yaml" in done.output


def test_a_finding_names_place_problem_and_fix() -> None:
    done = check(GUIDE / "pubsub-redis.yaml")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    at = next(n for n, line in enumerate(lines) if "redeliverInterval]" in line)
    assert lines[at].startswith(f"{GUIDE / 'pubsub-redis.yaml'}:18  error  Component 'pubsub-kafka'  spec.metadata")
    assert "Dapr ignores the value" in lines[at + 1]
    assert lines[at + 2] == "    fix: 30 s are '30000'"


def test_findings_as_json() -> None:
    done = check("--json", GUIDE / "pubsub-kafka-local.yaml")
    told = json.loads(done.output)
    assert (done.exit_code, told["errors"], told["warnings"], len(told["findings"])) == (1, 4, 1, 5)
    first = told["findings"][0]
    assert first.keys() == {"severity", "rule", "file", "line", "resource", "key", "problem", "fix"}
    assert (first["severity"], first["file"], first["line"]) == ("error", str(GUIDE / "pubsub-kafka-local.yaml"), 7)


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    text = ENVIRONMENTS["kafka"].path.read_text().replace("value: oldest", "value: newest")
    (tmp_path / "pubsub.yaml").write_text(text)
    done = check(tmp_path, COMPONENTS / "resiliency.yaml")
    assert done.exit_code == 0
    assert "0 errors, 1 warnings" in done.output


def test_apps_and_namespace_of_another_system(tmp_path: Path) -> None:
    (tmp_path / "bus.yaml").write_text(ENVIRONMENTS["kafka"].path.read_text().replace("todo-phasev", "elsewhere"))
    rules = {one["rule"] for one in json.loads(check("--json", tmp_path).output)["findings"]}
    assert rules == {"namespace", "retry"}
    done = check("--json", "--apps", "backend, other", "--namespace", "elsewhere", tmp_path)
    assert {one["rule"] for one in json.loads(done.output)["findings"]} == {"scope", "retry"}


@pytest.mark.parametrize("arguments", [[], ["/nowhere/at/all"], [GUIDE, "--apps"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[object]) -> None:
    assert check(*arguments).exit_code == 2


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text('apiVersion: dapr.io/v1alpha1\nkind: "Comp\\e[31monent"\n')
    done = check(tmp_path)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
