"""Settings come from the environment and nowhere else; what is missing or wrong is named before anything starts.

Every service reads DAPR_API_TOKEN, APP_API_TOKEN, APP_PORT, DAPR_HTTP_PORT or DAPR_HTTP_ENDPOINT, TODO_HOST, TODO_AUTH
(local | required), TODO_LOG_FORMAT (json | pretty) and TODO_LOG_LEVEL; for tuning TODO_DELIVERY_EVENTS and
TODO_DELIVERY_WAIT_MS (what a bulk delivery holds, and waits for), and with a database TODO_RELAY_BATCH and
TODO_DATABASE_POOL. docs/guide/performance.md tells what each does.
"""

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from todo.contracts.names import App
from todo.dapr.client import sidecar_url

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^/?#:,@\[\]]*)(?::[0-9]+)?"
_POSTGRES_URL = re.compile(rf"postgres(?:ql)?://(?:[^/?#]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?")
AUTH_MODES = ("local", "required")
LOG_FORMATS = ("json", "pretty")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class SettingsError(Exception):
    """The environment does not describe a service that can run; the message names the variable and the fix."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every service needs. Tokens and URLs with passwords are kept out of `repr`."""

    app: App
    host: str
    port: int
    sidecar: str
    instance: str  # this replica, the same after a restart in place
    dapr_token: str = field(repr=False)
    app_token: str = field(repr=False)
    auth: str = "local"
    log_format: str = "json"
    log_level: str = "info"
    delivery_events: int = 100
    delivery_wait_ms: int = 10
    relay_batch: int | None = None  # None: as the service has it
    database_pool: int | None = None


def read_settings(app: App, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of one service. Raises `SettingsError`."""
    port = _port(environ, "APP_PORT", app.port)
    auth = _choice(environ, "TODO_AUTH", "local", AUTH_MODES)
    host = environ.get("TODO_HOST", "127.0.0.1")
    if auth == "local" and host not in LOOPBACK:
        raise SettingsError(
            f"TODO_HOST is {host!r}, but TODO_AUTH=local believes every caller and therefore binds to loopback only:"
            " set TODO_HOST=127.0.0.1, or TODO_AUTH=required"
        )
    log_format = _choice(environ, "TODO_LOG_FORMAT", "json", LOG_FORMATS)
    log_level = _choice(environ, "TODO_LOG_LEVEL", "info", LOG_LEVELS)
    return Settings(
        app=app,
        host=host,
        port=port,
        sidecar=sidecar_url(environ),
        instance=f"{environ.get('HOSTNAME') or socket.gethostname()}:{port}",
        dapr_token=required(environ, "DAPR_API_TOKEN"),
        app_token=required(environ, "APP_API_TOKEN"),
        auth=auth,
        log_format=log_format,
        log_level=log_level,
        delivery_events=_number(environ, "TODO_DELIVERY_EVENTS", 1, 1000) or 100,
        delivery_wait_ms=_number(environ, "TODO_DELIVERY_WAIT_MS", 1, 1000) or 10,
        relay_batch=_number(environ, "TODO_RELAY_BATCH", 1, 1000),
        database_pool=_number(environ, "TODO_DATABASE_POOL", 2, 100),
    )


def required(environ: Mapping[str, str], name: str) -> str:
    """A variable that must be set. Raises `SettingsError`."""
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set; `todo up` sets it, a deployment takes it from its secrets")
    return value


def database_url(environ: Mapping[str, str] = os.environ) -> str | Path:
    """`DATABASE_URL`, or the file that `DATABASE_URL_FILE` names and that is read for every new connection.

    Looked at before anything connects. Raises `SettingsError`, which does not show the DSN.
    """
    file = environ.get("DATABASE_URL_FILE")
    if not file:
        _check_dsn(required(environ, "DATABASE_URL"), "DATABASE_URL is")
        return environ["DATABASE_URL"]
    if environ.get("DATABASE_URL"):
        raise SettingsError("DATABASE_URL and DATABASE_URL_FILE are both set: unset one of them")
    place = Path(file)
    try:
        _check_dsn(place.read_text().strip(), f"what {place} holds (DATABASE_URL_FILE) is")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"DATABASE_URL_FILE: {place} cannot be read ({error}): mount or write it first") from error
    return place


def _check_dsn(dsn: str, what: str) -> None:
    if _POSTGRES_URL.fullmatch(dsn) is None:
        raise SettingsError(f"{what} not of the form postgresql://user:password@host:5432/database")


def _choice(environ: Mapping[str, str], name: str, default: str, choices: Sequence[str]) -> str:
    value = environ.get(name, default).lower()
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}: use one of {', '.join(choices)}")
    return value


def _number(environ: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise SettingsError(f"{name} is {text!r}: use a number from {least} to {most}, or unset it")
    return int(text)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004 - ports
        raise SettingsError(f"{name} is {text!r}: a port is a number from 1 to 65535")
    return int(text)
