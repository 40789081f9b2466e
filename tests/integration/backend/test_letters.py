from collections.abc import Callable

import msgspec
import pytest

from tests.integration.backend.scenario import Scenario, letter
from todo.backend import commands, handlers
from todo.backend.app import SCHEMA, Epoch, MovedError, _park_row, _reconnect
from todo.backend.commands import ConflictError, NotFoundError
from todo.backend.store import letters, people
from todo.backend.store.letters import Letter
from todo.contracts import names
from todo.dapr.subscriber import UnavailableError
from todo.messaging.database import open_database
from todo.messaging.failures import is_environment
from todo.messaging.unit import Database, Outgoing

ENVELOPE = b'{"id":"e","type":"todo.task.updated.v1","subject":"s","unknown":[1,2.50],"data":{"a":"\\u00e9"}}'


async def stored(database: Database) -> Letter:
    (one,) = await letters.page(database.pool, None, None, 10)
    found = await letters.find(database.pool, one.id)
    assert found is not None
    return found


async def replayed(scenario: Scenario) -> dict[str, msgspec.Raw]:
    """Replay the only letter; returns what went to the outbox."""
    async with scenario.database.transaction() as unit:
        await commands.replay(unit, (await stored(scenario.database)).id)
    row = await scenario.database.pool.fetchrow("SELECT topic, envelope FROM outbox ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert row["topic"] == names.TASK_EVENTS
    return msgspec.json.decode(row["envelope"], type=dict[str, msgspec.Raw])


async def discard(scenario: Scenario) -> None:
    async with scenario.database.transaction() as unit:
        await commands.discard(unit, (await stored(scenario.database)).id)


async def state(scenario: Scenario) -> tuple[str, int, str]:
    found = await stored(scenario.database)
    return found.status, found.replays, found.error


async def test_the_same_letter_again_changes_nothing(scenario: Scenario) -> None:
    await scenario.tell(letter(body=ENVELOPE), letter(body=ENVELOPE))
    before = await stored(scenario.database)
    await scenario.tell(letter(body=ENVELOPE, error="another"))
    assert await stored(scenario.database) == before
    assert before.body == ENVELOPE


async def test_a_replay_is_the_event_as_it_came_with_its_number(scenario: Scenario) -> None:
    await scenario.tell(letter(body=ENVELOPE))
    sent = await replayed(scenario)
    original = msgspec.json.decode(ENVELOPE, type=dict[str, msgspec.Raw])
    assert {name: bytes(value) for name, value in sent.items() if name not in {"id", "replay"}} == {
        name: bytes(value) for name, value in original.items() if name != "id"
    }
    assert (bytes(sent["id"]), bytes(sent["replay"])) == (b'"e"', b"1")
    assert await state(scenario) == ("replayed", 1, "ValueError: no")


async def test_only_the_failure_of_a_later_replay_reopens_a_closed_letter(scenario: Scenario) -> None:
    await scenario.tell(letter(body=ENVELOPE))
    await replayed(scenario)
    await scenario.tell(letter(error="the first delivery, told again"))
    assert await state(scenario) == ("replayed", 1, "ValueError: no")
    await scenario.tell(letter(replay=1, error="failed again"))
    assert await state(scenario) == ("open", 1, "failed again")
    assert bytes((await replayed(scenario))["replay"]) == b"2"
    await scenario.tell(letter(replay=1, error="told again"))
    assert await state(scenario) == ("replayed", 2, "failed again")
    await scenario.tell(letter(replay=2, error="and again"))
    assert await state(scenario) == ("open", 2, "and again")


async def test_a_discarded_letter_stays_discarded_whatever_comes_late(scenario: Scenario) -> None:
    await scenario.tell(letter(body=ENVELOPE))
    await replayed(scenario)
    await scenario.tell(letter(replay=1))
    await discard(scenario)
    await scenario.tell(letter(), letter(replay=1))
    assert (await state(scenario))[:2] == ("discarded", 1)


async def test_a_discarded_letter_can_be_replayed_after_all(scenario: Scenario) -> None:
    await scenario.tell(letter(body=ENVELOPE))
    await discard(scenario)
    await replayed(scenario)
    assert (await state(scenario))[:2] == ("replayed", 1)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"not json", b"[1]", b""])
async def test_what_no_handler_could_read_cannot_be_replayed(scenario: Scenario, body: bytes) -> None:
    await scenario.tell(letter(body=body))
    with pytest.raises(ConflictError, match="discard it"):
        await replayed(scenario)
    assert (await state(scenario))[0] == "open"


