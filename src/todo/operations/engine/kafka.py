"""A Kafka broker of our own: one KRaft node on loopback, as a child process.

It listens in the open, with TLS and SCRAM (SHA-256 and SHA-512; certificate authority and passwords made here), or in
both ways. Topics are not created by themselves unless asked for: a misspelt one must fail.
"""

import asyncio
import base64
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from todo.operations import ports, processes
from todo.operations.datafolder import RESTRICTED, kept_token, write_secret
from todo.operations.engine import binaries
from todo.operations.engine.alone import Alone
from todo.operations.supervisor import ChildSpec

ADMIN: Final = "admin"
USER: Final = "todo"
PARTITIONS: Final = 3
MAX_MESSAGE: Final = 5 * 1024 * 1024  # dead letters may hold 4 MB
METADATA_SECONDS: Final = 1.5
STOP_STEPS: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))
# A small heap and the quick compiler alone: ready in 2 s instead of 3, with 250 MB less.
JVM: Final = (
    *("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showThreadName=false"),
)
# Few threads and few internal partitions: a broker for one host. No wait for further members when a group starts.
SMALL: Final = {
    "num.network.threads": 2,
    "num.io.threads": 2,
    "background.threads": 2,
    "group.coordinator.threads": 1,
    "group.initial.rebalance.delay.ms": 0,
    "offsets.topic.num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
}


class KafkaError(RuntimeError):
    """The broker cannot be made ready; the message has the program's own words."""


class Listener(StrEnum):
    PLAINTEXT = "PLAINTEXT"
    SASL_SSL = "SASL_SSL"


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str = field(repr=False)


