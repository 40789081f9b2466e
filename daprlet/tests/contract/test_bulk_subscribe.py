"""Many events in one request. A batch is answered as a whole: what a mix of answers does differs between versions."""

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from tests.sidecars.recording import Answer, Delivery, Json, RecordingApp, Script, every_entry
from tests.sidecars.world import BUS, PLAIN, App, Client, World


def bulk(component: str, topic: str, **more: Json) -> dict[str, Any]:
    enabled = {"enabled": True, "maxMessagesCount": 20, "maxAwaitDurationMs": 20}
    return {"pubsubname": component, "topic": topic, "route": f"/{topic}", "bulkSubscribe": enabled, **more}


RETRIED, AT_ONCE = "bulk.retried", "bulk.at-once"
WORLD = World(
    apps=[
        App(
            "bulk-consumer",
            [
                bulk(BUS, RETRIED, deadLetterTopic=f"dead.{RETRIED}"),
                bulk(BUS, f"dead.{RETRIED}"),
                bulk(PLAIN, AT_ONCE, deadLetterTopic=f"dead.{AT_ONCE}"),
                bulk(PLAIN, f"dead.{AT_ONCE}"),
            ],
        )
    ]
)
ATTEMPTS = 1 + WORLD.retry.max_retries


@pytest.fixture(autouse=True)
def _dead_letters_are_accepted(app: RecordingApp) -> None:
    for topic in (RETRIED, AT_ONCE):
        app.answers(f"/{topic}", every_entry("SUCCESS"))
        app.answers(f"/dead.{topic}", every_entry("SUCCESS"))


def events(app: RecordingApp, topic: str) -> list[dict[str, Any]]:
    """Return every event that came on this topic, once per delivery."""
    return [entry["event"] for delivery in app.seen(f"/{topic}") for entry in delivery.json()["entries"]]


def deliveries_of(app: RecordingApp, topic: str, ids: list[str]) -> Counter[str]:
    return Counter(event["id"] for event in events(app, topic) if event["id"] in ids)


async def publish(sidecar: Client, topic: str, count: int, component: str = BUS) -> list[str]:
    """Bulk-publish `count` events and return their ids."""
    ids = [str(uuid4()) for _ in range(count)]
    await publish_as(sidecar, topic, ids, component)
    return ids


async def publish_as(sidecar: Client, topic: str, ids: list[str], component: str = BUS) -> None:
    entries = [
        {"entryId": i, "event": {"mark": i}, "contentType": "application/json", "metadata": {"cloudevent.id": i}}
        for i in ids
    ]
    assert (await sidecar.post(f"/v1.0/publish/bulk/{component}/{topic}", entries)).status == 204


async def all_arrived(app: RecordingApp, topic: str, ids: list[str]) -> Counter[str]:
    """Wait until each of the events came on this topic; return how often each did."""
    return await app.until(lambda: counts if len(counts := deliveries_of(app, topic, ids)) == len(ids) else Counter())


async def test_the_request_names_its_entries(app: RecordingApp, sidecar: Client) -> None:
    """A batch has an id, its topic and component, and entries of envelopes with ids of their own."""
    ids = await publish(sidecar, RETRIED, 5)
    await all_arrived(app, RETRIED, ids)
    delivery = app.seen(f"/{RETRIED}")[-1]
    batch = delivery.json()
    assert (delivery.method, delivery.headers["content-type"]) == ("POST", "application/json")
    named = (batch["type"], batch["topic"], batch["pubsubname"])
    assert named == ("com.dapr.event.sent.bulk", RETRIED, BUS)
    assert batch["id"]
    assert len({entry["entryId"] for entry in batch["entries"]}) == len(batch["entries"])
    entry = batch["entries"][0]
    assert entry["contentType"] == "application/cloudevents+json"
    event = entry["event"]
    assert (event["data"], event["topic"], event["type"]) == ({"mark": event["id"]}, RETRIED, "com.dapr.event.sent")


async def test_success_is_delivered_once(app: RecordingApp, sidecar: Client) -> None:
    """SUCCESS for each entry ends the batch."""
    ids = await publish(sidecar, RETRIED, 30)
    await all_arrived(app, RETRIED, ids)
    await settled(app, sidecar)
    assert deliveries_of(app, RETRIED, ids) == dict.fromkeys(ids, 1)
    assert not deliveries_of(app, f"dead.{RETRIED}", ids)


async def test_a_batch_is_no_larger_than_asked_for(app: RecordingApp, sidecar: Client) -> None:
    """`maxMessagesCount` bounds a batch."""
    ids = await publish(sidecar, RETRIED, 100)
    await all_arrived(app, RETRIED, ids)
    sizes = [len(delivery.json()["entries"]) for delivery in app.seen(f"/{RETRIED}")]
    assert 1 < max(sizes) <= 20


def no_status(_: Delivery) -> Answer:
    return Answer(body={"statuses": []})


