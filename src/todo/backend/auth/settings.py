"""The settings of TODO_AUTH=required.

TODO_OIDC_ISSUER and TODO_OIDC_AUDIENCE let an identity provider in; TODO_OIDC_CREATE_USERS (false) makes a user of
whoever comes first with a verified address. TODO_OIDC_CLIENT_ID lets people sign in there with a browser; if the client
has a secret, it is TODO_OIDC_CLIENT_SECRET, or in the file that TODO_OIDC_CLIENT_SECRET_FILE names. TODO_RATE (50) is
what a caller may ask for a second, TODO_RATE_BURST (100) at once, TODO_AUTH_FAILURES (30) how often an address may fail
in a minute; each for each process. FORWARDED_ALLOW_IPS, which the server reads too, names the proxies that are believed
to say where a call comes from.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from todo.service.settings import LOOPBACK, SettingsError

_SECRET: Final = ("TODO_OIDC_CLIENT_SECRET", "TODO_OIDC_CLIENT_SECRET_FILE")
_CLIENT: Final = ("TODO_OIDC_CLIENT_ID", *_SECRET)
_OIDC: Final = ("TODO_OIDC_ISSUER", "TODO_OIDC_AUDIENCE", "TODO_OIDC_CREATE_USERS", *_CLIENT)
_LIMITS: Final = ("TODO_RATE", "TODO_RATE_BURST", "TODO_AUTH_FAILURES")


@dataclass(frozen=True, slots=True)
class Client:
    """What this system is to the provider when people sign in. `secret` is one, a file with one, or none."""

    id: str
    secret: str | Path | None = field(default=None, repr=False)

    def current_secret(self) -> str | None:
        """The secret, read anew if it is in a file: it may have been exchanged. Raises `OSError`."""
        return self.secret.read_text().strip() if isinstance(self.secret, Path) else self.secret


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Whose tokens are believed, if they are meant for `audience`. Without `client` nobody signs in there."""

    issuer: str
    audience: str
    create_users: bool
    client: Client | None = None


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How callers are told apart; `rate` and `burst` are requests, `failures` those of one address in a minute."""

    oidc: OidcSettings | None
    rate: float
    burst: float
    failures: float


def read_auth(mode: str, environ: Mapping[str, str] = os.environ) -> AuthSettings | None:
    """What TODO_AUTH=required needs, None under `local`. Raises `SettingsError`."""
    if mode == "local":
        for name in (*_OIDC, *_LIMITS):
            if environ.get(name):
                raise SettingsError(f"{name} is set, but TODO_AUTH=local believes everybody: set TODO_AUTH=required")
        return None
    _check_proxies(environ.get("FORWARDED_ALLOW_IPS", ""))
    return AuthSettings(
        _oidc(environ),
        _positive(environ, "TODO_RATE", 50),
        _positive(environ, "TODO_RATE_BURST", 100),
        _positive(environ, "TODO_AUTH_FAILURES", 30),
    )


def _check_proxies(text: str) -> None:
    for one in text.split(","):
        if _is_everybody(one.strip()):
            raise SettingsError(
                f"FORWARDED_ALLOW_IPS is {text!r}, which lets every caller choose its address: name the ingress's"
                " addresses or network, such as 10.1.0.0/16"
            )


def _is_everybody(proxies: str) -> bool:
    if proxies == "*":
        return True
    try:
        return "/" in proxies and ipaddress.ip_network(proxies).prefixlen == 0
    except ValueError:
        return False


def is_secure(url: str) -> bool:
    """Whether what is read there comes from whom the address names."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or _is_local_http(parts.scheme, parts.hostname))
    except ValueError:
        return False


def _is_local_http(scheme: str, host: str | None) -> bool:
    return scheme == "http" and host in LOOPBACK


def _oidc(environ: Mapping[str, str]) -> OidcSettings | None:
    issuer, audience = environ.get("TODO_OIDC_ISSUER", ""), environ.get("TODO_OIDC_AUDIENCE", "")
    create = _truth(environ, "TODO_OIDC_CREATE_USERS")
    if not issuer:
        for name in _OIDC[1:]:
            if environ.get(name):
                raise SettingsError(f"{name} is set, but not TODO_OIDC_ISSUER: set both or neither")
        return None
    if not is_secure(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
        raise SettingsError(
            f"TODO_OIDC_ISSUER is {issuer!r}: give the issuer's https address, as its tokens have it in `iss`"
            " (http only on loopback)"
        )
    if not audience:
        raise SettingsError("TODO_OIDC_AUDIENCE is not set: name the `aud` of tokens that are meant for this API")
    return OidcSettings(issuer, audience, create, _client(environ))


def _client(environ: Mapping[str, str]) -> Client | None:
    client_id, secret, file = (environ.get(name, "") for name in _CLIENT)
    if not client_id:
        for name in _SECRET:
            if environ.get(name):
                raise SettingsError(f"{name} is set, but not TODO_OIDC_CLIENT_ID: say whose secret it is")
        return None
    if secret and file:
        raise SettingsError("TODO_OIDC_CLIENT_SECRET and TODO_OIDC_CLIENT_SECRET_FILE are both set: unset one of them")
    client = Client(client_id, Path(file) if file else secret or None)
    try:
        client.current_secret()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"TODO_OIDC_CLIENT_SECRET_FILE: {file} cannot be read: mount or write it first") from error
    return client


def _truth(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "") or "false"
    if value not in {"true", "false"}:
        raise SettingsError(f"{name} is {value!r}: use true or false")
    return value == "true"


def _positive(environ: Mapping[str, str], name: str, default: int) -> float:
    text = environ.get(name, "") or str(default)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 1_000_000):  # noqa: PLR2004 - generous
        raise SettingsError(f"{name} is {text!r}: give a whole number from 1 to 1000000")
    return float(text)
