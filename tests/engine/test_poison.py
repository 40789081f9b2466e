"""Events that nobody can process, on each broker: one letter with its reason, and in nobody's way."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.engine.scenario import BROKERS, RECONCILE, EngineBench, engine_bench
from tests.faults.bench import due_in, until
from tests.faults.verdicts import BYSTANDER, Show, conclude
from todo.contracts import events, names
from todo.messaging.consumer import ATTEMPTS
from todo.messaging.postgres import Connection
from todo.operations.client import Letter

LATER: Final = 3600.0  # seconds until tasks are due that nobody shall be reminded of here
AT_ONCE: Final = 2.0  # seconds within which an event behind poison has its effect
SOON: Final = 60.0
IN_HAND: Final = 150.0  # what an app had in hand when it died comes again from Redis after 75 to 90 s (docs/engines.md)
REST: Final = 90.0
BROKEN: Final = "broken"  # tasks that are called so fail their handler until it is mended
LETHAL: Final = "lethal"  # these end its process
# Read by the interpreter as it starts, before anything of the service.
SABOTAGE: Final = f"""
import os
from pathlib import Path
from todo.notification import handlers

handle = handlers.task_event

async def task_event(arrived, tx):
    titles = [] if Path(__file__).with_name("mended").exists() else [event.data.title for event in arrived]
    if any(title.startswith("{LETHAL}") for title in titles):
        os._exit(9)
    if any(title.startswith("{BROKEN}") for title in titles):
        raise ValueError("broken for a test")
    await handle(arrived, tx)

handlers.task_event = task_event
"""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Sabotaged:
    """A system whose notification-service has a handler that breaks on some tasks until `mended` is there."""

    bench: EngineBench
    mended: Path

    async def states(self, *tasks: UUID) -> list[str]:
        """The states of these tasks' reminders in the schedule."""
        connection: Connection = await asyncpg.connect(self.bench.system.database_url)
        try:
            query = "SELECT state FROM notification.reminders WHERE task_id = ANY($1::uuid[])"
            return [row["state"] for row in await connection.fetch(query, list(tasks))]
        finally:
            await connection.close()

    async def reach(self, state: str, *tasks: UUID, within: float) -> None:
        """Wait until the schedule has each of the tasks in that state."""

        async def reached() -> bool | str:
            found = await self.states(*tasks)
            return True if found == [state] * len(tasks) else f"{found.count(state)} of {len(tasks)} are {state}"

        await until(reached, within, f"{len(tasks)} tasks {state} in the schedule", 0.02)

    async def letters(self, count: int = 1, **wanted: object) -> Sequence[Letter]:
        """The letters with these fields, once there are so many."""
        found: list[Letter] = []

        async def there() -> bool | str:
            everything = (await self.bench.api.letters("all", 500)).value.dead_letters
            found[:] = [one for one in everything if all(getattr(one, name) == value for name, value in wanted.items())]
            return len(found) >= count or f"{len(found)} letters"

        await until(there, SOON, f"{count} letters with {wanted}")
        assert len(found) == count, found
        return found

    async def publish(self, topic: str, event: dict[str, Any], key: str) -> None:
        """As an operator does it, through backend's sidecar, onto the partition of that key."""
        path, query = f"/v1.0/publish/{names.PUBSUB}/{topic}", {"metadata.partitionKey": key}
        headers = {"content-type": "application/cloudevents+json"}
        answer = await self.bench.ask_sidecar(
            names.BACKEND.app_id, "POST", path, data=json.dumps(event), params=query, headers=headers
        )
        assert answer[0] == 204, answer

    async def end(self, show: Show, title: str, *letters: Letter) -> None:
        """Mend the handler, throw the letters away, close what is due later, and be judged: no other letter is left."""
        self.mended.touch()
        for letter in letters:
            await self.bench.api.discard(letter.id)
        for task in list(self.bench.ledger.tasks.values()):
            if task.status == "open" and task.due_at and task.due_at > due_in(LATER / 2):
                await self.bench.client.complete(task.id)
        await self.bench.quiet(REST, *RECONCILE)
        await conclude(self.bench, f"{self.bench.broker}: {title}", show, excused=())


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BROKERS)
async def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sabotaged]:
    folder = tmp_path_factory.mktemp("poison")
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    sabotage = {names.NOTIFICATION.app_id: {"PYTHONPATH": str(folder)}}
    async with engine_bench(folder, request.param, extra_env=sabotage) as bench:
        await bench.scale_policy()  # what an app had in hand when it died comes back after 75 s on Redis
        yield Sabotaged(bench, folder / "mended")


@pytest.fixture(autouse=True)
def _sabotaged(system: Sabotaged) -> None:
    system.mended.unlink(missing_ok=True)


