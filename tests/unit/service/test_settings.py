import pytest

from todo.contracts import names
from todo.service.settings import SettingsError, read_settings

TOKENS = {"DAPR_API_TOKEN": "secret-d", "APP_API_TOKEN": "secret-a", "HOSTNAME": "pod-1"}


def test_defaults_are_the_table_of_names() -> None:
    settings = read_settings(names.BACKEND, TOKENS)
    assert (settings.host, settings.port, settings.sidecar) == ("127.0.0.1", 8000, "http://127.0.0.1:3500")
    assert settings.instance == "pod-1:8000"


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
    ],
)
def test_what_cannot_run_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_settings(names.BACKEND, TOKENS | environ)
