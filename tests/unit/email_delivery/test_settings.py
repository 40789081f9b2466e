import pytest

from todo.email_delivery.settings import parse_smtp_url, read_mail_settings
from todo.email_delivery.smtp import Security
from todo.service.settings import SettingsError

GOOD = {"SMTP_URL": "smtp://mail.example.org", "TODO_MAIL_FROM": "To-do <todo@example.org>"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", ("mail.example.org", 25, Security.NONE, "", "")),
        ("smtp://127.0.0.1:1025/", ("127.0.0.1", 1025, Security.NONE, "", "")),
        ("smtp://ann:secret@localhost", ("localhost", 25, Security.NONE, "ann", "secret")),
        ("smtps://ann:secret@mail.example.org", ("mail.example.org", 465, Security.TLS, "ann", "secret")),
        ("smtp+starttls://a%40b.org:p%3A%2F@mail:2525", ("mail", 2525, Security.STARTTLS, "a@b.org", "p:/")),
        ("smtps://[::1]:465", ("::1", 465, Security.TLS, "", "")),
    ],
)
def test_an_url_says_where_and_how(url: str, expected: tuple[object, ...]) -> None:
    """Scheme, ports by default, and a percent-encoded login."""
    server = parse_smtp_url(url)
    assert (server.host, server.port, server.security, server.username, server.password) == expected


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.org:25",
        "http://mail.example.org",
        "smtp://",
        "smtp://mail.example.org:99999",
        "smtp://mail.example.org/path",
        "smtps://mail.example.org?verify=no",
        "smtps://ann@mail.example.org",
        "smtps://ann:se%0Acret@mail.example.org",
        "smtp://ann:secret@mail.example.org",
    ],
)
def test_a_bad_url_names_the_variable_and_keeps_its_secret(url: str) -> None:
    """What cannot be read, or would send a password in the clear, is refused without repeating it."""
    with pytest.raises(SettingsError, match="SMTP_URL") as refused:
        parse_smtp_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "variable"),
    [
        ({"SMTP_URL": ""}, "SMTP_URL"),
        ({"TODO_MAIL_FROM": ""}, "TODO_MAIL_FROM"),
        ({"TODO_MAIL_FROM": "nobody"}, "TODO_MAIL_FROM"),
        ({"TODO_MAIL_FROM": "a@b\r\nBcc: c@d"}, "TODO_MAIL_FROM"),
        ({"TODO_MAIL_FROM": "a@b.org, c@d.org"}, "TODO_MAIL_FROM"),
        ({"TODO_SMTP_CONNECTIONS": "0"}, "TODO_SMTP_CONNECTIONS"),
        ({"TODO_SMTP_CONNECTIONS": "many"}, "TODO_SMTP_CONNECTIONS"),
    ],
)
def test_what_is_missing_or_wrong_is_named(change: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_mail_settings({**GOOD, **change})


def test_good_settings_are_read() -> None:
    """The sender keeps its name; ten connections unless said otherwise."""
    settings = read_mail_settings(GOOD)
    assert (settings.sender.name, settings.sender.address, settings.connections) == ("To-do", "todo@example.org", 10)
    assert read_mail_settings({**GOOD, "TODO_SMTP_CONNECTIONS": "3"}).connections == 3
