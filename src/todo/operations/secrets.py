"""The Secrets that an environment on Kubernetes needs: what can be made up is made up, the rest has to be given."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from todo.contracts import names
from todo.email_delivery.settings import read_mail_settings
from todo.operations import logins
from todo.operations.engine.environments import (
    KAFKA_SECRETS,
    KAFKA_SECRETS_MSK,
    POSTGRES_OPERATOR,
    POSTGRES_SECRETS,
    REDIS_SECRETS,
)
from todo.service.settings import SettingsError, database_url

DATABASE: Final = "todo"


class SecretsError(Exception):
    """The Secrets cannot be made of what was given; each line names a key, the problem and the fix."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a Secret; `what` says what it is. Without `make`, which is told the namespace, it has to be given."""

    secret: str
    name: str
    what: str
    make: Callable[[str], str] | None = None


def _random(_: str) -> str:
    return secrets.token_urlsafe(32)


def _fixed(value: str) -> Callable[[str], str]:
    return lambda _: value


def _database(namespace: str) -> str:
    return logins.fresh().dsn(f"postgresql://postgres.{namespace}.svc.cluster.local:5432/{DATABASE}")


def _mailbox(namespace: str) -> str:
    return f"smtp://mailbox.{namespace}.svc.cluster.local:{names.MAILBOX_SMTP_PORT}"


_TOKENS: Final = (
    Key("dapr-api-token", "token", "what apps show their sidecars", _random),
    Key("app-api-token", "token", "what sidecars show their apps", _random),
)
_HERE: Final = (
    *_TOKENS,
    Key(POSTGRES_SECRETS, "POSTGRES_CONNECTION_STRING", "how services log in to PostgreSQL", _database),
    Key(POSTGRES_OPERATOR, "POSTGRES_PASSWORD", "of postgres, the operators' own role", _random),
    Key("smtp-secrets", "SMTP_URL", "the mail server", _mailbox),
    Key("smtp-secrets", "TODO_MAIL_FROM", "whom mails come from", _fixed("To-do <todo@localhost.test>")),
    Key("smtp-secrets", "TODO_EMAIL", "the address of user 1", _fixed("me@localhost.test")),
)
_ELSEWHERE: Final = (
    *_TOKENS,
    Key(
        POSTGRES_SECRETS, "POSTGRES_CONNECTION_STRING", "postgresql://user:password@host:5432/database?sslmode=require"
    ),
    Key("smtp-secrets", "SMTP_URL", "smtp+starttls://user:password@host:587, or smtps://"),
    Key("smtp-secrets", "TODO_MAIL_FROM", "whom mails come from, as To-do <todo@example.org>"),
    Key("smtp-secrets", "TODO_EMAIL", "the address of user 1"),
)


def _kafka(secret: str) -> tuple[Key, ...]:
    return (
        Key(secret, "KAFKA_BOOTSTRAP_SERVERS", "the broker's addresses, as host:port,host:port"),
        Key(secret, "KAFKA_SASL_USERNAME", "the user of the broker"),
        Key(secret, "KAFKA_SASL_PASSWORD", "that user's password"),
        Key(
            secret, "KAFKA_CA_CERT", "PEM of a private authority; none: the authorities that systems trust", _fixed("")
        ),
    )


KEYS: Final[Mapping[str, tuple[Key, ...]]] = {
    "redis": (*_HERE, Key(REDIS_SECRETS, "REDIS_PASSWORD", "of the broker", _random)),
    "local-kafka": _HERE,
    "redpanda": (*_ELSEWHERE, *_kafka(KAFKA_SECRETS)),
    "msk": (*_ELSEWHERE, *_kafka(KAFKA_SECRETS_MSK)),
}


def read_values(lines: Iterable[str]) -> dict[str, str]:
    """Read lines of KEY=value; empty ones and comments are passed by. Raises `SecretsError`, which shows no value."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise SecretsError(f"line {number} of the values is not of the form KEY=value: write one key a line")
        if key in found:
            raise SecretsError(f"{key} is given twice: leave one of the lines")
        if not value:
            raise SecretsError(f"{key} is given without a value: add it, or leave the line out")
        found[key] = value
    return found


def generate(overlay: str, given: Mapping[str, str], namespace: str = names.NAMESPACE) -> list[dict[str, Any]]:
    """The manifests of an overlay's Secrets, with fresh values for what is not given. Raises `SecretsError`."""
    keys = KEYS[overlay]
    _check(overlay, keys, given)
    content: dict[str, dict[str, str]] = {}
    for key in keys:
        value = given[key.name] if key.name in given else key.make(namespace) if key.make else ""
        content.setdefault(key.secret, {})[key.name] = value
    return [_manifest(name, namespace, data) for name, data in sorted(content.items())]


def _check(overlay: str, keys: Iterable[Key], given: Mapping[str, str]) -> None:
    known = {key.name for key in keys if key.name != "token"}
    faults = [
        f"{name}: overlay {overlay} has no such key: it knows {', '.join(sorted(known))}"
        for name in given
        if name not in known
    ]
    faults += [
        f"{key.name} ({key.secret}) is missing, and cannot be made up: give it with --values, a line {key.name}=...; "
        f"it is {key.what}"
        for key in keys
        if key.make is None and key.name not in given
    ]
    faults += _misread(given)
    if faults:
        raise SecretsError("\n".join(faults))


def _misread(given: Mapping[str, str]) -> list[str]:
    """What the services would refuse at their start."""
    faults = []
    if dsn := given.get("POSTGRES_CONNECTION_STRING"):
        try:
            database_url({"DATABASE_URL": dsn})
        except SettingsError:
            faults.append("POSTGRES_CONNECTION_STRING is not of the form postgresql://user:password@host:5432/database")
    mail = {"SMTP_URL": "smtp://localhost", "TODO_MAIL_FROM": "todo@localhost.test"}
    for name in mail.keys() & given.keys():
        try:
            read_mail_settings({**mail, name: given[name]})
        except SettingsError as error:
            faults.append(str(error))
    return sorted(faults)


def _manifest(name: str, namespace: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "stringData": dict(data),
    }
