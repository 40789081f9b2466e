"""Where the secrets of one host's system are, and how its sidecars get to use them."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from todo.operations.datafolder import EngineRun, SidecarAddress, write_secret
from todo.operations.engine import resources
from todo.operations.engine.environments import POSTGRES_SECRETS
from todo.operations.rotation import database
from todo.operations.rotation.authority import RotationError, Secret
from todo.operations.rotation.calm import Calm

STORE_FILE: Final = "secrets.yaml"
STORE: Final = "secretstores.local.file"
DSN_FILE: Final = "database-url"
ASKED: Final = 5.0  # seconds a sidecar has for an answer
FOLLOWS: Final = 60.0  # seconds a sidecar has to load a component; longer than one that was killed needs to be back
SAME: Final = 5.0  # seconds after which a sidecar that keeps what it has loaded is taken to have the same settings
FLOWS: Final = 30.0  # seconds for consumer groups to come together again, and a probe to be published and read
POLL: Final = 0.1
_LOADED: Final = r"^dapr_runtime_component_init_total\{{[^}}]*component=\"{type}\"[^}}]*\}} (\S+)$"
_STARTED: Final = r"^process_start_time_seconds (\S+)$"

Secrets = dict[str, dict[str, str]]


class Place(Protocol):
    """Where a system's secrets and sidecars are."""

    def secrets(self) -> Secrets:
        """Every secret by name, as it is now."""
        ...

    def put(self, changes: Mapping[str, Secret | None]) -> None:
        """Change secrets, all of them or none; None removes one. Nobody uses the new values yet but services."""
        ...

    async def reload(self, component: str, why: str) -> str:
        """Have every sidecar use a component with the secrets as they are now; returns when each of them does.

        `component` is its file in the folder of resources, `why` is told to whoever asks why relays pause meanwhile.
        Returns why they could not, empty when they did. Raises `RotationError` naming a sidecar that does not follow.
        """
        ...