FAILURES = [
    pytest.param(lambda _: Answer(503), id="503"),
    pytest.param(lambda _: Answer(500), id="500"),
    pytest.param(every_entry("RETRY"), id="RETRY for each"),
    pytest.param(no_status, id="no statuses"),
    pytest.param(lambda _: Answer(200), id="an empty body"),
    pytest.param(lambda _: Answer(200, b"fine"), id="a body that is not JSON"),
]


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failed_batch_comes_again_whole(app: RecordingApp, sidecar: Client, failure: Script) -> None:
    """503, RETRY for all and answers that say nothing are failures: the same entries come again."""
    already = len(app.seen(f"/{RETRIED}"))
    app.answers(f"/{RETRIED}", once(failure))
    ids = await publish(sidecar, RETRIED, 10)
    await app.until(lambda: deliveries_of(app, RETRIED, ids).total() > len(ids))
    first, *_ = app.seen(f"/{RETRIED}")[already:]
    failed = entry_events(first)
    await all_arrived(app, RETRIED, ids)
    await settled(app, sidecar)
    assert deliveries_of(app, RETRIED, ids) == {i: 2 if i in failed else 1 for i in ids}
    assert not deliveries_of(app, f"dead.{RETRIED}", ids)


async def test_used_up_retries_end_as_dead_letters(app: RecordingApp, sidecar: Client) -> None:
    """Each event of a batch whose retries are used up goes to the dead-letter topic, with its own data."""
    app.answers(f"/{RETRIED}", Answer(503))
    ids = await publish(sidecar, RETRIED, 25)
    await all_arrived(app, f"dead.{RETRIED}", ids)
    assert deliveries_of(app, RETRIED, ids) == dict.fromkeys(ids, ATTEMPTS)
    dead = {event["id"]: event for event in events(app, f"dead.{RETRIED}")}
    assert all(dead[i]["data"] == {"mark": i} and dead[i]["topic"] == RETRIED for i in ids)


async def test_without_a_policy_the_first_failure_is_a_dead_letter(app: RecordingApp, sidecar: Client) -> None:
    """A dead-letter topic alone retries nothing."""
    app.answers(f"/{AT_ONCE}", Answer(503))
    ids = await publish(sidecar, AT_ONCE, 10, PLAIN)
    await all_arrived(app, f"dead.{AT_ONCE}", ids)
    assert deliveries_of(app, AT_ONCE, ids) == dict.fromkeys(ids, 1)


async def test_not_found_ends_a_batch(app: RecordingApp, sidecar: Client) -> None:
    """404 for a batch is neither retried nor dead-lettered: the events are gone."""
    app.answers(f"/{RETRIED}", Answer(404))
    ids = await publish(sidecar, RETRIED, 5)
    await all_arrived(app, RETRIED, ids)
    await settled(app, sidecar)
    assert deliveries_of(app, RETRIED, ids) == dict.fromkeys(ids, 1)
    assert not deliveries_of(app, f"dead.{RETRIED}", ids)


async def test_entries_of_a_batch_can_have_different_ends(app: RecordingApp, sidecar: Client) -> None:
    """What succeeded is over, what is to be retried comes again alone, and dropped then is the one dead letter."""
    seen: Counter[str] = Counter()

    def answer(delivery: Delivery) -> Answer:
        statuses = []
        for entry in delivery.json()["entries"]:
            mark = entry["event"]["data"]["mark"]
            seen[mark] += 1
            status = "SUCCESS" if mark != again else "RETRY" if seen[mark] == 1 else "DROP"
            statuses.append({"entryId": entry["entryId"], "status": status})
        return Answer(body={"statuses": statuses})

    first, again, last = ids = [str(uuid4()) for _ in range(3)]
    app.answers(f"/{RETRIED}", answer)
    await publish_as(sidecar, RETRIED, ids)
    await all_arrived(app, f"dead.{RETRIED}", [again])
    await settled(app, sidecar)
    assert seen == {first: 1, again: 2, last: 1}
    assert deliveries_of(app, f"dead.{RETRIED}", ids) == {again: 1}


def once(failure: Script) -> Script:
    """Fail the first batch, accept the others."""
    failed: list[Delivery] = []

    def answer(delivery: Delivery) -> Answer:
        if failed:
            return every_entry("SUCCESS")(delivery)
        failed.append(delivery)
        return failure(delivery)

    return answer


def entry_events(delivery: Delivery) -> list[str]:
    return [entry["event"]["id"] for entry in delivery.json()["entries"]]


async def settled(app: RecordingApp, sidecar: Client) -> None:
    """Return when a batch published now has used up its retries: an earlier one would have had its own by then."""
    app.answers(f"/{RETRIED}", Answer(503))
    marker = await publish(sidecar, RETRIED, 1)
    await all_arrived(app, f"dead.{RETRIED}", marker)
