"""What the mail server does to a mail, and what its owner gets to see of it."""

import datetime as dt

import pytest

from tests.integration.system.conftest import Waiting
from tests.integration.system.world import World

MINUTE = dt.timedelta(minutes=1)


async def test_a_mail_refused_for_ever_failed_and_the_task_says_why(world: World) -> None:
    person = await world.person("refused")
    task = await person.remind(0)
    (attempt,) = await person.attempts(task)
    assert (attempt["outcome"], attempt["possibly_sent"]) == ("failed", False)
    assert "550" in attempt["reason"]
    assert person.email not in attempt["reason"]
    (reminder,) = (await person.task(task))["reminder_history"]
    assert reminder["state"] == "failed"
    await person.reached(task, "failed")
    assert await person.mail_count() == 0


async def test_a_slow_mail_server_gets_the_mail_once(world: World) -> None:
    person = await world.person("slow+2")
    task = await person.remind(0)
    await person.reached(task, "delivered")
    assert await person.mail_count() == 1


async def test_a_connection_lost_after_the_mail_was_handed_over_is_shown_as_possibly_sent(world: World) -> None:
    person = await world.person("drop-after-data")
    task = await person.remind(0)
    (attempt,) = await person.attempts(task)
    assert (attempt["outcome"], attempt["possibly_sent"]) == ("deferred", True)
    assert await person.mail_count() == 1
    await person.do(task, "complete")  # the second attempt, a minute later, would arrive as well
    await person.reached(task, "withdrawn")


@pytest.mark.parametrize("cause", ["away", "greylisted"])
async def test_a_mail_that_was_put_off_is_delivered_a_minute_later(put_off: dict[str, Waiting], cause: str) -> None:
    waiting = put_off[cause]
    first, second = await waiting.person.attempts(waiting.task, 2, seconds=100)
    assert (first["attempt"], first["outcome"], first["possibly_sent"]) == (1, "deferred", False)
    assert first["reason"]
    assert (second["attempt"], second["outcome"]) == (2, "delivered")
    assert dt.datetime.fromisoformat(second["at"]) - dt.datetime.fromisoformat(first["at"]) >= MINUTE
    await waiting.person.reached(waiting.task, "delivered", seconds=100)  # tried again after a minute
    assert await waiting.person.mail_count() == 1
