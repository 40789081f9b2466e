"""An OpenID Connect provider with real keys over real HTTP, that does to its callers what a test tells it to."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE: Final = "todo-api"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"


@cache
def _made(_: str, algorithm: str) -> Any:  # noqa: ANN401 - of any kind
    """A key; one of a run for each name, as RSA's take their time."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


class IdentityProvider:
    """Signs for anybody. `published` are the keys it shows, `away` makes it answer 503, `asked` counts by path."""

    def __init__(self) -> None:
        self.issuer = ""
        self.says_issuer: str | None = None  # in its discovery document, when it is not its own
        self.away = False
        self.asked: dict[str, int] = {DISCOVERY: 0, KEYS: 0}
        self.published: dict[str, dict[str, Any]] = {}
        self._private: dict[str, tuple[Any, str]] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(DISCOVERY, self._discovery)
        app.router.add_get(KEYS, self._keys)
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
        return web.json_response({"issuer": self.says_issuer or self.issuer, "jwks_uri": self.issuer + KEYS})

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked[KEYS] += 1
        return web.json_response({"keys": list(self.published.values())})
