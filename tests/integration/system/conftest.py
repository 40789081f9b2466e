"""One embedded system for all tests of this folder, with a broker that is hostile on purpose."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from tests.integration.system.world import Json, Person, World
from tests.support.children import Recorder
from todo.operations.system import HANDED_OUT, MAILBOX
from todo.operations.up import UpOptions, running_system

CHAOS: Final = 20260301
PLAIN: Final = {key: value for key, value in os.environ.items() if key not in HANDED_OUT}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all on one event loop. What takes its minute is begun first and judged last, so that nobody waits for it."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents and isinstance(item, pytest.Function)]
    for item in ours:
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    late = [item for item in ours if "put_off" in item.fixturenames]
    if late:
        ours[0].fixturenames.insert(0, "put_off")
        items[:] = [*(item for item in items if item not in late), *late]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    log = Recorder()
    options = UpOptions(temporary=True, free_ports=True, chaos=CHAOS, durable=False, environ=PLAIN, log_format="json")
    async with running_system(options, log) as system, aiohttp.ClientSession() as http:
        yield World(system, http, log)


@dataclass(frozen=True)
class Waiting:
    """Somebody whose mail was put off for now."""

    person: Person
    task: Json


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def put_off(world: World) -> dict[str, Waiting]:
    """Two mails that were put off: while the mail server was away, and by greylisting."""
    await world.system.stop(MAILBOX)
    away = await _put_off(world, "ada")
    await world.system.start(MAILBOX)
    return {"away": away, "greylisted": await _put_off(world, "greylist")}


async def _put_off(world: World, local_part: str) -> Waiting:
    person = await world.person(local_part)
    task = await person.remind(0)
    (attempt, *_) = await person.attempts(task)
    assert attempt["outcome"] == "deferred"
    return Waiting(person, task)
