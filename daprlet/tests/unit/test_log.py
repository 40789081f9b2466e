import time

import pytest

from daprlet.database import Database
from daprlet.log import Draft, Log, Position, Retention

HOUR_OLD = time.time() - 3600


async def filled(database: Database, count: int, topic: str = "t", size: int = 10) -> tuple[Log, int]:
    log = Log(database)
    number = await log.topic("bus", topic)
    await log.append(number, [Draft(b"x" * size) for _ in range(count)])
    return log, number


def ids(database: Database) -> list[int]:
    return [row[0] for row in database.read("SELECT id FROM message ORDER BY id")]


async def make_older(database: Database, seconds: int) -> None:
    await database.write(lambda connection: connection.execute("UPDATE message SET stored = stored - ?", (seconds,)))


async def test_a_new_consumer_begins_with_the_oldest_message(database: Database) -> None:
    """Whoever subscribes late still gets what is retained."""
    log, topic = await filled(database, 3)
    position = await log.position("app", topic)
    assert [message.id for message in log.page(topic, position.mark, 10)] == [1, 2, 3]


async def test_a_position_survives_with_its_gaps(database: Database) -> None:
    """After a restart a consumer knows its mark and what was acknowledged above it."""
    log, topic = await filled(database, 5)
    position = await log.position("app", topic)
    await log.settle(position.subscription, 1, [3, 5])
    again = await Log(database).position("app", topic)
    assert again == Position(position.subscription, 1, frozenset((3, 5)))


async def test_a_mark_never_goes_back(database: Database) -> None:
    """An acknowledgement that was computed earlier and stored later does not undo a later one."""
    log, topic = await filled(database, 5)
    position = await log.position("app", topic)
    await log.settle(position.subscription, 4, [])
    await log.settle(position.subscription, 2, [3])
    assert (await log.position("app", topic)).mark == 4


async def test_dead_letters_and_acknowledgements_are_one_commit(database: Database) -> None:
    """The dead letter has the original's bytes, headers and raw flag."""
    log, topic = await filled(database, 1)
    dead = await log.topic("bus", "dead")
    position = await log.position("app", topic)
    original = log.page(topic, 0, 1)[0]
    await log.settle(position.subscription, original.id, [], [original.draft()], dead)
    assert log.page(dead, 0, 1)[0].draft() == original.draft()


async def test_a_page_ends_when_it_is_large(database: Database) -> None:
    """Memory is bounded by bytes as well as by number; the first message always fits."""
    log, topic = await filled(database, 3, size=3 * 1024 * 1024)
    assert len(log.page(topic, 0, 100)) == 1


async def test_unacknowledged_messages_are_never_deleted(database: Database) -> None:
    """Retention stops at the slowest live subscription, however old its messages are."""
    log, topic = await filled(database, 6)
    slow, fast = await log.position("slow", topic), await log.position("fast", topic)
    await log.settle(slow.subscription, 2, [])
    await log.settle(fast.subscription, 6, [])
    await make_older(database, 10**8)
    await log.sweep([slow.subscription, fast.subscription], {"bus": Retention(0, 0, 0, 0)}, 30)
    assert ids(database) == [3, 4, 5, 6]


async def test_acknowledged_messages_stay_for_whoever_subscribes_next(database: Database) -> None:
    """What everybody has acknowledged is kept for a while, so that a second app may subscribe a little later."""
    log, topic = await filled(database, 3)
    position = await log.position("app", topic)
    await log.settle(position.subscription, 3, [])
    await log.sweep([position.subscription], {}, 30)
    assert ids(database) == [1, 2, 3]
    await make_older(database, 700)
    await log.sweep([position.subscription], {}, 30)
    assert ids(database) == [3]


@pytest.mark.parametrize(("older", "limit", "left"), [(0, 25, [4, 5, 6]), (8 * 86400, 10**9, [6])])
async def test_a_topic_without_subscribers_is_bounded(
    database: Database, older: int, limit: int, left: list[int]
) -> None:
    """By size and by age."""
    log, _ = await filled(database, 6)
    await make_older(database, older)
    await log.sweep([], {"bus": Retention(unread_bytes=limit)}, 30)
    assert ids(database) == left


async def test_ids_never_come_back(database: Database) -> None:
    """A message appended after all were deleted has a higher id than any before, or acknowledgements would lie."""
    log, topic = await filled(database, 3)
    await log.sweep([], {"bus": Retention(0, 0, 0, 0)}, 30)
    await log.append(topic, [Draft(b"new")])
    assert ids(database)[-1] == 4


async def test_an_abandoned_subscription_holds_nothing_back(database: Database) -> None:
    """Nobody used it for the time that unread messages are kept, counted while daprlet ran."""
    log, topic = await filled(database, 3)
    gone = await log.position("gone", topic)
    live = await log.position("live", topic)
    await log.settle(live.subscription, 3, [])
    await make_older(database, 700)
    week = Retention().unread_age
    await log.sweep([live.subscription], {}, week)
    assert ids(database) == [1, 2, 3]
    await log.sweep([live.subscription], {}, 1)
    assert ids(database) == [3]
    assert (await log.position("gone", topic)).subscription == gone.subscription


@pytest.mark.parametrize(("older", "rules"), [(700, Retention()), (0, Retention(acknowledged_bytes=15))])
async def test_a_message_that_is_stuck_keeps_itself_alone(database: Database, older: int, rules: Retention) -> None:
    """What everybody acknowledged behind it goes by the same rules as what is before it."""
    log, topic = await filled(database, 6)
    one, two = await log.position("one", topic), await log.position("two", topic)
    await log.settle(one.subscription, 1, [3, 4, 5])
    await log.settle(two.subscription, 4, [])
    await make_older(database, older)
    await log.sweep([one.subscription, two.subscription], {"bus": rules}, 30)
    left = ids(database)
    assert left == [2, 5, 6] if older else left == [1, 2, 4, 5, 6]
    assert {2, 5, 6} <= set(left)
    acked = (await Log(database).position("one", topic)).acked
    assert acked == {3, 4, 5} & set(left)


async def test_what_a_stuck_message_keeps_waits_for_the_slowest(database: Database) -> None:
    """Acknowledged by one subscription is not acknowledged; an abandoned one does not count."""
    log, topic = await filled(database, 4)
    one, two = await log.position("one", topic), await log.position("two", topic)
    await log.settle(one.subscription, 0, [2, 3])
    await make_older(database, 700)
    await log.sweep([one.subscription, two.subscription], {}, 30)
    assert ids(database) == [1, 2, 3, 4]
    await log.sweep([one.subscription], {}, Retention().unread_age + 1)
    assert ids(database) == [1, 4]
