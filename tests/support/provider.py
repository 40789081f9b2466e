"""An OpenID Connect provider with real keys over real HTTP, that does to its callers what a test tells it to."""

import asyncio
import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from yarl import URL

AUDIENCE: Final = "todo-api"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"
AUTHORIZE: Final = "/authorize"
TOKEN: Final = "/token"  # noqa: S105 - a path
CLIENT: Final = "todo-web"
CLIENT_SECRET: Final = "a secret: 50%+ of a test"  # noqa: S105 - of a test


@cache
def _made(_: str, algorithm: str) -> Any:  # noqa: ANN401 - of any kind
    """A key; one of a run for each name, as RSA's take their time."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Code:
    """What was asked for when somebody signed in."""

    redirect_uri: str
    challenge: str
    claims: dict[str, Any]


class IdentityProvider:
    """Signs for anybody. `published` are the keys it shows, `away` makes it answer 503, `asked` counts by path.

    People sign in at `AUTHORIZE` as whom `person` says. `secret` is the client's, None if it has none.
    """

    def __init__(self) -> None:
        self.issuer = ""
        self.says_issuer: str | None = None  # in its discovery document, when it is not its own
        self.away = False
        self.asked: dict[str, int] = {DISCOVERY: 0, KEYS: 0, TOKEN: 0}
        self.person: dict[str, Any] = {"sub": "ada"}
        self.says: dict[str, Any] = {}  # otherwise than it is, in its discovery document
        self.refusal = ""  # told instead of a code
        self.secret: str | None = CLIENT_SECRET
        self.methods: list[str] | None = None  # how clients say their secret, if it says so
        self.refused: list[str] = []  # why no token was given
        self._codes: dict[str, Code] = {}
        self.published: dict[str, dict[str, Any]] = {}
        self._private: dict[str, tuple[Any, str]] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(DISCOVERY, self._discovery)
        app.router.add_get(KEYS, self._keys)
        app.router.add_get(AUTHORIZE, self._authorize)
        app.router.add_post(TOKEN, self._token)
        self._runner = web.AppRunner(app, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @contextmanager
    def in_a_thread(self) -> Iterator[Self]:
        """Serve until the block ends, beside whatever loop the caller has."""
        ready, ending = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            async with self:
                loops.append(asyncio.get_running_loop())
                ready.set()
                await ending.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loops[0].call_soon_threadsafe(ending.set)
            thread.join(10)
        assert not thread.is_alive()

    def add_key(self, kid: str, algorithm: str = "RS256", *, publish: bool = True) -> None:
        """Make a key to sign with, and show its public half."""
        self._private[kid] = (_made(kid, algorithm), algorithm)
        if publish:
            self.published[kid] = self.public(kid)

    def public(self, kid: str) -> dict[str, Any]:
        """The public half of a key, as it is published."""
        private, algorithm = self._private[kid]
        maker: Any = OKPAlgorithm if algorithm == "EdDSA" else ECAlgorithm if algorithm[0] == "E" else RSAAlgorithm
        jwk: dict[str, Any] = maker.to_jwk(private.public_key(), as_dict=True)
        return jwk | {"kid": kid, "use": "sig"}

    def private(self, kid: str) -> Any:  # noqa: ANN401 - of any kind
        return self._private[kid][0]

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:  # noqa: ANN401 - JSON
        """A token for the API, good for five minutes, but for what `header` and `claims` say; None leaves one out."""
        private, algorithm = self._private[kid]
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300}
        said = {name: value for name, value in (usual | claims).items() if value is not None}
        named = {name: value for name, value in ({"kid": kid} | (header or {})).items() if value is not None}
        return jwt.encode(said, private, algorithm, named)

    async def _discovery(self, _: web.Request) -> web.Response:
        self.asked[DISCOVERY] += 1
        if self.away:
            return web.Response(status=503)
        found: dict[str, Any] = {
            "issuer": self.says_issuer or self.issuer,
            "jwks_uri": self.issuer + KEYS,
            "authorization_endpoint": self.issuer + AUTHORIZE,
            "token_endpoint": self.issuer + TOKEN,
        }
        if self.methods is not None:
            found["token_endpoint_auth_methods_supported"] = self.methods
        return web.json_response(found | self.says)

    async def _authorize(self, request: web.Request) -> web.Response:
        """Send whoever comes back with a code, at once: they are `person`."""
        asked = request.query
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        redirect_uri, back = asked["redirect_uri"], {"state": asked["state"], "iss": self.issuer}
        if self.refusal:
            back["error"] = self.refusal
        else:
            back["code"] = secrets.token_urlsafe(16)
            claims = {"aud": CLIENT, "nonce": asked["nonce"]} | self.person
            self._codes[back["code"]] = Code(redirect_uri, asked["code_challenge"], claims)
        return web.Response(status=302, headers={"location": str(URL(redirect_uri).with_query(back))})

    async def _token(self, request: web.Request) -> web.Response:
        """An ID token for a code, once, to the client that it was made for and that began it (PKCE)."""
        self.asked[TOKEN] += 1
        if self.away:
            return web.Response(status=503)
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not self._is_client(request, form):
            return self._refuse(401, "invalid_client")
        code = self._codes.pop(form["code"], None)
        if form["grant_type"] != "authorization_code" or code is None:
            return self._refuse(400, "invalid_grant")
        if code.redirect_uri != form["redirect_uri"] or code.challenge != _s256(form.get("code_verifier", "")):
            return self._refuse(400, "invalid_grant")
        id_token = self.token(next(iter(self._private)), **code.claims)
        return web.json_response({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token})

    def _is_client(self, request: web.Request, form: Mapping[str, str]) -> bool:
        """By the header that clients use unless they are told otherwise (RFC 6749, 2.3.1), or by the form."""
        given = request.headers.get("authorization")
        if self.secret is None or self.methods == ["client_secret_post"]:
            return given is None and (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)
        if given is None or "client_secret" in form:
            return False
        name, _, secret = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret)

    def _refuse(self, status: int, error: str) -> web.Response:
        self.refused.append(error)
        return web.json_response({"error": error, "error_description": "hush-hush"}, status=status)

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked[KEYS] += 1
        return web.json_response({"keys": list(self.published.values())})


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
