"""Logins are exchanged while the system works: nobody is refused, nothing is lost, the old login is worth nothing."""

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.engine.scenario import EngineBench, engine_bench
from tests.faults.bench import ENVIRON
from tests.faults.verdicts import Show, conclude
from todo.contracts import names
from todo.operations import logins
from todo.operations.engine import resources
from todo.operations.engine.environments import KAFKA_SECRETS, POSTGRES_SECRETS, REDIS_SECRETS
from todo.operations.engine.valkey import ValkeyServer
from todo.operations.rotation import host
from todo.operations.rotation.authority import RotationError
from todo.operations.rotation.database import DSN
from todo.operations.rotation.journal import FILE
from todo.operations.rotation.kafka import KafkaLogins
from todo.operations.rotation.redis import RedisLogins

SPAN: Final = 8.0  # seconds that the client works in each case
COUNT: Final = 60
REST: Final = 120.0
RELAYS: Final = (names.BACKEND.app_id, names.NOTIFICATION.app_id)
MAILERS: Final = {"email-delivery": 2}

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineBench]:
    """One system on Kafka behind SASL_SSL, two replicas of email-delivery, for all cases but Redis's."""
    async with engine_bench(tmp_path_factory.mktemp("rotate"), "kafka-sasl", replicas=MAILERS) as bench:
        yield bench


class Operator:
    """Calls `todo rotate` as a person does."""

    def __init__(self, bench: EngineBench) -> None:
        self._data = bench.system.data.path
        self._secrets = Path(bench.engine.secrets)

    async def call(self, subject: str, *options: str, said: str = "", data: Path | None = None) -> tuple[int, str, str]:
        """Exit code, output and complaints; `said` is its standard input."""
        process = await self.start(subject, *options, data=data)
        out, err = await process.communicate(said.encode())
        return process.returncode or 0, out.decode(), err.decode()

    async def must(self, subject: str, *options: str, said: str = "") -> list[dict[str, Any]]:
        """The steps that it tells of."""
        code, out, err = await self.call(subject, *options, "--json", said=said)
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    async def start(self, subject: str, *options: str, data: Path | None = None) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command: list[str | Path] = [
            Path(sys.executable).with_name("todo"),
            "rotate",
            subject,
            *options,
            "--data",
            str(data or self._data),
        ]
        return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRON)

    def secret(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._secrets.read_bytes())[name]
        return found

    def version(self, name: str) -> int:
        return int(self.secret(name).get("VERSION", "1"))

    def everything(self) -> dict[str, bytes]:
        """Every file that a rotation may change, with its content."""
        engine = self._secrets.parent
        files = [*engine.glob("resources/*"), self._secrets, engine / host.DSN_FILE, self._data / FILE]
        return {str(file): file.read_bytes() for file in files if file.exists()}


@pytest.fixture
def operator(running: EngineBench) -> Operator:
    return Operator(running)


async def failed_publishes(bench: EngineBench) -> float:
    found = [await bench.metrics(replica) for replica in RELAYS]
    return sum(metrics.get("todo_event_publish_failures_total", 0.0) for metrics in found)


async def rotated_under_load(  # noqa: PLR0913 - what is done, where, and how it is judged
    bench: EngineBench, operator: Operator, calls: Sequence[Sequence[str]], title: str, *, seed: int, show: Show
) -> list[dict[str, Any]]:
    """The client works while these calls are made; every answer is a good one, and the run is judged whole."""
    before, failed = bench.ledger.answers.copy(), await failed_publishes(bench)
    told: list[dict[str, Any]] = []

    async def meanwhile() -> None:
        async with asyncio.timeout(30):
            while (bench.ledger.answers - before).total() < COUNT // 10:  # noqa: ASYNC110 - the client is at work
                await asyncio.sleep(0.02)
        for call in calls:
            told.extend(await operator.must(*call))

    await bench.at_work(title, meanwhile(), seed=seed, count=COUNT, span=SPAN)
    answers = bench.ledger.answers - before
    assert set(answers) <= {"200", "201"}, answers
    assert await failed_publishes(bench) == failed
    await bench.quiet(REST)
    await conclude(bench, title, show, exposed=(), seen={"answers": dict(answers)})
    return told


async def works_after_a_restart(bench: EngineBench, broker: str, title: str, *, seed: int, show: Show) -> None:
    """A broker asks nobody twice who he is: only now would be seen who still has the old login."""
    await bench.system.stop(broker)
    await bench.system.start(broker)
    await bench.at_work(title, asyncio.sleep(0), seed=seed, count=15, span=2.0)
    await bench.quiet(REST)
    await conclude(bench, title, show, exposed=())


