"""State: save, read, claim, expire, delete, in one or many, on every store that the engine offers."""

import asyncio
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.sidecars.recording import Json, eventually
from tests.sidecars.world import SHARED, STORE, App, Client, Reply, Running, World

WORLD = World(apps=[App("keeper"), App("stranger")], every_store=True)
FIRST_WRITE = {"concurrency": "first-write"}


@pytest.fixture
def key() -> str:
    return str(uuid4())


async def save(sidecar: Client, store: str, *items: dict[str, Any]) -> Reply:
    return await sidecar.post(f"/v1.0/state/{store}", list(items))


async def read(sidecar: Client, store: str, key: str) -> Reply:
    return await sidecar.get(f"/v1.0/state/{store}/{key}")


async def transact(sidecar: Client, store: str, *operations: tuple[str, dict[str, Any]]) -> Reply:
    body = {"operations": [{"operation": name, "request": request} for name, request in operations]}
    return await sidecar.post(f"/v1.0/state/{store}/transaction", body)


@pytest.mark.parametrize("value", [{"a": [1, None]}, "text", 7, True, None, [], "ü"])
async def test_what_is_saved_is_read(sidecar: Client, store: str, key: str, value: Json) -> None:
    """A JSON value comes back as it was saved, with an ETag."""
    saved = await save(sidecar, store, {"key": key, "value": value})
    assert (saved.status, saved.body) == (204, b"")
    found = await read(sidecar, store, key)
    assert (found.status, found.json()) == (200, value)
    assert found.headers["etag"]


async def test_put_saves_as_well(sidecar: Client, store: str, key: str) -> None:
    """PUT is POST here."""
    assert (await sidecar.call("PUT", f"/v1.0/state/{store}", [{"key": key, "value": 1}])).status == 204
    assert (await read(sidecar, store, key)).json() == 1


async def test_what_is_not_there_is_empty(sidecar: Client, store: str, key: str) -> None:
    """A key without a value is 204 with nothing."""
    found = await read(sidecar, store, key)
    assert (found.status, found.body) == (204, b"")


async def test_a_key_belongs_to_its_app(world: Running, store: str, key: str) -> None:
    """Two apps do not see each other's keys."""
    await save(world.sidecar("keeper"), store, {"key": key, "value": "mine"})
    assert (await read(world.sidecar("stranger"), store, key)).status == 204
    await save(world.sidecar("stranger"), store, {"key": key, "value": "theirs"})
    assert (await read(world.sidecar("keeper"), store, key)).json() == "mine"


async def test_the_last_write_wins_without_an_etag(sidecar: Client, store: str, key: str) -> None:
    """Saving anew replaces the value and its ETag."""
    await save(sidecar, store, {"key": key, "value": 1})
    first = await read(sidecar, store, key)
    assert (await save(sidecar, store, {"key": key, "value": 2})).status == 204
    second = await read(sidecar, store, key)
    assert second.json() == 2
    assert second.headers["etag"] != first.headers["etag"]


async def test_a_stale_etag_loses(sidecar: Client, store: str, key: str) -> None:
    """Saving with the ETag of an older value is 409 and changes nothing; with the current one it succeeds."""
    await save(sidecar, store, {"key": key, "value": 1})
    etag = (await read(sidecar, store, key)).headers["etag"]
    assert (await save(sidecar, store, {"key": key, "value": 2, "etag": etag})).status == 204
    lost = await save(sidecar, store, {"key": key, "value": 3, "etag": etag})
    assert (lost.status, lost.error) == (409, "ERR_STATE_SAVE")
    assert (await read(sidecar, store, key)).json() == 2


async def test_an_etag_of_nothing_loses(sidecar: Client, store: str, key: str) -> None:
    """An ETag for a key that has been deleted does not bring it back."""
    await save(sidecar, store, {"key": key, "value": 1})
    etag = (await read(sidecar, store, key)).headers["etag"]
    await sidecar.delete(f"/v1.0/state/{store}/{key}")
    assert (await save(sidecar, store, {"key": key, "value": 2, "etag": etag})).status == 409
    assert (await read(sidecar, store, key)).status == 204


async def test_one_claim_wins(sidecar: Client, store: str, key: str) -> None:
    """First-write without an ETag inserts only if absent. The loser's status differs between stores, what is read back
    does not."""
    assert (await save(sidecar, store, {"key": key, "value": "winner", "options": FIRST_WRITE})).status == 204
    lost = await save(sidecar, store, {"key": key, "value": "loser", "options": FIRST_WRITE})
    assert lost.status in (409, 500)
    assert (await read(sidecar, store, key)).json() == "winner"