class Host:
    """`Place` on one host. What a sidecar uses is told by its own count of the components it has loaded.

    Its secret store reads the secrets' file when it is loaded, and never again; a component looks its secrets up when
    its file is shown to the sidecar, and is loaded anew if they have changed. So the store is loaded anew first.
    """

    def __init__(self, engine: EngineRun, http: aiohttp.ClientSession, calm: Calm) -> None:
        self._engine = engine
        self._calm = calm
        self._http = http
        self._resources = Path(engine.resources)
        self._secrets = Path(engine.secrets)

    def secrets(self) -> Secrets:
        try:
            return msgspec.json.decode(self._secrets.read_bytes(), type=Secrets)
        except (OSError, msgspec.DecodeError) as error:
            raise RotationError(f"the secrets file {self._secrets} cannot be read: {type(error).__name__}") from error

    def put(self, changes: Mapping[str, Secret | None]) -> None:
        merged = {**self.secrets(), **changes}
        kept = {name: dict(secret) for name, secret in merged.items() if secret is not None}
        write_secret(self._secrets, msgspec.json.format(msgspec.json.encode(kept), indent=2))
        self._tell_services(kept)

    async def reload(self, component: str, why: str) -> str:
        file = self._resources / component
        what = resources.read(file)
        concerned = [one for one in self._engine.sidecars if one.app_id in (what.get("scopes") or [one.app_id])]
        kind = what["spec"]["type"]
        before = await self._loads(concerned, kind)
        async with self._calm.moment(why) as disturbed:
            await self._reload_store()
            resources.show_again(file)
            if await self._late(before, concerned, kind, SAME):  # the same settings: a rotation that goes on
                resources.show_again(file, force=True)
                await self._must_follow(before, concerned, kind)
            await self._must_be_ready(concerned)
            if component == resources.PUBSUB_FILE:
                await self._events_must_flow(concerned, kind, read=not disturbed)
        return disturbed

    async def _events_must_flow(self, sidecars: Iterable[SidecarAddress], kind: str, *, read: bool) -> None:
        """A subscription that did not come back with its component is begun anew, once.

        Not `read`: nobody is asked for it where a service is down or has a backlog, and would not have read it in time.
        """
        if not await self._calm.events_flow(FLOWS, read=read):
            return
        before = await self._loads(sidecars, kind)
        resources.show_again(self._resources / resources.PUBSUB_FILE, force=True)
        await self._must_follow(before, sidecars, kind)
        why_not = await self._calm.events_flow(FOLLOWS, read=read)
        if why_not:
            raise RotationError(f"{why_not}; call this again to go on, or with --back to return")

    def _tell_services(self, secrets: Secrets) -> None:
        """Services read the database's address from a file of its own."""
        dsn = secrets.get(POSTGRES_SECRETS, {}).get(database.DSN)
        place = self._secrets.with_name(DSN_FILE)
        if dsn and (not place.exists() or place.read_text().strip() != dsn):
            write_secret(place, dsn.encode())

    async def _reload_store(self) -> None:
        everyone = self._engine.sidecars
        before = await self._loads(everyone, STORE)
        resources.show_again(self._resources / STORE_FILE, force=True)
        await self._must_follow(before, everyone, STORE)

    async def _loads(self, sidecars: Iterable[SidecarAddress], kind: str) -> dict[str, "_Loads"]:
        """How often each sidecar has loaded such a component. A sidecar that is on its way up is waited for."""
        deadline = time.monotonic() + FOLLOWS
        found: dict[str, _Loads] = {}
        for sidecar in sidecars:
            while (loads := await self._ask(sidecar, kind)) is None:
                if time.monotonic() > deadline:
                    raise RotationError(
                        f"sidecar {sidecar.name} does not answer at {sidecar.metrics_url}: look at it first"
                    )
                await asyncio.sleep(POLL)
            found[sidecar.name] = loads
        return found

    async def _must_follow(self, before: Mapping[str, "_Loads"], sidecars: Iterable[SidecarAddress], kind: str) -> None:
        late = await self._late(before, sidecars, kind, FOLLOWS)
        if late:
            raise RotationError(
                f"sidecar {', '.join(late)} did not load {kind} anew within {FOLLOWS:.0f} s: look into its log; then"
                " call this again to go on, or with --back to return"
            )

    async def _late(
        self, before: Mapping[str, "_Loads"], sidecars: Iterable[SidecarAddress], kind: str, seconds: float
    ) -> list[str]:
        """Wait until each sidecar has loaded the component anew, or was started anew; returns who has not."""
        left = {one.name: one for one in sidecars}
        deadline = time.monotonic() + seconds
        while True:
            for name, sidecar in list(left.items()):
                loads = await self._ask(sidecar, kind)
                if loads is not None and loads.is_after(before[name]):
                    del left[name]
            if not left or time.monotonic() > deadline:
                return list(left)
            await asyncio.sleep(POLL)

    async def _must_be_ready(self, sidecars: Iterable[SidecarAddress]) -> None:
        deadline = time.monotonic() + FOLLOWS
        for sidecar in sidecars:
            while not await self._is_ready(sidecar):
                if time.monotonic() > deadline:
                    raise RotationError(f"sidecar {sidecar.name} is not ready at {sidecar.url}: look into its log")
                await asyncio.sleep(POLL)

    async def _is_ready(self, sidecar: SidecarAddress) -> bool:
        try:
            async with self._get(f"{sidecar.url}/v1.0/healthz/outbound") as answer:
                return bool(answer.status < 300)  # noqa: PLR2004 - HTTP
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _ask(self, sidecar: SidecarAddress, kind: str) -> "_Loads | None":
        try:
            async with self._get(sidecar.metrics_url) as answer:
                return _loads(await answer.text(), kind)
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _get(self, url: str) -> Any:  # noqa: ANN401 - aiohttp's context manager
        return self._http.get(url, timeout=aiohttp.ClientTimeout(total=ASKED))


class _Loads(msgspec.Struct, frozen=True):
    """How often one process has loaded components of one type, and when that process was started."""

    count: float
    started: float

    def is_after(self, before: "_Loads") -> bool:
        """Whether it has loaded one since, or is another process, which has read everything anew."""
        return self.count > before.count if self.started == before.started else self.count > 0


def _loads(metrics: str, kind: str) -> _Loads | None:
    started = re.search(_STARTED, metrics, re.MULTILINE)
    counted = re.search(_LOADED.format(type=re.escape(kind)), metrics, re.MULTILINE)
    return _Loads(float(counted[1]) if counted else 0.0, float(started[1])) if started else None