def steps(told: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    return [(one["version"], one["step"]) for one in told]


WHOLE: Final = ["begun", "created", "checked", "switching", "verified"]


async def test_the_brokers_login_is_exchanged_under_load(
    running: EngineBench, operator: Operator, seed: int, show: Show
) -> None:
    old = operator.secret(KAFKA_SECRETS)
    calls = [("kafka", "--generate"), ("kafka", "--retire")]
    told = await rotated_under_load(running, operator, calls, "broker login", seed=seed, show=show)
    assert steps(told) == [*((2, step) for step in WHOLE), (1, "retiring"), (1, "retired")]
    new = operator.secret(KAFKA_SECRETS)
    assert new["KAFKA_SASL_USERNAME"] != old["KAFKA_SASL_USERNAME"]
    authority = KafkaLogins(resources.current(Path(running.engine.resources)), KAFKA_SECRETS)
    assert await authority.is_refused(old)
    assert not await authority.is_refused(new)
    assert "detail" not in told[-3], "the relays were not paused meanwhile"
    await works_after_a_restart(running, "kafka-sasl", "broker login, later", seed=seed, show=show)


async def test_the_databases_password_is_exchanged_under_load_twice(
    running: EngineBench, operator: Operator, seed: int, show: Show
) -> None:
    """There and back again: the two roles take turns, and each is refused once it had its turn."""
    first = operator.secret(POSTGRES_SECRETS)[DSN]
    calls = [("database", "--generate"), ("database", "--retire")] * 2
    told = await rotated_under_load(running, operator, calls, "database login", seed=seed, show=show)
    expected = [
        *((2, step) for step in WHOLE),
        (1, "retiring"),
        (1, "retired"),
        *((3, step) for step in WHOLE),
        (2, "retiring"),
        (2, "retired"),
    ]
    assert steps(told) == expected
    now = operator.secret(POSTGRES_SECRETS)[DSN]
    assert [logins.of_dsn(dsn).role for dsn in (first, now)] == ["todo_a", "todo_a"]
    assert await logins.is_refused(first)
    assert not await logins.is_refused(now)
    assert not await logins.sessions(running.system.database_url, "todo_b")
    assert await logins.sessions(running.system.database_url, "todo_a")


async def test_what_still_uses_the_old_login_is_named_and_keeps_it(running: EngineBench, operator: Operator) -> None:
    old = operator.secret(POSTGRES_SECRETS)[DSN]
    await operator.must("database", "--generate")
    straggler = await asyncpg.connect(old, server_settings={"application_name": "a report"})
    code, _, said = await operator.call("database", "--retire")
    assert (code, "is still used by a report" in said) == (1, True), said
    assert not await logins.is_refused(old)
    await straggler.close()
    await operator.must("database", "--retire")
    assert await logins.is_refused(old)
    del running


async def test_a_wrong_password_is_refused_before_anything_changes(running: EngineBench, operator: Operator) -> None:
    before = operator.everything()
    for subject, user in (("kafka", "somebody"), ("database", "todo_c")):
        for more in ((), ("--dry-run",)):
            code, _, said = await operator.call(
                subject, "--username", user, "--password-file", "-", *more, said="wrong\n"
            )
            assert code == 1, said
            assert said.count("\n") == 1, said
            assert "wrong" not in said
            assert operator.everything() == before
    del running


async def test_a_login_from_elsewhere_is_taken_and_returned_from(running: EngineBench, operator: Operator) -> None:
    """What a provider's console would do is done by hand: a user is made, and then given."""
    old = operator.secret(KAFKA_SECRETS)
    authority = KafkaLogins(resources.current(Path(running.engine.resources)), KAFKA_SECRETS)
    theirs = authority.given(old, "theirs", "hush-hush")
    await authority.create(theirs, by=old)
    told = await operator.must("kafka", "--username", "theirs", "--password-file", "-", said="hush-hush\n")
    assert [step for _, step in steps(told)] == ["begun", "checked", "switching", "verified"]
    assert operator.secret(KAFKA_SECRETS)["KAFKA_SASL_USERNAME"] == "theirs"
    await operator.must("kafka", "--back")
    assert operator.secret(KAFKA_SECRETS)["KAFKA_SASL_USERNAME"] == old["KAFKA_SASL_USERNAME"]
    await operator.must("kafka", "--retire")
    assert await authority.is_refused(theirs)
    assert "hush-hush" not in (running.system.data.path / FILE).read_text()


async def test_a_rehearsal_does_everything_to_the_system_it_names(
    running: EngineBench, operator: Operator, tmp_path: Path
) -> None:
    old = operator.secret(POSTGRES_SECRETS)[DSN]
    there = str(running.system.data.path)
    code, out, said = await operator.call(
        "database", "--generate", "--dry-run", "--against", there, "--json", data=tmp_path
    )
    assert code == 0, said
    assert [json.loads(line)["step"] for line in out.splitlines()] == [*WHOLE, "retiring", "retired"]
    assert await logins.is_refused(old)


@pytest.mark.parametrize("step", ["begun", "created", "switching"])
async def test_a_rotation_killed_with_kill_9_goes_on(
    running: EngineBench, operator: Operator, step: str, seed: int, show: Show
) -> None:
    """The system works on, and a second call ends what the first began."""

    async def torment() -> None:
        for subject, name in (("kafka", KAFKA_SECRETS), ("database", POSTGRES_SECRETS)):
            version = operator.version(name)
            await killed_at(await operator.start(subject, "--generate", "--json"), step)
            code, _, said = await operator.call(subject)
            assert code == 0 or "nothing was cut short" in said, said
            if operator.version(name) == version:  # it died before it had put anything aside
                await operator.must(subject, "--generate")
            await operator.must(subject, "--retire")
            assert operator.version(name) > version

    before = running.ledger.answers.copy()
    await running.at_work(f"killed at {step}", torment(), seed=seed, count=20, span=4.0)
    assert set(running.ledger.answers - before) <= {"200", "201"}
    await running.quiet(REST)
    await conclude(running, f"killed at {step}", show, exposed=())


async def test_the_password_of_redis_is_exchanged_under_load(tmp_path: Path, seed: int, show: Show) -> None:
    async with engine_bench(tmp_path, "redis") as bench:
        operator = Operator(bench)
        old = operator.secret(REDIS_SECRETS)
        calls = [("redis", "--generate"), ("redis", "--retire")]
        told = await rotated_under_load(bench, operator, calls, "Redis", seed=seed, show=show)
        assert steps(told) == [*((2, step) for step in WHOLE), (1, "retiring"), (1, "retired")]
        authority = RedisLogins(resources.current(Path(bench.engine.resources)), REDIS_SECRETS)
        assert await authority.is_refused(old)
        assert not await authority.is_refused(operator.secret(REDIS_SECRETS))
        await works_after_a_restart(bench, "valkey", "Redis, later", seed=seed, show=show)
        assert await authority.is_refused(old), "it was forgotten when the server started anew"


async def test_a_password_that_the_server_forgot_and_its_file_did_not_is_removed_for_good(tmp_path: Path) -> None:
    """A retirement was killed between the two; the next one must not take it for done."""
    async with ValkeyServer(tmp_path) as valkey:
        authority = RedisLogins(redis_component(valkey.address), REDIS_SECRETS)
        old = {"REDIS_PASSWORD": valkey.password}
        new = authority.fresh(old, 2)
        await authority.remove(new, by=old)  # given up before it was made
        await authority.create(new, by=old)
        async with Redis(port=valkey.port, password=new["REDIS_PASSWORD"]) as client:
            digest = hashlib.sha256(valkey.password.encode()).hexdigest()
            await client.acl_setuser("default", enabled=True, hashed_passwords=[f"-{digest}"])
            with pytest.raises(RotationError, match="Error in ACL SETUSER modifier"):
                await authority._change(new, "!nonsense")
        assert await authority.is_refused(old)
        await authority.remove(old, by=new)
    async with ValkeyServer(tmp_path, valkey.port):
        assert await authority.is_refused(old)
        assert not await authority.is_refused(new)


def redis_component(address: str) -> Mapping[str, Any]:
    reference = {"name": REDIS_SECRETS, "key": "REDIS_PASSWORD"}
    metadata = [{"name": "redisHost", "value": address}, {"name": "redisPassword", "secretKeyRef": reference}]
    return {"metadata": {"name": names.PUBSUB}, "spec": {"type": "pubsub.redis", "metadata": metadata}}


async def killed_at(process: asyncio.subprocess.Process, step: str) -> None:
    """`kill -9` as soon as it tells of the step."""
    assert process.stdout is not None
    async for line in process.stdout:
        if json.loads(line)["step"] == step:
            break
    process.kill()
    assert await process.wait() == -signal.SIGKILL, "it was over before it could be killed"