async def test_a_bad_event_is_one_letter_and_the_next_of_its_partition_is_not_held_up(
    system: Sabotaged, show: Show
) -> None:
    task = await system.bench.client.create("behind a bad event", due_in(LATER))
    await system.reach("waiting", task.id, within=SOON)
    key = str(task.id)
    bad = {"specversion": "1.0", "id": str(uuid4()), "source": "operator", "type": events.TASK_UPDATED, "subject": key}
    await system.publish(names.TASK_EVENTS, bad | {"data": {"task_id": "17"}}, key)
    await system.bench.client.complete(task.id)
    await system.reach("withdrawn", task.id, within=AT_ONCE)
    letters = await system.letters(2, event_id=bad["id"])
    assert {letter.app for letter in letters} == {names.NOTIFICATION.app_id, names.RECURRING.app_id}
    assert all((letter.topic, letter.attempts) == (names.TASK_EVENTS, 1) for letter in letters)
    assert all("task_id" in letter.error for letter in letters)
    await system.end(show, "a bad event", *letters)


async def test_what_fails_is_parked_alone_and_its_replay_succeeds_after_the_fix(system: Sabotaged, show: Show) -> None:
    first = await system.bench.client.create(f"{BROKEN} until mended", due_in(LATER))
    others = [await system.bench.client.create(f"beside it {number}", due_in(LATER)) for number in range(5)]
    await system.reach("waiting", *(task.id for task in others), within=AT_ONCE)
    (letter,) = await system.letters(subject=str(first.id))
    assert (letter.app, letter.topic) == (names.NOTIFICATION.app_id, names.TASK_EVENTS)
    assert (letter.error, letter.attempts) == ("ValueError: broken for a test", ATTEMPTS)
    system.mended.touch()
    await system.bench.api.replay(letter.id)
    await system.reach("waiting", first.id, within=SOON)
    (replayed,) = await system.letters(subject=str(first.id))
    assert (replayed.status, replayed.replays) == ("replayed", 1)
    await system.end(show, "a broken handler")


async def test_an_event_that_kills_its_app_is_parked_at_its_third_sighting(system: Sabotaged, show: Show) -> None:
    """The rest of its batch succeeds: the app comes back cautious, and takes them one by one."""
    app, bench = names.NOTIFICATION.app_id, system.bench
    starts = bench.starts()[app]
    await bench.system.stop(app)
    others = [await bench.client.create(f"in its batch {number}", due_in(LATER)) for number in range(15)]
    killer = await bench.client.create(f"{LETHAL} to whoever takes it", due_in(LATER))
    others += [await bench.client.create(f"in its batch {number}", due_in(LATER)) for number in range(15, 30)]
    bench.system.supervisor.start_child(app)
    (letter,) = await system.letters(subject=str(killer.id))
    assert (letter.app, letter.topic, letter.attempts) == (app, names.TASK_EVENTS, ATTEMPTS)
    assert letter.error.startswith(f"{BYSTANDER} {ATTEMPTS - 1} times")
    await system.reach("waiting", *(task.id for task in others), within=IN_HAND)
    assert bench.starts()[app] - starts >= ATTEMPTS
    await bench.recovered()
    await system.end(show, "a lethal event", letter)


@pytest.mark.parametrize("app", [names.EMAIL_DELIVERY, names.NOTIFICATION], ids=lambda app: str(app.app_id))
async def test_bytes_that_are_no_json_straight_onto_the_broker_block_nothing(
    system: Sabotaged, app: names.App, show: Show
) -> None:
    """The sidecar cannot read them either: it moves them to the app's dead letters, as they are."""
    topic, body = app.topics[0], b"\xff\xfe no JSON \x00" + uuid4().bytes
    await system.bench.outside.put(topic, body, "poison")
    await asyncio.gather(*(system.bench.client.create(f"past {app.app_id} {number}", due_in(1)) for number in range(6)))
    (letter,) = await system.letters(app=app.app_id, topic=topic, size=len(body))
    kept = (await system.bench.api.letter(letter.id)).value
    assert (kept.body_encoding, base64.b64decode(kept.body)) == ("base64", body)
    others = await _letters_of_other_apps(system, topic, len(body), app)
    await system.end(show, f"no JSON for {app.app_id}", letter, *others)


async def _letters_of_other_apps(system: Sabotaged, topic: str, size: int, app: names.App) -> list[Letter]:
    """Each app that reads the topic has a letter of its own."""
    apps = [one for one in names.APPS if topic in one.topics and one is not app]
    return [letter for one in apps for letter in await system.letters(app=one.app_id, topic=topic, size=size)]