class KafkaServer(Alone):
    """One broker over one folder, which holds `log/` (all data), `tls/`, `secrets/` and the generated configuration.

    `listeners` are ports by kind, `controller` is one of its own; port 0 takes a free one. `users` are the passwords of
    those who may log in besides `admin`, taken over when the log is formatted; later changes are made through the
    broker's admin interface. Without `users` there is `todo`, with a password kept in the folder. Emptying `log/` while
    it is down makes it a new broker.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Mapping[Listener, int] | None = None,
        *,
        users: Mapping[str, str] | None = None,
        controller: int = 0,
        auto_create_topics: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        wanted = listeners or {Listener.PLAINTEXT: 0}
        spare, *free = ports.free(1 + len(wanted))
        self._controller = controller or spare
        self.listeners = {kind: port or spare for (kind, port), spare in zip(wanted.items(), free, strict=True)}
        self._users = users
        self._auto_create_topics = auto_create_topics

    @property
    def bootstrap(self) -> str:
        """The address in the open. KeyError when it does not listen so."""
        return f"{ports.LOOPBACK}:{self.listeners[Listener.PLAINTEXT]}"

    @property
    def sasl_bootstrap(self) -> str:
        """The address with TLS and SCRAM. KeyError when it does not listen so."""
        return f"{ports.LOOPBACK}:{self.listeners[Listener.SASL_SSL]}"

    @property
    def admin(self) -> Login:
        return Login(ADMIN, kept_token(self.folder / "secrets" / ADMIN))

    @property
    def login(self) -> Login:
        """The first of the users: whom services log in as."""
        return Login(*next(iter(self._logins().items())))

    def ca_certificate(self) -> str:
        """The certificate authority's certificate (PEM), made on first use; blocks for a second then."""
        self._ensure_tls()
        return (self.folder / "tls" / "ca.pem").read_text()

    def admin_client(self) -> dict[str, Any]:
        """Settings of confluent-kafka for the administrator."""
        if Listener.PLAINTEXT in self.listeners:
            return {"bootstrap.servers": self.bootstrap}
        return {
            "bootstrap.servers": self.sasl_bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.admin.username,
            "sasl.password": self.admin.password,
            "ssl.ca.pem": self.ca_certificate(),
        }

    def child(self, name: str = "kafka") -> ChildSpec:
        return ChildSpec(
            name,
            self._java("start"),
            {"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            ready=self.ready,
            before_start=self.prepare,
            stop_steps=STOP_STEPS,
            address=f"{ports.LOOPBACK}:{next(iter(self.listeners.values()))}",
        )

    def prepare(self) -> None:
        """Write the configuration and format an empty folder; blocks for two seconds the first time."""
        self.folder.mkdir(mode=RESTRICTED, parents=True, exist_ok=True)
        if Listener.SASL_SSL in self.listeners:
            self._ensure_tls()
        self._write_properties("server", self.folder / "log")
        self._write_arguments("start", "kafka.Kafka", self.folder / "server.properties")
        if not (self.folder / "log" / "meta.properties").exists():
            self._format()

    async def ready(self, _pid: int = 0) -> bool:
        """Tell whether the broker answers a request for metadata."""
        for port in self.listeners.values():
            with socket.socket() as probe:  # or librdkafka would wait, and complain, for each start
                probe.settimeout(METADATA_SECONDS)
                if probe.connect_ex((ports.LOOPBACK, port)) != 0:
                    return False
        return await asyncio.to_thread(self._answers)

    def _answers(self) -> bool:
        from confluent_kafka import KafkaException  # noqa: PLC0415 - an extra, which only the real engine needs
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415

        try:
            return bool(
                AdminClient({**self.admin_client(), "log_level": 0}).list_topics(timeout=METADATA_SECONDS).brokers
            )
        except KafkaException:
            return False

    def _logins(self) -> Mapping[str, str]:
        if self._users is not None:
            return self._users
        return {USER: kept_token(self.folder / "secrets" / USER)}

    def _write_properties(self, name: str, log: Path) -> None:
        lines = [f"{key}={value}\n" for key, value in (self._properties(log) | self._security()).items()]
        write_secret(self.folder / f"{name}.properties", "".join(lines).encode())

    def _properties(self, log: Path) -> dict[str, object]:
        own = [f"{kind}://{ports.LOOPBACK}:{port}" for kind, port in self.listeners.items()]
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{ports.LOOPBACK}:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([*own, f"CONTROLLER://{ports.LOOPBACK}:{self._controller}"]),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:SASL_PLAINTEXT",
            "inter.broker.listener.name": next(iter(self.listeners)),
            "log.dirs": log,
            "num.partitions": PARTITIONS,
            "message.max.bytes": MAX_MESSAGE,
            "auto.create.topics.enable": str(self._auto_create_topics).lower(),
            **SMALL,
        }

    def _security(self) -> dict[str, object]:
        """Who must show what: the controller is asked by the broker alone, with the administrator's password."""
        module, secret = "org.apache.kafka.common.security", self.admin.password
        login = f'required username="{ADMIN}" password="{secret}"'
        controller: dict[str, object] = {
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule {login} user_{ADMIN}="{secret}";'
            ),
        }
        if Listener.SASL_SSL not in self.listeners:
            return controller
        tls = self.folder / "tls"
        return controller | {
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule {login};",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": tls / "broker.p12",
            "ssl.keystore.password": kept_token(self.folder / "secrets" / "keystore"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": tls / "ca.pem",
        }

    def _java(self, name: str) -> list[str]:
        """Return the command that runs what `_write_arguments` wrote."""
        return [str(binaries.java()), f"@{self.folder / name}.args"]

    def _write_arguments(self, name: str, *words: object) -> None:
        """Write Java's argument file, which hides passwords from who lists processes."""
        line = map(str, [*JVM, "-cp", f"{binaries.kafka()}/*", *words])
        quoted = [
            json.dumps(word, ensure_ascii=False) for word in line
        ]  # Java's rules for quotes, for what occurs here
        write_secret(self.folder / f"{name}.args", "\n".join(quoted).encode())

    def _format(self) -> None:
        """Make the log beside its place and move it there whole: a crash on the way leaves nothing half made."""
        fresh, log = self.folder / "log.new", self.folder / "log"
        shutil.rmtree(fresh, ignore_errors=True)
        self._write_properties("format", fresh)
        scram = [
            f"--add-scram=SCRAM-SHA-{bits}=[name={username},password={password}]"
            for username, password in {ADMIN: self.admin.password, **self._logins()}.items()
            for bits in (256, 512)
        ]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a")
        words = ["format", "--cluster-id", cluster, "--config", self.folder / "format.properties", *scram]
        try:
            self._write_arguments("format", "kafka.tools.StorageTool", *words)
            _run(self._java("format"))
        finally:
            (self.folder / "format.args").unlink(missing_ok=True)
        if log.exists():
            log.rmdir()  # emptied on purpose; anything in it would be somebody's data
        fresh.rename(log)

    def _ensure_tls(self) -> None:
        """Make a certificate authority, whose key is thrown away, and the broker's certificate signed by it."""
        place, fresh = self.folder / "tls", self.folder / "tls.new"
        if place.exists():
            return
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=RESTRICTED, parents=True)
        env = {**os.environ, "STORE_PASSWORD": kept_token(self.folder / "secrets" / "keystore")}
        store = ["-keystore", str(fresh / "broker.p12"), "-storetype", "PKCS12", "-storepass:env", "STORE_PASSWORD"]
        make = ["-genkeypair", *store, "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"]
        for words in (
            [*make, "-alias", "ca", "-dname", "CN=todo broker CA", "-ext", "bc:c"],
            [
                *make,
                "-alias",
                "broker",
                "-signer",
                "ca",
                "-dname",
                "CN=localhost",
                "-ext",
                "SAN=dns:localhost,ip:127.0.0.1",
            ],
            ["-exportcert", "-rfc", *store, "-alias", "ca", "-file", str(fresh / "ca.pem")],
            ["-delete", *store, "-alias", "ca"],
        ):
            _run([str(binaries.keytool()), *words], env)
        fresh.rename(place)


def _run(command: list[str], env: Mapping[str, str] | None = None) -> None:
    launched = processes.launched(command, death_signal=signal.SIGKILL)
    done = subprocess.run(launched, capture_output=True, text=True, check=False, env=env)  # noqa: S603 - our own words
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise KafkaError("\n".join([f"{shlex.quote(Path(command[0]).name)} failed:", *said[-5:]]))
