"""Where the system is: what was said, else the system that runs on the data folder, else the table's addresses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from todo.contracts import names
from todo.operations import datafolder
from todo.operations.datafolder import RunningSystem

LOOPBACK: Final = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """The addresses of one system. `sidecar` and `token` are for those who ask the services behind the API.

    `api_token` is the caller's own, where TODO_AUTH=required wants one.
    """

    api: str
    sidecar: str
    token: str | None
    mailbox: str | None  # None: a real mail server, or not known
    api_token: str | None = field(default=None, repr=False)


def find(api: str | None = None, data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Place:
    """Return where to ask; asks nobody.

    `api` or `TODO_API` name the API of any system. Without them it is the one that runs on `data` (`TODO_DATA`,
    ./data), else the default port. `TODO_MAILBOX` (empty: there is none) and `DAPR_API_TOKEN` win over what the data
    folder says; `DAPR_HTTP_ENDPOINT` or `DAPR_HTTP_PORT` name the sidecar where there is no data folder. `TODO_TOKEN`
    is the caller's token for the API.
    """
    folder = data or datafolder.default_path()
    running = datafolder.running_system(folder)
    named = (api or environ.get("TODO_API") or "").rstrip("/")
    if running is not None and named in {"", running.addresses.get(names.BACKEND.app_id)}:
        return _running(running, folder, environ)
    return _named(named, environ)


def _running(running: RunningSystem, folder: Path, environ: Mapping[str, str]) -> Place:
    addresses = running.addresses
    return Place(
        addresses[names.BACKEND.app_id],
        running.sidecar,
        environ.get("DAPR_API_TOKEN") or _token(folder),
        environ.get("TODO_MAILBOX", addresses.get("mailbox", "")) or None,
        environ.get("TODO_TOKEN", "").strip() or None,
    )


def _named(api: str, environ: Mapping[str, str]) -> Place:
    port = environ.get("DAPR_HTTP_PORT", str(names.BACKEND.dapr_port))
    default_mailbox = "" if api else f"{LOOPBACK}:{names.MAILBOX_HTTP_PORT}"
    return Place(
        api or f"{LOOPBACK}:{names.BACKEND.port}",
        environ.get("DAPR_HTTP_ENDPOINT") or f"{LOOPBACK}:{port}",
        environ.get("DAPR_API_TOKEN"),
        environ.get("TODO_MAILBOX", default_mailbox) or None,
        environ.get("TODO_TOKEN", "").strip() or None,
    )


def _token(folder: Path) -> str | None:
    try:
        return (folder / "tokens" / datafolder.API_TOKEN).read_text()
    except OSError:
        return None
