"""Why a caller is not let in. Messages are for the caller, and name no token."""

from typing import Final

from todo.dapr.subscriber import UnavailableError


class UnauthenticatedError(Exception):
    """There is no credential, or none that holds. `given` tells the two apart; `kind` names the problem's type."""

    def __init__(self, reason: str, *, given: bool = True, kind: str = "") -> None:
        super().__init__(reason)
        self.given = given
        self.kind = kind or ("invalid-token" if given else "not-authenticated")


class ForbiddenError(Exception):
    """It is known who calls, and they may not. `kind` names the problem's type; `scope` is the one that is missing."""

    def __init__(self, kind: str, reason: str, *, scope: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.scope = scope


class TooManyError(Exception):
    """More than the caller's share; `wait` is in seconds."""

    kind: Final = "too-many-requests"

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait


class ProviderAwayError(UnavailableError):
    """The identity provider does not answer, and it is needed."""

    kind: Final = "identity-provider-away"
