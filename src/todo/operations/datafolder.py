"""The data folder: one system's whole state, its lock, its tokens, and where it can be reached while it runs.

lock               held (flock) as long as the system runs
run.json           pid and addresses of the running system; `RunningSystem`
children.json      pids of its children, for the start after a `kill -9`; `Children`
settings.json      what start-up asked for once
tokens/            one file each, mode 0600
postgres/          the database server, when it is ours
mailbox/           what it keeps
daprlet/           the same
dapr.yaml          daprlet's run file, written anew at every start
secrets.json       what its secret store holds
engine/            everything of stock Dapr's: brokers, Scheduler, the sidecars' resources, secrets.json
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from todo.operations import processes

DEFAULT: Final = "data"
API_TOKEN: Final = "dapr-api-token"  # noqa: S105 - a file's name
RESTRICTED: Final = 0o700
SECRET: Final = 0o600


class DataFolderError(RuntimeError):
    """The data folder cannot be used; the message says why and what to do."""


class AlreadyRunningError(DataFolderError):
    """Another process holds the data folder; `running` is what it says of itself, when it got that far."""

    def __init__(self, folder: Path, running: "RunningSystem | None", pid: int | None) -> None:
        self.running = running
        who = f"pid {running.pid} at {running.addresses.get('backend', '?')}" if running else f"pid {pid or 'unknown'}"
        super().__init__(
            f"a system already runs on {folder} ({who}): use it, stop it first, or choose another folder with TODO_DATA"
        )


class SidecarAddress(msgspec.Struct, frozen=True):
    """One daprd: its child's name, its app, its API, and where its metrics are read."""

    name: str
    app_id: str
    url: str
    metrics_url: str


class EngineRun(msgspec.Struct, frozen=True):
    """What runs with a system on stock Dapr.

    `environment` is the broker it started on (a component file's path for one of somebody else's), `resources` the
    folder that the sidecars watch, `secrets` the file behind their secret store. `environments` are the brokers that
    run here: by name, what `resources.render` wants to know of each.
    """

    environment: str
    resources: str
    secrets: str
    sidecars: list[SidecarAddress]
    environments: dict[str, dict[str, str]]


class RunningSystem(msgspec.Struct, frozen=True):
    """`run.json`: how another process finds the running system. `database_url` is the operator's way in."""

    pid: int
    addresses: dict[str, str]
    database_url: str
    engine: EngineRun | None = None

    @property
    def sidecar(self) -> str:
        """The API of backend's first sidecar."""
        return next((one.url for one in self.engine.sidecars), "") if self.engine else self.addresses["daprlet"]


class Children(msgspec.Struct, frozen=True):
    """`children.json`: by pid, a part of the command line that tells the process from others of that number."""

    commands: dict[int, str]


class Settings(msgspec.Struct):
    """`settings.json`: answers that are asked for once."""

    email: str | None = None
    engine: str | None = None  # the one that ran here last


def default_path() -> Path:
    return Path(os.environ.get("TODO_DATA") or DEFAULT)


def running_system(folder: Path) -> RunningSystem | None:
    """Return the system that runs on the folder, or None; what a killed one left behind does not count."""
    try:
        found = msgspec.json.decode((folder / "run.json").read_bytes(), type=RunningSystem)
    except (OSError, msgspec.DecodeError):
        return None
    return found if processes.alive(found.pid) and _is_locked(folder) else None


class DataFolder:
    """Exclusive use of one data folder as long as the context is entered. Entry may raise AlreadyRunningError."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=RESTRICTED, parents=True, exist_ok=True)
            self.path.chmod(RESTRICTED)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, SECRET)
        except PermissionError as error:
            raise DataFolderError(
                f"{self.path} is not this user's ({error.strerror}): start as its owner, or set TODO_DATA"
            ) from error
        try:
            self._take_lock(self._lock)
        except BaseException:
            os.close(self._lock)
            raise
        (self.path / "run.json").unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        (self.path / "run.json").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)

    def folder(self, name: str) -> Path:
        """Return a folder of that name inside, made when absent."""
        place = self.path / name
        place.mkdir(mode=RESTRICTED, exist_ok=True)
        return place

    def token(self, name: str) -> str:
        """Return the token of that name, made and kept on first use."""
        return kept_token(self.path / "tokens" / name)

    @property
    def api_token(self) -> str:
        """What apps show to their sidecar (`DAPR_API_TOKEN`)."""
        return self.token(API_TOKEN)

    def app_token(self, app_id: str) -> str:
        """What a sidecar shows to its app (`APP_API_TOKEN`)."""
        return self.token(f"app-api-token.{app_id}")

    def announce(self, running: RunningSystem) -> None:
        write_secret(self.path / "run.json", msgspec.json.format(msgspec.json.encode(running), indent=2))

    def note_children(self, commands: Mapping[int, str]) -> None:
        """Remember what runs; not synced: after a crash of the machine nothing runs anyway."""
        place = self.path / "children.json"
        fresh = place.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(Children(dict(commands))))
        fresh.replace(place)

    def end_leftovers(self) -> None:
        """Kill children that outlived a killed supervisor, where the kernel did not; they hold ports."""
        try:
            noted = msgspec.json.decode((self.path / "children.json").read_bytes(), type=Children)
        except (OSError, msgspec.DecodeError):
            return
        for pid, command in noted.commands.items():
            if command in (processes.command_of(pid) or ""):
                processes.kill(pid)
        (self.path / "children.json").unlink()

    def settings(self) -> Settings:
        place = self.path / "settings.json"
        try:
            return msgspec.json.decode(place.read_bytes(), type=Settings)
        except FileNotFoundError:
            return Settings()
        except msgspec.DecodeError as error:
            raise DataFolderError(f"{place} cannot be read: {error}; mend or remove it") from error

    def save(self, settings: Settings) -> None:
        write_secret(self.path / "settings.json", msgspec.json.format(msgspec.json.encode(settings), indent=2))

    def _take_lock(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(lock, 32, 0).decode().strip()
            pid = int(written) if written.isdigit() else None
            raise AlreadyRunningError(self.path, running_system(self.path), pid) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def kept_token(place: Path) -> str:
    """Return the token in this file, which is made when absent, and its folder with it."""
    try:
        return place.read_text()
    except FileNotFoundError:
        place.parent.mkdir(mode=RESTRICTED, parents=True, exist_ok=True)
        write_secret(place, secrets.token_urlsafe(32).encode())
        return place.read_text()


def write_secret(place: Path, content: bytes, *, made_in: Path | None = None) -> None:
    """Replace a file whole, durably, readable by its owner alone; it is made beside its place, or in `made_in`."""
    descriptor, temporary = tempfile.mkstemp(dir=made_in or place.parent, prefix=f".{place.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
