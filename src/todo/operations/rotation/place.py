"""What a rotation needs of the system whose login it exchanges, wherever that runs."""

from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

from todo.operations.rotation.authority import Secret

Secrets: TypeAlias = dict[str, dict[str, str]]

NEXT: Final = ".next"  # a login that nobody uses yet
PREVIOUS: Final = ".previous"  # a login that is still let in


class Place(Protocol):
    """Where a system's secrets and sidecars are."""

    @property
    def settles(self) -> float:
        """Seconds until services have taken over a login that was put in place, and let go of the one before."""
        ...

    async def secrets(self) -> Secrets:
        """Every secret by name, as it is now; those put aside have the suffix `NEXT` or `PREVIOUS`."""
        ...

    async def put(self, changes: Mapping[str, Secret | None]) -> None:
        """Change secrets of one name, with or without a suffix, all of them or none; None removes one.

        Nobody uses the new values yet but services.
        """
        ...

    async def reload(self, component: str, why: str) -> str:
        """Have every sidecar use a component with the secrets as they are now; returns when each of them does.

        `component` is as the place names it, `why` is told to whoever asks why relays pause meanwhile.
        Returns why they could not, empty when they did. Raises `RotationError` naming a sidecar that does not follow.
        """
        ...
