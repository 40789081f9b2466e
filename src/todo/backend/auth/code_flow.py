"""Signing in at the identity provider: OpenID Connect's authorization code flow with PKCE, nothing kept meanwhile.

The browser holds a secret of its own in a cookie; state, nonce and verifier follow from it, so nobody can begin a
sign-in in one browser and end it in another.

Sources: OpenID Connect Core 1.0 (3.1), RFC 6749, RFC 7636 (PKCE), RFC 9207 (`iss`), RFC 9700 (what goes wrong).
"""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
from yarl import URL

from todo.backend.auth.errors import ProviderAwayError, UnauthenticatedError
from todo.backend.auth.oidc import SKEW, TIMEOUT, Claims, Endpoints, Provider, bounded
from todo.backend.auth.sessions import derived, new_secret
from todo.backend.auth.settings import Client
from todo.backend.auth.signing_in import Returned
from todo.domain.errors import RuleError

log = structlog.get_logger()

T = TypeVar("T", bound=msgspec.Struct)

LASTS: Final = dt.timedelta(minutes=10)  # as long as somebody may take to sign in there
LONGEST_PATH: Final = 1000
LONGEST_CODE: Final = 4000
_COOKIE: Final = re.compile(r"(?P<secret>[A-Za-z0-9_-]{43})\.(?P<began>[0-9]{1,12})\.(?P<path>[A-Za-z0-9_-]{1,1400})")
_SCOPE: Final = "openid email profile"
_SUCCESS: Final = 200
_ITS_FAULT: Final = 500
_NO_ANSWER: Final = (aiohttp.ClientError, OSError, TimeoutError)


class _Tokens(msgspec.Struct):
    id_token: str


class _Refusal(msgspec.Struct):
    error: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in that has begun. `next_path` is where to go when it has ended."""

    secret: str
    began: int  # seconds since 1970
    next_path: str

    @property
    def state(self) -> str:
        return derived(self.secret, f"state {self.began} {self.next_path}")  # so that neither can be exchanged

    @property
    def nonce(self) -> str:
        return derived(self.secret, "nonce")

    @property
    def verifier(self) -> str:
        return derived(self.secret, "verifier")

    @property
    def challenge(self) -> str:
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def cookie(self) -> str:
        return f"{self.secret}.{self.began}.{_base64(self.next_path.encode())}"


class CodeFlow:
    """Sends browsers to the provider, and hears from it who came back."""

    def __init__(self, http: aiohttp.ClientSession, provider: Provider, client: Client, redirect_uri: str) -> None:
        self._http = http
        self._provider = provider
        self._client = client
        self._redirect_uri = redirect_uri

    async def begin(self, next_path: str, now: dt.datetime) -> tuple[str, str]:
        """Where to send the browser, and the cookie that it is to hold. Raises `RuleError`, `ProviderAwayError`."""
        flow = Flow(new_secret(), int(now.timestamp()), checked_path(next_path))
        endpoints = await self._provider.endpoints()
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": self._redirect_uri,
            "scope": _SCOPE,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        return str(URL(endpoints.authorization).update_query(asked)), flow.cookie

    async def finish(self, cookie: str, answer: Returned, now: dt.datetime) -> tuple[Claims, str]:
        """Who signed in, and where to go. Raises `UnauthenticatedError` and `ProviderAwayError`."""
        flow = _begun(cookie, now)
        if flow is None or not hmac.compare_digest(flow.state.encode(), answer.state.encode()):
            raise _failed("it did not begin in this browser, or more than ten minutes ago: begin again")
        if answer.issuer not in {None, self._provider.issuer}:
            raise _failed("the answer is of another identity provider (iss)")
        if answer.error or not 0 < len(answer.code) <= LONGEST_CODE:
            raise _failed("the identity provider let nobody in: begin again")
        id_token = await self._exchange(await self._provider.endpoints(), answer.code, flow)
        return await self._provider.verify_id_token(id_token, self._client.id, flow.nonce), flow.next_path

    async def _exchange(self, endpoints: Endpoints, code: str, flow: Flow) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": flow.verifier,
        }
        status, body = await self._post(endpoints, form)
        if status == _SUCCESS:
            return _read(body, _Tokens).id_token
        if status >= _ITS_FAULT:
            raise _away(f"it answers {status}")
        refusal = _read(body, _Refusal).error[:40]
        log.warning("identity provider takes no code", status=status, error=refusal)
        raise _failed("the identity provider does not take the code: begin again")

    async def _post(self, endpoints: Endpoints, form: dict[str, str]) -> tuple[int, bytes]:
        headers = {"accept": "application/json"}
        secret = self._secret()
        if secret is not None and endpoints.takes_basic:  # RFC 6749, 2.3.1: each half is form-encoded first
            pair = f"{quote(self._client.id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client.id} | ({"client_secret": secret} if secret is not None else {})
        limit = aiohttp.ClientTimeout(TIMEOUT)
        try:
            async with self._http.post(
                endpoints.token, data=form, headers=headers, timeout=limit, allow_redirects=False
            ) as answer:
                return answer.status, await bounded(answer)
        except _NO_ANSWER as error:
            raise _away(type(error).__name__) from error

    def _secret(self) -> str | None:
        try:
            return self._client.current_secret()
        except (OSError, UnicodeDecodeError) as error:
            raise _away(f"the client's secret cannot be read: {type(error).__name__}") from error


def checked_path(text: str) -> str:
    """A path of this system to go to, with its query. What browsers would take for another place is refused.

    They take a backslash for a slash, and drop tabs and line ends. Raises `RuleError`.
    """
    is_local = text.startswith("/") and not text.startswith("//") and "\\" not in text
    if not is_local or not text.isascii() or not text.isprintable() or len(text) > LONGEST_PATH:
        fix = f"give a path of this system, such as /today, encoded, of at most {LONGEST_PATH} characters"
        raise RuleError("next", "it is no path of this system", fix)
    return text


def _begun(cookie: str, now: dt.datetime) -> Flow | None:
    """The sign-in that a cookie is of, unless it is none, or took too long."""
    parts = _COOKIE.fullmatch(cookie)
    if parts is None or not -SKEW <= now.timestamp() - int(parts["began"]) <= LASTS.total_seconds():
        return None
    path = parts["path"]
    try:
        next_path = base64.urlsafe_b64decode(path + "=" * (-len(path) % 4)).decode()
        return Flow(parts["secret"], int(parts["began"]), checked_path(next_path))
    except (binascii.Error, UnicodeDecodeError, RuleError):
        return None


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError):
        raise _away("what it answers cannot be understood") from None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _failed(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"the sign-in has failed: {reason}", given=False, kind="sign-in-failed")


def _away(reason: str) -> ProviderAwayError:
    log.warning("identity provider does not answer", reason=reason)
    return ProviderAwayError("the identity provider does not answer as it should")
