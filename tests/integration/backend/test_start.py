"""`python -m todo.backend`: what is wrong with its settings is one line, before anything is served."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

SETTINGS = {
    "DAPR_API_TOKEN": "d",
    "APP_API_TOKEN": "a",
    "APP_PORT": "1",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
}


def start(*arguments: str, **environ: str) -> tuple[int, str]:
    """Its exit code and what it says on stderr."""
    ran = subprocess.run(
        [sys.executable, "-m", "todo.backend", *arguments],
        env=_inherited() | SETTINGS | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stderr


def _inherited() -> dict[str, str]:
    """Without the settings of services that other tests of this process have running."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "todo"),
        ("TODO_ZONE", "Berlin"),
        ("TODO_LOG_LEVEL", "loud"),
        ("TODO_LOG_FORMAT", "xml"),
        ("TODO_AUTH", "none"),
        ("TODO_HOST", "0.0.0.0"),
        ("TODO_OIDC_ISSUER", "https://id.example.org"),
        ("TODO_RATE", "5"),
    ],
)
def test_a_setting_that_is_wrong_is_named_in_one_line(name: str, value: str) -> None:
    code, said = start(**{name: value})
    assert code == 1
    assert said.startswith("error: ")
    assert name in said
    assert said.count("\n") == 1


def test_a_provider_that_could_be_anybody_is_refused_in_one_line() -> None:
    code, said = start(TODO_AUTH="required", TODO_OIDC_ISSUER="http://id.example.org", TODO_OIDC_AUDIENCE="todo")
    assert (code, said.count("\n")) == (1, 1)
    assert "TODO_OIDC_ISSUER" in said


def test_proxies_that_could_be_anybody_are_refused_in_one_line() -> None:
    code, said = start(TODO_AUTH="required", FORWARDED_ALLOW_IPS="*")
    assert (code, said.count("\n")) == (1, 1)
    assert "FORWARDED_ALLOW_IPS" in said


def test_a_migration_without_its_database_url_says_so() -> None:
    code, said = start("migrate", DATABASE_URL="")
    assert (code, said.count("\n")) == (1, 1)


def test_a_command_that_is_none_is_refused() -> None:
    assert start("migrat") == (2, "usage: python -m todo.backend [migrate]\n")


def test_a_process_whose_database_is_away_lives_and_ends_when_it_is_told_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = _inherited() | SETTINGS | {"APP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "todo.backend"], env=environ, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _lives(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    finally:
        process.kill()


def _lives(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False
