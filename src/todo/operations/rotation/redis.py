"""Logins of Redis and Valkey: the passwords of one user, who may have several at once."""

import hashlib
import secrets
from typing import Final

from redis.exceptions import ResponseError

from todo.operations.brokers.broker import BrokerError, Fault
from todo.operations.brokers.redis import RedisBroker
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.broker import BrokerLogins, told

PASSWORD: Final = "REDIS_PASSWORD"  # noqa: S105 - a key's name
DEFAULT: Final = "default"
_NOT_THERE: Final = "The password you are trying to remove from the user does not exist"


class RedisLogins(BrokerLogins):
    """`Authority` on the server behind a component."""

    def login(self, secret: Secret) -> str:
        return self.settings(secret).get("redisUsername") or DEFAULT

    def fresh(self, secret: Secret, version: int) -> Secret:
        del version
        return {**secret, PASSWORD: secrets.token_urlsafe(32)}

    def given(self, secret: Secret, username: str, password: str) -> Secret:
        if username != self.login(secret):
            raise RotationError(
                f"--username: the component logs in as {self.login(secret)}, not as {username}: give a further password"
                " of that user"
            )
        if password == secret[PASSWORD]:
            raise RotationError("--password-file: that password is in use already: give a new one")
        return {**secret, PASSWORD: password}

    def beside(self, kept: Secret, current: Secret) -> Secret:
        return {**current, PASSWORD: kept[PASSWORD]}

    async def may_create(self, by: Secret) -> None:
        await self._change(by)

    async def create(self, secret: Secret, *, by: Secret) -> None:
        await self._change(by, f"#{_digest(secret)}")

    async def remove(self, secret: Secret, *, by: Secret) -> None:
        """Also where the server has forgotten the password and its file has not: an earlier call was cut short."""
        await self._change(by, f"!{_digest(secret)}")

    async def _change(self, by: Secret, *rules: str) -> None:
        async with told():
            broker = _Administered(self.settings(by))
            try:
                await broker.change_user(self.login(by), *rules)
            finally:
                await broker.close()


class _Administered(RedisBroker):
    """The server with the call that changes a user."""

    async def change_user(self, user: str, *rules: str) -> None:
        """Apply rules, none to see whether that is allowed, and keep them where the server has a file for them."""
        async with self._asking():
            if not await self._has_file():
                raise BrokerError(
                    Fault.SETTING,
                    f"{self.place} keeps its users in no file and would forget this: change the password there, and"
                    " give it with --username",
                )
            await self._set_user(user, *rules)
            if rules:
                await self._call("ACL", "SAVE")

    async def _set_user(self, user: str, *rules: str) -> None:
        try:
            await self._call("ACL", "SETUSER", user, *rules)
        except ResponseError as error:
            if _NOT_THERE not in str(error):
                raise

    async def _has_file(self) -> bool:
        found = await self._call("CONFIG", "GET", "aclfile")
        return any(found.values() if isinstance(found, dict) else found[1::2])


def _digest(secret: Secret) -> str:
    """What the server keeps of a password, so that the password itself is in no command."""
    return hashlib.sha256(secret[PASSWORD].encode()).hexdigest()
