"""The way to one app process: requests to it, whether it is healthy, and what it subscribes to."""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from daprlet.errors import MALFORMED, AppUnreachable
from daprlet.settings import AppSettings, HealthCheck
from daprlet.subscriptions import Subscription, from_answer

_log = logging.getLogger(__name__)

_LARGE: Final = 1024 * 1024
_POLL: Final = 0.1  # seconds between looks at a port that does not accept yet
_RECOVERY: Final = 1.0  # an unhealthy app is probed at least this often, so that it is back soon after it recovers
_ASK_AGAIN: Final = 1.0
_ASK_TIMEOUT: Final = 10.0
# Below the 5 s after which uvicorn and Node close an idle connection: a request must not meet the closing.
_KEEP_ALIVE: Final = 3.0


class Reply(NamedTuple):
    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's success class


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """Large bodies as a stream: aiohttp writes those in pieces and does not hold up the event loop."""
    return io.BytesIO(body) if len(body) > _LARGE else body or None


def new_session() -> aiohttp.ClientSession:
    """The one HTTP client of a run; it keeps connections to the apps and adds no cookies, limits or headers."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, use_dns_cache=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


class AppChannel:
    """One app process as its sidecar sees it.

    Healthy means: deliveries and job ticks may go there. With a health check the app's own answer decides; without one
    an app is healthy from the moment its port accepts until a connection is refused, and again once it accepts.
    Every time it becomes healthy it is asked for its subscriptions before it counts as healthy.
    """

    def __init__(self, settings: AppSettings, session: aiohttp.ClientSession, changed: Callable[[], None]) -> None:
        self.settings = settings
        self.healthy = False
        self.accepted = settings.app_port == 0  # whether the port ever accepted: part of the sidecar's own readiness
        self.programmatic: list[Subscription] = []
        self._session = session
        self._changed = changed
        self._base = f"http://{settings.app_host}:{settings.app_port}"
        self._token = {"dapr-api-token": settings.app_token} if settings.app_token else {}
        self._refused = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.max_concurrency) if settings.max_concurrency > 0 else None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None) -> Reply:  # noqa: ASYNC109 - aiohttp enforces it
        """POST to the app and read its whole answer.

        Raises `AppUnreachable` when the connection was refused, `aiohttp.ClientError` when it broke, `TimeoutError`.
        """
        async with self._slots or contextlib.nullcontext():
            try:
                async with self._session.post(
                    self._base + path,
                    data=_payload(body),
                    headers={**headers, **self._token},
                    timeout=aiohttp.ClientTimeout(total=timeout),
                    allow_redirects=False,
                ) as response:
                    return Reply(response.status, await response.read())
            except aiohttp.ClientConnectorError as error:
                self._lost()
                raise AppUnreachable(str(error)) from error

    @contextlib.asynccontextmanager
    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request (its `url` a path, encoded as it is to be sent) whose answer is read in the block.

        One of the app's slots is taken until the block ends. Raises `AppUnreachable` when the connection was refused,
        `aiohttp.ClientError` when it broke.
        """
        async with self._slots or contextlib.nullcontext():
            response = await self._request(method, url, headers, body)
            try:
                yield response
            finally:  # give the connection back, or close it when the answer was not read to its end
                response.release() if response.content.at_eof() else response.close()

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> aiohttp.ClientResponse:
        try:
            return await self._session.request(
                method,
                URL(self._base + url, encoded=True),
                data=_payload(body),
                headers={**headers, **self._token},
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError as error:
            self._lost()
            raise AppUnreachable(str(error)) from error

    def _lost(self) -> None:
        self._refused.set()
        self._set_healthy(healthy=False)

    async def supervise(self) -> None:
        """Keep `healthy` true to what the app says, for as long as the sidecar lives."""
        if self.settings.app_port == 0:
            return
        while True:
            await self._accepting()
            await self._first_healthy()
            self._refused.clear()
            self.programmatic = await self._ask_subscriptions()
            if not self._refused.is_set():
                self._set_healthy(healthy=True)
                await self._until_unhealthy()
                self._set_healthy(healthy=False)

    def _set_healthy(self, *, healthy: bool) -> None:
        if healthy == self.healthy:
            return
        self.healthy = healthy
        _log.info("app %s on port %d is %s", self.settings.app_id, self.settings.app_port, _word(healthy=healthy))
        self._changed()

    async def _accepting(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(self.settings.app_host, self.settings.app_port)
            except OSError:
                await asyncio.sleep(_POLL)
                continue
            writer.close()
            self.accepted = True
            return

    async def _first_healthy(self) -> None:
        check = self.settings.health_check
        wait = _POLL
        while check is not None and not await self._probe(check):
            await asyncio.sleep(wait)
            wait = min(wait * 2, check.interval, _RECOVERY)

    async def _until_unhealthy(self) -> None:
        check = self.settings.health_check
        failures = 0
        while not self._refused.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(check.interval if check else None):
                    await self._refused.wait()
            if check is not None and not self._refused.is_set():
                failures = 0 if await self._probe(check) else failures + 1
                if failures >= check.threshold:
                    return

    async def _probe(self, check: HealthCheck) -> bool:
        try:
            async with self._session.get(
                self._base + check.path,
                headers=self._token,
                timeout=aiohttp.ClientTimeout(total=check.timeout),
                allow_redirects=False,
            ) as response:
                return Reply(response.status, await response.read()).ok
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _ask_subscriptions(self) -> list[Subscription]:
        """`GET /dapr/subscribe` until it answers; 404 means none."""
        while not self._refused.is_set():
            try:
                async with self._session.get(
                    self._base + "/dapr/subscribe",
                    headers=self._token,
                    timeout=aiohttp.ClientTimeout(total=_ASK_TIMEOUT),
                    allow_redirects=False,
                ) as response:
                    reply = Reply(response.status, await response.read())
                if reply.status == 404:  # noqa: PLR2004 - Dapr's sign for an app without subscriptions
                    return []
                if reply.ok:
                    return from_answer(reply.body)
                _log.error("app %s answered GET /dapr/subscribe with %d", self.settings.app_id, reply.status)
            except aiohttp.ClientConnectorError:
                self._refused.set()
            except MALFORMED as error:
                _log.error("app %s: its list of subscriptions is wrong: %s", self.settings.app_id, error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.warning("app %s: GET /dapr/subscribe failed: %s", self.settings.app_id, str(error) or "timeout")
            await asyncio.sleep(_ASK_AGAIN)
        return []


def _word(*, healthy: bool) -> str:
    return "healthy" if healthy else "not healthy"
