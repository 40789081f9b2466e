from pathlib import Path

import pytest

from todo.backend.auth.settings import AuthSettings, OidcSettings, read_auth
from todo.service.settings import SettingsError

OIDC = {"TODO_OIDC_ISSUER": "https://id.example.org/realm", "TODO_OIDC_AUDIENCE": "todo"}
CLIENT = {"TODO_OIDC_CLIENT_ID": "todo-web", "TODO_OIDC_CLIENT_SECRET": "hush"}


def test_tokens_alone_are_enough() -> None:
    assert read_auth("required", {}) == AuthSettings(None, 50, 100, 30)


def test_a_provider_has_an_address_and_knows_us_by_a_name() -> None:
    found = read_auth("required", OIDC | {"TODO_OIDC_CREATE_USERS": "true", "TODO_RATE": "7"})
    assert found == AuthSettings(OidcSettings("https://id.example.org/realm", "todo", create_users=True), 7, 100, 30)


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "http://localhost/realm", "http://[::1]:1"])
def test_a_provider_on_this_machine_may_do_without_tls(issuer: str) -> None:
    found = read_auth("required", OIDC | {"TODO_OIDC_ISSUER": issuer})
    assert found is not None
    assert found.oidc is not None


@pytest.mark.parametrize("proxies", ["", "127.0.0.1", "10.0.0.1, 10.1.0.0/16,fd00::/8", "/run/ingress.sock"])
def test_proxies_that_are_named_are_believed(proxies: str) -> None:
    assert read_auth("required", {"FORWARDED_ALLOW_IPS": proxies}) == AuthSettings(None, 50, 100, 30)


def test_people_sign_in_there_as_a_client_with_a_secret_or_without_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hush-hush\n")
    for environ, secret in (
        ({}, None),
        ({"TODO_OIDC_CLIENT_SECRET": "hush"}, "hush"),
        ({"TODO_OIDC_CLIENT_SECRET_FILE": str(file)}, "hush-hush"),
    ):
        found = read_auth("required", OIDC | {"TODO_OIDC_CLIENT_ID": "todo-web"} | environ)
        assert found is not None
        assert found.oidc is not None
        assert found.oidc.client is not None
        assert (found.oidc.client.id, found.oidc.client.current_secret()) == ("todo-web", secret)
        assert "hush" not in repr(found)


def test_under_local_there_is_nothing_to_set() -> None:
    assert read_auth("local", {}) is None


@pytest.mark.parametrize(
    ("mode", "environ", "named"),
    [
        ("required", OIDC | {"TODO_OIDC_ISSUER": "http://id.example.org"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_ISSUER": "http://127.0.0.1.example.org"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_ISSUER": "id.example.org"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_ISSUER": "https://"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_ISSUER": "https://[::1"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_ISSUER": "https://id.example.org?realm=1"}, "TODO_OIDC_ISSUER"),
        ("required", OIDC | {"TODO_OIDC_AUDIENCE": ""}, "TODO_OIDC_AUDIENCE"),
        ("required", OIDC | {"TODO_OIDC_CREATE_USERS": "yes"}, "TODO_OIDC_CREATE_USERS"),
        ("required", {"TODO_OIDC_AUDIENCE": "todo"}, "TODO_OIDC_AUDIENCE"),
        ("required", {"TODO_OIDC_CREATE_USERS": "true"}, "TODO_OIDC_CREATE_USERS"),
        ("required", {"TODO_OIDC_CLIENT_ID": "todo-web"}, "TODO_OIDC_CLIENT_ID"),
        ("required", OIDC | {"TODO_OIDC_CLIENT_SECRET": "hush"}, "TODO_OIDC_CLIENT_SECRET"),
        ("required", OIDC | CLIENT | {"TODO_OIDC_CLIENT_SECRET_FILE": "/etc/hostname"}, "both set"),
        ("required", OIDC | CLIENT | {"TODO_OIDC_CLIENT_SECRET": "", "TODO_OIDC_CLIENT_SECRET_FILE": "/no/s"}, "/no/s"),
        ("required", {"TODO_RATE": "0"}, "TODO_RATE"),
        ("required", {"TODO_RATE_BURST": "²"}, "TODO_RATE_BURST"),
        ("required", {"TODO_AUTH_FAILURES": "-1"}, "TODO_AUTH_FAILURES"),
        ("required", {"FORWARDED_ALLOW_IPS": "*"}, "FORWARDED_ALLOW_IPS"),
        ("required", {"FORWARDED_ALLOW_IPS": "10.0.0.1, *"}, "FORWARDED_ALLOW_IPS"),
        ("required", {"FORWARDED_ALLOW_IPS": "0.0.0.0/0"}, "FORWARDED_ALLOW_IPS"),
        ("required", {"FORWARDED_ALLOW_IPS": "10.0.0.1,::/0"}, "FORWARDED_ALLOW_IPS"),
        ("local", OIDC, "TODO_OIDC_ISSUER"),
        ("local", CLIENT, "TODO_OIDC_CLIENT_ID"),
        ("local", {"TODO_RATE": "5"}, "TODO_RATE"),
    ],
)
def test_what_cannot_be_meant_is_one_line_that_names_it(mode: str, environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as refused:
        read_auth(mode, environ)
    assert "\n" not in str(refused.value)
