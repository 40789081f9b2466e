"""Having every sidecar load a component anew, in a moment of calm, and seeing that each has.

What a sidecar uses is told by its own count of the components it has loaded.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from todo.contracts import names
from todo.operations.datafolder import SidecarAddress
from todo.operations.rotation.authority import RotationError
from todo.operations.rotation.calm import Calm

ASKED: Final = 5.0  # seconds a sidecar has for an answer
FOLLOWS: Final = 60.0  # seconds a sidecar has to load a component; longer than one that was killed needs to be back
SAME: Final = 5.0  # seconds after which a sidecar that keeps what it has loaded is taken to have the same settings
FLOWS: Final = 30.0  # seconds for consumer groups to come together again, and a probe to be published and read
POLL: Final = 0.1
_LOADED: Final = r"^dapr_runtime_component_init_total\{{[^}}]*component=\"{type}\"[^}}]*\}} (\S+)$"
_STARTED: Final = r"^process_start_time_seconds (\S+)$"


class Loads(msgspec.Struct, frozen=True):
    """How often one process has loaded components of one type, and when that process was started."""

    count: float
    started: float

    def is_after(self, before: "Loads") -> bool:
        """Whether it has loaded one since, or is another process, which has read everything anew."""
        return self.count > before.count if self.started == before.started else self.count > 0


class Reloading(ABC):
    """The half of `Place` that is about sidecars; where they are, and how they are shown something, others say."""

    def __init__(self, http: aiohttp.ClientSession, calm: Calm) -> None:
        self._http = http
        self._calm = calm

    @abstractmethod
    async def _component(self, component: str) -> Mapping[str, Any]:
        """The component as it is in place. Raises `RotationError`."""

    @abstractmethod
    async def _sidecars(self) -> Sequence[SidecarAddress]:
        """Every sidecar that there is now."""

    @abstractmethod
    async def _show(self, component: str, *, force: bool = False) -> None:
        """Have every sidecar look at a component again, and at its secrets; forced, to load it whatever it has."""

    @abstractmethod
    async def _refresh(self) -> None:
        """Whatever has to be done first so that they see the secrets as they are."""

    async def reload(self, component: str, why: str) -> str:
        what = await self._component(component)
        kind, apps = what["spec"]["type"], what.get("scopes") or ()
        before = await self._loads(kind, apps)
        async with self._calm.moment(why) as disturbed:
            await self._refresh()
            await self._show(component)
            if await self._late(before, kind, SAME):  # the same settings: a rotation that goes on
                await self._show(component, force=True)
                await self._must_follow(before, kind)
            await self._must_be_ready(apps)
            if what["metadata"]["name"] == names.PUBSUB:
                await self._events_must_flow(component, kind, apps, read=not disturbed)
        return disturbed

    async def _events_must_flow(self, component: str, kind: str, apps: Collection[str], *, read: bool) -> None:
        """A subscription that did not come back with its component is begun anew, once.

        Not `read`: nobody is asked for it where a service is down or has a backlog, and would not have read it in time.
        """
        if not await self._calm.events_flow(FLOWS, read=read):
            return
        before = await self._loads(kind, apps)
        await self._show(component, force=True)
        await self._must_follow(before, kind)
        why_not = await self._calm.events_flow(FOLLOWS, read=read)
        if why_not:
            raise RotationError(f"{why_not}; call this again to go on, or with --back to return")

    async def _loads(self, kind: str, apps: Collection[str] = ()) -> dict[str, Loads]:
        """How often each sidecar has loaded such a component. A sidecar that is on its way up is waited for."""
        deadline = time.monotonic() + FOLLOWS
        found: dict[str, Loads] = {}
        while missing := [one for one in await self._of(apps) if one.name not in found]:
            found |= await self._asked(missing, kind)
            late = [one for one in missing if one.name not in found]
            if late and time.monotonic() > deadline:
                raise RotationError(
                    f"sidecar {late[0].name} does not answer at {late[0].metrics_url}: look at it first"
                )
            if late:
                await asyncio.sleep(POLL)
        return found

    async def _must_follow(self, before: Mapping[str, Loads], kind: str) -> None:
        late = await self._late(before, kind, FOLLOWS)
        if late:
            raise RotationError(
                f"sidecar {', '.join(late)} did not load {kind} anew within {FOLLOWS:.0f} s: look into its log; then"
                " call this again to go on, or with --back to return"
            )

    async def _late(self, before: Mapping[str, Loads], kind: str, seconds: float) -> list[str]:
        """Wait until each sidecar has loaded the component anew, was started anew, or is gone; returns who has not."""
        left = set(before)
        deadline = time.monotonic() + seconds
        while True:
            present = [one for one in await self._sidecars() if one.name in left]
            now = await self._asked(present, kind)
            left = {one.name for one in present if one.name not in now or not now[one.name].is_after(before[one.name])}
            if not left or time.monotonic() > deadline:
                return sorted(left)
            await asyncio.sleep(POLL)

    async def _must_be_ready(self, apps: Collection[str]) -> None:
        deadline = time.monotonic() + FOLLOWS
        while True:
            present = await self._of(apps)
            ready = await asyncio.gather(*(self._is_ready(one) for one in present))
            waiting = [one for one, is_ready in zip(present, ready, strict=True) if not is_ready]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise RotationError(f"sidecar {waiting[0].name} is not ready at {waiting[0].url}: look into its log")
            await asyncio.sleep(POLL)

    async def _of(self, apps: Collection[str]) -> list[SidecarAddress]:
        return [one for one in await self._sidecars() if not apps or one.app_id in apps]

    async def _asked(self, sidecars: Iterable[SidecarAddress], kind: str) -> dict[str, Loads]:
        """What those say that answer."""
        asked = list(sidecars)
        told = await asyncio.gather(*(self._ask(one, kind) for one in asked))
        return {one.name: loads for one, loads in zip(asked, told, strict=True) if loads is not None}

    async def _is_ready(self, sidecar: SidecarAddress) -> bool:
        try:
            async with self._get(f"{sidecar.url}/v1.0/healthz/outbound") as answer:
                return bool(answer.status < 300)  # noqa: PLR2004 - HTTP
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _ask(self, sidecar: SidecarAddress, kind: str) -> Loads | None:
        try:
            async with self._get(sidecar.metrics_url) as answer:
                return loads_of(await answer.text(), kind)
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _get(self, url: str) -> Any:  # noqa: ANN401 - aiohttp's context manager
        return self._http.get(url, timeout=aiohttp.ClientTimeout(total=ASKED))


def loads_of(metrics: str, kind: str) -> Loads | None:
    """What a sidecar's metrics say of components of this type."""
    started = re.search(_STARTED, metrics, re.MULTILINE)
    counted = re.search(_LOADED.format(type=re.escape(kind)), metrics, re.MULTILINE)
    return Loads(float(counted[1]) if counted else 0.0, float(started[1])) if started else None
