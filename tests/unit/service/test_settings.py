from pathlib import Path

import pytest

from todo.contracts import names
from todo.service.settings import SettingsError, database_url, read_settings

TOKENS = {"DAPR_API_TOKEN": "secret-d", "APP_API_TOKEN": "secret-a", "HOSTNAME": "pod-1"}


def test_defaults_are_the_table_of_names() -> None:
    settings = read_settings(names.BACKEND, TOKENS)
    assert (settings.host, settings.port, settings.sidecar) == ("127.0.0.1", 8000, "http://127.0.0.1:3500")
    assert settings.instance == "pod-1:8000"


def test_who_knows_its_callers_may_listen_anywhere() -> None:
    settings = read_settings(names.BACKEND, TOKENS | {"TODO_AUTH": "required", "TODO_HOST": "0.0.0.0"})
    assert (settings.auth, settings.host) == ("required", "0.0.0.0")


def test_what_is_tuned_is_taken_from_the_environment() -> None:
    given = {"TODO_DELIVERY_EVENTS": "40", "TODO_DELIVERY_WAIT_MS": "3", "TODO_RELAY_BATCH": "50"}
    settings = read_settings(names.BACKEND, TOKENS | given | {"TODO_DATABASE_POOL": "4"})
    assert (settings.delivery_events, settings.delivery_wait_ms, settings.relay_batch) == (40, 3, 50)
    assert settings.database_pool == 4


def test_tokens_are_not_shown() -> None:
    assert "secret" not in repr(read_settings(names.BACKEND, TOKENS))


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"DAPR_API_TOKEN": ""}, "DAPR_API_TOKEN"),
        ({"APP_API_TOKEN": ""}, "APP_API_TOKEN"),
        ({"APP_PORT": "http"}, "APP_PORT"),
        ({"APP_PORT": "0"}, "APP_PORT"),
        ({"APP_PORT": "65536"}, "APP_PORT"),
        ({"APP_PORT": "²"}, "APP_PORT"),
        ({"TODO_HOST": "0.0.0.0"}, "TODO_HOST"),
        ({"TODO_AUTH": "none"}, "TODO_AUTH"),
        ({"TODO_LOG_FORMAT": "xml"}, "TODO_LOG_FORMAT"),
        ({"TODO_LOG_LEVEL": "loud"}, "TODO_LOG_LEVEL"),
        ({"TODO_DELIVERY_EVENTS": "0"}, "TODO_DELIVERY_EVENTS"),
        ({"TODO_DELIVERY_WAIT_MS": "0"}, "TODO_DELIVERY_WAIT_MS"),
        ({"TODO_RELAY_BATCH": "1001"}, "TODO_RELAY_BATCH"),
        ({"TODO_DATABASE_POOL": "1"}, "TODO_DATABASE_POOL"),
        ({"TODO_DATABASE_POOL": "many"}, "TODO_DATABASE_POOL"),
    ],
)
def test_what_cannot_run_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_settings(names.BACKEND, TOKENS | environ)


@pytest.mark.parametrize("url", ["", "todo", "mysql://localhost/todo", "postgresql://localhost:port/todo"])
def test_a_database_url_that_is_none_is_named_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        database_url({"DATABASE_URL": url})


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@db:5432/todo", "postgres:///todo?host=/run/pg", "postgresql://a:1,[::1]:2/todo?x=1"]
)
def test_a_database_url_is_taken_as_it_is(url: str) -> None:
    assert database_url({"DATABASE_URL": url}) == url


def test_a_file_that_holds_the_database_url_is_named_and_read_later(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:p@db/todo\n")
    assert database_url({"DATABASE_URL_FILE": str(file)}) == file


def test_two_places_for_the_database_url_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:p@db/todo")
    with pytest.raises(SettingsError, match="DATABASE_URL and DATABASE_URL_FILE"):
        database_url({"DATABASE_URL_FILE": str(file), "DATABASE_URL": "postgresql://u:p@db/todo"})


@pytest.mark.parametrize("content", [None, "", "mysql://hush@db/todo", "\xff"])
def test_a_file_without_a_database_url_is_named_without_showing_it(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError, match="DATABASE_URL_FILE") as refused:
        database_url({"DATABASE_URL_FILE": str(file)})
    assert str(file) in str(refused.value)
    assert "hush" not in str(refused.value)
