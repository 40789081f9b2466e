"""`todo topics` on a running system, on a broker beside it, and on one that a component file describes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine.moving import TODO
from tests.engine.scenario import EngineBench, engine_bench
from tests.faults.bench import due_in
from todo.contracts import names
from todo.operations import brokers, topics
from todo.operations.engine import resources
from todo.operations.engine.environments import ENVIRONMENTS
from todo.operations.engine.valkey import ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineBench]:
    async with engine_bench(tmp_path_factory.mktemp("topics"), "redis", standby=("kafka",), durable=False) as bench:
        yield bench


async def todo_topics(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *TODO, "topics", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), said.decode()


def here(bench: EngineBench) -> tuple[str, str]:
    return "--data", str(bench.system.data.path)


async def test_the_list_says_what_was_published_and_what_is_unread(bench: EngineBench) -> None:
    await bench.client.create("listed", due_in(3600))
    await bench.quiet(30)
    code, out, _ = await todo_topics("list", "--json", *here(bench))
    states = {one["name"]: one for one in json.loads(out)}
    assert code == 0
    assert set(states) == {one.name for one in topics.wanted()}
    assert states[names.TASK_EVENTS]["published"] >= 1
    assert states[names.TASK_EVENTS]["lag"].keys() == {"notification-service", "recurring-service"}
    assert "nothing" in (await todo_topics("list", *here(bench)))[1]


async def test_every_topic_is_as_it_should_be_here_and_beside(bench: EngineBench) -> None:
    for beside in ((), ("--to", "kafka")):
        code, out, _ = await todo_topics("check", *here(bench), *beside)
        assert (code, out.strip()) == (0, f"all {len(topics.wanted())} topics are as they should be")
    code, out, _ = await todo_topics("check", *here(bench), "--to", "kafka", "--partitions", "6")
    assert code == 1
    assert "3 partitions, 6 are wanted" in out


async def test_any_broker_is_prepared_by_its_component_file(tmp_path: Path) -> None:
    async with ValkeyServer(tmp_path / "valkey") as valkey:
        secrets, target = tmp_path / "secrets.json", tmp_path / "component" / "resources"
        secret = ENVIRONMENTS["redis"].secret or ""
        secrets.write_text(json.dumps({secret: {"REDIS_PASSWORD": valkey.password}}))
        resources.render("redis", {"redisHost": valkey.address}, target)
        there = ("--component", str(target / resources.PUBSUB_FILE), "--secrets", str(secrets))
        code, out, _ = await todo_topics("check", *there)
        assert code == 1
        assert "it does not exist" in out
        code, out, _ = await todo_topics("create", "--json", *there)
        assert (code, len(json.loads(out))) == (0, len(topics.wanted()))
        assert (await todo_topics("create", *there))[1].strip() == "every topic is there already"
        assert (await todo_topics("check", *there))[0] == 0


async def test_what_everybody_has_read_is_trimmed_on_redis_and_kafka_needs_no_help(bench: EngineBench) -> None:
    for number in range(5):
        await bench.client.create(f"trimmed {number}", due_in(3600))
    await bench.quiet(30)
    component = resources.current(Path(bench.engine.resources))
    secrets = resources.resolved(component, Path(bench.engine.secrets))
    async with brokers.connected(component, secrets) as broker:
        before = await broker.ends([names.TASK_EVENTS])
        code, out, _ = await todo_topics("trim", "--json", "--keep", "2", *here(bench))
        assert (code, json.loads(out)[names.TASK_EVENTS]) == (0, before[names.TASK_EVENTS] - 2)
        assert (await broker.lag(topics.consumed()))["notification-service", names.TASK_EVENTS].total == 0
    code, _, said = await todo_topics("trim", "--to", "kafka", *here(bench))
    assert code == 1
    assert "there is nothing to trim" in said


async def test_a_command_line_that_names_no_broker_says_what_is_missing(bench: EngineBench, tmp_path: Path) -> None:
    code, _, said = await todo_topics("list", "--component", "x.yaml")
    assert code == 2
    assert "--component needs --secrets" in " ".join(said.split())
    code, _, said = await todo_topics("list", "--data", str(tmp_path))
    assert (code, "no system runs on" in said) == (1, True)
    code, _, said = await todo_topics("list", "--to", "nats", *here(bench))
    assert (code, "use one of kafka, kafka-sasl" in said) == (1, True)
