"""Where the secrets of one host's system are, and how its sidecars get to use them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from todo.operations.datafolder import EngineRun, SidecarAddress, write_secret
from todo.operations.engine import resources
from todo.operations.engine.environments import POSTGRES_SECRETS
from todo.operations.rotation import database
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.calm import Calm
from todo.operations.rotation.place import Secrets
from todo.operations.rotation.reloading import Reloading

STORE_FILE: Final = "secrets.yaml"
STORE: Final = "secretstores.local.file"
DSN_FILE: Final = "database-url"


class Host(Reloading):
    """`Place` on one host, where a component is named by its file in the folder of resources.

    Its secret store reads the secrets' file when it is loaded, and never again; a component looks its secrets up when
    its file is shown to the sidecar, and is loaded anew if they have changed. So the store is loaded anew first.
    """

    settles = 0.0  # no longer than a broker

    def __init__(self, engine: EngineRun, http: aiohttp.ClientSession, calm: Calm) -> None:
        super().__init__(http, calm)
        self._engine = engine
        self._resources = Path(engine.resources)
        self._secrets = Path(engine.secrets)

    async def secrets(self) -> Secrets:
        try:
            return msgspec.json.decode(self._secrets.read_bytes(), type=Secrets)
        except (OSError, msgspec.DecodeError) as error:
            raise RotationError(f"the secrets file {self._secrets} cannot be read: {type(error).__name__}") from error

    async def put(self, changes: Mapping[str, Secret | None]) -> None:
        merged = {**await self.secrets(), **changes}
        kept = {name: dict(secret) for name, secret in merged.items() if secret is not None}
        write_secret(self._secrets, msgspec.json.format(msgspec.json.encode(kept), indent=2))
        self._tell_services(kept)

    async def _component(self, component: str) -> Mapping[str, Any]:
        return resources.read(self._resources / component)

    async def _sidecars(self) -> Sequence[SidecarAddress]:
        return self._engine.sidecars

    async def _show(self, component: str, *, force: bool = False) -> None:
        resources.show_again(self._resources / component, force=force)

    async def _refresh(self) -> None:
        before = await self._loads(STORE)
        await self._show(STORE_FILE, force=True)
        await self._must_follow(before, STORE)

    def _tell_services(self, secrets: Secrets) -> None:
        """Services read the database's address from a file of its own."""
        dsn = secrets.get(POSTGRES_SECRETS, {}).get(database.DSN)
        place = self._secrets.with_name(DSN_FILE)
        if dsn and (not place.exists() or place.read_text().strip() != dsn):
            write_secret(place, dsn.encode())
