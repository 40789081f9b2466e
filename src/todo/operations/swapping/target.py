"""What a swap needs of the system that it moves to another broker, wherever that runs."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from todo.contracts import names
from todo.messaging.postgres import Connection
from todo.operations.find import Place

SCHEMAS: Final = tuple(app.schema for app in names.APPS if app.schema)  # of the services that have a relay


class SwapError(Exception):
    """The swap cannot go on. One line: what is wrong, and what to do; never a password."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a swap: the component as people call it, as its file has it, and with its secrets looked up."""

    name: str
    component: Mapping[str, Any]
    content: bytes = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)

    @property
    def type(self) -> str:
        return str(self.component["spec"]["type"])


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One sidecar and the replica of a service beside it, by the addresses of their APIs.

    `ending`: both are on their way out and asked for nothing more, but what they still do has to be right.
    """

    name: str
    app_id: str
    url: str
    service_url: str
    ending: bool = False


class SwapTarget(Protocol):
    """A running system. Its methods raise `SwapError`."""

    @property
    def place(self) -> Place:
        """Where the API, backend's sidecar and the mailbox are, and the token that sidecars ask for."""
        ...

    async def sidecars(self) -> Sequence[Sidecar]:
        """Every replica of every service that there is now; on a cluster they come and go."""
        ...

    async def remembered(self) -> bytes | None:
        """What `remember` was given last: by a run that was killed, unless it was taken back."""
        ...

    async def remember(self, content: bytes | None) -> None:
        """Keep this, whatever becomes of this process; None: nothing any more."""
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Be the only one that changes what the sidecars use."""
        ...

    async def current(self) -> Side:
        """The component in place."""
        ...

    async def side(self, to: str) -> Side:
        """The component that an environment's name or a file's path means; nothing is changed."""
        ...

    async def restored(self, name: str, content: bytes) -> Side:
        """The component of a file that was in place once, under the name it had then."""
        ...

    async def apply(self, side: Side) -> None:
        """Put a component in place, whole and at once, so that every sidecar loads it; returns before they do."""
        ...

    def database(self, schema: str) -> AbstractAsyncContextManager[Connection]:
        """A connection to a service's schema, with the right to pause its relay."""
        ...
