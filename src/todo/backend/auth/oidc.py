"""Tokens of an OpenID Connect provider: JSON Web Tokens, judged by the keys that it publishes.

Sources: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 7519 (tokens), RFC 8725 (what goes wrong with them).
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import jwt
import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from todo.backend.auth.errors import ProviderAwayError, UnauthenticatedError
from todo.backend.auth.settings import OidcSettings, is_secure

log = structlog.get_logger()

SKEW: Final = 60  # seconds that the provider's clock and ours may differ
PAUSE: Final = 2.0  # seconds between two questions to the provider, whatever is asked of us
FRESH: Final = 300.0  # seconds after which keys are asked for anew, so that one that was withdrawn goes
AWAY_PAUSE: Final = 10.0  # seconds to the next question, when there was no answer and nobody waits for one
TIMEOUT: Final = 5.0
MOST_BYTES: Final = 1024 * 1024
LONGEST: Final = 8192  # characters of a token
SMALLEST_RSA: Final = 2048  # bits

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_ALGORITHMS: Final = frozenset({*_RSA, *_CURVES.values()})
_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")
_TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT"})  # others are for other ends, logout for one
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]

# What a token that is none can make the library raise, beside its own errors.
_NONSENSE: Final = (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError, RecursionError)
_NO_ANSWER: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.DecodeError, RecursionError)


class Claims(msgspec.Struct, frozen=True):
    """What is known of somebody whom the provider vouches for. Only a verified address is one."""

    sub: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    zoneinfo: str | None = None


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where people sign in, and where to ask who did; `takes_basic`: how a client says its secret there."""

    authorization: str
    token: str
    takes_basic: bool


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the algorithms it may be used with: a token does not choose."""

    public: Any
    algorithms: tuple[str, ...]


class Provider:
    """The provider's keys, as it last published them.

    `run` is the only one who asks for them, so that any number of tokens leads to one question each `PAUSE` at most.
    While the provider is away, keys that are known go on.
    """

    def __init__(self, http: aiohttp.ClientSession, settings: OidcSettings) -> None:
        self._http = http
        self._settings = settings
        self._keys: dict[str, Key] = {}
        self._endpoints: Endpoints | None = None
        self._away = False
        self._wanted = asyncio.Event()
        self._answered = asyncio.Event()  # replaced by the next one with every answer

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            self._wanted.clear()
            await self._load()
            answered, self._answered = self._answered, asyncio.Event()
            answered.set()
            await asyncio.sleep(PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AWAY_PAUSE if self._away else FRESH):
                    await self._wanted.wait()

    async def verify(self, token: str) -> Claims:
        """Who a token speaks of. Raises `UnauthenticatedError`, and `ProviderAwayError` when its key is not known."""
        return msgspec.convert(_known(await self._claims(token, self._settings.audience)), Claims)

    async def verify_id_token(self, token: str, client_id: str, nonce: str) -> Claims:
        """Who signed in for this client just now. Raises as `verify` does."""
        claims = await self._claims(token, client_id)
        if claims.get("nonce") != nonce:
            raise UnauthenticatedError("the token is of another sign-in (nonce)")
        if claims.get("azp", client_id) != client_id or (len(_several(claims["aud"])) > 1 and "azp" not in claims):
            raise UnauthenticatedError("the token was given to another client (azp)")
        return msgspec.convert(_known(claims), Claims)

    async def endpoints(self) -> Endpoints:
        """Raises `ProviderAwayError`."""
        if self._endpoints is None:
            self._wanted.set()
            if not self._away:
                await self._next_answer()
        if self._endpoints is None:
            raise ProviderAwayError("the identity provider does not say over https where people sign in")
        return self._endpoints

    async def _claims(self, token: str, audience: str) -> dict[str, Any]:
        key = await self._key(self._key_id(token))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=list(key.algorithms),
                audience=audience,
                issuer=self._settings.issuer,
                leeway=SKEW,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired") from None
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
            raise UnauthenticatedError("the token is not valid yet") from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError("the token is meant for somebody else (aud)") from None
        except jwt.MissingRequiredClaimError as error:
            raise UnauthenticatedError(f"the token does not say {error.claim}") from None
        except _NONSENSE:
            raise UnauthenticatedError("the token does not hold") from None
        return claims

    def has_key_of(self, token: str) -> bool:
        """Whether the key is known that a token says it is signed with."""
        try:
            return self._key_id(token) in self._keys
        except UnauthenticatedError:
            return False

    def _key_id(self, token: str) -> str:
        """The key that a token says it is signed with, once it looks like one of ours: nothing of it is proven yet."""
        if len(token) > LONGEST:
            raise UnauthenticatedError("that is no token")
        try:
            said = jwt.decode_complete(token, options={"verify_signature": False})
        except _NONSENSE:
            raise UnauthenticatedError("that is no token") from None
        header = said["header"]
        if said["payload"].get("iss") != self._settings.issuer:
            raise UnauthenticatedError("the token is another issuer's (iss)")
        if str(header.get("alg")) not in _ALGORITHMS:
            raise UnauthenticatedError("the token is not signed in a way that is taken here (alg)")
        if str(header.get("typ", "JWT")).upper() not in _TYPES:
            raise UnauthenticatedError("the token is for another end (typ)")
        if not isinstance(header.get("kid"), str):
            raise UnauthenticatedError("the token does not name its key (kid)")
        return str(header["kid"])

    async def _key(self, key_id: str) -> Key:
        if key_id not in self._keys:
            self._wanted.set()
            if not self._away:
                await self._next_answer()
        if key := self._keys.get(key_id):
            return key
        if self._away:
            raise ProviderAwayError("the identity provider does not answer")
        raise UnauthenticatedError("the token is signed with a key that its issuer does not have")

    async def _next_answer(self) -> None:
        try:
            async with asyncio.timeout(PAUSE + 2 * TIMEOUT):
                await self._answered.wait()
        except TimeoutError:
            raise ProviderAwayError("the identity provider was not asked in time") from None

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                self._keys = await self._published()
        except _NO_ANSWER as error:
            self._away = True
            log.warning("identity provider does not answer", reason=f"{type(error).__name__}: {error}")
        else:
            self._away = False
            log.info("identity provider's keys read", keys=len(self._keys))

    async def _published(self) -> dict[str, Key]:
        issuer = self._settings.issuer
        found = await self._read(f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Discovery)
        if found.issuer != issuer:
            raise ValueError(f"its discovery document is of {found.issuer!r}: TODO_OIDC_ISSUER must be exactly that")
        if not is_secure(found.jwks_uri):
            raise ValueError(f"its keys are at {found.jwks_uri!r}, which is not https")
        self._endpoints = _endpoints_of(found)
        published = await self._read(found.jwks_uri, _KeySet)
        return {str(raw["kid"]): key for raw in published.keys if "kid" in raw and (key := key_of(raw))}

    async def _read(self, url: str, kind: type[Any]) -> Any:  # noqa: ANN401 - of that kind
        async with self._http.get(url, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004 - HTTP
                raise ValueError(f"{url} answers {answer.status}")
            return msgspec.json.decode(await bounded(answer), type=kind)


async def bounded(answer: aiohttp.ClientResponse) -> bytes:
    """A body that is not larger than it should be. Raises `ClientPayloadError`."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"{answer.url.path} answers more than {MOST_BYTES:,} bytes")
    return body


