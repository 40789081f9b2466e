"""What a browser holds once somebody has signed in: 256 random bits in a cookie, of which SHA-256 is stored.

Cookies: RFC 6265bis (`__Host-`: no other host and no page without TLS can have set it).
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from todo.service.settings import LOOPBACK

_BYTES: Final = 32
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_AGENT: Final = 160


def new_secret() -> str:
    return secrets.token_urlsafe(_BYTES)


def is_secret(text: str) -> bool:
    """Whether it has the form of one."""
    return _FORM.fullmatch(text) is not None


def digest(secret: str) -> bytes:
    """What is stored."""
    return hashlib.sha256(secret.encode()).digest()


def derived(secret: str, purpose: str) -> str:
    """What only whoever has the secret can tell, and what does not tell the secret."""
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), purpose.encode(), "sha256")).decode().rstrip("=")


def csrf_token(secret: str) -> str:
    """What pages of this origin can ask for, and others cannot."""
    return derived(secret, "csrf")


def short(user_agent: str) -> str:
    """Enough of what a browser calls itself to tell one from another."""
    return "".join(one for one in user_agent if one.isprintable()).strip()[:_LONGEST_AGENT]


@dataclass(frozen=True, slots=True)
class Site:
    """Where browsers find this system (TODO_PUBLIC_URL): what cookies and origins follow from."""

    url: str

    @property
    def is_secure(self) -> bool:
        """Whether cookies go over TLS alone: everywhere but on a machine's own loopback."""
        scheme, host, _ = _parts(self.url)
        return scheme != "http" or host not in LOOPBACK

    @property
    def session_cookie(self) -> str:
        return self._cookie("todo-session")

    @property
    def sign_in_cookie(self) -> str:
        return self._cookie("todo-sign-in")

    def is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is ours: at the public address, or where the request went (`Host`)."""
        _, _, place = _parts(origin)
        return bool(place) and (_parts(origin) == _parts(self.url) or place == host.lower())

    def _cookie(self, name: str) -> str:
        return f"__Host-{name}" if self.is_secure else name


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host, and host with port; nothing of what is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.netloc.lower()
    except ValueError:
        return "", "", ""
