"""Who lets a login in: a broker, or the database."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

Secret: TypeAlias = Mapping[str, str]  # the keys of one secret, one login among them


class RotationError(RuntimeError):
    """A rotation cannot go on, and what is in use stays in use; one line that says why and what to do."""


class Authority(Protocol):
    """What decides about logins. Methods raise `RotationError`; every change can be made again.

    `by` is a login that is let in now, under which the change is made.
    """

    def login(self, secret: Secret) -> str:
        """The user or role of a secret, for people."""
        ...

    def fresh(self, secret: Secret, version: int) -> Secret:
        """A secret like this one with a new login, made up."""
        ...

    def given(self, secret: Secret, username: str, password: str) -> Secret:
        """A secret like this one with the login that was given."""
        ...

    def beside(self, kept: Secret, current: Secret) -> Secret:
        """A login that was put aside, at the address of the one in use: a server may have moved since."""
        ...

    async def may_create(self, by: Secret) -> None:
        """Whether logins can be made and removed from here."""
        ...

    async def create(self, secret: Secret, *, by: Secret) -> None:
        """Let a login in, beside those that are let in already."""
        ...

    async def check(self, secret: Secret) -> None:
        """Whether this login is let in, and may do what the system does."""
        ...

    async def is_refused(self, secret: Secret) -> bool:
        """Whether this login is refused, and for that reason alone."""
        ...

    async def users(self, secret: Secret, *, by: Secret) -> list[str]:
        """Who is logged in with it now, as far as this authority can tell them apart."""
        ...

    async def remove(self, secret: Secret, *, by: Secret) -> None:
        """Refuse a login from now on, whatever is started anew; nothing is wrong if it was refused already."""
        ...
