from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from todo.cli import show
from todo.cli.main import app

RUNNER = CliRunner()


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - Typer's own
    for name, one in group.commands.items():
        here = (*path, name)
        if hasattr(one, "commands"):
            yield from _commands(one, here)
        else:
            yield here, one


COMMANDS = dict(_commands(typer.main.get_command(app)))
LOCAL = {("up",)}  # nothing that it prints is an answer


def test_every_command_promised_is_there() -> None:
    names = {" ".join(path) for path in COMMANDS}
    assert names >= {
        *("up", "demo", "add", "list", "show", "edit", "done", "reopen", "snooze", "delete", "why", "mailbox"),
        *("quick", "sentence"),
        *("pipeline", "verify", "user add", "user list", "components check", "swap"),
        *(f"topics {verb}" for verb in ("list", "create", "check", "trim")),
        *(f"views {verb}" for verb in ("list", "add", "rename", "remove", "show")),
        *(f"dead-letters {verb}" for verb in ("list", "show", "replay", "discard")),
    }


def test_a_namespace_given_to_doctor_means_a_cluster_and_one_in_the_environment_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    look = ["doctor", "--data", str(tmp_path)]
    given = RUNNER.invoke(app, [*look, "-n", "here"])
    assert (given.exit_code, "no cluster" in given.stderr) == (2, True)
    known = RUNNER.invoke(app, look, env={"TODO_NAMESPACE": "here"})
    assert (known.exit_code, "no system runs on" in known.stderr) == (2, True)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    shown = RUNNER.invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"Example: todo {' '.join(path)}" in " ".join(shown.output.split())


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - LOCAL), ids=" ".join)
def test_every_answer_can_be_had_as_json(path: tuple[str, ...]) -> None:
    assert "as_json" in {parameter.name for parameter in COMMANDS[path].params}


def test_a_wrong_command_line_ends_with_2() -> None:
    for arguments in (
        ["sing"],
        ["add"],
        ["add", "x", "--due", "soon"],
        ["list", "--limit", "0"],
        ["add", "x", "--due", "in 2 months"],
        ["add", "x", "--due", "in 999999w"],
        ["add", "x", "--remind", "2 years"],
        ["add", "x", "--each"],
        ["add", "x", "--from-completion"],
        ["edit", "3fa85f64", "--title", "x", "--each"],
        ["edit", "3fa85f64", "--repeat", "none", "--from-completion"],
        ["up", "--port", "x"],
        ["up", "--port", "backend=70000"],
        ["up", "--port", f"backend={'9' * 5000}"],
        ["up", "--replicas", "backend=101"],
        ["up", "--engine", "dpar"],
        ["up", "--broker", "kafka"],
        ["up", "--standby", "redis"],
        ["up", "--engine", "dapr", "--chaos", "7"],
        ["swap"],
        ["swap", "--to", "redis", "--timeout", "0"],
        ["topics", "list", "--component", "pubsub.yaml"],
    ):
        assert RUNNER.invoke(app, arguments).exit_code == 2, arguments


def test_the_version_is_told() -> None:
    assert RUNNER.invoke(app, ["--version"]).output.startswith("todo ")


def test_nothing_a_terminal_would_obey_is_shown() -> None:
    assert show.plain("red \x1b[31malert\x07\r\u202etxt\nnext") == "red \ufffd[31malert\ufffd\ufffd\ufffdtxt\nnext"