async def test_claims_of_many_at_once_have_one_winner(world: Running, store: str, key: str) -> None:
    """Of claims that race, exactly one is told 204, and it is the one that is read back."""
    sidecar = world.sidecar("keeper")

    async def claim(owner: int) -> tuple[int, int]:
        item = {"key": key, "value": owner, "options": FIRST_WRITE}
        return owner, (await save(sidecar, store, item)).status

    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(claim(owner)) for owner in range(10)]
    winners = [owner for owner, status in (task.result() for task in claims) if status == 204]
    assert winners == [(await read(sidecar, store, key)).json()]


async def test_an_expired_claim_can_be_made_anew(sidecar: Client, store: str, key: str) -> None:
    """A claim whose time is over counts as absent."""
    item = {"key": key, "value": 1, "options": FIRST_WRITE, "metadata": {"ttlInSeconds": "1"}}
    assert (await save(sidecar, store, item)).status == 204

    async def claimed_again() -> bool:
        return (await save(sidecar, store, {"key": key, "value": 2, "options": FIRST_WRITE})).status == 204

    await eventually(claimed_again)
    assert (await read(sidecar, store, key)).json() == 2


async def test_a_value_lives_as_long_as_asked(sidecar: Client, store: str, key: str) -> None:
    """`ttlInSeconds` is told when read, and after it the value is gone."""
    await save(sidecar, store, {"key": key, "value": 1, "metadata": {"ttlInSeconds": "1"}})
    assert (
        datetime.fromisoformat((await read(sidecar, store, key)).headers["metadata.ttlexpiretime"]).tzinfo is not None
    )

    async def gone() -> bool:
        return (await read(sidecar, store, key)).status == 204

    await eventually(gone)


async def test_saving_without_a_ttl_ends_the_old_one(sidecar: Client, store: str, key: str) -> None:
    """The time to live is the last write's."""
    await save(sidecar, store, {"key": key, "value": 1, "metadata": {"ttlInSeconds": "3600"}})
    await save(sidecar, store, {"key": key, "value": 2})
    assert "metadata.ttlexpiretime" not in (await read(sidecar, store, key)).headers


async def test_a_ttl_is_a_number(sidecar: Client, store: str, key: str) -> None:
    """A time to live that is no number is refused."""
    reply = await save(sidecar, store, {"key": key, "value": 1, "metadata": {"ttlInSeconds": "soon"}})
    assert reply.status in (400, 500)
    assert (await read(sidecar, store, key)).status == 204


async def test_deleting_twice_is_fine(sidecar: Client, store: str, key: str) -> None:
    """Delete is 204 whether or not there was something."""
    await save(sidecar, store, {"key": key, "value": 1})
    assert (await sidecar.delete(f"/v1.0/state/{store}/{key}")).status == 204
    assert (await read(sidecar, store, key)).status == 204
    assert (await sidecar.delete(f"/v1.0/state/{store}/{key}")).status == 204


async def test_delete_obeys_its_etag(sidecar: Client, store: str, key: str) -> None:
    """If-Match with an older ETag is 409 and deletes nothing."""
    path = f"/v1.0/state/{store}/{key}"
    await save(sidecar, store, {"key": key, "value": 1})
    old = (await read(sidecar, store, key)).headers["etag"]
    await save(sidecar, store, {"key": key, "value": 2})
    lost = await sidecar.delete(path, headers={"If-Match": old})
    assert (lost.status, lost.error) == (409, "ERR_STATE_DELETE")
    current = (await read(sidecar, store, key)).headers["etag"]
    assert (await sidecar.delete(path, headers={"If-Match": current})).status == 204
    assert (await read(sidecar, store, key)).status == 204


async def test_many_are_read_at_once(sidecar: Client, store: str, key: str) -> None:
    """Bulk read answers for every key asked for; one without a value has no data."""
    await save(sidecar, store, {"key": f"{key}-1", "value": {"n": 1}}, {"key": f"{key}-2", "value": "two"})
    keys = [f"{key}-1", f"{key}-2", f"{key}-3"]
    reply = await sidecar.post(f"/v1.0/state/{store}/bulk", {"keys": keys, "parallelism": 10})
    assert reply.status == 200
    found = {item["key"]: item for item in reply.json()}
    assert found.keys() == set(keys)
    assert [found[k].get("data") for k in keys] == [{"n": 1}, "two", None]
    assert found[keys[0]]["etag"]
    assert found[keys[0]]["etag"] == (await read(sidecar, store, keys[0])).headers["etag"]