async def test_what_is_nested_without_end_cannot_be_replayed(scenario: Scenario) -> None:
    await scenario.tell(letter(body=b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    with pytest.raises(ConflictError, match="not a CloudEvent"):
        await replayed(scenario)


async def test_a_letter_of_which_only_the_head_was_kept_cannot_be_replayed(scenario: Scenario) -> None:
    await scenario.tell(msgspec.structs.replace(letter(body=ENVELOPE), size=10_000_000))
    with pytest.raises(ConflictError, match="of 10,000,000 bytes"):
        await replayed(scenario)


async def test_there_is_no_other_letter(scenario: Scenario) -> None:
    async with scenario.database.transaction() as unit:
        for command in (commands.replay, commands.discard):
            with pytest.raises(NotFoundError):
                await command(unit, 7)


UNDELIVERED: dict[str, tuple[bytes, Callable[[Letter], bool]]] = {
    "bytes": (b"\xff\x00\x01", lambda one: one.event_id.startswith("sha256:")),
    "another system's JSON": (b'{"hello":"world"}', lambda one: one.event_id.startswith("sha256:")),
    "an event": (ENVELOPE, lambda one: (one.event_id, one.subject) == ("e", "s")),
    "a probe": (b'{"id":"p","type":"com.dapr.event.sent","data":{"task_id":1}}', lambda one: one.event_id == "p"),
    "a replay": (b'{"id":"e","replay":2,"type":"x","data":1}', lambda one: one.replays == 2),
    "an id that is no key": (b'{"id":"' + b"x" * 9_000 + b'"}', lambda one: one.event_id.startswith("sha256:")),
    "deep nesting": (b'{"data":' + b"[" * 20_000, lambda one: one.event_id.startswith("sha256:")),
}


@pytest.mark.parametrize("name", UNDELIVERED)
async def test_what_a_sidecar_gave_up_on_is_kept_as_it_came_once(database: Database, name: str) -> None:
    original, holds = UNDELIVERED[name]
    deliver = handlers.undelivered(database, "recurring-service", names.TASK_EVENTS)
    for _ in range(2):
        await deliver([original])
    found = await stored(database)
    assert found.body == original
    assert holds(found)
    assert (found.app, found.topic, found.attempts) == ("recurring-service", names.TASK_EVENTS, 0)
    assert "did not accept it" in found.error


async def test_backends_own_poison_goes_straight_to_its_table(scenario: Scenario) -> None:
    original = b'{"id":"strange","type":"todo.event.parked.v7","subject":"x\\u0000y","data":{}}'
    await scenario.deliver(names.DEAD_LETTERS, [original, original])
    found = await stored(scenario.database)
    assert (found.app, found.topic, found.event_id) == ("backend", names.DEAD_LETTERS, "strange")
    assert (found.body, found.subject) == (original, "x\ufffdy")
    assert await scenario.database.pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_letters_that_the_table_does_not_take_are_parked_themselves(scenario: Scenario) -> None:
    await scenario.tell(msgspec.structs.replace(letter("bad"), attempts=2**40), letter("good"))
    found = {one.event_id: one.app for one in await letters.page(scenario.database.pool, None, None, 10)}
    assert found.pop("good") == "recurring-service"
    assert list(found.values()) == ["backend"]


async def test_an_event_of_its_own_that_no_broker_takes_is_parked_by_the_relay(database: Database) -> None:
    async with database.transaction() as unit:
        unit.emit(Outgoing(names.TASK_EVENTS, "k", ENVELOPE))
    row = await database.pool.fetchrow("SELECT id, topic, key, envelope FROM outbox")
    assert row is not None
    for _ in range(2):  # a crash before the row is deleted
        await _park_row(database)(row, "413: too large")
    assert ((await stored(database)).app, (await stored(database)).error) == ("backend", "413: too large")


async def test_the_epoch_grows_when_the_database_finds_itself_elsewhere(migrated_url: str) -> None:
    database = await open_database(migrated_url, SCHEMA, lambda: pytest.fail("no clock is needed"))
    assert [await people.epoch(database.pool) for _ in range(2)] == [1, 1]
    await database.pool.execute("UPDATE origin SET cluster = 'the one it was restored from'")
    assert [await people.epoch(database.pool) for _ in range(2)] == [2, 2]
    await database.pool.close()


async def test_a_process_of_another_epoch_does_not_connect_again(migrated_url: str) -> None:
    """A failover, or a backup restored under a running backend: the process ends, and starts in a new epoch."""
    database = await open_database(migrated_url, SCHEMA, lambda: pytest.fail("no clock is needed"))
    epoch = Epoch(database.pool)
    with pytest.raises(UnavailableError, match="not reached yet"):
        await _reconnect(migrated_url, epoch)
    await epoch.find()
    await (await _reconnect(migrated_url, epoch)).close()
    await database.pool.execute("UPDATE origin SET cluster = 'the one it was restored from'")
    with pytest.raises(MovedError, match="restored"):
        await _reconnect(migrated_url, epoch)
    assert await people.epoch(database.pool) == 2  # another replica was first
    with pytest.raises(MovedError, match="restored"):
        await _reconnect(migrated_url, epoch)
    assert not is_environment(MovedError())  # so that it ends the relay, and with it the process
    await database.pool.close()


async def test_replicas_that_start_together_make_one_first_user(scenario: Scenario) -> None:
    clock = scenario.clock
    for _ in range(2):
        await people.ensure_first(scenario.database.pool, "other@example.test", "Other", "UTC", clock())
    assert [user.email for user in (await people.find_all(scenario.database.pool)).values()] == ["ada@example.test"]
    async with scenario.database.transaction() as unit:
        second = await commands.add_user(unit, "bob@example.test", "Bob", "UTC")
    assert second.id == 2