def _endpoints_of(found: _Discovery) -> Endpoints | None:
    if not is_secure(found.authorization_endpoint) or not is_secure(found.token_endpoint):
        return None
    methods = found.token_endpoint_auth_methods_supported or ()
    takes_basic = "client_secret_basic" in methods or "client_secret_post" not in methods  # it is what all have to take
    return Endpoints(found.authorization_endpoint, found.token_endpoint, takes_basic)


def _several(audience: object) -> list[object]:
    return audience if isinstance(audience, list) else [audience]


def key_of(raw: Mapping[str, Any]) -> Key | None:
    """A published key; None for one that is secret, too weak, or for another use."""
    if raw.get("use", "sig") != "sig":
        return None
    public = {name: raw[name] for name in _PUBLIC if name in raw}
    key: Any
    algorithms: tuple[str, ...]
    try:
        match raw.get("kty"):
            case "RSA":
                key = RSAAlgorithm.from_jwk(public)
                algorithms = _RSA if key.key_size >= SMALLEST_RSA else ()
            case "EC":
                key, algorithms = ECAlgorithm.from_jwk(public), (_CURVES[raw["crv"]],)
            case "OKP":
                key, algorithms = OKPAlgorithm.from_jwk(public), (_CURVES[raw["crv"]],)
            case _:
                return None
    except (*_NONSENSE, KeyError):
        return None
    if "alg" in raw:
        algorithms = tuple(one for one in algorithms if one == raw["alg"])
    return Key(key, algorithms) if algorithms else None


def _known(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims that are used, where they are of the kind they should be."""
    kinds = {"sub": str, "email": str, "email_verified": bool, "name": str, "zoneinfo": str}
    return {name: claims[name] for name, kind in kinds.items() if isinstance(claims.get(name), kind)}
