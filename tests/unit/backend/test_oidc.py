"""Tokens of a provider, judged by keys that are really fetched and really sign."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.provider import AUDIENCE, DISCOVERY, KEYS, IdentityProvider
from tests.support.waiting import until
from todo.backend.auth import oidc
from todo.backend.auth.errors import ProviderAwayError, UnauthenticatedError
from todo.backend.auth.oidc import Provider, key_of
from todo.backend.auth.settings import OidcSettings

ALGORITHMS = ("RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA")


@pytest.fixture
async def identity() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as identity:
        identity.add_key("first")
        yield identity


@asynccontextmanager
async def verifying(identity: IdentityProvider) -> AsyncIterator[Provider]:
    async with aiohttp.ClientSession() as http:
        provider = Provider(http, OidcSettings(identity.issuer, AUDIENCE, create_users=False))
        running = asyncio.create_task(provider.run())
        try:
            yield provider
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def unsigned(header: object, claims: object) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in (header, claims))


async def refusal(provider: Provider, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as refused:
        await provider.verify(token)
    return str(refused.value)


class TestSignatures:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_a_token_signed_with_a_published_key_is_believed(
        self, identity: IdentityProvider, algorithm: str
    ) -> None:
        identity.add_key("other", algorithm)
        async with verifying(identity) as provider:
            claims = await provider.verify(identity.token("other", email="a@b.test", email_verified=True, name="Ada"))
        assert (claims.sub, claims.email, claims.email_verified, claims.name) == ("ada", "a@b.test", True, "Ada")

    async def test_a_provider_that_shows_too_much_of_its_key_is_understood(self, identity: IdentityProvider) -> None:
        identity.published["first"] |= RSAAlgorithm.to_jwk(identity.private("first"), as_dict=True) | {"key_ops": None}
        assert "d" in identity.published["first"]
        async with verifying(identity) as provider:
            assert (await provider.verify(identity.token("first"))).sub == "ada"

    async def test_a_token_is_not_believed_without_a_signature(self, identity: IdentityProvider) -> None:
        claims = jwt.decode(identity.token("first"), options={"verify_signature": False})
        async with verifying(identity) as provider:
            for algorithm in ("none", "None", "NONE", "", None, ["RS256"], 7):
                forged = unsigned({"alg": algorithm, "typ": "JWT", "kid": "first"}, claims)
                await refusal(provider, f"{forged}.")
            stripped = identity.token("first").rpartition(".")[0]
            await refusal(provider, f"{stripped}.")

    async def test_the_public_key_is_no_secret_to_sign_with(self, identity: IdentityProvider) -> None:
        """HS256 with the published key as its secret: the classic confusion."""
        public = identity.private("first").public_key()
        secrets = [
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            json.dumps(identity.published["first"]).encode(),
            b"",
        ]
        claims = jwt.decode(identity.token("first"), options={"verify_signature": False})
        async with verifying(identity) as provider:
            for secret in secrets:
                assert "alg" in await refusal(provider, _hs256(claims, "first", secret))

    async def test_a_secret_among_the_published_keys_is_not_used(self, identity: IdentityProvider) -> None:
        secret = base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")
        identity.published["shared"] = {"kty": "oct", "k": secret, "kid": "shared", "alg": "HS256"}
        claims = jwt.decode(identity.token("first"), options={"verify_signature": False})
        async with verifying(identity) as provider:
            await refusal(provider, _hs256(claims, "shared", b"x" * 32))

    async def test_a_token_does_not_choose_another_algorithm_for_a_key(self, identity: IdentityProvider) -> None:
        identity.add_key("curve", "ES256")
        identity.published["first"]["alg"] = "RS256"
        async with verifying(identity) as provider:
            await refusal(provider, identity.token("first", header={"kid": "curve"}))
            mixed = jwt.encode(
                jwt.decode(identity.token("first"), options={"verify_signature": False}),
                identity.private("first"),
                "PS256",
                {"kid": "first"},
            )
            await refusal(provider, mixed)

    async def test_somebody_elses_key_does_not_sign_for_ours(self, identity: IdentityProvider) -> None:
        identity.add_key("theirs", publish=False)
        async with verifying(identity) as provider:
            await refusal(provider, identity.token("theirs", header={"kid": "first"}))

    async def test_a_key_that_the_token_brings_along_is_not_used(self, identity: IdentityProvider) -> None:
        identity.add_key("theirs", publish=False)
        brought = {"kid": "first", "jwk": identity.public("theirs"), "jku": f"{identity.issuer}/evil"}
        async with verifying(identity) as provider:
            await refusal(provider, identity.token("theirs", header=brought))


def _hs256(claims: dict[str, Any], kid: str, secret: bytes) -> str:
    """By hand: the library refuses to make such a token."""
    import hashlib  # noqa: PLC0415 - for this one forgery
    import hmac  # noqa: PLC0415

    signed = unsigned({"alg": "HS256", "typ": "JWT", "kid": kid}, claims)
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


class TestClaims:
    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            ({"exp": -61}, "expired"),
            ({"nbf": 90}, "not valid yet"),
            ({"iat": 90}, "not valid yet"),
            ({"aud": "another"}, "aud"),
            ({"aud": ["another", "third"]}, "aud"),
            ({"aud": None}, "aud"),
            ({"exp": None}, "exp"),
            ({"sub": None}, "sub"),
            ({"iss": "https://evil.example"}, "iss"),
            ({"iss": None}, "iss"),
        ],
    )
    async def test_a_token_that_is_not_for_us_and_for_now_is_refused(
        self, identity: IdentityProvider, claims: dict[str, Any], said: str
    ) -> None:
        async with verifying(identity) as provider:
            assert said in await refusal(provider, identity.token("first", **_from_now(claims)))

    @pytest.mark.parametrize("claims", [{"exp": -50}, {"nbf": 50}, {"iat": 50}, {"aud": ["another", AUDIENCE]}])
    async def test_clocks_may_differ_by_a_minute(self, identity: IdentityProvider, claims: dict[str, Any]) -> None:
        async with verifying(identity) as provider:
            assert (await provider.verify(identity.token("first", **_from_now(claims)))).sub == "ada"

    @pytest.mark.parametrize(
        "header", [{"typ": "logout+jwt"}, {"typ": "secevent+jwt"}, {"kid": None}, {"crit": ["b64"], "b64": False}]
    )
    async def test_a_token_for_another_end_is_refused(self, identity: IdentityProvider, header: dict[str, Any]) -> None:
        async with verifying(identity) as provider:
            await refusal(provider, identity.token("first", header=header))

    async def test_an_access_token_says_so_in_its_type(self, identity: IdentityProvider) -> None:
        async with verifying(identity) as provider:
            assert (await provider.verify(identity.token("first", header={"typ": "at+jwt"}))).sub == "ada"

    @pytest.mark.parametrize("verified", ["true", 1, None])
    async def test_only_true_verifies_an_address(self, identity: IdentityProvider, verified: object) -> None:
        async with verifying(identity) as provider:
            claims = await provider.verify(identity.token("first", email="a@b.test", email_verified=verified))
        assert not claims.email_verified

    @pytest.mark.parametrize(
        "token",
        ["", ".", "..", "a.b.c", "\u00e9.\u00e9.\u00e9", "x" * 9000, "bnVsbA.bnVsbA.bnVsbA"]
        + [base64.urlsafe_b64encode(b"[" * depth).decode().rstrip("=") + ".e30.e30" for depth in (1, 5000)],
    )
    async def test_what_is_no_token_is_refused_as_such(self, identity: IdentityProvider, token: str) -> None:
        async with verifying(identity) as provider:
            assert await refusal(provider, token) == "that is no token"


def _from_now(claims: dict[str, Any]) -> dict[str, Any]:
    times = ("exp", "nbf", "iat")
    return {name: int(time.time()) + value if name in times and value else value for name, value in claims.items()}


class TestKeys:
    async def test_a_rotated_key_is_found_and_a_withdrawn_one_is_gone(self, identity: IdentityProvider) -> None:
        async with verifying(identity) as provider:
            await provider.verify(identity.token("first"))
            identity.add_key("second")
            del identity.published["first"]
            assert (await provider.verify(identity.token("second"))).sub == "ada"
            await refusal(provider, identity.token("first"))

    async def test_a_flood_of_unknown_keys_asks_the_provider_once_in_a_while(
        self, identity: IdentityProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with verifying(identity) as provider:
            await provider.verify(identity.token("first"))
            assert identity.asked[KEYS] == 1
            monkeypatch.setattr(oidc, "PAUSE", 60.0)
            forged = [identity.token("first", header={"kid": f"made-up-{number}"}) for number in range(200)]
            await asyncio.gather(*(refusal(provider, token) for token in forged))
            assert identity.asked[KEYS] == 2
            waiting = [asyncio.create_task(provider.verify(token)) for token in forged]
            async with aiohttp.ClientSession() as http:
                for _ in range(20):  # as long as twenty questions take
                    async with http.get(identity.issuer + DISCOVERY) as answer:
                        assert answer.status == 200
            assert (await provider.verify(identity.token("first"))).sub == "ada"
            assert identity.asked[KEYS] == 2
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def test_bad_tokens_of_known_keys_or_other_issuers_ask_nobody(self, identity: IdentityProvider) -> None:
        identity.add_key("theirs", publish=False)
        async with verifying(identity) as provider:
            await provider.verify(identity.token("first"))
            await refusal(provider, identity.token("theirs", header={"kid": "first"}))
            await refusal(provider, identity.token("theirs", iss="https://evil.example"))
            await refusal(provider, "no.token.at-all")
            assert not provider._wanted.is_set()
            assert identity.asked[KEYS] == 1

    async def test_which_key_a_token_names_is_told_without_asking(self, identity: IdentityProvider) -> None:
        async with verifying(identity) as provider:
            assert not provider.has_key_of(identity.token("first"))
            await provider.verify(identity.token("first"))
            assert provider.has_key_of(identity.token("first", exp=1))
            for other in (identity.token("first", header={"kid": "made-up"}), "no.token.at-all", ""):
                assert not provider.has_key_of(other)
            assert not provider._wanted.is_set()

    async def test_while_the_provider_is_away_known_keys_go_on_and_others_wait(
        self, identity: IdentityProvider
    ) -> None:
        identity.add_key("second", publish=False)
        async with verifying(identity) as provider:
            await provider.verify(identity.token("first"))
            identity.away = True
            with pytest.raises(ProviderAwayError):
                await provider.verify(identity.token("second"))
            assert (await provider.verify(identity.token("first"))).sub == "ada"
            identity.away = False
            identity.published["second"] = identity.public("second")

            async def is_known() -> bool:
                try:
                    return (await provider.verify(identity.token("second"))).sub == "ada"
                except ProviderAwayError:
                    return False

            await until(is_known)

    async def test_a_provider_that_was_never_there_is_away(self, identity: IdentityProvider) -> None:
        identity.away = True
        async with verifying(identity) as provider:
            with pytest.raises(ProviderAwayError):
                await provider.verify(identity.token("first"))

    async def test_a_provider_that_says_to_be_another_is_not_believed(self, identity: IdentityProvider) -> None:
        identity.says_issuer = "https://evil.example"
        async with verifying(identity) as provider:
            with pytest.raises(ProviderAwayError):
                await provider.verify(identity.token("first"))

    async def test_a_key_that_is_withdrawn_goes_without_anybody_asking(
        self, identity: IdentityProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oidc, "PAUSE", 0.05)
        monkeypatch.setattr(oidc, "FRESH", 0.05)
        identity.add_key("second")
        async with verifying(identity) as provider:
            await provider.verify(identity.token("first"))
            del identity.published["first"]
            await until(lambda: "first" not in provider._keys)


@pytest.mark.parametrize(
    "changed",
    [
        {"use": "enc"},
        {"kty": "oct"},
        {"kty": "EC"},
        {"kty": 7},
        {"n": "AQAB"},
        {"n": None},
        {"e": "!"},
        {"alg": "HS256"},
        {"alg": "RSA-OAEP"},
    ],
)
def test_a_key_that_is_not_for_signatures_or_not_whole_is_left_out(changed: dict[str, Any]) -> None:
    whole = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True) | {"kid": "k"}
    assert key_of(whole) is not None
    assert key_of(whole | changed) is None


def test_a_key_that_is_too_short_is_left_out() -> None:
    short = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - that is the point
    assert key_of(RSAAlgorithm.to_jwk(short, as_dict=True)) is None
