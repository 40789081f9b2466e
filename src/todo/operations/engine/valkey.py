"""A Valkey server of our own, on loopback, with a password and an append-only file, as a child process."""

import hashlib
import os
import signal
from pathlib import Path
from typing import Final

from todo.operations import ports
from todo.operations.datafolder import RESTRICTED, kept_token, write_secret
from todo.operations.engine import binaries
from todo.operations.engine.alone import Alone
from todo.operations.supervisor import ChildSpec

STOP_STEPS: Final = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))


class ValkeyServer(Alone):
    """One server over one folder, which holds `data/` (the append-only file), `users.acl` and its configuration.

    `password` is the default user's when `users.acl` is first written; later changes are made with ACL SETUSER and
    ACL SAVE. Without it there is one that is kept in the folder. What was written is on disk after a second.
    """

    def __init__(self, folder: Path, port: int = 0, *, password: str | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port or ports.free(1)[0]
        self._password = password

    @property
    def address(self) -> str:
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def password(self) -> str:
        return self._password or kept_token(self.folder / "secrets" / "password")

    def child(self, name: str = "valkey") -> ChildSpec:
        return ChildSpec(
            name,
            [str(binaries.valkey()), str(self.folder / "valkey.conf")],
            {"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            ready=self.ready,
            before_start=self.prepare,
            stop_steps=STOP_STEPS,
            address=self.address,
        )

    def prepare(self) -> None:
        """Write the configuration, and the users when there are none yet."""
        data, users = self.folder / "data", self.folder / "users.acl"
        for folder in (self.folder, data):
            folder.mkdir(mode=RESTRICTED, parents=True, exist_ok=True)
        if not users.exists():
            digest = hashlib.sha256(self.password.encode()).hexdigest()
            write_secret(users, f"user default on #{digest} ~* &* +@all\n".encode())
        settings = {
            "bind": ports.LOOPBACK,
            "port": self.port,
            "dir": _quoted(data),
            "aclfile": _quoted(users),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "loglevel": "warning",
            "set-proc-title": "no",  # the next start knows a leftover by its command line
            "save": '""',  # the append-only file is enough
        }
        lines = [f"{key} {value}\n" for key, value in settings.items()]
        write_secret(self.folder / "valkey.conf", "".join(lines).encode())

    async def ready(self, _pid: int = 0) -> bool:
        """Tell whether it serves: its data are loaded."""
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra, which only the real engine needs
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import AuthenticationError, RedisError  # noqa: PLC0415

        once = Retry(NoBackoff(), 0)  # else a refused password is tried for longer than a probe may take
        async with Redis(host=ports.LOOPBACK, port=self.port, password=self.password, retry=once) as client:
            try:
                return bool(await client.ping())
            except AuthenticationError:
                return True  # the password was changed since, and not by us: it serves all the same
            except RedisError:
                return False


def _quoted(path: Path) -> str:
    return '"{}"'.format(os.fspath(path).replace("\\", "\\\\").replace('"', '\\"'))
