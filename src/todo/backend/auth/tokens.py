"""API tokens: 256 random bits behind a prefix that scanners for leaked secrets can look for.

What is stored is SHA-256 of the token. A slow hash would protect a password, which can be guessed; nobody guesses 256
bits, and a slow hash of every request's token would be a way to stop the service.
"""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "todo_"
_BYTES: Final = 32
_FORM: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_SHOWN: Final = len(PREFIX) + 4


def new_token() -> str:
    return PREFIX + secrets.token_urlsafe(_BYTES)


def is_token(text: str) -> bool:
    """Whether it has the form of one."""
    return _FORM.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """What is stored."""
    return hashlib.sha256(token.encode()).digest()


def beginning(token: str) -> str:
    """Enough of a token to recognise it in a list, too little to guess it."""
    return token[:_SHOWN]