async def test_a_transaction_does_everything(sidecar: Client, store: str, key: str) -> None:
    """Upserts and deletes of a transaction all happen."""
    await save(sidecar, store, {"key": f"{key}-old", "value": 0})
    upsert = ("upsert", {"key": f"{key}-new", "value": 1})
    reply = await transact(sidecar, store, upsert, ("delete", {"key": f"{key}-old"}))
    assert (reply.status, reply.body) == (204, b"")
    assert (await read(sidecar, store, f"{key}-new")).json() == 1
    assert (await read(sidecar, store, f"{key}-old")).status == 204


async def test_a_transaction_does_nothing_if_one_of_it_fails(sidecar: Client, store: str, key: str) -> None:
    """A stale ETag undoes the whole transaction."""
    await save(sidecar, store, {"key": key, "value": 1})
    stale = (await read(sidecar, store, key)).headers["etag"]
    await save(sidecar, store, {"key": key, "value": 2})
    reply = await transact(
        sidecar,
        store,
        ("upsert", {"key": f"{key}-other", "value": 1}),
        ("upsert", {"key": key, "value": 3, "etag": stale, "options": FIRST_WRITE}),
    )
    assert (reply.status, reply.error) == (500, "ERR_STATE_TRANSACTION")
    assert (await read(sidecar, store, f"{key}-other")).status == 204
    assert (await read(sidecar, store, key)).json() == 2


async def test_an_operation_must_be_known(sidecar: Client, store: str, key: str) -> None:
    """A transaction with an unknown operation is refused."""
    reply = await transact(sidecar, store, ("upsert", {"key": key, "value": 1}), ("increment", {"key": key}))
    assert reply.status == 400
    assert (await read(sidecar, store, key)).status == 204


async def test_a_key_has_no_double_bar(sidecar: Client, store: str) -> None:
    """The separator of Dapr's key prefixes is not allowed in a key."""
    assert (await save(sidecar, store, {"key": "a||b", "value": 1})).status == 400


@pytest.mark.parametrize("odd", ["a:b", "a b", "a|b", "ü", "a/b", "a%2Fb", "a?b=c"])
async def test_a_key_can_be_odd(sidecar: Client, store: str, key: str, odd: str) -> None:
    """What is escaped in the address is the key that was saved."""
    odd_key = f"{key}{odd}"
    await save(sidecar, store, {"key": odd_key, "value": odd})
    found = await read(sidecar, store, quote(odd_key, safe=""))
    assert (found.status, found.json()) == (200, odd)


async def test_a_body_must_be_a_list(sidecar: Client, store: str) -> None:
    """A body that is not a list of items is 400."""
    reply = await sidecar.post(f"/v1.0/state/{store}", b"{not json", headers={"Content-Type": "application/json"})
    assert (reply.status, reply.error) == (400, "ERR_MALFORMED_REQUEST")


async def test_an_empty_list_is_saved(sidecar: Client, store: str) -> None:
    """Nothing to save is no error."""
    assert (await save(sidecar, store)).status == 204


async def test_an_unknown_store_is_refused(sidecar: Client) -> None:
    """A store that no component names is 400 whatever is asked of it."""
    asked = [
        await save(sidecar, "nobody", {"key": "k", "value": 1}),
        await read(sidecar, "nobody", "k"),
        await sidecar.delete("/v1.0/state/nobody/k"),
        await sidecar.post("/v1.0/state/nobody/bulk", {"keys": ["k"]}),
        await transact(sidecar, "nobody", ("upsert", {"key": "k", "value": 1})),
    ]
    assert {(reply.status, reply.error) for reply in asked} == {(400, "ERR_STATE_STORE_NOT_FOUND")}


async def test_keys_without_a_prefix_are_shared(world: Running, key: str) -> None:
    """With `keyPrefix: none` what one app saves another reads."""
    await save(world.sidecar("keeper"), SHARED, {"key": key, "value": "ours"})
    assert (await read(world.sidecar("stranger"), SHARED, key)).json() == "ours"


async def test_state_survives_the_sidecar(world: Running, key: str) -> None:
    """What was answered 204 is there after kill -9 of the sidecar."""
    await save(world.sidecar("keeper"), STORE, {"key": key, "value": 1})
    await world.engine.kill()
    await world.engine.start()
    assert (await read(world.sidecar("keeper"), STORE, key)).json() == 1
